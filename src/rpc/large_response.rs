//! Responses with a large value, which is not copied.
//!
//! tonic encodes a message into one buffer. For a large value the copy costs more than the rest of
//! the call, and each client that reads slowly would hold a copy of its own. A large message is
//! encoded here into two parts instead: all of its other fields, and the bytes that the store
//! holds. The fields of a message may be in any order, so the value can be the last one.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use tonic::{Status, body::Body};

use super::protocol;
use crate::pb::v1::{self as pb, get_or_fetch_response::Outcome, value::Kind};

/// Size from which a value is not copied into its message, and from which the response counts
/// before it is sent, in bytes. Smaller responses count only if they have to wait for their client.
const LARGE_VALUE: usize = 16 * 1024;

/// An extension of responses with a large value.
#[derive(Debug, Clone)]
pub(super) struct LargeResponse {
    value_bytes: usize,
    /// The encoded message. None if it is compressed or has no single value.
    parts: Option<Parts>,
}

/// A message and its prefix, encoded in two parts.
#[derive(Debug, Clone)]
struct Parts {
    head: Bytes,
    value: Bytes,
}

/// A message with a value in it.
pub(super) trait HoldsValue {
    /// The fields that lead to the value, from the outside, and the value. `None` if there is none.
    fn path(&self) -> Option<(Vec<Level>, Kind)>;
}

/// A message on the path to a value.
pub(super) struct Level {
    /// The encoded fields but the one that leads to the value.
    others: Vec<u8>,
    /// Number of the field that leads to the value.
    field: u32,
}

/// The body of a response with one message: its parts and the trailers.
struct PartsBody {
    parts: Parts,
    has_trailers: bool,
}

// === impl LargeResponse ===

impl LargeResponse {
    /// Marks a response whose value has `value_bytes`, if that is much.
    #[inline]
    pub(super) fn mark<T: HoldsValue>(response: &mut tonic::Response<T>, value_bytes: usize) {
        if value_bytes >= LARGE_VALUE {
            mark_large(response, value_bytes);
        }
    }

    /// Size of the value, in bytes.
    pub(super) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Replaces the body of the response, which is not encoded yet, unless it is compressed.
    pub(super) fn replace_body(self, response: &mut Response<Body>) {
        if let Some(parts) = self.parts
            && !response.headers().contains_key(protocol::ENCODING)
        {
            *response.body_mut() = Body::new(PartsBody { parts, has_trailers: true });
        }
    }
}

#[cold]
fn mark_large<T: HoldsValue>(response: &mut tonic::Response<T>, value_bytes: usize) {
    let path = response.get_ref().path();
    let parts = path.and_then(|(levels, value)| Parts::encode(&levels, value));
    response.extensions_mut().insert(LargeResponse { value_bytes, parts });
}

// === impl Parts ===

impl Parts {
    /// `None` if the message is too long for its prefix of four bytes.
    fn encode(levels: &[Level], value: Kind) -> Option<Self> {
        let (field, value) = match value {
            Kind::Data(data) => (1, data),
            Kind::Text(text) => (2, text),
            Kind::Json(json) => (3, json),
        };
        let value_level = Level { others: Vec::new(), field };
        // The length of each message includes those within it.
        let mut lengths = Vec::with_capacity(levels.len() + 1);
        let mut length = value.len();
        for level in levels.iter().chain([&value_level]).rev() {
            lengths.push(length);
            let field = key_len(level.field) + encoded_len_varint(length as u64);
            length += level.others.len() + field;
        }
        let mut head = BytesMut::with_capacity(5 + length - value.len());
        head.put_u8(0);
        head.put_u32(u32::try_from(length).ok()?);
        for (level, length) in levels.iter().chain([&value_level]).zip(lengths.iter().rev()) {
            head.put_slice(&level.others);
            encode_key(level.field, WireType::LengthDelimited, &mut head);
            encode_varint(*length as u64, &mut head);
        }
        Some(Self { head: head.freeze(), value })
    }
}

// === impl HoldsValue ===

impl HoldsValue for pb::GetResponse {
    fn path(&self) -> Option<(Vec<Level>, Kind)> {
        let value = self.value.as_ref()?.kind.clone()?;
        let others = Self { value: None, ..self.clone() }.encode_to_vec();
        Some((vec![Level { others, field: 2 }], value))
    }
}

impl HoldsValue for pb::DeleteResponse {
    fn path(&self) -> Option<(Vec<Level>, Kind)> {
        let (level, value) = found_level(self.removed.as_ref()?)?;
        let others = Self { removed: None, ..self.clone() }.encode_to_vec();
        Some((vec![Level { others, field: 3 }, level], value))
    }
}

impl HoldsValue for pb::GetOrFetchResponse {
    fn path(&self) -> Option<(Vec<Level>, Kind)> {
        let (mut levels, value) = match self.outcome.as_ref()? {
            Outcome::Found(found) => {
                let (level, value) = found_level(found)?;
                (vec![Level { others: Vec::new(), field: 1 }, level], value)
            }
            Outcome::Lease(lease) => {
                let (level, value) = found_level(lease.stale.as_ref()?)?;
                let others = pb::Lease { stale: None, ..lease.clone() }.encode_to_vec();
                let lease = Level { others, field: 3 };
                (vec![Level { others: Vec::new(), field: 2 }, lease, level], value)
            }
            Outcome::Contended(_) | Outcome::NotCached(_) => return None,
        };
        let others = Self { outcome: None, ..self.clone() }.encode_to_vec();
        levels.first_mut()?.others = others;
        Some((levels, value))
    }
}

fn found_level(found: &pb::Found) -> Option<(Level, Kind)> {
    let value = found.value.as_ref()?.kind.clone()?;
    let others = pb::Found { value: None, ..found.clone() }.encode_to_vec();
    Some((Level { others, field: 1 }, value))
}

// === impl PartsBody ===

impl HttpBody for PartsBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { parts, has_trailers } = &mut *self;
        for part in [&mut parts.head, &mut parts.value] {
            if !part.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(mem::take(part)))));
            }
        }
        let trailers = mem::take(has_trailers).then(|| {
            let ok = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
            Ok(Frame::trailers(HeaderMap::from_iter([ok])))
        });
        Poll::Ready(trailers)
    }

    fn is_end_stream(&self) -> bool {
        !self.has_trailers
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn value(size: usize, kind: fn(Bytes) -> Kind) -> Option<pb::Value> {
        Some(pb::Value { kind: Some(kind(Bytes::from(vec![b'v'; size]))) })
    }

    fn info() -> pb::EntryInfo {
        pb::EntryInfo {
            version: "v1".to_owned(),
            tags: vec!["tag".to_owned()],
            age: Some(prost_types::Duration { seconds: 3, nanos: 5 }),
            ..Default::default()
        }
    }

    /// Sends a message in parts, and decodes what is sent.
    async fn sent<T: HoldsValue + Message + Default>(message: T) -> T {
        let mut response = tonic::Response::new(message);
        LargeResponse::mark(&mut response, LARGE_VALUE);
        let large: LargeResponse = response.extensions_mut().remove().unwrap();
        assert_eq!(large.value_bytes(), LARGE_VALUE);
        let mut response = Response::new(Body::empty());
        large.replace_body(&mut response);
        let sent = response.into_body().collect().await.unwrap();
        assert_eq!(sent.trailers().unwrap().get("grpc-status").unwrap(), "0");
        let bytes = sent.to_bytes();
        assert_eq!((bytes[0], bytes.len()), (0, 5 + T::decode(&bytes[5..]).unwrap().encoded_len()));
        assert_eq!(bytes[1..5], u32::try_from(bytes.len() - 5).unwrap().to_be_bytes());
        T::decode(&bytes[5..]).unwrap()
    }

    #[tokio::test]
    async fn large_messages_are_decoded_as_they_were() {
        for kind in [Kind::Data, Kind::Text, Kind::Json] {
            let value = value(LARGE_VALUE, kind);
            let (entry, degraded, outcome) = (Some(info()), true, pb::Outcome::Stale.into());
            let value_of_get = value.clone();
            let get = pb::GetResponse {
                outcome,
                value: value_of_get,
                entry,
                degraded,
                ..Default::default()
            };
            assert_eq!(sent(get.clone()).await, get);

            let found = pb::Found { value, entry: Some(info()), outcome, ..Default::default() };
            let removed = Some(found.clone());
            let deleted = pb::DeleteResponse { removed, ..pb::DeleteResponse::default() };
            assert_eq!(sent(deleted.clone()).await, deleted);
            let stale = Some(found.clone());
            let token = vec![7; 16].into();
            let lease = pb::Lease { token, expires_in: None, stale, stale_while_revalidate: true };
            for outcome in [Outcome::Found(found), Outcome::Lease(lease)] {
                let fetched = pb::GetOrFetchResponse {
                    outcome: Some(outcome),
                    degraded,
                    fetch_status: pb::FetchStatus::Fetched.into(),
                    fill: 1,
                    cause: "none".to_owned(),
                };
                assert_eq!(sent(fetched.clone()).await, fetched);
            }
        }
    }

    #[tokio::test]
    async fn the_value_is_not_copied() {
        let stored = Bytes::from(vec![b'v'; LARGE_VALUE]);
        let value = Some(pb::Value { kind: Some(Kind::Text(stored.clone())) });
        let mut response = tonic::Response::new(pb::GetResponse { value, ..Default::default() });
        LargeResponse::mark(&mut response, stored.len());
        let large: LargeResponse = response.extensions_mut().remove().unwrap();
        assert_eq!(large.parts.unwrap().value.as_ptr(), stored.as_ptr());
    }

    #[test]
    fn small_and_compressed_responses_are_unchanged() {
        let value = value(LARGE_VALUE, Kind::Data);
        let mut response = tonic::Response::new(pb::GetResponse { value, ..Default::default() });
        LargeResponse::mark(&mut response, LARGE_VALUE - 1);
        assert!(response.extensions().get::<LargeResponse>().is_none());
        LargeResponse::mark(&mut response, LARGE_VALUE);
        let large: LargeResponse = response.extensions_mut().remove().unwrap();
        let mut compressed = Response::new(Body::empty());
        compressed.headers_mut().insert(protocol::ENCODING, HeaderValue::from_static("gzip"));
        large.replace_body(&mut compressed);
        assert!(compressed.body().is_end_stream());
    }
}
