//! Values from arguments, files and standard input.

use std::fs;

use serde_json::json;

use super::{DONE, MISS, USAGE, cli, cli_with_input};
use crate::support::client::{data, get, json as json_value, text};

on_both_stores!(bytes_are_kept_from_input_to_output, |env| {
    let larder = &env.larder;
    let bytes: Vec<u8> = (0..900_000_u32).map(|index| (index % 251) as u8).collect();
    assert_eq!(cli_with_input(larder, "set ns k - --kind bytes", &bytes).code, DONE);
    assert_eq!(env.cache.get(get("k")).await.unwrap().value, Some(data(bytes.clone())));
    let read = cli(larder, "get ns k");
    assert!(read.code == DONE && read.stdout == bytes, "{}", read.stderr);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("value");
    fs::write(&path, &bytes).unwrap();
    let line = format!("set ns file --kind bytes --file {}", path.display());
    assert_eq!(cli(larder, &line).code, DONE);
    assert_eq!(cli(larder, "get ns file").stdout, bytes);

    assert_eq!(cli_with_input(larder, "set ns k --file -", b"line\n").code, DONE);
    assert_eq!(env.cache.get(get("k")).await.unwrap().value, Some(text("line\n")));
    assert_eq!(cli(larder, "get ns k").stdout, b"line\n");
    assert_eq!(cli_with_input(larder, "set ns empty -", b"").code, DONE);
    assert_eq!(cli(larder, "get ns empty").result(), (DONE, ""));
});

on_both_stores!(kinds_are_distinguished, |env| {
    let larder = &env.larder;
    let document = "{\"b\": 1.50,\n \"a\": [12345678901234567890123]}";
    let stored = cli_with_input(larder, "set ns json - --kind json", document.as_bytes());
    assert_eq!(stored.code, DONE, "{stored:?}");
    assert_eq!(env.cache.get(get("json")).await.unwrap().value, Some(json_value(document)));
    assert_eq!(cli(larder, "get ns json").stdout, document.as_bytes());
    let line = cli(larder, "get ns json --json");
    let one_line = document.replace('\n', " ");
    assert!(line.result().1.contains(&format!("\"value\":{{\"json\":{one_line}}}")), "{line:?}");
    cli(larder, "set ns text {}");
    assert_eq!(cli(larder, "get ns text --json").json()[0]["value"], json!({"text": "{}"}));
    cli_with_input(larder, "set ns bytes - --kind bytes", b"\xff");
    assert_eq!(cli(larder, "get ns bytes --json").json()[0]["value"], json!({"base64": "/w=="}));
});

on_both_stores!(unusable_values_are_not_sent, |env| {
    let larder = &env.larder;
    let invalid = cli_with_input(larder, "set ns k -", b"a\xff");
    invalid.expect_failure(USAGE, &["not UTF-8 at byte 1", "--kind bytes"]);
    let missing = cli(larder, "set ns k --file /nonexistent/value");
    missing.expect_failure(USAGE, &["cannot read /nonexistent/value: No such file"]);
    assert_eq!(cli(larder, "set ns k").code, USAGE);
    assert_eq!(cli(larder, "set ns k v --file f").code, USAGE);
    assert_eq!(cli(larder, "get ns k").code, MISS);
});

/// More than the 4 MiB that clients of gRPC accept by default.
const LARGE: [(&str, &str); 2] =
    [("LARDER_DEFAULTS__MAX_VALUE_BYTES", "8MiB"), ("LARDER_LIMITS__MAX_REQUEST_BYTES", "16MiB")];

on_both_stores!(large_values_are_stored_and_printed, env: LARGE, |env| {
    let bytes = vec![7; 6 << 20];
    let stored = cli_with_input(&env.larder, "set ns k - --kind bytes", &bytes);
    assert_eq!(stored.code, DONE, "{}", stored.stderr);
    let read = cli(&env.larder, "get ns k");
    assert!(read.code == DONE && read.stdout == bytes, "{}", read.stderr);
});
