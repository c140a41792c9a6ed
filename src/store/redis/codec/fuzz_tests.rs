//! Fuzz target of the format of entries.

#![allow(clippy::expect_used)]

use super::*;
use crate::fuzzing::{Input, check};

/// Any bytes are an entry, missing or corrupt, in whatever part is read. What is encoded is decoded
/// again, and a changed value is noticed.
#[test]
fn entry_decoder() {
    check("entry_decoder", |bytes| {
        let mut input = Input::new(bytes);
        if input.byte() & 1 == 0 {
            decodes(input.rest());
        } else {
            round_trips(input);
        }
    });
}

fn decodes(stored: &[u8]) {
    let _ = (times(stored), position_of_entry(stored), is_under(stored, &[0; 40]));
    let (offset, tags) = (value_offset(stored), decode_tags(stored));
    if let Ok(Some(entry)) = decode(Bytes::copy_from_slice(stored)) {
        let offset = offset.expect("an entry has a value");
        assert_eq!(&entry.data[..], &stored[offset..]);
        assert_eq!(tags.as_deref(), Some(&entry.tags[..]));
        assert_eq!(times(stored), Some((entry.created_at, entry.fresh_until)));
    }
}

fn round_trips(mut input: Input<'_>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut millis = || Duration::from_millis(u64::from(input.byte()) << (input.byte() % 40));
    let lifetime = Lifetime {
        ttl: millis(),
        stale_while_revalidate: millis(),
        stale_if_error: millis(),
        revalidation_window: millis(),
    };
    let fetch_time = millis();
    let tags: Vec<String> = (0..input.byte() % 8).map(|_| text(input.short())).collect();
    let source = FetchSource { target: input.byte().into(), headers: u64::MAX };
    let validators =
        crate::model::Validators { etag: Some(text(input.short()).into()), last_modified: None };
    let fetched = FetchMetadata { validators, fetch_time, source: Some(source) };
    let is_fetched = input.byte() & 1 == 1;
    let change = (usize::from(input.byte()), 1 << (input.byte() % 8));
    let entry = NewEntry {
        kind: Kind::from_byte(input.byte()).unwrap_or(Kind::Bytes),
        version: Version(u64::from(input.byte()) << 32),
        data: Bytes::copy_from_slice(input.rest()),
        lifetime,
        tags: tags.into(),
        fetch_metadata: is_fetched.then(|| Arc::new(fetched)),
    };
    let mut stored = encode_staged(&entry);
    stored[0] = POSITIONED_FORMAT;
    let expected = Entry { fresh_until: Timestamp(0), ..Entry::written(&entry, Timestamp(0)) };
    assert_eq!(decode(stored.clone().into()), Ok(Some(expected)));
    let length = entry.data.len();
    if length > 0 {
        let at = stored.len() - 1 - change.0 % length;
        stored[at] ^= change.1;
        assert!(decode(stored.into()).is_err());
    }
}
