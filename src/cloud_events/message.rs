//! The messages of the HTTP protocol binding and of the JSON format of CloudEvents 1.0.
//!
//! The SDK does not decode headers, has no batches, and cannot read numbers in extensions while
//! `serde_json` keeps their digits.

use std::str;

use axum::http::{HeaderMap, HeaderValue, header};
use data_encoding::BASE64;
use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use super::fault::Fault;
use crate::model::{json_member, parse_json};

/// Prefix of the headers with context attributes.
const HEADER_PREFIX: &str = "ce-";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// Attributes that every event has.
const REQUIRED: [&str; 3] = ["id", "source", "type"];

/// How a request has its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The context in headers, the data in the body.
    Binary,
    /// One event as JSON.
    Structured,
    /// A JSON array of events.
    Batch,
}

/// A valid event.
#[derive(Debug)]
pub(super) struct CloudEvent {
    context: Map<String, Value>,
    /// The data, if it is JSON.
    data: Option<Value>,
}

/// The mode of a request.
pub(super) fn mode(headers: &HeaderMap) -> Result<Mode, Fault> {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    let content_type = match content_type {
        None => "",
        Some(Ok(text)) => text,
        Some(Err(_)) => return Err(Fault::unsupported("is not readable".to_owned())),
    };
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    let mode = match &*media_type {
        STRUCTURED => Mode::Structured,
        BATCH => Mode::Batch,
        other if other.starts_with("application/cloudevents") => {
            let message = format!("is {other}, expected {STRUCTURED} or {BATCH}");
            return Err(Fault::unsupported(message));
        }
        _ if headers.contains_key("ce-specversion") => return Ok(Mode::Binary),
        _ => {
            let message =
                format!("expected {STRUCTURED}, {BATCH}, or an event in headers (ce-specversion)");
            return Err(Fault::unsupported(message));
        }
    };
    for parameter in parameters.split(';') {
        let charset = parameter.trim().to_ascii_lowercase();
        if let Some(charset) = charset.strip_prefix("charset=")
            && charset.trim_matches('"') != "utf-8"
        {
            return Err(Fault::unsupported(format!("has the charset {charset}, expected utf-8")));
        }
    }
    Ok(mode)
}

impl CloudEvent {
    /// The event of a request in binary mode.
    pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Self, Fault> {
        let mut context = Map::new();
        for (header, value) in headers {
            if let Some(name) = header.as_str().strip_prefix(HEADER_PREFIX) {
                let text = percent_decode(value.as_bytes()).decode_utf8();
                let text = text.map_err(|_| Fault::invalid(header.as_str(), "is not UTF-8"))?;
                context.insert(name.to_owned(), Value::String(text.into_owned()));
            }
        }
        check(&context).map_err(|fault| fault.within(HEADER_PREFIX))?;
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let content_type = content_type.map(String::from_utf8_lossy);
        let is_json = content_type.as_deref().is_none_or(is_json);
        let data = (is_json && !body.is_empty()).then(|| data_of("body", body)).transpose()?;
        Ok(Self { context, data })
    }

    /// The event of a request in structured mode.
    pub(super) fn structured(body: &[u8]) -> Result<Self, Fault> {
        Self::of_json(data_of("body", body)?)
    }

    /// The events of a batch.
    pub(super) fn batch(body: &[u8], max: usize) -> Result<Vec<Self>, Fault> {
        let Value::Array(events) = data_of("body", body)? else {
            return Err(Fault::invalid("body", "must be a JSON array of events"));
        };
        if events.len() > max {
            let count = events.len();
            return Err(Fault::too_large(format!(
                "the batch has {count} events, the limit is {max}"
            )));
        }
        let read = |(index, event)| {
            Self::of_json(event).map_err(|fault| fault.within(&format!("[{index}].")))
        };
        events.into_iter().enumerate().map(read).collect()
    }

    fn of_json(event: Value) -> Result<Self, Fault> {
        let Value::Object(mut context) = event else {
            return Err(Fault::invalid("body", "must be a JSON object"));
        };
        let (data, base64) = (context.remove("data"), context.remove("data_base64"));
        check(&context)?;
        let content_type = context.get("datacontenttype").and_then(Value::as_str);
        let is_json = content_type.is_none_or(is_json);
        let data = match (data, base64) {
            (Some(_), Some(_)) => {
                return Err(Fault::invalid("data", "cannot be combined with data_base64"));
            }
            (Some(data), None) => Some(data),
            (None, Some(Value::String(text))) => {
                let bytes = BASE64.decode(text.as_bytes()).map_err(|error| {
                    Fault::invalid("data_base64", format!("is invalid: {error}"))
                })?;
                is_json.then(|| data_of("data_base64", &bytes)).transpose()?
            }
            (None, Some(_)) => return Err(Fault::invalid("data_base64", "must be a string")),
            (None, None) => None,
        };
        Ok(Self { context, data: data.filter(|_| is_json) })
    }

    /// The type, which is the name of the event.
    pub(super) fn name(&self) -> &str {
        self.context.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The text of a context attribute.
    pub(super) fn context(&self, name: &str) -> Option<String> {
        match self.context.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is) => Some(is.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// The text of a member of the data, such as `after.id`.
    pub(super) fn member(&self, path: &str) -> Option<String> {
        json_member(self.data.as_ref()?, path)
    }
}

/// Checks the attributes that every event has.
fn check(context: &Map<String, Value>) -> Result<(), Fault> {
    match context.get("specversion") {
        Some(Value::String(version)) if version == "1.0" => {}
        Some(other) => {
            return Err(Fault::invalid("specversion", format!("is {other}, expected \"1.0\"")));
        }
        None => return Err(Fault::invalid("specversion", "must be set")),
    }
    for name in REQUIRED {
        match context.get(name) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(Value::String(_)) => return Err(Fault::invalid(name, "must not be empty")),
            Some(_) => return Err(Fault::invalid(name, "must be a string")),
            None => return Err(Fault::invalid(name, "must be set")),
        }
    }
    Ok(())
}

fn data_of(field: &str, bytes: &[u8]) -> Result<Value, Fault> {
    str::from_utf8(bytes).map_err(|_| Fault::invalid(field, "is not UTF-8"))?;
    parse_json(bytes).map_err(|error| Fault::invalid(field, error.to_string()))
}

/// Whether a media type is JSON.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::response::IntoResponse as _;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect::<Vec<(axum::http::HeaderName, _)>>()
            .into_iter()
            .collect()
    }

    fn fault<T: std::fmt::Debug>(result: Result<T, Fault>) -> (u16, String) {
        let fault = result.unwrap_err();
        let text = format!("{fault:?}");
        (fault.into_response().status().as_u16(), text)
    }

    #[test]
    fn mode_is_that_of_the_content_type() {
        let of = |content_type: &str| mode(&headers(&[("content-type", content_type)]));
        assert_eq!(of("application/cloudevents+json").unwrap(), Mode::Structured);
        let with_charset = of("Application/CloudEvents-Batch+JSON; charset=UTF-8").unwrap();
        assert_eq!(with_charset, Mode::Batch);
        for unsupported in [
            "application/cloudevents+avro",
            "application/json",
            "application/cloudevents+json; charset=latin1",
        ] {
            assert_eq!(fault(of(unsupported)).0, 415, "{unsupported}");
        }
        let binary = headers(&[("content-type", "application/json"), ("ce-specversion", "1.0")]);
        assert_eq!(mode(&binary).unwrap(), Mode::Binary);
        assert_eq!(fault(mode(&HeaderMap::new())).0, 415);
    }

    #[test]
    fn headers_are_decoded_and_the_body_is_the_data() {
        let mut given = headers(&[
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/a"),
            ("ce-type", "caf%C3%A9"),
            ("content-type", "application/json"),
        ]);
        let event = CloudEvent::binary(&given, br#"{"id": 7}"#).unwrap();
        assert_eq!((event.name(), event.member("id").as_deref()), ("café", Some("7")));
        assert_eq!(event.context("source").as_deref(), Some("/a"));
        assert_eq!(fault(CloudEvent::binary(&given, b"{")).0, 400);
        given.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(CloudEvent::binary(&given, b"{").unwrap().member("id"), None);
        given.remove("ce-id");
        let (status, text) = fault(CloudEvent::binary(&given, b""));
        assert!(status == 400 && text.contains("ce-id") && text.contains("must be set"), "{text}");
    }

    #[test]
    fn data_of_a_structured_event_is_json_text_or_base64() {
        let event = |members: &str| {
            let text = format!(
                r#"{{"specversion": "1.0", "id": "1", "source": "/a", "type": "t", {members}}}"#
            );
            CloudEvent::structured(text.as_bytes())
        };
        let member = |members: &str| event(members).unwrap().member("id");
        assert_eq!(member(r#""data": {"id": 7}"#).as_deref(), Some("7"));
        assert_eq!(member(r#""data_base64": "eyJpZCI6IDd9""#).as_deref(), Some("7"));
        assert_eq!(member(r#""datacontenttype": "text/plain", "data": "x""#), None);
        assert_eq!(member(r#""datacontenttype": "text/xml", "data_base64": "eyI=""#), None);
        let number = event(r#""n": 12, "data": {"id": 1}"#).unwrap();
        assert_eq!(number.context("n").as_deref(), Some("12"));
        for (members, part) in [
            (r#""data": 1, "data_base64": """#, "cannot be combined"),
            (r#""data_base64": 1"#, "must be a string"),
            (r#""data_base64": "-""#, "is invalid"),
            (r#""specversion": "0.3""#, "expected"),
            (r#""type": """#, "must not be empty"),
            (r#""id": 1"#, "must be a string"),
        ] {
            let (status, text) = fault(event(members));
            assert!(status == 400 && text.contains(part), "{members}: {text}");
        }
    }

    #[test]
    fn events_of_a_batch_are_named_and_bounded() {
        let event = r#"{"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}"#;
        let batch = |events: &[&str], max| {
            CloudEvent::batch(format!("[{}]", events.join(",")).as_bytes(), max)
        };
        assert_eq!(batch(&[event, event], 2).unwrap().len(), 2);
        assert_eq!(batch(&[], 2).unwrap().len(), 0);
        assert_eq!(fault(batch(&[event, event], 1)).0, 413);
        let (status, text) = fault(batch(&[event, "{}"], 2));
        assert!(status == 400 && text.contains("[1].specversion"), "{text}");
        assert_eq!(fault(CloudEvent::batch(b"{}", 2)).0, 400);
        assert_eq!(fault(CloudEvent::batch(b"\xff", 2)).0, 400);
    }
}
