//! Converts values and tags.

use bytes::Bytes;

use super::Checked;
use crate::{
    model::{Entry, Kind, MAX_TAG_BYTES, MAX_TAGS, Tags, Violation},
    pb::v1 as pb,
};

/// The value of a request, which is required.
pub(super) fn required_value(value: Option<pb::Value>) -> Checked<(Kind, Bytes)> {
    match value.and_then(|value| value.kind) {
        Some(pb::value::Kind::Data(data)) => Ok((Kind::Bytes, data)),
        Some(pb::value::Kind::Text(text)) => Ok((Kind::Text, utf8("value.text", text)?)),
        Some(pb::value::Kind::Json(json)) => Ok((Kind::Json, utf8("value.json", json)?)),
        None => Err(Violation::new("value", "must be set, with one of data, text and json")),
    }
}

/// The text of a request, which must be UTF-8.
fn utf8(field: &'static str, text: Bytes) -> Checked<Bytes> {
    match std::str::from_utf8(&text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let offset = error.valid_up_to();
            Err(Violation::new(field, format!("is not UTF-8 from byte {offset}")))
        }
    }
}

/// Tags, sorted and without duplicates.
pub(super) fn tags(mut tags: Vec<String>) -> Checked<Tags> {
    if tags.len() > MAX_TAGS {
        let description = format!("has {} elements, the limit is {MAX_TAGS}", tags.len());
        return Err(Violation::over_limit("tags", description, MAX_TAGS));
    }
    for (index, tag) in tags.iter().enumerate() {
        let element = |violation: Violation| Err(violation.within(&format!("tags[{index}]")));
        if tag.is_empty() {
            return element(Violation::new("", "must not be empty"));
        }
        if tag.len() > MAX_TAG_BYTES {
            let description = format!("is {} bytes long, the limit is {MAX_TAG_BYTES}", tag.len());
            return element(Violation::over_limit("", description, MAX_TAG_BYTES));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags.into())
}

/// The value of an entry; `None` for a negative entry.
pub(super) fn entry_value(entry: Entry) -> Option<pb::Value> {
    // Text was UTF-8 when it was stored, but other clients of Redis may have changed it since.
    let is_text = || std::str::from_utf8(&entry.data).is_ok();
    let kind = match entry.kind {
        Kind::Text if is_text() => pb::value::Kind::Text(entry.data),
        Kind::Json if is_text() => pb::value::Kind::Json(entry.data),
        Kind::Bytes | Kind::Text | Kind::Json => pb::value::Kind::Data(entry.data),
        Kind::Negative => return None,
    };
    Some(pb::Value { kind: Some(kind) })
}

/// Size of a value, in bytes.
pub(in crate::rpc) fn value_bytes(value: &pb::Value) -> usize {
    match &value.kind {
        Some(
            pb::value::Kind::Data(data) | pb::value::Kind::Text(data) | pb::value::Kind::Json(data),
        ) => data.len(),
        None => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::{Timestamp, Version};

    fn entry(kind: Kind, data: &'static [u8]) -> Entry {
        Entry {
            kind,
            data: Bytes::from_static(data),
            version: Version(1),
            created_at: Timestamp(0),
            fresh_until: Timestamp(1),
            stale_while_revalidate: std::time::Duration::ZERO,
            stale_if_error: std::time::Duration::ZERO,
            revalidation_window: std::time::Duration::ZERO,
            tags: Vec::new().into(),
            fetch_metadata: None,
        }
    }

    #[test]
    fn value_keeps_its_kind_on_the_way_through_the_store() {
        for (sent, kind) in [
            (pb::value::Kind::Data(Bytes::from_static(b"abc")), Kind::Bytes),
            (pb::value::Kind::Text("abc".into()), Kind::Text),
            (pb::value::Kind::Json("abc".into()), Kind::Json),
        ] {
            let value = pb::Value { kind: Some(sent) };
            assert_eq!(value_bytes(&value), 3);
            assert_eq!(required_value(Some(value.clone())).unwrap(), (kind, "abc".into()));
            assert_eq!(entry_value(entry(kind, b"abc")), Some(value));
        }
        assert_eq!(entry_value(entry(Kind::Negative, b"")), None);
    }

    #[test]
    fn value_is_required() {
        assert_eq!(required_value(None).unwrap_err().field(), "value");
        assert_eq!(required_value(Some(pb::Value { kind: None })).unwrap_err().field(), "value");
    }

    #[test]
    fn text_that_is_not_utf8_is_a_violation() {
        let violation = |kind| required_value(Some(pb::Value { kind: Some(kind) })).unwrap_err();
        let broken = Bytes::from_static(b"ab\xff");
        let text = violation(pb::value::Kind::Text(broken.clone()));
        assert_eq!(text.to_string(), "value.text is not UTF-8 from byte 2");
        assert_eq!(violation(pb::value::Kind::Json(broken)).field(), "value.json");
    }

    #[test]
    fn text_that_is_no_longer_utf8_is_returned_as_bytes() {
        for kind in [Kind::Text, Kind::Json] {
            let data = pb::value::Kind::Data(Bytes::from_static(b"\xff"));
            assert_eq!(entry_value(entry(kind, b"\xff")), Some(pb::Value { kind: Some(data) }));
        }
    }

    #[test]
    fn tags_are_sorted_bounded_and_named_when_invalid() {
        let sorted = tags(["b", "a", "b"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(*sorted, ["a".to_owned(), "b".to_owned()]);
        assert_eq!(tags(vec!["t".to_owned(); 33]).unwrap_err().limit(), Some(32));
        assert_eq!(tags(vec!["a".to_owned(), String::new()]).unwrap_err().field(), "tags[1]");
        let violation = tags(vec!["t".repeat(129)]).unwrap_err();
        assert_eq!((violation.field(), violation.limit()), ("tags[0]", Some(128)));
    }
}
