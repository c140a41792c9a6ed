//! Reads and changes of parts of a value: the read options of `get` and `fetch`, and `patch`.

use serde_json::json;

use super::{DONE, MISS, REFUSED, USAGE, cli, cli_with_input};

on_both_stores!(parts_and_facts_are_printed_without_the_value, |env| {
    let larder = &env.larder;
    cli(larder, r#"set ns k {"a":1.50,"b":["x"]} --kind json --ttl 10s"#);
    for command in ["get", "fetch"] {
        let read = |options: &str| cli(larder, &format!("{command} ns k {options}"));
        assert_eq!(read("--pointer /b/0 --pointer /a").result(), (DONE, "\"x\"\n1.50\n"));
        assert_eq!(read("--pointer /c --pointer /a").result(), (MISS, "\n1.50\n"));
        let line = read("--pointer /c --pointer /b --json").json().remove(0);
        let parts = json!([{"found": false, "json": null}, {"found": true, "json": ["x"]}]);
        assert_eq!((&line["parts"], &line["value"]), (&parts, &json!(null)));
        let facts = read("--omit-value");
        assert!(facts.result().1.starts_with("outcome   hit\nversion"), "{facts:?}");
        let version = read("--json").json()[0]["version"].as_str().unwrap().to_owned();
        let same = read(&format!("--if-version-not {version}"));
        assert_eq!((same.result(), &*same.stderr), ((DONE, ""), "not modified\n"));
        let line = read(&format!("--if-version-not {version} --json")).json().remove(0);
        assert_eq!((&line["not_modified"], &line["value"]), (&json!(true), &json!(null)));
        assert_eq!(read("--if-version-not other --pointer /a").result(), (DONE, "1.50\n"));
        read("--pointer a").expect_failure(USAGE, &["json_pointers[0]", "(INVALID_ARGUMENT)"]);
    }
    assert_eq!(cli(larder, "get ns k --omit-value --touch 1h").code, DONE);
    let ttl = cli(larder, "get ns k --json").json()[0]["ttl_remaining"].as_f64().unwrap();
    assert!(ttl > 3000.0, "{ttl}");

    cli(larder, "set ns text v");
    cli(larder, "get ns text --pointer /a").expect_failure(MISS, &["(NOT_JSON)"]);
    let fetched = cli(larder, "fetch ns text --pointer /a");
    assert_eq!((fetched.code, &*fetched.stderr), (MISS, "the value is not JSON\n"));
    let table = cli(larder, "get ns k text absent --pointer /a");
    let rows: Vec<&str> = table.result().1.lines().collect();
    assert_eq!(table.code, MISS);
    assert!(rows[1].ends_with("  1.50") && rows[2].ends_with("not JSON"), "{rows:?}");
    cli(larder, "get ns k text --if-version-not 1").expect_failure(USAGE, &["for one key"]);
});

on_both_stores!(parts_of_a_value_are_changed, |env| {
    let larder = &env.larder;
    cli(larder, r#"set ns k {"a":1,"b":[2]} --kind json --ttl 1m"#);
    let applied = cli(larder, r#"patch ns k {"a":null,"c":"new"} --keep"#);
    assert_eq!(applied.code, DONE, "{applied:?}");
    assert!(applied.result().1.starts_with("applied  version "), "{applied:?}");
    assert_eq!(cli(larder, "get ns k").result(), (DONE, r#"{"b":[2],"c":"new"}"#));
    let operations = br#"[{"op":"add","path":"/b/-","value":3}]"#;
    let line = cli_with_input(larder, "patch ns k - --operations --ttl 90s --json", operations);
    let mut line = line.json().remove(0);
    let version = line["version"].take();
    let expected = json!({
        "namespace": "ns", "key": "k", "params": {}, "result": "applied", "version": null,
        "ttl": 90.0,
    });
    assert_eq!(line, expected);
    assert_eq!(cli(larder, "get ns k --pointer /b").result(), (DONE, "[2,3]\n"));

    let version = version.as_str().unwrap();
    assert_eq!(cli(larder, &format!("patch ns k {{}} --if-version {version}")).code, DONE);
    let stale = cli(larder, &format!("patch ns k {{}} --if-version {version}"));
    assert_eq!(stale.result(), (MISS, "condition not met\n"));
    assert_eq!(cli(larder, "patch ns absent {}").result(), (MISS, "missing\n"));
    cli(larder, "patch ns k {").expect_failure(USAGE, &["merge_patch", "(INVALID_ARGUMENT)"]);
    let operations = r#"patch ns k [{"op":"remove","path":"/x"}] --operations"#;
    cli(larder, operations).expect_failure(REFUSED, &["(PATCH_NOT_APPLICABLE)"]);
    assert_eq!(cli(larder, "patch ns k {} --ttl 1m --keep").code, USAGE);
});

on_both_stores!(schema_version_is_one_of_the_client, |env| {
    let larder = &env.larder;
    cli(larder, "set ns k old --schema-version 1");
    cli(larder, "set ns k new --schema-version 2");
    assert_eq!(cli(larder, "get ns k --schema-version 1").result(), (DONE, "old"));
    assert_eq!(cli(larder, "get ns k --schema-version 2").result(), (DONE, "new"));
    assert_eq!(cli(larder, "get ns k").code, MISS);
    assert_eq!(cli(larder, "inspect ns k --schema-version 2").code, DONE);
    cli(larder, "get ns k --schema-version a/b")
        .expect_failure(USAGE, &["larder-schema-version", "(INVALID_ARGUMENT)"]);
});
