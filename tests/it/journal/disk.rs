use std::process::Command;

use larder::pb::v1::Durability;
use tonic::Code;

use super::{await_replayed, await_store, deleted, journaled, path};
use crate::support::{
    client::delete,
    fleet::metric,
    redis::RedisServer,
    server::{Larder, run},
    status::expect_error,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_refuses_and_loses_nothing() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let directory = tempfile::tempdir().unwrap();
    let builder = journaled(&redis.url(), directory.path());
    let larder = builder.env("LARDER_JOURNAL__MAX_BYTES", "4KiB").start().await;
    let cache = larder.client().await;
    await_store(&cache, "other").await;
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}")).collect();
    for key in &keys {
        cache.put(key, "old").await;
    }
    redis.kill();
    let mut queued = Vec::new();
    for key in &keys {
        match cache.delete(delete(key)).await {
            Ok(answer) => {
                assert_eq!(answer.durability(), Durability::Queued);
                queued.push(key);
            }
            Err(refused) => {
                expect_error::<()>(Err(refused), Code::Unavailable, "STORE_UNAVAILABLE");
            }
        }
    }
    assert!(!queued.is_empty() && queued.len() < keys.len(), "{}", queued.len());
    // An invalidation that is in the journal already takes no room.
    assert_eq!(deleted(&cache, queued[0]).await, Durability::Queued);
    assert!(metric(&larder, "larder_journal_size_bytes").await <= 4096.0);
    assert!(larder.logs().contains("neither the store nor the journal takes them"));
    redis.restart().await;
    await_store(&cache, "other").await;
    await_replayed(&larder).await;
    for key in &keys {
        let expected = if queued.contains(&key) { None } else { Some("old") };
        assert_eq!(cache.read(key).await.as_deref(), expected, "{key}");
    }
}

/// Limits the size of the files that a server writes, as a full disk would.
fn limit_files(larder: &Larder, limit: &str) {
    let pid = larder.pid().to_string();
    let status =
        Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]).status();
    assert!(status.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_refuses_until_it_has_room_again() {
    let mut redis = RedisServer::start_with(&["--appendonly", "yes"]).await;
    let directory = tempfile::tempdir().unwrap();
    let larder = journaled(&redis.url(), directory.path()).ignores_file_size_signal().start().await;
    let cache = larder.client().await;
    await_store(&cache, "other").await;
    redis.kill();
    assert_eq!(deleted(&cache, "first").await, Durability::Queued);
    limit_files(&larder, "1024:unlimited");
    let refused = cache.delete(delete("second")).await;
    expect_error(refused, Code::Unavailable, "STORE_UNAVAILABLE");
    limit_files(&larder, "unlimited:unlimited");
    assert_eq!(deleted(&cache, "third").await, Durability::Queued);
    redis.restart().await;
    await_store(&cache, "other").await;
    await_replayed(&larder).await;
    assert_eq!(deleted(&cache, "first").await, Durability::Applied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_does_not_start_with_a_journal_that_it_cannot_use() {
    let redis = RedisServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let larder = journaled(&redis.url(), directory.path()).start().await;
    let refusal = |path: &std::path::Path, prefix: &str| {
        let output = run(
            &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
            &[
                ("LARDER_STORE", &redis.url()),
                ("LARDER_STORE__PREFIX", prefix),
                ("LARDER_JOURNAL__PATH", &path.display().to_string()),
            ],
        );
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let used = path(directory.path());
    let error = refusal(&used, "larder");
    assert!(error.contains("journal.path") && error.contains("is in use"), "{error}");
    let error = refusal(&directory.path().join("none/journal"), "larder");
    assert!(error.contains("none/journal") && error.contains("No such file"), "{error}");
    drop(larder);
    let error = refusal(&used, "other");
    assert!(error.contains("belongs to the fleet with the key prefix"), "{error}");
    std::fs::write(&used, b"no journal").unwrap();
    let error = refusal(&used, "larder");
    assert!(error.contains("journal.redb"), "{error}");
}
