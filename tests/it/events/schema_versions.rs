//! Events while releases with other schema versions run side by side.

use larder::pb::v1::{EventTarget, SetRequest, SetResult, Target, target::Target as Kind};

use super::publish::publish;
use crate::support::{
    client::{Cache, Fetched as _, fetch, fill, params, set, text},
    redis::RedisServer,
    server::Larder,
    targets,
    wait::{SOON, eventually},
};

const RULES: &str = r#"
[[events.user_changed]]
namespace = "ns"
key = "{id}"
"#;

/// Schema versions of clients; the last one has none.
const VERSIONS: [&str; 3] = ["1", "2", ""];

async fn put_all(clients: &[Cache], key: &str) {
    for client in clients {
        client.put(key, "v").await;
        assert_eq!(client.read(key).await.as_deref(), Some("v"));
    }
}

async fn all_read(clients: &[Cache], key: &str) -> Vec<bool> {
    let mut read = Vec::new();
    for client in clients {
        read.push(client.read(key).await.is_some());
    }
    read
}

on_both_stores!(a_key_rule_reaches_the_entries_of_every_client, config: RULES, |env| {
    let clients = VERSIONS.map(|version| env.cache.of_schema(version));
    for publisher in &clients {
        put_all(&clients, "42").await;
        put_all(&clients, "420").await;
        let answer = publish(publisher, "user_changed", &[("id", "42")]).await.unwrap();
        // Only that of a client without a schema version is looked for.
        assert!(answer.targets[0].result.as_ref().unwrap().existed);
        assert_eq!(all_read(&clients, "42").await, [false; 3]);
        assert_eq!(all_read(&clients, "420").await, [true; 3], "no other key");
    }
    // As a target, with the schema version of the call, and a lease of another version.
    put_all(&clients, "42").await;
    let held = clients[1].lease("7").await;
    for id in ["42", "7"] {
        let (name, attributes) = ("user_changed".to_owned(), params(&[("id", id)]));
        let event = EventTarget { name, attributes };
        targets::invalidate(&clients[0], &[Target { target: Some(Kind::Event(event)) }]).await;
    }
    assert_eq!(all_read(&clients, "42").await, [false; 3]);
    let late = clients[1].set(fill("7", text("old"), &held)).await.unwrap();
    assert_ne!(late.result(), SetResult::Stored, "computed before the event");
    clients[1].get_or_fetch(fetch("7", 0)).await.unwrap().expect_lease();
    // A tag with the text of a key is none.
    let tagged = SetRequest { tags: vec!["42".to_owned()], ..set("tagged", text("v")) };
    clients[0].set(tagged).await.unwrap();
    publish(&clients[0], "user_changed", &[("id", "42")]).await.unwrap();
    assert!(clients[0].read("tagged").await.is_some());
});

/// A consumer group delivers each event to one replica, of the old release or of the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_rule_reaches_both_releases_of_a_rolling_deploy() {
    let redis = RedisServer::start().await;
    let mut replicas = Vec::new();
    for version in ["1", "2", "2"] {
        let near = "[namespaces.ns.near_cache]";
        let config = format!("[namespaces.ns]\nversion = \"{version}\"\n{near}\n{RULES}");
        let larder = Larder::redis(&redis.url()).config(&config).start().await;
        let cache = larder.client().await;
        replicas.push((larder, cache));
    }
    let clients: Vec<Cache> = replicas.iter().map(|(_, cache)| cache.clone()).collect();
    for (round, publisher) in clients.iter().enumerate() {
        let id = format!("user-{round}");
        put_all(&clients, &id).await;
        publish(publisher, "user_changed", &[("id", &id)]).await.unwrap();
        assert!(publisher.read(&id).await.is_none(), "through the replica itself");
        eventually("no replica returns its copy", SOON, async || {
            (all_read(&clients, &id).await == [false; 3]).then_some(())
        })
        .await;
    }
}
