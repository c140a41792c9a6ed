//! `get`, `set`, `delete`, `touch`, `incr` and `invalidate`.

use serde_json::{Value, json};

use super::{DONE, MISS, cli, cli_with_input};
use crate::support::server::run_into_closed_pipe;

on_both_stores!(one_entry_lives_through_all_commands, |env| {
    let larder = &env.larder;
    assert_eq!(cli(larder, "get ns k").result(), (MISS, ""));
    let stored = cli(larder, "set ns k 41 --ttl 1m");
    let (code, text) = stored.result();
    assert_eq!(code, DONE, "{stored:?}");
    assert!(text.starts_with("stored  version ") && text.ends_with("  ttl 1m\n"), "{text}");
    assert_eq!(cli(larder, "get ns k").result(), (DONE, "41"));
    assert_eq!(cli(larder, "incr ns k").result(), (DONE, "42\n"));
    assert_eq!(cli(larder, "incr ns k -50").result(), (DONE, "-8\n"));
    assert_eq!(cli(larder, "incr ns new 5 --initial -1").result(), (DONE, "4\n"));
    assert_eq!(cli(larder, "touch ns k --ttl 2m").result(), (DONE, "touched  ttl 2m\n"));
    assert_eq!(cli(larder, "touch ns absent").result(), (MISS, "miss\n"));
    assert_eq!(cli(larder, "delete ns k").result(), (DONE, "deleted\n"));
    assert_eq!(cli(larder, "delete ns k").result(), (DONE, "did not exist\n"));
    assert_eq!(cli(larder, "invalidate ns").result(), (DONE, "invalidated\n"));
    let missed = cli(larder, "get ns new");
    assert_eq!(missed.result(), (MISS, ""));
    assert_eq!(missed.stderr, "miss\n");
});

on_both_stores!(deletes_on_a_condition_and_with_the_value, |env| {
    let larder = &env.larder;
    let stored = cli(larder, "set ns k v --tag a --json").json().remove(0);
    let version = stored["version"].as_str().unwrap();
    let refused = cli(larder, "delete ns k --if-version 0000");
    assert_eq!(refused.result(), (MISS, "condition not met\n"));
    let refused = cli(larder, "delete ns k --if-version 0000 --json").json().remove(0);
    assert_eq!((&refused["existed"], &refused["deleted"]), (&json!(true), &json!(false)));
    let deleted = cli(larder, &format!("delete ns k --if-version {version}"));
    assert_eq!(deleted.result(), (DONE, "deleted\n"));
    let gone = cli(larder, &format!("delete ns k --if-version {version}"));
    assert_eq!(gone.result(), (MISS, "did not exist\n"));

    cli(larder, "set ns k v --tag a");
    let taken = cli(larder, "delete ns k --return-value --json").json().remove(0);
    assert_eq!(
        (&taken["deleted"], &taken["removed"]["value"]),
        (&json!(true), &json!({"text": "v"}))
    );
    assert_eq!(taken["removed"]["tags"], json!(["a"]));
    let none = cli(larder, "delete ns k --return-value --json");
    assert_eq!((none.code, none.json()[0].get("removed")), (MISS, None));
    cli(larder, "set ns k w");
    assert_eq!(cli(larder, "delete ns k --return-value").result(), (DONE, "w"));
    assert_eq!(cli(larder, "delete ns k --return-value").result(), (MISS, "did not exist\n"));
    assert_eq!(cli(larder, "delete ns a b --return-value").code, 2);

    assert_eq!(cli(larder, "incr ns n --if-present").result(), (MISS, "miss\n"));
    let missing = cli(larder, "incr ns n --if-present --json").json().remove(0);
    assert_eq!((&missing["missing"], &missing["value"]), (&json!(true), &json!(null)));
    assert_eq!(cli(larder, "incr ns n --if-present --initial 3").code, 2);
    cli(larder, "incr ns n");
    assert_eq!(cli(larder, "incr ns n 2 --if-present").result(), (DONE, "3\n"));
});

on_both_stores!(params_tags_and_conditions_reach_the_server, |env| {
    let larder = &env.larder;
    let set = "set ns k v --param view=full --param page=2 --tag b --tag a --json";
    let stored = cli(larder, set).json().remove(0);
    let version = stored["version"].as_str().unwrap().to_owned();
    assert_eq!(cli(larder, "get ns k").code, MISS);
    let found = cli(larder, "get ns k --param page=2 --param view=full --json").json().remove(0);
    assert_eq!(found["tags"], json!(["a", "b"]));
    assert_eq!(found["version"], version);

    let refused = (MISS, "condition not met\n");
    assert_eq!(cli(larder, "set ns c v --if-present").result(), refused);
    assert_eq!(cli(larder, "set ns c v --if-absent").code, DONE);
    assert_eq!(cli(larder, "set ns c v --if-absent").result(), refused);
    assert_eq!(cli(larder, "set ns c v --if-version 0000").result(), refused);
    let version = cli(larder, "get ns c --json").json()[0]["version"].as_str().unwrap().to_owned();
    assert_eq!(cli(larder, &format!("set ns c w --if-version {version}")).code, DONE);
    assert_eq!(cli(larder, "get ns c --consistent").result(), (DONE, "w"));
});

on_both_stores!(json_has_one_object_per_line, |env| {
    let larder = &env.larder;
    let mut stored = cli(larder, "set ns k v --ttl 90s --json").json().remove(0);
    let version = stored["version"].take();
    let expected = json!({
        "namespace": "ns", "key": "k", "params": {}, "result": "stored", "version": null,
        "ttl": 90.0,
    });
    assert_eq!(stored, expected);

    let lines = cli(larder, "get ns k absent --json");
    assert_eq!(lines.code, MISS);
    let mut lines = lines.json();
    let is_below = |value: Value, limit: f64| value.as_f64().is_some_and(|value| value <= limit);
    assert!(is_below(lines[0]["age"].take(), 60.0), "{lines:?}");
    assert!(is_below(lines[0]["ttl_remaining"].take(), 90.0), "{lines:?}");
    let found = json!({
        "namespace": "ns", "key": "k", "params": {}, "outcome": "hit", "value": {"text": "v"},
        "version": version, "age": null, "ttl_remaining": null, "tags": [], "tier": "store",
        "not_modified": false, "not_json": false, "parts": null,
    });
    let missing = json!({
        "namespace": "ns", "key": "absent", "params": {}, "outcome": "miss", "value": null,
        "version": null, "age": null, "ttl_remaining": null, "tags": [], "tier": null,
        "not_modified": false, "not_json": false, "parts": null,
    });
    assert_eq!(lines, [found, missing]);

    let touched = cli(larder, "touch ns k --ttl 1m --json").json();
    let name = |rest: Value| {
        let mut object = json!({"namespace": "ns", "key": "k", "params": {}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    assert_eq!(touched, [name(json!({"found": true, "ttl": 60.0}))]);
    let deleted = cli(larder, "delete ns k --json").json();
    let result = json!({"existed": true, "deleted": true, "durability": "applied"});
    assert_eq!(deleted, [name(result)]);
    let sum = cli(larder, "incr ns k 3 --ttl 1m --json").json().remove(0);
    assert_eq!((&sum["value"], sum["version"].is_string()), (&json!(3), true));
    assert!(is_below(sum["ttl_remaining"].clone(), 60.0), "{sum}");
    let invalidated = cli(larder, "invalidate ns --json").json();
    let line = |is_whole: bool| {
        let result = "invalidated";
        json!({"namespace": "ns", "result": result, "namespace_invalidated": is_whole,
            "durability": "applied"})
    };
    assert_eq!(invalidated, [line(true)]);
    cli(larder, "set ns user:1 v --tag a");
    cli(larder, "set ns user:2 v --tag b");
    assert_eq!(cli(larder, "invalidate ns --glob user:[13] --tag c --json").json(), [line(false)]);
    assert_eq!(cli(larder, "get ns user:1").code, MISS);
    assert_eq!(
        cli(larder, "invalidate ns --tag b --hold-off 1s").result(),
        (DONE, "invalidated\n")
    );
    assert_eq!(cli(larder, "get ns user:2").code, MISS);
});

on_both_stores!(several_keys_are_a_table, |env| {
    let larder = &env.larder;
    cli(larder, "set ns a long-value --ttl 1m");
    cli(larder, "set ns b 1 --kind json");
    let table = cli(larder, "get ns a b");
    assert_eq!(table.code, DONE, "{table:?}");
    let lines: Vec<Vec<&str>> =
        table.result().1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["key", "outcome", "kind", "bytes", "ttl", "left", "version", "value"]);
    assert_eq!(lines[1][..4], ["a", "hit", "text", "10"]);
    assert_eq!(lines[1].last(), Some(&"long-value"));
    assert_eq!(lines[2][..4], ["b", "hit", "json", "1"]);
    let facts = cli(larder, "get ns a --info");
    assert!(facts.result().1.starts_with("outcome   hit\nkind      text\nbytes     10\nversion"));

    let deleted = cli_with_input(larder, "delete ns --keys-from -", b"a\nb\nabsent\n");
    assert_eq!(deleted.code, DONE, "{deleted:?}");
    let expected = " key     result\n a       deleted\n b       deleted\n absent  did not exist\n";
    assert_eq!(deleted.result().1, expected);
    assert_eq!(cli(larder, "get ns a b").code, MISS);
});

on_both_stores!(more_keys_than_a_batch_are_read_and_deleted, |env| {
    let keys: Vec<String> = (0..1001).map(|index| format!("k{index}")).collect();
    env.cache.put("k1000", "v").await;
    let input = keys.join("\n");
    let deleted = cli_with_input(&env.larder, "delete ns --keys-from - --json", input.as_bytes());
    let lines = deleted.json();
    assert_eq!((lines.len(), &lines[1000]["existed"]), (1001, &json!(true)), "{deleted:?}");
    let read = cli_with_input(&env.larder, "get ns --keys-from - --json", input.as_bytes());
    assert_eq!((read.code, read.json().len()), (MISS, 1001));
});

on_both_stores!(closed_pipe_ends_a_command_quietly, |env| {
    env.cache.put("k", &"v".repeat(500_000)).await;
    let address = env.larder.address().to_string();
    for command in [&["get", "ns", "k"][..], &["get", "ns", "k", "--json"], &["stats"]] {
        let ended = run_into_closed_pipe(&[command, &["--address", &address]].concat());
        assert_eq!(ended.status.code(), Some(DONE), "{ended:?}");
        assert!(ended.stderr.is_empty(), "{ended:?}");
    }
});

#[test]
fn output_that_cannot_be_written_ends_with_its_own_code() {
    let disk = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let checked = std::process::Command::new(env!("CARGO_BIN_EXE_larder"))
        .arg("check-config")
        .env_clear()
        .stdout(disk)
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(5), "{checked:?}");
    assert!(String::from_utf8_lossy(&checked.stderr).contains("cannot write the output"));
}
