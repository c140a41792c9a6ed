//! One record for each call that is audited, with its caller, its targets and its result.

use larder::pb::v1::{
    AdminServiceListKeysRequest, BatchDeleteRequest, DeleteRequest, DistributionsRequest,
    FlushNearCacheRequest, GetConfigRequest, GetHistoryRequest, GetRequest, HotKeysRequest,
    InspectEntryRequest, InvalidateNamespaceRequest, KeyRef, ListEventsRequest,
    ListNamespacesRequest, ListReplicasRequest, MintTokenRequest, PublishEventRequest, SetRequest,
    TailAuditRequest, WarmKey, WarmRequest,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request};

use super::{Audited, callers, with_token};
use crate::support::{
    client::text,
    origin::{Origin, numbered},
    redis::RedisServer,
    targets,
    wait::{SOON, eventually},
};

const SECRET: &str = "very-secret-key";
const EVENTS: &str = "[[events.changed]]\nnamespace = \"shop\"\npattern = \"{id}-*\"\n\
    [[events.changed]]\nnamespace = \"user\"\nkey = \"{id}\"\n";

fn delete(namespace: &str, key: &str) -> DeleteRequest {
    DeleteRequest { namespace: namespace.into(), key: key.into(), ..Default::default() }
}

fn set(key: &str) -> SetRequest {
    let (namespace, key, value) = ("shop".into(), key.into(), Some(text("v")));
    SetRequest { namespace, key, value, ..Default::default() }
}

/// Event, action, principal and code.
fn summary(record: &Value) -> String {
    let field = |name: &str| record[name].as_str().unwrap_or("-").to_owned();
    let action = field("action");
    let action = action.rsplit('/').next().unwrap();
    format!("{} {action} {} {}", field("event"), field("principal"), field("code"))
}

/// Makes a call of each kind, some of them refused.
async fn call_everything(audited: &Audited) {
    let (mut cache, mut admin) = (audited.cache(), audited.admin());
    let shop = || "shop".to_owned();
    let as_owner = "owner";
    cache.set(with_token(set(SECRET), as_owner)).await.unwrap();
    let get = GetRequest { namespace: shop(), key: SECRET.into(), ..Default::default() };
    cache.get(with_token(get.clone(), as_owner)).await.unwrap();

    let deleted = cache.delete(with_token(delete("shop", SECRET), as_owner)).await.unwrap();
    assert!(deleted.into_inner().existed);
    cache.delete(with_token(delete("shop", ""), as_owner)).await.unwrap_err();
    let keys = [SECRET, "other"].map(|key| KeyRef {
        namespace: shop(),
        key: key.into(),
        ..Default::default()
    });
    let batch = BatchDeleteRequest { keys: keys.into(), ..Default::default() };
    cache.batch_delete(with_token(batch, as_owner)).await.unwrap();
    let whole = InvalidateNamespaceRequest { namespace: shop(), ..Default::default() };
    cache.invalidate_namespace(with_token(whole, as_owner)).await.unwrap();
    let selected = [
        targets::within("shop", targets::tags(&["very-secret-tag", "b"])),
        targets::within("user", targets::pattern("very-secret-*")),
    ];
    cache.invalidate(with_token(targets::request(&selected), as_owner)).await.unwrap();

    let attributes = [("id".to_owned(), SECRET.to_owned())].into();
    let event = PublishEventRequest { name: "changed".into(), attributes, ..Default::default() };
    admin.publish_event(with_token(event, as_owner)).await.unwrap();
    let keys = vec![WarmKey { key: SECRET.into(), ..Default::default() }];
    let warm = WarmRequest { namespace: shop(), keys, ..Default::default() };
    let mut progress = admin.warm(with_token(warm, as_owner)).await.unwrap().into_inner();
    let ended = loop {
        match progress.message().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert!(ended.is_err() || ended.unwrap().is_none());
    let flush = FlushNearCacheRequest { namespace: shop() };
    admin.flush_near_cache(with_token(flush, as_owner)).await.unwrap();
    let mint = |verb: &str| MintTokenRequest {
        verbs: vec![verb.to_owned()],
        namespaces: vec!["shop".to_owned()],
        key_prefix: "very-secret-prefix".into(),
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
    };
    admin.mint_token(with_token(mint("read"), as_owner)).await.unwrap();

    let list = ListNamespacesRequest::default();
    admin.list_namespaces(with_token(list, as_owner)).await.unwrap();
    let list = AdminServiceListKeysRequest {
        namespace: shop(),
        glob: "very-secret-*".into(),
        ..Default::default()
    };
    admin.list_keys(with_token(list, as_owner)).await.unwrap();
    let inspect =
        InspectEntryRequest { namespace: shop(), key: SECRET.into(), ..Default::default() };
    admin.inspect_entry(with_token(inspect, as_owner)).await.unwrap();
    let hot = HotKeysRequest { namespace: shop(), ..Default::default() };
    admin.hot_keys(with_token(hot, as_owner)).await.unwrap();
    let of_shop = DistributionsRequest { namespace: shop(), ..Default::default() };
    admin.distributions(with_token(of_shop, as_owner)).await.unwrap();
    let history = GetHistoryRequest { namespaces: vec![shop()], ..Default::default() };
    admin.get_history(with_token(history, as_owner)).await.unwrap();
    admin.list_replicas(with_token(ListReplicasRequest {}, as_owner)).await.unwrap();
    admin.get_config(with_token(GetConfigRequest {}, as_owner)).await.unwrap();
    admin.list_events(with_token(ListEventsRequest::default(), as_owner)).await.unwrap();
    let tail = TailAuditRequest { records: Some(0), follow: true };
    drop(admin.tail_audit(with_token(tail, as_owner)).await.unwrap());

    let refused = cache.delete(with_token(delete("shop", SECRET), "reader")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = admin.mint_token(with_token(mint("write"), "reader")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = cache.get(Request::new(get)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = cache.get(with_token(GetRequest::default(), "unknown")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

const SUMMARIES: [&str; 24] = [
    "server start - -",
    "delete Delete owner OK",
    "delete Delete owner INVALID_ARGUMENT",
    "delete BatchDelete owner OK",
    "invalidate InvalidateNamespace owner OK",
    "invalidate Invalidate owner OK",
    "event PublishEvent owner OK",
    "admin Warm owner OK",
    "admin FlushNearCache owner OK",
    "admin MintToken owner OK",
    "inspect ListNamespaces owner OK",
    "inspect ListKeys owner OK",
    "inspect InspectEntry owner OK",
    "inspect HotKeys owner OK",
    "inspect Distributions owner OK",
    "inspect GetHistory owner OK",
    "inspect ListReplicas owner OK",
    "inspect GetConfig owner OK",
    "inspect ListEvents owner OK",
    "inspect TailAudit owner OK",
    "refused Delete reader PERMISSION_DENIED",
    "refused MintToken reader PERMISSION_DENIED",
    "refused Get - UNAUTHENTICATED",
    "refused Get - UNAUTHENTICATED",
];

fn config(origin: &Origin, settings: &str) -> String {
    let origin = format!("[namespaces.shop.origin]\nurl = \"{}\"\n", origin.url("/v/{key}"));
    format!("{EVENTS}{}{origin}{settings}", callers())
}

/// Each call has exactly one record, and no key is in plain text.
async fn check_records(audited: &Audited) {
    call_everything(audited).await;
    let records = audited.records_so_far().await;
    let summaries: Vec<_> = records.iter().map(summary).collect();
    assert_eq!(summaries, SUMMARIES);
    let file = std::fs::read_to_string(&audited.path).unwrap();
    assert!(!file.contains("very-secret"), "{file}");

    for record in records.iter().skip(1) {
        let time = record["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == "2026-11-29T12:00:00.000000Z".len(), "{time}");
        assert!(record["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        let is_named = !record["principal"].is_null() && record["event"] != "refused";
        // A token is refused by the handler, and other calls before it.
        let has_ended = is_named || record["action"] == MINT;
        assert_eq!(record["identity"] == "token", has_ended, "{record}");
        assert_eq!(record["took_us"].is_u64(), has_ended, "{record}");
    }
    let find = |summary_of: &str| {
        records.iter().find(|record| summary(record) == summary_of).unwrap().clone()
    };
    let hash = |record: &Value, index: usize| record["targets"][index]["hash"].clone();
    let deleted = find("delete Delete owner OK");
    assert_eq!(deleted["counts"], json!({"existed": 1, "deleted": 1, "queued": 0}));
    assert_eq!(deleted["namespaces"], json!(["shop"]));
    let batch = find("delete BatchDelete owner OK");
    assert_eq!((&batch["target_count"], hash(&batch, 0)), (&json!(2), hash(&deleted, 0)));
    let invalidated = find("invalidate Invalidate owner OK");
    let kinds: Vec<_> = (0..3).map(|index| invalidated["targets"][index]["kind"].clone()).collect();
    assert_eq!(kinds, ["tag", "tag", "glob"]);
    assert_eq!(invalidated["namespaces"], json!(["shop", "user"]));
    let event = find("event PublishEvent owner OK");
    assert_eq!((&event["event_name"], &event["target_count"]), (&json!("changed"), &json!(2)));
    assert_eq!(hash(&event, 1), hash(&deleted, 0));
    let minted = find("admin MintToken owner OK");
    assert_eq!(minted["token_verbs"], json!(["read"]));
    assert_eq!(minted["token_namespaces"], json!(["shop"]));
    assert_eq!(
        (&minted["token_ttl_s"], &minted["targets"][0]["kind"]),
        (&json!(60), &json!("prefix"))
    );
    let warmed = find("admin Warm owner OK");
    assert_eq!((&warmed["counts"]["stored"], hash(&warmed, 0)), (&json!(1), hash(&deleted, 0)));
    let refused = find("refused Delete reader PERMISSION_DENIED");
    assert_eq!(
        (&refused["verb"], &refused["reason"]),
        (&json!("delete"), &json!("PERMISSION_DENIED"))
    );
    assert_eq!(records[SUMMARIES.len() - 2]["reason"], "NO_CREDENTIALS");
    assert_eq!(records[SUMMARIES.len() - 1]["reason"], "UNKNOWN_TOKEN");
}

const MINT: &str = "larder.v1.AdminService/MintToken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_one_record_without_keys_on_the_embedded_store() {
    let origin = Origin::start().await;
    origin.answer(numbered);
    check_records(&Audited::memory(&config(&origin, "")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_has_one_record_without_keys_on_redis() {
    let origin = Origin::start().await;
    origin.answer(numbered);
    check_records(&Audited::redis(&config(&origin, "")).await).await;
}

async fn start(builder_env: &[(&str, &str)], config: &str) -> Audited {
    let builder = crate::support::server::Larder::memory().envs(builder_env);
    Audited::start(builder, config, None).await
}

#[tokio::test]
async fn keys_are_in_plain_text_if_configured() {
    let audited = start(&[("LARDER_AUDIT__KEYS", "plain")], &callers()).await;
    audited.cache().delete(with_token(delete("shop", SECRET), "owner")).await.unwrap();
    let record = audited.record("the delete", |record| record["event"] == "delete").await;
    let target = json!([{"kind": "key", "namespace": "shop", "name": SECRET}]);
    assert_eq!(record["targets"], target);
}

#[tokio::test]
async fn hashes_are_those_of_the_configured_key() {
    let secret = "a-key-of-more-than-32-characters-for-hashes";
    let variables = [("LARDER_AUDIT__HASH_KEY", "${env:HASH_KEY}"), ("HASH_KEY", secret)];
    let audited = start(&variables, &callers()).await;
    audited.cache().delete(with_token(delete("shop", SECRET), "owner")).await.unwrap();
    let record = audited.record("the delete", |record| record["event"] == "delete").await;
    let hash = record["targets"][0]["hash"].as_str().unwrap().to_owned();
    let script = format!("printf %s {SECRET} | openssl dgst -sha256 -hmac {secret}");
    let expected = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    let expected = String::from_utf8(expected.stdout).unwrap();
    let expected = expected.trim().rsplit(' ').next().unwrap();
    assert_eq!(hash, expected[..32], "as docs/audit.md computes it");
    let config = audited.admin().get_config(with_token(GetConfigRequest {}, "owner")).await;
    assert!(!config.unwrap().into_inner().toml.contains(secret));
}

#[tokio::test]
async fn only_the_configured_kinds_are_recorded() {
    let audited = start(&[("LARDER_AUDIT__EVENTS", "invalidate")], &callers()).await;
    audited.cache().delete(with_token(delete("shop", "k"), "owner")).await.unwrap();
    audited.cache().delete(Request::new(delete("shop", "k"))).await.unwrap_err();
    assert_eq!(audited.records_so_far().await, [Value::Null; 0]);
}

#[tokio::test]
async fn calls_that_would_be_refused_are_recorded_in_the_shadow_mode() {
    let config = callers().replace("[auth]\n", "[auth]\nmode = \"shadow\"\n");
    let audited = Audited::memory(&config).await;
    audited.cache().delete(with_token(delete("shop", "k"), "reader")).await.unwrap();
    let records = audited.records_so_far().await;
    let summaries: Vec<_> = records.iter().map(summary).collect();
    let expected = ["server start - -", "refused Delete reader -", "delete Delete reader OK"];
    assert_eq!(summaries, expected);
    assert_eq!(records[1]["mode"], "shadow");
}

#[tokio::test]
async fn a_call_has_the_ids_that_its_caller_gave_it() {
    let audited = Audited::memory("").await;
    let mut request = Request::new(delete("shop", "k"));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    request.metadata_mut().insert("x-request-id", "order-17".parse().unwrap());
    audited.cache().delete(request).await.unwrap();
    let record = audited.record("the delete", |record| record["event"] == "delete").await;
    assert_eq!((&record["trace_id"], &record["request_id"]), (&json!(trace), &json!("order-17")));
    assert!(record.get("principal").is_none(), "there is no authentication: {record}");
}

#[tokio::test]
async fn reloads_are_recorded_with_the_keys_that_they_change() {
    let audited = Audited::memory("").await;
    let path = audited.path.display();
    let config = |more: &str| format!("{more}\n[audit]\nto = \"{path}\"\n");
    audited.larder.rewrite_config(&config("shutdown_timeout = \"7s\"\n[defaults]\nttl = \"7m\""));
    audited.larder.signal(Signal::SIGHUP);
    let applied = audited.record("the reload", |record| record["event"] == "reload").await;
    assert_eq!((&applied["changed"], &applied["code"]), (&json!(["defaults.ttl"]), &json!("OK")));
    assert_eq!(applied["needs_restart"], json!(["shutdown_timeout"]));
    audited.larder.rewrite_config(&config("[defaults]\nttl = \"soon\""));
    audited.larder.signal(Signal::SIGHUP);
    let is_refused = |record: &Value| record["code"] == "FAILED_PRECONDITION";
    let refused = audited.record("the refused reload", is_refused).await;
    assert!(refused["error"].as_str().unwrap().contains("defaults.ttl"), "{refused}");
}

#[tokio::test]
async fn events_over_http_are_recorded_with_the_peer() {
    let audited = Audited::memory(EVENTS).await;
    let mut stream = TcpStream::connect(audited.larder.admin_address()).await.unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "/s", "type": "changed", "data": {"id": SECRET},
    });
    let (body, kind) = (event.to_string(), "application/cloudevents+json");
    let head = format!("content-type: {kind}\r\ncontent-length: {}\r\n", body.len());
    let request = format!("POST /events HTTP/1.1\r\nhost: larder\r\n{head}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let record = audited.record("the event", |record| record["event"] == "event").await;
    assert_eq!((&record["action"], &record["peer"]), (&json!("POST /events"), &json!(peer)));
    assert_eq!((&record["event_name"], &record["code"]), (&json!("changed"), &json!("OK")));
    assert_eq!(
        (&record["target_count"], &record["namespaces"]),
        (&json!(2), &json!(["shop", "user"]))
    );
    assert!(!record.to_string().contains(SECRET), "{record}");
}

#[tokio::test]
async fn events_of_a_stream_are_recorded_with_their_ids() {
    let redis = RedisServer::start().await;
    let source =
        format!("[[event_sources]]\nredis_stream = \"events\"\nurl = \"{}\"\n", redis.url());
    let audited = Audited::memory(&format!("{EVENTS}{source}")).await;
    let mut connection = redis.connection().await;
    eventually("the stream is read", 3 * SOON, async || {
        let metrics = audited.larder.admin("/metrics").await.body;
        let line = metrics.lines().find(|line| line.starts_with("larder_event_source_connected"));
        line.is_some_and(|line| line.ends_with(" 1")).then_some(())
    })
    .await;
    let mut add = redis::cmd("XADD");
    add.arg(&["events", "*", "event", "changed", "id", SECRET]);
    let id: String = add.query_async(&mut connection).await.unwrap();
    let record = audited.record("the event", |record| record["event"] == "event").await;
    assert_eq!((&record["action"], &record["stream"]), (&json!("redis_stream"), &json!("events")));
    assert_eq!((&record["event_id"], &record["code"]), (&json!(id), &json!("OK")));
    assert_eq!(record["event_name"], "changed");
}

#[tokio::test]
async fn a_refused_key_is_recorded_as_a_hash_with_its_position() {
    let config = callers().replace("\"read\", \"admin\"", "\"read\", \"delete\"");
    let audited = Audited::memory(&config).await;
    let keys = ["shop", "user"].map(|namespace| KeyRef {
        namespace: namespace.into(),
        key: SECRET.into(),
        ..Default::default()
    });
    let batch = BatchDeleteRequest { keys: keys.into(), ..Default::default() };
    audited.cache().batch_delete(with_token(batch, "reader")).await.unwrap_err();
    audited.cache().delete(with_token(delete("shop", SECRET), "reader")).await.unwrap();
    let records = audited.records_so_far().await;
    let (refused, deleted) = (&records[1], &records[2]);
    assert_eq!((&refused["index"], &refused["namespaces"]), (&json!(1), &json!(["user"])));
    assert_eq!(refused["targets"][0]["hash"], deleted["targets"][0]["hash"]);
    assert!(!refused.to_string().contains(SECRET), "{refused}");
}
