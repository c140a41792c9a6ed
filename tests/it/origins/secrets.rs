//! Secrets reach only the origin. Independent of the store.

use std::io::Write as _;

use nix::sys::signal::Signal;
use tempfile::NamedTempFile;

use crate::support::{
    client::fetch,
    env::read_through,
    origin::{Origin, Reply, ok, send, status},
    server::{Larder, run},
    wait::{SOON, eventually},
};

const FROM_VARIABLE: &str = "s3cret-from-a-variable";
const FROM_FILE: &str = "s3cret-from-a-file";
const LITERAL: &str = "s3cret-in-the-config";
/// Common prefix of all secrets.
const SECRET_PREFIX: &str = "s3cret";

fn secret_file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn config(origin: &Origin, file: &NamedTempFile) -> String {
    let headers = format!(
        "retries = 0\nerror_backoff = '1ms'\nbreaker_threshold = 0\n\
         [namespaces.ns.origin.headers]\nauthorization = 'Bearer ${{env:USERS_TOKEN}}'\n\
         x-api-key = 'a-${{file:{}}}-z'\nx-literal = '{LITERAL}'\n",
        file.path().display()
    );
    read_through(&origin.url("/v/{key}"), "", &headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_reach_only_the_origin() {
    let origin = Origin::start().await;
    // Trailing line breaks are removed.
    let file = secret_file(&format!("{FROM_FILE}\n"));
    let config = config(&origin, &file);
    let larder = Larder::memory()
        .env("USERS_TOKEN", FROM_VARIABLE)
        .env("LARDER_LOG__LEVEL", "trace")
        .env("LARDER_LOG__KEYS", "true")
        .config(&config)
        .start()
        .await;
    let cache = larder.client().await;
    cache.fetched("k").await;
    let received = origin.requests().pop().unwrap();
    assert_eq!(received.header("authorization"), Some(format!("Bearer {FROM_VARIABLE}").as_str()));
    assert_eq!(received.header("x-api-key"), Some(format!("a-{FROM_FILE}-z").as_str()));
    assert_eq!(received.header("x-literal"), Some(LITERAL));

    // Errors contain no secrets, however the origin fails.
    let mut errors = String::new();
    for reply in [
        status(500),
        status(401),
        send(302, "", &[("location", "/other")]),
        ok("{", &[("content-type", "application/json")]),
        Reply::Close,
        Reply::Raw(b"\0\x01garbage\r\n\r\n".to_vec()),
        Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc".to_vec()),
    ] {
        origin.always(reply);
        let error =
            cache.get_or_fetch(fetch(&format!("k{}", origin.calls()), 20_000)).await.unwrap_err();
        errors.push_str(&format!("{error:?}{}", String::from_utf8_lossy(error.details())));
    }
    let address = origin.url("").trim_start_matches("http://").to_owned();
    drop(origin);
    let error = cache.get_or_fetch(fetch("gone", 20_000)).await.unwrap_err();
    errors.push_str(&format!("{error:?}{}", String::from_utf8_lossy(error.details())));
    assert!(errors.contains("ORIGIN_UNREACHABLE") && !errors.contains(SECRET_PREFIX), "{errors}");
    assert!(
        !errors.contains(&address),
        "the origin's address is not disclosed to callers: {errors}"
    );

    // A reload reads all secrets again, and may log why it fails.
    larder.rewrite_config(&config.replace("USERS_TOKEN", "NO_SUCH_TOKEN"));
    larder.signal(Signal::SIGHUP);
    eventually("the error is logged", SOON, async || {
        larder.logs().contains("NO_SUCH_TOKEN").then_some(())
    })
    .await;
    let log = larder.logs();
    assert!(log.contains("\"TRACE\""), "the log level is trace");
    let line = log.lines().find(|line| line.contains(SECRET_PREFIX));
    assert_eq!(line, None);
    let metrics = larder.admin("/metrics").await.body;
    assert!(
        metrics.contains("larder_origin_fetch_duration") && !metrics.contains(SECRET_PREFIX),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_config_prints_references_instead_of_secrets() {
    let origin = Origin::start().await;
    let file = secret_file(FROM_FILE);
    let mut toml = NamedTempFile::with_suffix(".toml").unwrap();
    toml.write_all(config(&origin, &file).as_bytes()).unwrap();
    let path = toml.path().to_str().unwrap();
    let output = run(&["check-config"], &[("LARDER_CONFIG", path), ("USERS_TOKEN", FROM_VARIABLE)]);
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("Bearer ${env:USERS_TOKEN}")
            && printed.contains("***")
            && !printed.contains(SECRET_PREFIX),
        "{printed}"
    );

    // Errors about a secret do not contain it.
    let broken = run(
        &["check-config"],
        &[("LARDER_CONFIG", path), ("USERS_TOKEN", "s3cret\nwith a line break")],
    );
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&broken.stdout),
        String::from_utf8_lossy(&broken.stderr)
    );
    assert_eq!(broken.status.code(), Some(78), "{printed}");
    assert!(
        printed.contains("namespaces.ns.origin.headers.authorization")
            && !printed.contains(SECRET_PREFIX),
        "{printed}"
    );
    std::fs::remove_file(file.path()).unwrap();
    let missing =
        run(&["check-config"], &[("LARDER_CONFIG", path), ("USERS_TOKEN", FROM_VARIABLE)]);
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&missing.stdout),
        String::from_utf8_lossy(&missing.stderr)
    );
    assert_eq!(missing.status.code(), Some(78), "{printed}");
    assert!(
        printed.contains(file.path().to_str().unwrap()) && !printed.contains(SECRET_PREFIX),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reload_applies_a_rotated_secret() {
    let origin = Origin::start().await;
    let file = secret_file("first");
    let larder =
        Larder::memory().env("USERS_TOKEN", "x").config(&config(&origin, &file)).start().await;
    let cache = larder.client().await;
    cache.fetched("k").await;
    std::fs::write(file.path(), "second").unwrap();
    cache.fetched("before").await;
    larder.signal(Signal::SIGHUP);
    eventually("the new secret is sent", SOON, async || {
        cache.fetched(&format!("k{}", origin.calls())).await;
        (origin.requests().pop()?.header("x-api-key") == Some("a-second-z")).then_some(())
    })
    .await;
    let keys: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.header("x-api-key").unwrap().to_owned())
        .collect();
    assert_eq!(keys[..2], ["a-first-z", "a-first-z"]);
    // A value that was fetched with the earlier secret is not served.
    assert_eq!(cache.read("k").await, None);
    assert_eq!(cache.fetched("k").await.0.as_deref(), Some("/v/k#2"));

    // If the secret cannot be read, the old one stays in use.
    std::fs::remove_file(file.path()).unwrap();
    larder.signal(Signal::SIGHUP);
    eventually("the error is logged", SOON, async || {
        larder.logs().contains("x-api-key").then_some(())
    })
    .await;
    cache.fetched("after").await;
    assert_eq!(origin.requests().pop().unwrap().header("x-api-key"), Some("a-second-z"));
}
