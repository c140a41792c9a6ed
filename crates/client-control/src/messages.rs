//! Requests as JSON and scripted responses from text, by the descriptors of the services.

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MapKey, MessageDescriptor, MethodDescriptor,
    ReflectMessage as _, Value,
};
use serde_json::{Map, Value as Json, json};

/// Empty only if the build wrote a broken file, which a test excludes.
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let descriptors = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(descriptors.as_slice()).unwrap_or_default()
});

/// The method of a path such as `/larder.v1.CacheService/Get`.
fn method_of(path: &str) -> Option<MethodDescriptor> {
    let (service, name) = path.trim_start_matches('/').split_once('/')?;
    POOL.get_service_by_name(service)?.methods().find(|method| method.name() == name)
}

/// A request as JSON, with the names of the fields in the proto. Fields without presence that have
/// their default are left out.
pub(crate) fn request_as_json(path: &str, bytes: &Bytes) -> Json {
    let Some(method) = method_of(path) else { return Json::Null };
    match DynamicMessage::decode(method.input(), bytes.clone()) {
        Ok(message) => message_as_json(&message),
        Err(error) => json!({"undecodable": error.to_string()}),
    }
}

/// The response of a method of the cache, from the text format of protocol buffers.
pub(crate) fn reply_from_text(method: &str, text: &str) -> Result<Bytes, String> {
    let path = format!("larder.v1.CacheService/{method}");
    let descriptor: MessageDescriptor =
        method_of(&path).ok_or_else(|| format!("no method {method}"))?.output();
    let message = DynamicMessage::parse_text_format(descriptor, text)
        .map_err(|error| format!("reply of {method}: {error}"))?;
    Ok(message.encode_to_vec().into())
}

fn message_as_json(message: &DynamicMessage) -> Json {
    match message.descriptor().full_name() {
        // As in the JSON format of protocol buffers.
        "google.protobuf.Duration" | "google.protobuf.Timestamp" => return seconds(message),
        _ => {}
    }
    let fields = message
        .fields()
        .map(|(field, value)| (field.name().to_owned(), value_as_json(&field, value)));
    Json::Object(fields.collect())
}

/// Seconds and their fraction, such as `0.25s`.
fn seconds(message: &DynamicMessage) -> Json {
    let number = |name: &str| {
        let value = message.get_field_by_name(name)?;
        value.as_i64().or_else(|| value.as_i32().map(i64::from))
    };
    let whole = number("seconds").unwrap_or_default();
    let nanos = number("nanos").unwrap_or_default();
    let sign = if whole < 0 || nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:09}", whole.unsigned_abs(), nanos.unsigned_abs());
    Json::String(format!("{}s", text.trim_end_matches('0').trim_end_matches('.')))
}

fn value_as_json(field: &FieldDescriptor, value: &Value) -> Json {
    match value {
        Value::Bool(flag) => json!(flag),
        Value::I32(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::String(text) => json!(text),
        Value::Bytes(bytes) => json!(BASE64.encode(bytes)),
        Value::EnumNumber(number) => enum_as_json(field, *number),
        Value::Message(message) => message_as_json(message),
        Value::List(values) => values.iter().map(|value| value_as_json(field, value)).collect(),
        Value::Map(entries) => {
            let values = entries.iter().map(|(key, value)| {
                (key_text(key), {
                    match field
                        .kind()
                        .as_message()
                        .and_then(|entry| entry.get_field_by_name("value"))
                    {
                        Some(field) => value_as_json(&field, value),
                        None => Json::Null,
                    }
                })
            });
            Json::Object(values.collect::<Map<_, _>>())
        }
    }
}

fn enum_as_json(field: &FieldDescriptor, number: i32) -> Json {
    let kind = field.kind();
    let name = kind.as_enum().and_then(|descriptor| descriptor.get_value(number));
    name.map_or_else(|| json!(number), |name| json!(name.name()))
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(flag) => flag.to_string(),
        MapKey::I32(number) => number.to_string(),
        MapKey::I64(number) => number.to_string(),
        MapKey::U32(number) => number.to_string(),
        MapKey::U64(number) => number.to_string(),
        MapKey::String(text) => text.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_becomes_json() {
        let text = "namespace: \"a\" key: \"k\" params { key: \"p\" value: \"v\" } \
                    ttl { nanos: 250000000 } tags: \"t\" value { data: \"\\001\" } if_absent: true";
        let path = "/larder.v1.CacheService/Set";
        let input = method_of(path).unwrap().input();
        let bytes = DynamicMessage::parse_text_format(input, text).unwrap().encode_to_vec();
        assert_eq!(
            request_as_json(path, &bytes.into()),
            json!({"namespace": "a", "key": "k", "params": {"p": "v"}, "ttl": "0.25s",
                "tags": ["t"], "value": {"data": "AQ=="}, "if_absent": true})
        );
    }

    #[test]
    fn a_reply_with_an_unknown_field_is_refused() {
        let error = reply_from_text("Get", "outcomes: 1").unwrap_err();
        assert!(error.contains("outcomes"), "{error}");
        assert!(!reply_from_text("Get", "outcome: OUTCOME_MISS").unwrap().is_empty());
    }
}
