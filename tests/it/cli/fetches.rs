//! `fetch` with leases and origins, and `warm`.

use data_encoding::BASE64;
use serde_json::json;

use super::{DONE, LEASED, MISS, USAGE, cli, cli_with_input};
use crate::support::{
    client::delete,
    origin::{OriginRequest, numbered, status},
};

on_both_stores!(lease_is_printed_and_fills, |env| {
    let larder = &env.larder;
    let leased = cli(larder, "fetch ns k");
    assert_eq!(leased.code, LEASED, "{leased:?}");
    assert!(leased.stderr.starts_with("miss: this caller has a lease for "), "{leased:?}");
    let token = leased.result().1.trim().to_owned();
    assert_eq!(BASE64.decode(token.as_bytes()).unwrap().len(), 16, "{token}");

    let contended = cli(larder, "fetch ns k --wait 0s --json");
    assert_eq!(contended.code, MISS);
    let line = contended.json().remove(0);
    assert_eq!((&line["outcome"], &line["lease"]), (&json!("contended"), &json!(null)));
    assert!(line["retry_after"].is_f64(), "{line}");

    let filled = cli_with_input(larder, &format!("set ns k - --lease {token}"), b"computed");
    assert_eq!(filled.code, DONE, "{filled:?}");
    assert_eq!(cli(larder, "fetch ns k").result(), (DONE, "computed"));
    let lost = cli(larder, &format!("set ns k again --lease {token}"));
    assert_eq!(lost.result(), (MISS, "lease lost\n"));
    assert_eq!(cli(larder, "fetch ns absent --only-if-cached").result(), (MISS, ""));
});

on_both_stores!(fill_of_a_deleted_key_is_refused, |env| {
    let leased = cli(&env.larder, "fetch ns k --json");
    let line = leased.json().remove(0);
    assert_eq!((leased.code, &line["outcome"]), (LEASED, &json!("lease")));
    assert!(line["lease"]["expires_in"].is_f64(), "{line}");
    env.cache.delete(delete("k")).await.unwrap();
    let token = line["lease"]["token"].as_str().unwrap();
    let refused = cli(&env.larder, &format!("set ns k v --lease {token} --json"));
    assert_eq!((refused.code, &refused.json()[0]["result"]), (MISS, &json!("invalidated")));
});

with_origin!(value_of_an_origin_is_printed, |env, origin| {
    origin.answer(|request: &OriginRequest| match request.target.as_str() {
        "/v/absent" => status(404),
        _ => numbered(request),
    });
    let larder = &env.larder;
    let fetched = cli(larder, "fetch ns k --json");
    assert_eq!(fetched.code, DONE, "{fetched:?}");
    let line = fetched.json().remove(0);
    assert_eq!(line["value"], json!({"text": "/v/k#1"}));
    let status = json!([line["outcome"], line["fetch_status"], line["fill"], line["tier"]]);
    assert_eq!(status, json!(["hit", "fetched", "stored", "origin"]));
    assert_eq!(cli(larder, "fetch ns k").result(), (DONE, "/v/k#1"));
    assert_eq!(cli(larder, "fetch ns k --no-cache").result(), (DONE, "/v/k#2"));
    let negative = cli(larder, "fetch ns absent");
    assert_eq!((negative.result(), &*negative.stderr), ((MISS, ""), "negative\n"));
});

with_origin!(warm_prints_lines_and_counts, origin: "retries = 0", |env, origin| {
    origin.answer(|request: &OriginRequest| match request.target.as_str() {
        "/v/broken" => status(500),
        _ => numbered(request),
    });
    let larder = &env.larder;
    let warmed = cli(larder, "warm ns a b");
    assert_eq!(warmed.code, DONE, "{warmed:?}");
    let last = warmed.result().1.lines().last().unwrap();
    let counts = "2 of 2  stored 2  fresh 0  not stored 0  failed 0  after ";
    assert!(last.starts_with(counts), "{last}");
    assert_eq!(cli(larder, "get ns a").result(), (DONE, "/v/a#1"));

    let input = b"a\nbroken\nc\n";
    let failed = cli_with_input(larder, "warm ns --keys-from - --rate 1000 --json", input);
    assert_eq!(failed.code, MISS, "{failed:?}");
    let mut last = failed.json().pop().unwrap();
    assert!(last["last_error"].take().as_str().unwrap().contains("500"));
    assert!(last["took"].take().is_f64());
    let expected = json!({
        "namespace": "ns", "total": 3, "done": 3, "stored": 1, "fresh": 1, "not_stored": 0,
        "failed": 1, "last_error": null, "took": null,
    });
    assert_eq!(last, expected);
    let refreshed = cli(larder, "warm ns a --refresh --json").json().pop().unwrap();
    assert_eq!(refreshed["stored"], json!(1));
    let unusable = cli(larder, "warm ns --param p=1");
    unusable.expect_failure(USAGE, &["--param needs keys"]);
});
