//! Conversion between fetches and protobuf messages. Everything that an origin sends is validated.

use std::time::Duration;

use bytes::Bytes;
use prost_types::Duration as PbDuration;

use crate::{
    model::{Kind, MAX_TAG_BYTES, MAX_TAGS, Tags, check_json},
    origin::{
        CacheDirectives, Error, FetchBody, FetchRequest, FetchResponse, OriginErrorKind, Result,
        Validators, unusable_tags,
    },
    pb::{
        self,
        origin::v1::{self as wire, fetch_response::Outcome, value},
    },
};

/// Longest validator that is stored.
const MAX_ETAG_BYTES: usize = 1024;
/// Smallest receive buffer of the library. A smaller value that is not copied would keep a buffer
/// of several times its size alive.
const RECEIVE_BUFFER: usize = 8 * 1024;

/// Kind of the message that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// The value is alone in the message.
    Single,
    /// The message holds further values, which need not live as long.
    Batch,
}

pub(super) fn request_to_wire(request: &FetchRequest) -> wire::FetchRequest {
    wire::FetchRequest {
        namespace: request.key.namespace().to_string(),
        key: request.key.key().to_owned(),
        params: request.params.as_ref().clone(),
        previous_etag: request.validators.etag.as_deref().unwrap_or_default().to_owned(),
    }
}

/// Validates and converts a response.
///
/// # Errors
/// The message is malformed, or the value is too large.
pub(super) fn response_from_wire(
    request: &FetchRequest,
    response: wire::FetchResponse,
    max_value_bytes: usize,
    message: MessageKind,
) -> Result<FetchResponse> {
    let tags = tags(response.tags);
    if let Err(problem) = &tags {
        unusable_tags::warn(request.key.namespace(), problem);
    }
    let mut directives = CacheDirectives {
        no_store: response.no_store || tags.is_err(),
        ttl: duration("ttl", response.ttl)?,
        stale_while_revalidate: duration(
            "stale_while_revalidate",
            response.stale_while_revalidate,
        )?,
        stale_if_error: duration("stale_if_error", response.stale_if_error)?,
        tags: tags.ok().flatten(),
        validators: Validators { etag: etag(response.etag), last_modified: None },
    };
    let body = match response.outcome {
        Some(Outcome::Value(value)) => body(value, max_value_bytes, message)?,
        Some(Outcome::NotFound(_)) => FetchBody::NotFound,
        Some(Outcome::NotModified(_)) => {
            if request.validators.etag.is_none() {
                return Err(invalid("not_modified, but there was no previous_etag"));
            }
            if directives.validators.etag.is_none() {
                directives.validators.clone_from(&request.validators);
            }
            FetchBody::NotModified
        }
        None => return Err(invalid("the answer has no outcome")),
    };
    Ok(FetchResponse { body, directives })
}

/// The response that a status NOT_FOUND stands for.
pub(super) fn not_found() -> FetchResponse {
    FetchResponse { body: FetchBody::NotFound, directives: CacheDirectives::default() }
}

pub(super) fn invalid(cause: &str) -> Error {
    Error::new(OriginErrorKind::Invalid, cause)
}

fn body(value: wire::Value, max_value_bytes: usize, message: MessageKind) -> Result<FetchBody> {
    let (kind, data) = match value.kind {
        Some(value::Kind::Data(data)) => (Kind::Bytes, data),
        Some(value::Kind::Text(text)) => (Kind::Text, text),
        Some(value::Kind::Json(json)) => (Kind::Json, json),
        None => return Err(invalid("the value is none of data, text and json")),
    };
    if data.len() > max_value_bytes {
        let cause = format!(
            "the value is {} bytes long, the limit is {max_value_bytes} (max_value_bytes)",
            data.len()
        );
        return Err(Error::new(OriginErrorKind::TooLarge, cause));
    }
    if kind != Kind::Bytes && std::str::from_utf8(&data).is_err() {
        return Err(invalid("the value is not UTF-8"));
    }
    if kind == Kind::Json
        && let Err(error) = check_json(&data)
    {
        return Err(invalid(&format!("the value {error}")));
    }
    let pins_buffer = message == MessageKind::Batch || data.len() < RECEIVE_BUFFER;
    Ok(FetchBody::Value {
        kind,
        data: if pins_buffer { Bytes::copy_from_slice(&data) } else { data },
    })
}

fn duration(field: &str, duration: Option<PbDuration>) -> Result<Option<Duration>> {
    match duration.map(pb::duration) {
        Some(None) => Err(invalid(&format!("{field} is negative"))),
        other => Ok(other.flatten()),
    }
}

/// Sorted tags, if there are any.
///
/// # Errors
/// An explanation of the first problem.
fn tags(mut tags: Vec<String>) -> std::result::Result<Option<Tags>, String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("it has {} tags, the limit is {MAX_TAGS}", tags.len()));
    }
    if let Some(tag) = tags.iter().find(|tag| tag.is_empty() || tag.len() > MAX_TAG_BYTES) {
        return Err(format!(
            "one of its tags has {} bytes, 1 to {MAX_TAG_BYTES} are allowed",
            tag.len()
        ));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok((!tags.is_empty()).then(|| tags.into()))
}

fn etag(etag: String) -> Option<Box<str>> {
    (1..=MAX_ETAG_BYTES).contains(&etag.len()).then(|| etag.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{
        model::{EntryKey, Namespace},
        pb::origin::v1::{NotFound, NotModified},
    };

    fn request(etag: Option<&str>) -> FetchRequest {
        let key = EntryKey::new(Namespace::new("user").unwrap(), "k", [].into_iter()).unwrap();
        let validators = Validators { etag: etag.map(Into::into), last_modified: None };
        FetchRequest { key, params: Default::default(), validators, deadline: Instant::now() }
    }

    fn data(bytes: &'static [u8]) -> Option<Outcome> {
        Some(Outcome::Value(wire::Value {
            kind: Some(value::Kind::Data(Bytes::from_static(bytes))),
        }))
    }

    fn text(bytes: &'static [u8]) -> Option<Outcome> {
        Some(Outcome::Value(wire::Value {
            kind: Some(value::Kind::Text(Bytes::from_static(bytes))),
        }))
    }

    fn json(text: &str) -> Option<Outcome> {
        Some(Outcome::Value(wire::Value { kind: Some(value::Kind::Json(text.to_owned().into())) }))
    }

    fn converted(response: wire::FetchResponse) -> Result<FetchResponse> {
        response_from_wire(&request(Some("old")), response, 4, MessageKind::Single)
    }

    #[test]
    fn malformed_responses_are_invalid() {
        let negative = Some(PbDuration { seconds: i64::MIN, nanos: i32::MIN });
        let cases = [
            wire::FetchResponse::default(),
            wire::FetchResponse {
                outcome: Some(Outcome::Value(wire::Value { kind: None })),
                ..Default::default()
            },
            wire::FetchResponse { outcome: json("{"), ..Default::default() },
            wire::FetchResponse { outcome: text(b"\xff"), ..Default::default() },
            wire::FetchResponse { outcome: json(""), ..Default::default() },
            wire::FetchResponse { outcome: data(b"v"), ttl: negative, ..Default::default() },
            wire::FetchResponse {
                outcome: data(b"v"),
                stale_while_revalidate: negative,
                ..Default::default()
            },
            wire::FetchResponse {
                outcome: data(b"v"),
                stale_if_error: negative,
                ..Default::default()
            },
        ];
        for response in cases {
            assert_eq!(
                converted(response.clone()).unwrap_err().kind,
                OriginErrorKind::Invalid,
                "{response:?}"
            );
        }
        let too_large = wire::FetchResponse { outcome: data(b"12345"), ..Default::default() };
        assert_eq!(converted(too_large).unwrap_err().kind, OriginErrorKind::TooLarge);
        assert!(
            converted(wire::FetchResponse { outcome: json("[1]"), ..Default::default() }).is_ok()
        );
    }

    #[test]
    fn not_modified_needs_a_condition_and_keeps_the_etag() {
        let response = |etag: &str| wire::FetchResponse {
            outcome: Some(Outcome::NotModified(NotModified {})),
            etag: etag.to_owned(),
            ..Default::default()
        };
        let refused =
            response_from_wire(&request(None), response(""), 4, MessageKind::Single).unwrap_err();
        assert_eq!(refused.kind, OriginErrorKind::Invalid);
        for (etag, kept) in [("", "old"), ("new", "new")] {
            let answer = converted(response(etag)).unwrap();
            assert_eq!(answer.body, FetchBody::NotModified);
            assert_eq!(answer.directives.validators.etag.as_deref(), Some(kept));
            assert_eq!(answer.directives.tags, None);
        }
    }

    #[test]
    fn tags_and_etags_have_limits() {
        let with_tags = |tags: Vec<String>| {
            converted(wire::FetchResponse { outcome: data(b"v"), tags, ..Default::default() })
                .unwrap()
                .directives
        };
        let sorted = with_tags(["b", "a", "b"].map(str::to_owned).to_vec());
        assert_eq!(sorted.tags.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert!(!sorted.no_store);
        for tags in [vec![String::new()], vec!["t".repeat(129)], vec!["t".to_owned(); 33]] {
            let directives = with_tags(tags);
            assert!(directives.no_store && directives.tags.is_none());
        }
        let most: Vec<String> =
            (0..MAX_TAGS).map(|n| format!("{n:0width$}", width = MAX_TAG_BYTES)).collect();
        assert_eq!(with_tags(most.clone()).tags.as_deref(), Some(&most[..]));
        let with_etag = |etag| {
            converted(wire::FetchResponse { outcome: data(b"v"), etag, ..Default::default() })
                .unwrap()
                .directives
        };
        assert!(!with_etag("e".repeat(1024)).validators.is_empty());
        assert!(with_etag("e".repeat(1025)).validators.is_empty());
    }

    #[test]
    fn values_do_not_keep_larger_buffers_alive() {
        let message = Bytes::from(vec![0; 3 * RECEIVE_BUFFER]);
        let small = message.slice(..RECEIVE_BUFFER / 2);
        let large = message.slice(..2 * RECEIVE_BUFFER);
        let is_copied = |data: &Bytes, message| {
            let value = wire::Value { kind: Some(value::Kind::Data(data.clone())) };
            let FetchBody::Value { data: kept, .. } = body(value, usize::MAX, message).unwrap()
            else {
                panic!("no value")
            };
            assert_eq!(kept, data);
            kept.as_ptr() != data.as_ptr()
        };
        assert!(is_copied(&small, MessageKind::Single));
        assert!(!is_copied(&large, MessageKind::Single));
        assert!(is_copied(&large, MessageKind::Batch));
    }

    #[test]
    fn not_found_has_directives_too() {
        let ttl = Some(PbDuration { seconds: 3, nanos: 0 });
        let response = wire::FetchResponse {
            outcome: Some(Outcome::NotFound(NotFound {})),
            ttl,
            ..Default::default()
        };
        let answer = converted(response).unwrap();
        assert_eq!(
            (answer.body, answer.directives.ttl),
            (FetchBody::NotFound, Some(Duration::from_secs(3)))
        );
    }
}
