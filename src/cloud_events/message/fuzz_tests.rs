//! Fuzz target of CloudEvents.

#![allow(clippy::unwrap_used)]

use axum::response::IntoResponse as _;

use super::*;
use crate::fuzzing::{Input, check};

/// Headers by lines up to an empty one, and a body. Any request is an event, or a refusal with a
/// status of the caller's fault. A batch of one event is that event.
#[test]
fn cloud_events() {
    check("cloud_events", |bytes| {
        let mut input = Input::new(bytes);
        let mut headers = HeaderMap::new();
        loop {
            let line = input.line();
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { break };
            let name = axum::http::HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        let body = input.rest();
        let events = mode(&headers).and_then(|mode| match mode {
            Mode::Binary => Ok(vec![CloudEvent::binary(&headers, body)?]),
            Mode::Structured => Ok(vec![CloudEvent::structured(body)?]),
            Mode::Batch => CloudEvent::batch(body, 10),
        });
        match events {
            Ok(events) => events.iter().for_each(is_complete),
            Err(fault) => assert!(fault.into_response().status().is_client_error()),
        }
        let one = CloudEvent::structured(body);
        let batch = CloudEvent::batch(&[b"[", body, b"]"].concat(), 1);
        if let Ok(one) = &one {
            let batch = batch.unwrap();
            assert_eq!((&batch[0].context, &batch[0].data), (&one.context, &one.data));
            let event: Value = serde_json::from_slice(body).unwrap();
            if let (Some(data), None) = (event.get("data"), event.get("datacontenttype")) {
                assert_eq!(one.data.as_ref(), Some(data));
            }
        }
        let mut binary = HeaderMap::new();
        for (name, value) in one.iter().flat_map(|one| &one.context) {
            let (Ok(name), Value::String(text)) =
                (format!("ce-{name}").parse::<axum::http::HeaderName>(), value)
            else {
                return;
            };
            let text =
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
            binary.insert(name, text.to_string().parse().unwrap());
        }
        if let Ok(one) = one
            && one.context.keys().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase()))
        {
            let same = CloudEvent::binary(&binary, b"").unwrap();
            for (name, value) in &one.context {
                assert_eq!(same.context.get(name), Some(value), "{name}");
            }
        }
    });
}

fn is_complete(event: &CloudEvent) {
    assert!(!event.name().is_empty());
    for name in REQUIRED {
        assert!(event.context(name).is_some_and(|text| !text.is_empty()), "{name}");
    }
    let _ = (event.member("a.b"), event.context("x"));
}
