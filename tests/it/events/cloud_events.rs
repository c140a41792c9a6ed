//! CloudEvents on the admin port.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const RULES: &str = r#"
[[events."com.example.user.changed"]]
namespace = "ns"
pattern = "{id}:*"
[[events."io.debezium.connector.postgresql.DataChangeEvent"]]
namespace = "ns"
key = "user:{after.id|before.id}"
when = { "ce.iodebeziumtable" = "users" }
[[events."io.debezium.connector.postgresql.DataChangeEvent"]]
namespace = "ns"
key = "order:{after.id|before.id}"
when = { "ce.iodebeziumtable" = "orders" }
"#;
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// An answer of the admin port.
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

/// Posts events.
async fn post(larder: &Larder, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(larder.admin_address()).await.unwrap();
    let mut request =
        format!("POST /events HTTP/1.1\r\nhost: larder\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    // A refused body may not be read to its end.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_default();
    Answer { status, head: head.to_ascii_lowercase(), body }
}

fn event(kind: &str, data: &Value) -> Value {
    json!({"specversion": "1.0", "id": "1", "source": "/users", "type": kind, "data": data})
}

const CHANGED: &str = "com.example.user.changed";

on_both_stores!(each_mode_invalidates_before_it_is_answered, config: RULES, |env| {
    let larder = &env.larder;
    for id in 1..=5 {
        env.cache.put(&format!("{id}:a"), "v").await;
    }
    let binary = [
        ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/users"), ("ce-type", CHANGED),
        ("content-type", "application/json"),
    ];
    let answer = post(larder, &binary, r#"{"id": 1}"#).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"events": [
        {"type": CHANGED, "targets": 1},
    ]})), "{}", answer.head);
    assert_eq!(env.cache.read("1:a").await, None);
    let structured = event(CHANGED, &json!({"id": "2"})).to_string();
    let answer = post(larder, &[("content-type", STRUCTURED)], &structured).await;
    assert_eq!((answer.status, env.cache.read("2:a").await), (200, None));
    let batch = json!([
        event(CHANGED, &json!({"id": 3})), event("unknown", &json!(null)),
        event(CHANGED, &json!({"id": 4})),
    ]);
    let answer = post(larder, &[("content-type", BATCH)], &batch.to_string()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["events"][1], json!({"type": "unknown", "targets": 0}));
    assert_eq!((env.cache.read("3:a").await, env.cache.read("4:a").await), (None, None));
    assert!(env.cache.read("5:a").await.is_some());
    assert_eq!(post(larder, &[("content-type", BATCH)], "[]").await.status, 200);
    assert_eq!(metric(larder, "larder_events_total").await, 5.0);
});

/// A request of the HTTP sink of Debezium Server with `debezium.format.value=cloudevents`.
fn change(table: &str, before: &Value, after: &Value) -> String {
    json!({
        "id": "name:db;lsn:29274832;txId:565",
        "source": "/debezium/postgresql/db",
        "specversion": "1.0",
        "type": "io.debezium.connector.postgresql.DataChangeEvent",
        "time": "2026-11-28T13:55:39.738Z",
        "datacontenttype": "application/json",
        "iodebeziumop": "u",
        "iodebeziumtable": table,
        "iodebeziumlsn": "29274832",
        "iodebeziumxmin": null,
        "data": {"before": before, "after": after},
    })
    .to_string()
}

on_both_stores!(changes_of_debezium_invalidate_by_table_and_row, config: RULES, |env| {
    let keys = ["user:1", "user:2", "order:1", "order:2"];
    for key in keys {
        env.cache.put(key, "v").await;
    }
    let headers = [("content-type", STRUCTURED), ("accept", "*/*")];
    let row = |id: u64| json!({"id": id, "name": "é", "big": 1e300});
    let update = change("users", &row(1), &row(1));
    assert_eq!(post(&env.larder, &headers, &update).await.status, 200);
    assert_eq!(env.cache.read("user:1").await, None);
    assert!(env.cache.read("order:1").await.is_some());
    let delete = change("orders", &row(2), &Value::Null);
    assert_eq!(post(&env.larder, &headers, &delete).await.status, 200);
    assert_eq!(env.cache.read("order:2").await, None);
    let other = change("products", &Value::Null, &row(1));
    let answer = post(&env.larder, &headers, &other).await;
    assert_eq!((answer.status, &answer.body["events"][0]["targets"]), (200, &json!(0)));
    assert!(env.cache.read("user:2").await.is_some() && env.cache.read("order:1").await.is_some());
});

on_both_stores!(refusals_name_the_fault, config: RULES, |env| {
    let larder = &env.larder;
    env.cache.put("1:a", "v").await;
    let structured = [("content-type", STRUCTURED)];
    let fault = async |headers: &[(&str, &str)], body: &str| {
        let answer = post(larder, headers, body).await;
        let field = answer.body["error"]["field"].as_str().unwrap_or("none").to_owned();
        assert!(!answer.body["error"]["message"].as_str().unwrap_or_default().is_empty());
        (answer.status, field)
    };
    let expect = |status: u16, field: &str| (status, field.to_owned());
    assert_eq!(fault(&structured, "{").await, expect(400, "body"));
    let mut missing = event(CHANGED, &json!({}));
    assert_eq!(fault(&structured, &missing.to_string()).await, expect(400, "attributes.id"));
    missing.as_object_mut().unwrap().remove("source");
    assert_eq!(fault(&structured, &missing.to_string()).await, expect(400, "source"));
    let batch = json!([event(CHANGED, &json!({"id": 1})), event(CHANGED, &json!({"id": ""}))]);
    let batched = fault(&[("content-type", BATCH)], &batch.to_string()).await;
    assert_eq!(batched, expect(400, "[1].attributes.id"));
    assert!(env.cache.read("1:a").await.is_some(), "nothing of it is applied");
    let plain = [("content-type", "application/json")];
    assert_eq!(fault(&plain, "{}").await, expect(415, "content-type"));
    let large = "x".repeat(1024 * 1024 + 1);
    assert_eq!(fault(&structured, &large).await.0, 413);
    let many = vec![event("unknown", &json!(null)); 1001];
    let many = json!(many).to_string();
    assert_eq!(fault(&[("content-type", BATCH)], &many).await.0, 413);
    assert_eq!(larder.admin("/events").await.status, 405);
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_to_be_sent_again_while_the_store_is_away() {
    let mut redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).default_timeouts().config(RULES).start().await;
    let cache = larder.client().await;
    let body = event(CHANGED, &json!({"id": 1})).to_string();
    let publish = async || post(&larder, &[("content-type", STRUCTURED)], &body).await;
    eventually("the store answers", SOON, async || (publish().await.status == 200).then_some(()))
        .await;
    redis.kill();
    let refused = publish().await;
    assert_eq!(refused.status, 503, "{}", refused.head);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    assert_eq!(refused.body["error"]["failed_events"], json!([0]));
    redis.restart().await;
    eventually("a broker sends it again", SOON, async || {
        (publish().await.status == 200).then_some(())
    })
    .await;
    cache.put("1:a", "v").await;
    assert_eq!(publish().await.status, 200);
    assert_eq!(cache.read("1:a").await, None);
}
