//! `keys`, `inspect` and `namespaces`.

use std::collections::BTreeSet;

use serde_json::json;

use super::{DONE, MISS, USAGE, cli, cli_with_input};
use crate::support::client::{delete, invalidate};

on_both_stores!(keys_are_listed_counted_and_piped, |env| {
    let larder = &env.larder;
    for key in ["user:1", "user:2", "team 1"] {
        env.cache.put(key, "v").await;
    }
    let set = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    let listed = cli(larder, "keys ns");
    assert_eq!((listed.code, set(listed.result().1)), (DONE, set("user:1\nuser:2\nteam 1")));
    assert_eq!(set(cli(larder, "keys ns user:*").result().1), set("user:1\nuser:2"));
    assert_eq!(cli(larder, "keys ns user:* --count").result(), (DONE, "2\n"));
    assert_eq!(cli(larder, "keys ns --limit 1").result().1.lines().count(), 1);
    assert_eq!(cli(larder, "keys ns nothing*").result(), (MISS, ""));
    assert_eq!(
        cli(larder, "keys empty --count --json").json(),
        [json!({"namespace": "empty", "count": 0})]
    );
    cli(larder, "set ns k v --param a=1");
    let line = cli(larder, "keys ns k --json").json().remove(0);
    let digest = line["params_digest"].as_str().unwrap();
    assert_eq!(line, json!({"namespace": "ns", "key": "k", "params_digest": digest}));
    let found = cli(larder, &format!("inspect ns k --params-digest {digest} --json"));
    assert_eq!((found.code, &found.json()[0]["entry"]["kind"]), (DONE, &json!("text")));
    cli(larder, "keys ns [a").expect_failure(USAGE, &["glob", "(INVALID_ARGUMENT)"]);

    let piped = cli(larder, "keys ns user:*").stdout;
    assert_eq!(cli_with_input(larder, "delete ns --keys-from -", &piped).code, DONE);
    assert_eq!(cli(larder, "keys ns user:*").code, MISS);
});

on_both_stores!(entry_and_lease_are_shown, |env| {
    let larder = &env.larder;
    cli(larder, "set ns k value --ttl 1m --tag t");
    let shown = cli(larder, "inspect ns k");
    assert_eq!(shown.code, DONE, "{shown:?}");
    let text = shown.result().1;
    for line in ["outcome     hit\n", "kind        text\n", "value       5 B\n", "tags        t\n"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let mut line = cli(larder, "inspect ns k --json").json().remove(0);
    let entry = line["entry"].take();
    let expected = json!({
        "namespace": "ns", "key": "k", "params": {}, "params_digest": null, "entry": null,
        "lease": null, "near_version": null, "tier": "store",
    });
    assert_eq!(line, expected);
    assert_eq!((&entry["value_bytes"], &entry["tags"]), (&json!(5), &json!(["t"])));
    assert_eq!((&entry["outcome"], &entry["invalidated"]), (&json!("hit"), &json!(false)));

    env.cache.lease("leased").await;
    let leased = cli(larder, "inspect ns leased");
    assert_eq!(leased.code, MISS);
    assert!(leased.result().1.starts_with("outcome  no entry\nlease    held for "), "{leased:?}");
    env.cache.delete(delete("leased")).await.unwrap();
    let voided = cli(larder, "inspect ns leased --json").json().remove(0);
    assert_eq!((&voided["lease"]["state"], &voided["entry"]), (&json!("voided"), &json!(null)));
});

const CONFIG: &str = "[namespaces.a]\nttl = '90s'\nstale_while_revalidate = '5s'";

on_both_stores!(namespaces_are_shown_with_policy_and_figures, config: CONFIG, |env| {
    env.cache.put("k", "v").await;
    env.cache.read("k").await;
    env.cache.invalidate_namespace(invalidate("other")).await.unwrap();
    let table = cli(&env.larder, "namespaces");
    assert_eq!(table.code, DONE, "{table:?}");
    let rows: Vec<Vec<&str>> =
        table.result().1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["namespace", "ttl", "stale", "origin", "near"]);
    assert_eq!(rows[1][..6], ["a", "1m", "30s", "5s", "-", "-"]);
    assert_eq!((rows[2][0], rows[2][1]), ("ns", "30m"));
    let lines = cli(&env.larder, "namespaces --json").json();
    let names: Vec<_> = lines.iter().map(|line| line["namespace"].clone()).collect();
    assert_eq!(names, ["a", "ns", "other"]);
    assert_eq!(lines[0]["policy"]["ttl"], json!(90.0));
    assert_eq!((&lines[0]["configured"], &lines[0]["keys"]), (&json!(true), &json!(null)));
    assert_eq!((&lines[1]["hits"], &lines[1]["sets"]), (&json!(1), &json!(1)));
    assert!(lines[1]["keys"].is_u64(), "{lines:?}");
});
