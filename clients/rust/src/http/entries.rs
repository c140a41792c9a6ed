//! The content of entries.

use bytes::{BufMut as _, Bytes, BytesMut};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Codec, DecodeError, EncodeError, Encoded};

const DIGEST_CHARACTERS: usize = 22;

/// A cached answer.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The content of an entry.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Answer(Stored),
    /// Answers of this URL must not be cached: requests do not wait for each other.
    Pass,
    /// Answers of this URL depend on these headers: each variant is an entry of its own.
    Vary(Vec<HeaderName>),
}

/// An answer is the length of its head in 4 bytes, the head as JSON, and the body.
pub(super) struct EntryCodec;

/// The headers as text, several values of a name joined; `None` if one is no text.
fn texts(headers: &HeaderMap) -> Option<serde_json::Map<String, Value>> {
    let mut all = serde_json::Map::new();
    for name in headers.keys() {
        all.insert(name.to_string(), joined(headers, name)?.into());
    }
    Some(all)
}

/// Whether all headers are text, which is what an entry keeps.
pub(super) fn is_text(headers: &HeaderMap) -> bool {
    headers.values().all(|value| value.to_str().is_ok())
}

/// The values of a header as one; `None` if one is no text.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().ok());
    values.collect::<Option<Vec<_>>>().map(|values| values.join(", "))
}

impl Codec<Entry> for EntryCodec {
    fn encode(&self, entry: &Entry) -> Result<Encoded, EncodeError> {
        let Stored { status, headers, body } = match entry {
            Entry::Pass => return Ok(Encoded::Json(json!({"kind": "pass"}).to_string())),
            Entry::Vary(names) => {
                let names: Vec<_> = names.iter().map(HeaderName::as_str).collect();
                return Ok(Encoded::Json(json!({"kind": "vary", "names": names}).to_string()));
            }
            Entry::Answer(stored) => stored,
        };
        let headers = texts(headers).ok_or_else(|| EncodeError::new("a header that is no text"))?;
        let head = json!({"status": status.as_u16(), "headers": headers}).to_string();
        let length = u32::try_from(head.len());
        let length = length.map_err(|_| EncodeError::new("headers of more than 4 GiB"))?;
        let mut bytes = BytesMut::with_capacity(4 + head.len() + body.len());
        bytes.put_u32(length);
        bytes.put_slice(head.as_bytes());
        bytes.put_slice(body);
        Ok(Encoded::Data(bytes.freeze()))
    }

    fn decode(&self, encoded: Encoded) -> Result<Entry, DecodeError> {
        let wrong = || DecodeError("not an answer".to_owned());
        let data = match encoded {
            Encoded::Json(json) => return marker(&json).ok_or_else(wrong),
            Encoded::Text(_) => return Err(wrong()),
            Encoded::Data(data) => data,
        };
        answer(data).map(Entry::Answer).ok_or_else(wrong)
    }
}

fn marker(json: &str) -> Option<Entry> {
    let marker: Value = serde_json::from_str(json).ok()?;
    match marker.get("kind")?.as_str()? {
        "pass" => Some(Entry::Pass),
        "vary" => {
            let names = marker.get("names")?.as_array()?.iter();
            let names = names.map(|name| name.as_str()?.parse().ok());
            names.collect::<Option<_>>().map(Entry::Vary)
        }
        _ => None,
    }
}

fn answer(data: Bytes) -> Option<Stored> {
    let length = u32::from_be_bytes(data.get(..4)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(4)?;
    let head: Value = serde_json::from_slice(data.get(4..end)?).ok()?;
    let status = u16::try_from(head.get("status")?.as_u64()?).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.get("headers")?.as_object()? {
        let value = HeaderValue::from_str(value.as_str()?).ok()?;
        headers.insert(name.parse::<HeaderName>().ok()?, value);
    }
    Some(Stored { status: StatusCode::from_u16(status).ok()?, headers, body: data.slice(end..) })
}

/// The `ETag` of a body. It is weak, because what is between may encode the body.
pub(super) fn entity_tag(body: &[u8]) -> Option<HeaderValue> {
    let digest = BASE64URL_NOPAD.encode(&Sha256::digest(body));
    let digest = digest.get(..DIGEST_CHARACTERS)?;
    HeaderValue::from_str(&format!("W/\"{:x}-{digest}\"", body.len())).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        let mut headers = HeaderMap::new();
        headers.append("a", HeaderValue::from_static("1"));
        headers.append("a", HeaderValue::from_static("2"));
        let body = Bytes::from_static(b"body");
        let stored = Stored { status: StatusCode::OK, headers, body: body.clone() };
        let read = EntryCodec.decode(EntryCodec.encode(&Entry::Answer(stored)).unwrap());
        let Ok(Entry::Answer(read)) = read else { panic!("an answer") };
        assert_eq!((read.status, read.headers["a"].to_str().unwrap()), (StatusCode::OK, "1, 2"));
        assert_eq!(read.body, body);
        let vary = Entry::Vary(vec![http::header::ACCEPT]);
        let read = EntryCodec.decode(EntryCodec.encode(&vary).unwrap());
        assert!(matches!(read, Ok(Entry::Vary(names)) if names == [http::header::ACCEPT]));
    }

    #[test]
    fn what_is_no_entry_is_not_decodable() {
        for data in [&b""[..], b"\0\0\0\x05{}", b"\0\0\0\x02{}"] {
            assert!(EntryCodec.decode(Encoded::Data(Bytes::from_static(data))).is_err());
        }
        assert!(EntryCodec.decode(Encoded::Json("{}".to_owned())).is_err());
    }
}
