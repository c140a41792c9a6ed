//! Whole sessions: commands and what they print, as a user sees it, are in the files of
//! `transcripts`. `TRYCMD=overwrite` writes them; what differs between two runs is `[..]` there.

use trycmd::TestCases;

use crate::support::{
    origin::{OriginRequest, numbered, status},
    server::Larder,
};

const RULES: &str = r#"
[[events."user.updated"]]
namespace = "user"
key = "{id}"
[[events."user.updated"]]
namespace = "team"
tags = ["user:{id}"]
"#;

const NAMESPACES: &str = r#"
[defaults]
ttl_jitter = 0.0
[namespaces.user]
ttl = "1h"
stale_while_revalidate = "5m"
"#;

/// Runs the commands of a file.
async fn play(larder: &Larder, name: &str) {
    let (address, path) =
        (larder.address().to_string(), format!("tests/it/cli/transcripts/{name}"));
    let played = tokio::task::spawn_blocking(move || {
        TestCases::new()
            .register_bin("larder", crate::larder_binary())
            .env("LARDER_ADDRESS", &address)
            .insert_var("[ADDRESS]", address.clone())
            .unwrap()
            .case(format!("{path}.trycmd"));
    });
    played.await.unwrap();
}

on_both_stores!(entries_are_as_in_the_transcript, |env| {
    play(&env.larder, "entries").await;
});

on_both_stores!(invalidations_are_as_in_the_transcript, config: RULES, |env| {
    play(&env.larder, "invalidation").await;
});

/// Redis estimates sizes, and has facts of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_the_transcript_has() {
    play(&Larder::memory().config(NAMESPACES).start().await, "operators").await;
}

with_origin!(fetches_are_as_in_the_transcript, origin: "retries = 0", |env, origin| {
    origin.answer(|request: &OriginRequest| match request.target.as_str() {
        "/v/missing" => status(404),
        _ => numbered(request),
    });
    play(&env.larder, "origin").await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_as_in_the_transcript() {
    play(&Larder::memory().start().await, "usage").await;
}
