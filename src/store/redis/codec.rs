//! Entries as they are stored in Redis.
//!
//! ```text
//! offset  size
//!      0     1  format, 1
//!      1    16  generation
//!     17     8  created_at, milliseconds since the Unix epoch
//!     25     8  fresh_until, likewise
//!     33     8  version
//!     41     8  stale_while_revalidate, milliseconds
//!     49     8  stale_if_error, milliseconds
//!     57     1  kind
//!     58     1  flags, 0
//!     59     2  length of the extensions
//!     61     n  extensions: type (1), length (2), content; unknown types are skipped
//!                 1  a tag
//!                 2  ETag, or what a gRPC origin chose in its place
//!                 3  Last-Modified
//!                 4  time that the fetch took, milliseconds (8)
//!                 5  time that the entry is kept after its stale windows, milliseconds (8)
//!   61+n        value
//! ```
//!
//! Numbers are big-endian. The scripts write what comes before the version, because only they know the generation and the
//! server's time; they know these offsets too. An entry of another format or with unknown flags is treated as missing, so
//! that replicas of two releases can share one Redis.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes};

use crate::model::{
    Entry, FetchMetadata, Kind, Lifetime, NewEntry, Tags, Timestamp, Version, millis_ceil,
};

/// Size of a generation id.
pub(super) const GENERATION_BYTES: usize = 16;
const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 61;
const VERSION_AT: usize = 33;
const TAG: u8 = 1;
const ETAG: u8 = 2;
const LAST_MODIFIED: u8 = 3;
const FETCH_TIME: u8 = 4;
const KEEP: u8 = 5;

/// The part of an entry that follows `fresh_until`.
pub(super) fn encode_tail(draft: &NewEntry) -> Vec<u8> {
    encode_after(0, draft)
}

/// An entry with room for what the scripts write before the version.
pub(super) fn encode_aside(draft: &NewEntry) -> Vec<u8> {
    encode_after(VERSION_AT, draft)
}

fn encode_after(room: usize, draft: &NewEntry) -> Vec<u8> {
    let mut tail = Vec::with_capacity(room + 64 + draft.tags.len() * 16 + draft.data.len());
    tail.resize(room, 0);
    tail.put_u64(draft.version.0);
    tail.extend_from_slice(&encode_windows(&draft.lifetime));
    tail.extend_from_slice(&kind_and_flags(draft.kind));
    put_extensions(
        &mut tail,
        &draft.tags,
        draft.fetch_metadata.as_deref(),
        draft.lifetime.revalidation_window,
    );
    tail.put_slice(&draft.data);
    tail
}

/// The extensions as stored, with their length in front.
pub(super) fn encode_extensions(
    tags: &Tags,
    fetch_metadata: Option<&FetchMetadata>,
    revalidation_window: Duration,
) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(64);
    put_extensions(&mut extensions, tags, fetch_metadata, revalidation_window);
    extensions
}

/// What does not fit is left out; the limits on tags and validators keep them far below.
fn put_extensions(
    out: &mut Vec<u8>,
    tags: &Tags,
    fetch_metadata: Option<&FetchMetadata>,
    revalidation_window: Duration,
) {
    let start = out.len();
    out.put_u16(0);
    for tag in tags.iter() {
        put_extension(out, start, TAG, tag.as_bytes());
    }
    if let Some(fetch_metadata) = fetch_metadata {
        let validators = &fetch_metadata.validators;
        for (kind, validator) in
            [(ETAG, &validators.etag), (LAST_MODIFIED, &validators.last_modified)]
        {
            if let Some(validator) = validator {
                put_extension(out, start, kind, validator.as_bytes());
            }
        }
        put_extension(
            out,
            start,
            FETCH_TIME,
            &millis_ceil(fetch_metadata.fetch_time).to_be_bytes(),
        );
    }
    if !revalidation_window.is_zero() {
        put_extension(out, start, KEEP, &millis_ceil(revalidation_window).to_be_bytes());
    }
    let length = u16::try_from(out.len() - start - 2).unwrap_or(0);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

fn put_extension(out: &mut Vec<u8>, start: usize, kind: u8, content: &[u8]) {
    let Ok(length) = u16::try_from(content.len()) else { return };
    if out.len() - start + 3 + content.len() <= usize::from(u16::MAX) {
        out.put_u8(kind);
        out.put_u16(length);
        out.put_slice(content);
    }
}

/// The stale windows as stored.
pub(super) fn encode_windows(lifetime: &Lifetime) -> [u8; 16] {
    let mut windows = [0; 16];
    windows[..8].copy_from_slice(&millis_ceil(lifetime.stale_while_revalidate).to_be_bytes());
    windows[8..].copy_from_slice(&millis_ceil(lifetime.stale_if_error).to_be_bytes());
    windows
}

/// Kind and flags as stored.
pub(super) fn kind_and_flags(kind: Kind) -> [u8; 2] {
    [kind as u8, 0]
}

/// Reads an entry that was written under `generation`; none if it was not, or is not an entry that this release knows.
pub(super) fn decode(stored: Bytes, generation: &[u8]) -> Option<Entry> {
    let mut rest = stored;
    if rest.len() < HEADER_BYTES
        || rest.get_u8() != FORMAT
        || rest.split_to(GENERATION_BYTES) != generation
    {
        return None;
    }
    let created_at = Timestamp(rest.get_u64());
    let fresh_until = Timestamp(rest.get_u64());
    let version = Version(rest.get_u64());
    let stale_while_revalidate = Duration::from_millis(rest.get_u64());
    let stale_if_error = Duration::from_millis(rest.get_u64());
    let kind = Kind::from_byte(rest.get_u8())?;
    if rest.get_u8() != 0 {
        return None;
    }
    let extensions = usize::from(rest.get_u16());
    if rest.len() < extensions {
        return None;
    }
    let extensions = Extensions::decode(rest.split_to(extensions))?;
    Some(Entry {
        kind,
        data: rest,
        version,
        created_at,
        fresh_until,
        stale_while_revalidate,
        stale_if_error,
        revalidation_window: extensions.revalidation_window,
        tags: extensions.tags.into(),
        fetch_metadata: extensions.fetch_metadata.map(Arc::new),
    })
}

#[derive(Default)]
struct Extensions {
    tags: Vec<String>,
    fetch_metadata: Option<FetchMetadata>,
    revalidation_window: Duration,
}

impl Extensions {
    fn decode(mut stored: Bytes) -> Option<Self> {
        let mut extensions = Self::default();
        while stored.has_remaining() {
            if stored.len() < 3 {
                return None;
            }
            let (kind, length) = (stored.get_u8(), usize::from(stored.get_u16()));
            if stored.len() < length {
                return None;
            }
            extensions.add(kind, &stored.split_to(length))?;
        }
        Some(extensions)
    }

    fn add(&mut self, kind: u8, content: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(content).ok();
        let millis = || {
            content.try_into().ok().map(|bytes| Duration::from_millis(u64::from_be_bytes(bytes)))
        };
        match kind {
            TAG => self.tags.push(text()?.to_owned()),
            ETAG => self.fetch_metadata().validators.etag = Some(text()?.into()),
            LAST_MODIFIED => self.fetch_metadata().validators.last_modified = Some(text()?.into()),
            FETCH_TIME => self.fetch_metadata().fetch_time = millis()?,
            KEEP => self.revalidation_window = millis()?,
            _ => {}
        }
        Some(())
    }

    fn fetch_metadata(&mut self) -> &mut FetchMetadata {
        self.fetch_metadata.get_or_insert_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;
    use crate::model::Validators;

    const GENERATION: [u8; 16] = *b"0123456789abcdef";

    fn draft() -> NewEntry {
        NewEntry {
            kind: Kind::Text,
            data: Bytes::from_static(b"value"),
            version: Version(0x1122_3344_5566_7788),
            lifetime: Lifetime {
                ttl: Duration::from_secs(60),
                stale_while_revalidate: Duration::from_secs(1),
                stale_if_error: Duration::from_secs(2),
                revalidation_window: Duration::ZERO,
            },
            tags: vec!["a".to_owned(), "bc".to_owned()].into(),
            fetch_metadata: None,
        }
    }

    fn fetched() -> NewEntry {
        let validators =
            Validators { etag: Some("\"e1\"".into()), last_modified: Some("yesterday".into()) };
        let mut draft = draft();
        draft.lifetime.revalidation_window = Duration::from_secs(3);
        draft.fetch_metadata =
            Some(Arc::new(FetchMetadata { validators, fetch_time: Duration::from_millis(250) }));
        draft
    }

    /// What the scripts do.
    fn store(draft: &NewEntry, now: Timestamp) -> Vec<u8> {
        let mut stored = vec![FORMAT];
        stored.extend_from_slice(&GENERATION);
        stored.put_u64(now.0);
        stored.put_u64(now.after(draft.lifetime.ttl).0);
        stored.extend_from_slice(&encode_tail(draft));
        stored
    }

    /// The next release must be able to read what this one wrote.
    #[test]
    fn stored_bytes_never_change() {
        let expected = [
            "01",                               // format
            "30313233343536373839616263646566", // generation
            "0000010203040506",                 // created_at
            "000001020304ef66",                 // fresh_until
            "1122334455667788",                 // version
            "00000000000003e8",                 // stale_while_revalidate
            "00000000000007d0",                 // stale_if_error
            "0100",                             // kind and flags
            "0009",                             // length of the extensions
            "01000161",                         // tag
            "0100026263",                       // tag
            "76616c7565",                       // value
        ];
        assert_eq!(
            HEXLOWER.encode(&store(&draft(), Timestamp(0x0102_0304_0506))),
            expected.concat()
        );
    }

    #[test]
    fn stored_bytes_of_a_fetched_value_never_change() {
        let expected = [
            "0032",                     // length of the extensions
            "01000161",                 // tag
            "0100026263",               // tag
            "02000422653122",           // etag
            "030009796573746572646179", // last modified
            "04000800000000000000fa",   // fetch time
            "0500080000000000000bb8",   // keep
            "76616c7565",               // value
        ];
        assert_eq!(HEXLOWER.encode(&store(&fetched(), Timestamp(1))[59..]), expected.concat());
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let now = Timestamp(1_700_000_000_000);
        for draft in [draft(), fetched()] {
            let entry = decode(store(&draft, now).into(), &GENERATION).unwrap();
            assert_eq!(entry, Entry::written(&draft, now));
        }
    }

    #[test]
    fn extensions_beyond_what_the_format_holds_are_left_out() {
        let tags: Vec<String> = (0..3).map(|_| "t".repeat(30_000)).collect();
        let entry = decode(
            store(&NewEntry { tags: tags.into(), ..draft() }, Timestamp(1)).into(),
            &GENERATION,
        )
        .unwrap();
        assert_eq!((entry.tags.len(), &entry.data[..]), (2, &b"value"[..]));
    }

    #[test]
    fn an_entry_of_another_generation_format_or_with_unknown_flags_is_missing() {
        let stored = store(&draft(), Timestamp(1));
        assert_eq!(decode(stored.clone().into(), b"another-generati"), None);
        for (offset, byte) in [(0, 2), (57, 9), (58, 1)] {
            let mut other = stored.clone();
            other[offset] = byte;
            assert_eq!(decode(other.into(), &GENERATION), None, "offset {offset}");
        }
    }

    #[test]
    fn unknown_extensions_are_skipped() {
        let mut stored = store(&NewEntry { tags: Vec::new().into(), ..draft() }, Timestamp(1));
        stored[59..61].copy_from_slice(&7u16.to_be_bytes());
        stored.splice(61..61, [9, 0, 4, 1, 2, 3, 4]);
        let entry = decode(stored.into(), &GENERATION).unwrap();
        assert_eq!((entry.tags.len(), &entry.data[..]), (0, &b"value"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut stored in proptest::collection::vec(any::<u8>(), 0..200), valid in any::<bool>()) {
            if valid && stored.len() > 17 {
                stored[0] = FORMAT;
                stored[1..17].copy_from_slice(&GENERATION);
            }
            let _ = decode(stored.into(), &GENERATION);
        }
    }
}
