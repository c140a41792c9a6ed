//! From orders to messages, and from messages to answers. What an origin sends is not trusted.

use std::time::Duration;

use bytes::Bytes;
use prost_types::Duration as PbDuration;
use serde::de::IgnoredAny;

use crate::{
    model::{Kind, MAX_TAG_BYTES, MAX_TAGS, Tags},
    origin::{
        CacheDirectives, Error, ErrorKind, FetchBody, FetchRequest, FetchResponse, Result,
        Validators,
    },
    pb::{
        self,
        origin::v1::{self as wire, fetch_response::Outcome, value},
    },
};

const MAX_ETAG_BYTES: usize = 1024;
/// The library reads into buffers of this size at least, so that a smaller value would keep several times its size alive.
const RECEIVE_BUFFER: usize = 8 * 1024;

/// What a value shares its memory with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// With nothing else of size.
    Alone,
    /// With the other values of a batch, which need not live as long.
    Together,
}

pub(super) fn request(order: &FetchRequest) -> wire::FetchRequest {
    wire::FetchRequest {
        namespace: order.key.namespace().to_string(),
        key: order.key.key().to_owned(),
        params: order.params.as_ref().clone(),
        previous_etag: order.validators.etag.as_deref().unwrap_or_default().to_owned(),
    }
}

pub(super) fn answer(
    order: &FetchRequest,
    response: wire::FetchResponse,
    max_value_bytes: usize,
    packing: Packing,
) -> Result<FetchResponse> {
    let tags = tags(response.tags);
    if let Err(why) = &tags {
        tracing::warn!(namespace = %order.key.namespace(), "a value of the origin is not stored: {why}");
    }
    let mut terms = CacheDirectives {
        no_store: response.no_store || tags.is_err(),
        ttl: span("ttl", response.ttl)?,
        stale_while_revalidate: span("stale_while_revalidate", response.stale_while_revalidate)?,
        stale_if_error: span("stale_if_error", response.stale_if_error)?,
        tags: tags.ok().flatten(),
        validators: Validators { etag: etag(response.etag), last_modified: None },
    };
    let content = match response.outcome {
        Some(Outcome::Value(value)) => content(value, max_value_bytes, packing)?,
        Some(Outcome::NotFound(_)) => FetchBody::NotFound,
        Some(Outcome::NotModified(_)) => {
            if order.validators.etag.is_none() {
                return Err(invalid("not_modified, but there was no previous_etag"));
            }
            if terms.validators.etag.is_none() {
                terms.validators.clone_from(&order.validators);
            }
            FetchBody::NotModified
        }
        None => return Err(invalid("the answer has no outcome")),
    };
    Ok(FetchResponse { content, terms })
}

/// That there is no value, said without a message.
pub(super) fn not_found() -> FetchResponse {
    FetchResponse { content: FetchBody::NotFound, terms: CacheDirectives::default() }
}

pub(super) fn invalid(cause: &str) -> Error {
    Error::new(ErrorKind::Invalid, cause)
}

fn content(value: wire::Value, max_value_bytes: usize, packing: Packing) -> Result<FetchBody> {
    let (kind, data) = match value.kind {
        Some(value::Kind::Data(data)) => (Kind::Bytes, data),
        // The library has copied these out of what it received.
        Some(value::Kind::Text(text)) => (Kind::Text, Bytes::from(text)),
        Some(value::Kind::Json(json)) => (Kind::Json, Bytes::from(json)),
        None => return Err(invalid("the value is none of data, text and json")),
    };
    if data.len() > max_value_bytes {
        let cause =
            format!("the value is {} bytes long, the limit is {max_value_bytes}", data.len());
        return Err(Error::new(ErrorKind::TooLarge, cause));
    }
    if kind == Kind::Json
        && let Err(error) = serde_json::from_slice::<IgnoredAny>(&data)
    {
        return Err(invalid(&format!("the value is not JSON: {error}")));
    }
    let pins_more =
        kind == Kind::Bytes && (packing == Packing::Together || data.len() < RECEIVE_BUFFER);
    Ok(FetchBody::Value {
        kind,
        data: if pins_more { Bytes::copy_from_slice(&data) } else { data },
    })
}

fn span(field: &str, duration: Option<PbDuration>) -> Result<Option<Duration>> {
    match duration.map(pb::duration) {
        Some(None) => Err(invalid(&format!("{field} is negative"))),
        other => Ok(other.flatten()),
    }
}

/// The tags if there are any, or what is wrong with them.
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

    fn order(etag: Option<&str>) -> FetchRequest {
        let key = EntryKey::new(Namespace::new("user").unwrap(), "k", [].into_iter()).unwrap();
        let validators = Validators { etag: etag.map(Into::into), last_modified: None };
        FetchRequest { key, params: Default::default(), validators, deadline: Instant::now() }
    }

    fn data(bytes: &'static [u8]) -> Option<Outcome> {
        Some(Outcome::Value(wire::Value {
            kind: Some(value::Kind::Data(Bytes::from_static(bytes))),
        }))
    }

    fn json(text: &str) -> Option<Outcome> {
        Some(Outcome::Value(wire::Value { kind: Some(value::Kind::Json(text.to_owned())) }))
    }

    fn judged(response: wire::FetchResponse) -> Result<FetchResponse> {
        answer(&order(Some("old")), response, 4, Packing::Alone)
    }

    #[test]
    fn what_is_not_an_answer_is_invalid() {
        let negative = Some(PbDuration { seconds: i64::MIN, nanos: i32::MIN });
        let cases = [
            wire::FetchResponse::default(),
            wire::FetchResponse {
                outcome: Some(Outcome::Value(wire::Value { kind: None })),
                ..Default::default()
            },
            wire::FetchResponse { outcome: json("{"), ..Default::default() },
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
                judged(response.clone()).unwrap_err().kind,
                ErrorKind::Invalid,
                "{response:?}"
            );
        }
        let too_large = wire::FetchResponse { outcome: data(b"12345"), ..Default::default() };
        assert_eq!(judged(too_large).unwrap_err().kind, ErrorKind::TooLarge);
        assert!(judged(wire::FetchResponse { outcome: json("[1]"), ..Default::default() }).is_ok());
    }

    #[test]
    fn what_is_unchanged_was_there_and_keeps_its_etag() {
        let response = |etag: &str| wire::FetchResponse {
            outcome: Some(Outcome::NotModified(NotModified {})),
            etag: etag.to_owned(),
            ..Default::default()
        };
        let refused = answer(&order(None), response(""), 4, Packing::Alone).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Invalid);
        for (etag, kept) in [("", "old"), ("new", "new")] {
            let answer = judged(response(etag)).unwrap();
            assert_eq!(answer.content, FetchBody::NotModified);
            assert_eq!(answer.terms.validators.etag.as_deref(), Some(kept));
            assert_eq!(answer.terms.tags, None);
        }
    }

    #[test]
    fn tags_and_etags_have_limits() {
        let with_tags = |tags: Vec<String>| {
            judged(wire::FetchResponse { outcome: data(b"v"), tags, ..Default::default() })
                .unwrap()
                .terms
        };
        let sorted = with_tags(["b", "a", "b"].map(str::to_owned).to_vec());
        assert_eq!(sorted.tags.as_deref(), Some(&["a".to_owned(), "b".to_owned()][..]));
        assert!(!sorted.no_store);
        for tags in [vec![String::new()], vec!["t".repeat(129)], vec!["t".to_owned(); 33]] {
            let terms = with_tags(tags);
            assert!(terms.no_store && terms.tags.is_none());
        }
        let with_etag = |etag| {
            judged(wire::FetchResponse { outcome: data(b"v"), etag, ..Default::default() })
                .unwrap()
                .terms
        };
        assert!(!with_etag("e".repeat(1024)).validators.is_empty());
        assert!(with_etag("e".repeat(1025)).validators.is_empty());
    }

    #[test]
    fn a_value_does_not_keep_more_than_itself_alive() {
        let message = Bytes::from(vec![0; 3 * RECEIVE_BUFFER]);
        let small = message.slice(..RECEIVE_BUFFER / 2);
        let large = message.slice(..2 * RECEIVE_BUFFER);
        let is_copied = |data: &Bytes, packing| {
            let value = wire::Value { kind: Some(value::Kind::Data(data.clone())) };
            let FetchBody::Value { data: kept, .. } = content(value, usize::MAX, packing).unwrap()
            else {
                panic!("no value")
            };
            assert_eq!(kept, data);
            kept.as_ptr() != data.as_ptr()
        };
        assert!(is_copied(&small, Packing::Alone));
        assert!(!is_copied(&large, Packing::Alone));
        assert!(is_copied(&large, Packing::Together));
    }

    #[test]
    fn terms_of_an_absent_value_are_kept_too() {
        let ttl = Some(PbDuration { seconds: 3, nanos: 0 });
        let response = wire::FetchResponse {
            outcome: Some(Outcome::NotFound(NotFound {})),
            ttl,
            ..Default::default()
        };
        let answer = judged(response).unwrap();
        assert_eq!(
            (answer.content, answer.terms.ttl),
            (FetchBody::NotFound, Some(Duration::from_secs(3)))
        );
    }
}
