//! Values that other languages read, and values that other languages have written.
//!
//! It does nothing without `LARDER_MATRIX`, which is `write` or `read`, `LARDER_MATRIX_TARGET` and
//! `LARDER_MATRIX_WRITERS`.
#![allow(clippy::expect_used, clippy::wildcard_enum_match_arm, unreachable_pub)]

#[path = "conformance/grammar.rs"]
#[expect(dead_code, reason = "shared with the cases")]
mod grammar;
#[path = "conformance/value.rs"]
#[expect(dead_code, reason = "shared with the cases")]
mod value;

use std::{convert::Infallible, env, path::Path};

use grammar::{Bound, expand};
use larder_client::{Client, IncrementOptions, Key, Outcome, Preset, WriteOptions};
use value::Value;

fn texts(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_list).unwrap_or_default();
    items.iter().filter_map(Value::as_text).map(str::to_owned).collect()
}

fn key_of(row: &Value) -> Key<'static> {
    let plain = |name| row.field(name).map(|value| expand(value, &Bound::new()));
    let key = plain("key").and_then(|key| key.as_text().map(str::to_owned)).expect("a key");
    let params = plain("params");
    let pairs = params.as_ref().and_then(Value::as_map).into_iter().flatten();
    pairs.fold(Key::from(key), |key, (name, value)| {
        key.param(name, value.as_text().expect("params are text"))
    })
}

async fn write(client: &Client, rows: &[Value]) {
    let namespace = client.namespace::<Value>("matrix-rust");
    for row in rows {
        let key = key_of(row);
        let plain = |name: &str| row.field(name).map(|value| expand(value, &Bound::new()));
        if let Some(amount) = plain("increment").and_then(|amount| amount.as_int()) {
            let options = IncrementOptions::default();
            let sum = namespace.increment(key, amount as i64, &options).await.expect("a sum");
            assert_eq!(sum.value.map(i128::from), Some(amount));
        } else if let Some(value) = plain("fetch") {
            let load = || async { Ok::<_, Infallible>(value) };
            let read = namespace.get_or_fetch(key, load).await.expect("a value");
            assert!(read.stored.is_some_and(|write| write.is_stored()), "{row}");
        } else {
            let value = plain("value").expect("a value");
            let options = WriteOptions::default().tags(texts(row.field("tags")));
            let write = namespace.set_with(key, &value, &options).await.expect("a write");
            assert!(write.is_stored(), "{row}");
        }
    }
}

async fn read(client: &Client, writer: &str, rows: &[Value]) {
    let namespace = client.namespace::<Value>(&format!("matrix-{writer}"));
    for row in rows {
        let read = namespace.get(key_of(row)).await.expect("a read");
        // Some languages have no exact integers beyond 2^53, and do not write them.
        if read.outcome == Outcome::Miss && texts(row.field("needs")) == ["big_integers"] {
            continue;
        }
        assert_eq!(read.outcome, Outcome::Hit, "{writer}: {row}");
        let wanted = row.field("value").map(|value| expand(value, &Bound::new()));
        assert_eq!(read.value(), wanted.as_ref(), "{writer}: {row}");
        let mut tags = texts(row.field("tags"));
        tags.sort();
        assert_eq!(*read.tags, *tags, "{writer}: {row}");
    }
}

#[tokio::test]
async fn values_are_equal_in_all_languages() {
    let Ok(mode) = env::var("LARDER_MATRIX") else { return };
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/suite.json");
    let suite = std::fs::read_to_string(suite).expect("the suite");
    let suite = Value::from_json(serde_json::from_str(&suite).expect("JSON"));
    let rows = suite.field("matrix").and_then(Value::as_list).expect("rows");
    let target = env::var("LARDER_MATRIX_TARGET").expect("LARDER_MATRIX_TARGET");
    let client = Client::builder(target).preset(Preset::Local).connect_lazy().expect("a client");
    if mode == "write" {
        write(&client, rows).await;
        return;
    }
    let writers = env::var("LARDER_MATRIX_WRITERS").expect("LARDER_MATRIX_WRITERS");
    for writer in writers.split_whitespace() {
        read(&client, writer, rows).await;
    }
}
