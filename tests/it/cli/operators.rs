//! `history`, `replicas`, `hot-keys`, `analyze`, `distributions`, `flush-near-cache`, `config`, and
//! `invalidate` of many namespaces.

use serde_json::json;

use super::{DONE, MISS, USAGE, cli};
use crate::support::client::{batch_get, key_ref};

on_both_stores!(hot_keys_are_printed_as_estimates, |env| {
    let larder = &env.larder;
    assert_eq!(cli(larder, "hot-keys ns").result(), (MISS, ""));
    for _ in 0..10 {
        env.cache.batch_get(batch_get(vec![key_ref("hot"); 1000])).await.unwrap();
    }
    let table = cli(larder, "hot-keys ns --window 1m");
    assert_eq!(table.code, DONE, "{table:?}");
    let rows: Vec<Vec<&str>> =
        table.result().1.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["key", "reads", "error", "share", "params"]);
    assert!(rows[1][0] == "hot" && rows[1][1].starts_with('~'), "{rows:?}");
    assert_eq!(rows[1][4..], ["100.0", "%", "-"]);
    assert!(table.stderr.starts_with("estimated from "), "{table:?}");
    let line = cli(larder, "hot-keys ns --limit 1 --json").json().remove(0);
    assert_eq!((&line["key"], &line["params_digest"]), (&json!("hot"), &json!(null)));
    assert_eq!((&line["share"], &line["reads"]), (&json!(1.0), &line["namespace_reads"]));
    assert!(line["error"].as_u64() > Some(0) && line["replicas"] == 1, "{line}");
    cli(larder, "hot-keys ns --window 2h").expect_failure(USAGE, &["window", "3600 s"]);
});

on_both_stores!(analysis_is_printed_with_findings, |env| {
    let larder = &env.larder;
    let nothing = cli(larder, "analyze");
    let remark = "no namespace has statistics\n";
    assert_eq!((nothing.result(), &*nothing.stderr), ((MISS, ""), remark));
    env.cache.put("k", "v").await;
    for key in ["k", "missing", "missing"] {
        env.cache.batch_get(batch_get(vec![key_ref(key); 1000])).await.unwrap();
    }
    let shown = cli(larder, "analyze");
    let text = shown.result().1;
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["namespace", "hit", "rate"]);
    assert_eq!(rows[1][..4], ["ns", "33.3", "%", "3000"], "{text}");
    let finding = "notice: ns: low hit rate: the cache answers 33.3 % of 3.0 k reads\n    hit rate";
    assert!(text.contains(finding), "{text}");
    let line = cli(larder, "analyze ns --json").json().remove(0);
    assert!(line["judged"].is_boolean(), "{line}");
    assert_eq!((&line["namespace"], &line["misses"]), (&json!("ns"), &json!(2000)));
    let finding = &line["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["severity"], &finding["suggestion"]),
        (&json!("low_hit_rate"), &json!("notice"), &json!(null))
    );
    assert_eq!(finding["figures"][1], json!({"name": "reads", "value": 3000.0, "unit": "reads"}));
    let unknown = cli(larder, "analyze nosuch");
    assert!(unknown.code == MISS && unknown.stderr.starts_with("nosuch: "), "{unknown:?}");
    assert_eq!(cli(larder, "analyze nosuch ns").code, DONE);
    cli(larder, "analyze NS").expect_failure(USAGE, &["namespaces[0]"]);
});

on_both_stores!(distributions_are_printed_as_histograms, |env| {
    let larder = &env.larder;
    let empty = cli(larder, "distributions ns");
    assert_eq!((empty.result(), empty.stderr.contains("0 entries")), ((MISS, ""), true));
    env.cache.put("k", &"v".repeat(2000)).await;
    env.cache.put("l", "v").await;
    let shown = cli(larder, "distributions ns");
    assert_eq!(shown.code, DONE, "{shown:?}");
    let text = shown.result().1;
    assert!(text.starts_with("value size: 1 B to 2.0 KiB, mean "), "{text}");
    for part in ["\nkey size: 1 B to 1 B", "\nttl left: ", "\nage: ", "50.0 %"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(shown.stderr, "2 entries examined: all of the namespace\n");
    let line = cli(larder, "distributions ns --sample 10 --json").json().remove(0);
    assert_eq!((&line["examined"], &line["complete"]), (&json!(2), &json!(true)));
    assert_eq!(line["key_bytes"]["buckets"][0], json!({"up_to": 8.0, "entries": 2}));
    assert_eq!(line["value_bytes"]["max"], json!(2000.0));
});

on_both_stores!(history_is_printed_step_by_step, |env| {
    let larder = &env.larder;
    env.cache.put("k", "v").await;
    env.cache.read("k").await.unwrap();
    let table = cli(larder, "history --span day");
    assert_eq!(table.code, DONE, "{table:?}");
    let rows: Vec<_> = table.result().1.lines().map(str::trim_start).collect();
    assert!(rows.len() == 145 && rows[0].starts_with("namespace  time"), "{rows:?}");
    let busy: Vec<_> = rows.iter().filter(|row| row.contains("100.0 %")).collect();
    assert!(busy.len() == 1 && busy[0].starts_with("(all)"), "{rows:?}");
    let lines = cli(larder, "history ns none --json").json();
    assert_eq!(lines.len(), 120);
    assert_eq!((&lines[0]["namespace"], &lines[119]["namespace"]), (&json!("ns"), &json!("none")));
    let sets = |lines: &[serde_json::Value]| {
        lines.iter().map(|line| line["sets"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((sets(&lines[..60]), sets(&lines[60..])), (1, 0));
    assert_eq!(lines[0]["step"], 60.0);
    cli(larder, "history Ns").expect_failure(USAGE, &["namespaces[0]"]);
    let unknown = cli(larder, "history --span year");
    assert!(unknown.code == USAGE && unknown.stderr.contains("hour, day, week"), "{unknown:?}");
});

on_both_stores!(replicas_are_listed, |env| {
    let table = cli(&env.larder, "replicas");
    assert_eq!(table.code, DONE, "{table:?}");
    let rows: Vec<_> = table.result().1.lines().map(str::trim_start).collect();
    assert!(rows.len() == 2 && rows[0].starts_with("replica"), "{rows:?}");
    let lines = cli(&env.larder, "replicas --json").json();
    assert!(lines.len() == 1 && rows[1].starts_with(lines[0]["id"].as_str().unwrap()), "{lines:?}");
    assert_eq!((&lines[0]["origins"], &lines[0]["store_trouble"]), (&json!([]), &json!("")));
    assert!(lines[0]["resident_bytes"].as_u64() > Some(1 << 20), "{lines:?}");
});

const CONFIG: &str = "[namespaces.a]\nttl = '90s'\n";

on_both_stores!(configuration_and_near_cache_are_those_of_a_replica, config: CONFIG, |env| {
    let larder = &env.larder;
    let config = cli(larder, "config");
    assert!(config.code == DONE && config.result().1.contains("[namespaces.a]"), "{config:?}");
    let line = cli(larder, "config --json").json().remove(0);
    assert_eq!(line["needs_restart"], json!([]));
    assert!(line["toml"].as_str().unwrap().contains("ttl = \"90s\""), "{line}");
    assert_eq!(cli(larder, "flush-near-cache").result(), (DONE, "removed 0 copies (0 B)\n"));
    let line = cli(larder, "flush-near-cache a --json").json();
    assert_eq!(line, [json!({"namespace": "a", "entries": 0, "bytes": 0})]);
});

on_both_stores!(many_namespaces_are_invalidated_at_once, |env| {
    let larder = &env.larder;
    for namespace in ["user-a", "user-b", "order"] {
        cli(larder, &format!("set {namespace} k v"));
    }
    let lines = cli(larder, "invalidate user-* --glob k* --json").json();
    let line = |name: &str| {
        let result = "invalidated";
        json!({"namespace": name, "result": result, "namespace_invalidated": false,
            "durability": "applied"})
    };
    assert_eq!(lines, [line("user-a"), line("user-b")]);
    assert_eq!(cli(larder, "get user-a k").code, MISS);
    assert_eq!(cli(larder, "get order k").code, DONE);
    assert_eq!(cli(larder, "invalidate ord*").result(), (DONE, "invalidated order\n"));
    assert_eq!(cli(larder, "get order k").code, MISS);
    let none = cli(larder, "invalidate none*");
    assert_eq!((none.code, &*none.stderr), (MISS, "no namespace matches\n"));
});
