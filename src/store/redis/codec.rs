//! The format of entries in Redis.
//!
//! ```text
//! offset  size
//!      0     1  format, 2; or 1, without checksums
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
//!                 2  ETag, or the opaque tag of a gRPC origin
//!                 3  Last-Modified
//!                 4  duration of the fetch, milliseconds (8)
//!                 5  revalidation window, milliseconds (8)
//!                 6  checksum of the extensions before it (4)
//!                 7  checksum of the value, always the last extension (8)
//!                 8  copy of kind, flags and value, of a counter
//!                 9  hashes of the origin's URL and of its headers (8 + 8)
//!   61+n        value
//! ```
//!
//! Numbers are big-endian. The scripts write the part before the version, because only they know
//! the generation and the server's time; they use the same offsets. An entry of another format or
//! with unknown flags counts as missing, so that replicas of two releases can share one Redis.
//!
//! The checksums are XXH3, with the version as the seed, and for the value the kind as well.
//! Scripts cannot compute them: they keep that of a value that they keep, and write a copy of a
//! counter instead. Times and windows, which scripts rewrite, are not covered; the expiry of the
//! key bounds what a wrong time can do. Entries of format 1 are accepted as they are.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::model::{
    Entry, FetchMetadata, FetchSource, Kind, Lifetime, NewEntry, Tags, Timestamp, Version,
    millis_ceil,
};

/// Size of a generation id.
pub(super) const GENERATION_BYTES: usize = 16;
const FORMAT: u8 = 2;
/// The format of earlier releases, without checksums.
const UNCHECKED_FORMAT: u8 = 1;
/// Size of the part before the extensions.
pub(super) const HEADER_BYTES: usize = 61;
const CREATED_AT: usize = 17;
const FRESH_UNTIL_AT: usize = 25;
const VERSION_AT: usize = 33;
const WINDOWS_AT: usize = 41;
const KIND_AT: usize = 57;
const FLAGS_AT: usize = 58;
const LENGTH_AT: usize = 59;
const TAG: u8 = 1;
const ETAG: u8 = 2;
const LAST_MODIFIED: u8 = 3;
const FETCH_TIME: u8 = 4;
const REVALIDATION_WINDOW: u8 = 5;
const EXTENSIONS_CHECKSUM: u8 = 6;
const VALUE_CHECKSUM: u8 = 7;
const COPY: u8 = 8;
const SOURCE: u8 = 9;
/// Bytes of the checksum of a value with its type and length.
const VALUE_CHECKSUM_BYTES: usize = 11;

/// An entry that is not what was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CorruptEntry {
    /// Its first bytes, which identify the write.
    pub(super) header: Box<[u8]>,
}

/// Encodes the part of an entry from its version on.
pub(super) fn encode_tail(entry: &NewEntry) -> Vec<u8> {
    encode_after(0, entry)
}

/// Encodes an entry for staging, with zeros in place of the part that the script writes.
pub(super) fn encode_staged(entry: &NewEntry) -> Vec<u8> {
    encode_after(VERSION_AT, entry)
}

fn encode_after(padding: usize, entry: &NewEntry) -> Vec<u8> {
    let mut tail = Vec::with_capacity(padding + 80 + entry.tags.len() * 16 + entry.data.len());
    tail.resize(padding, 0);
    tail.put_u64(entry.version.0);
    tail.extend_from_slice(&encode_windows(&entry.lifetime));
    tail.extend_from_slice(&kind_and_flags(entry.kind));
    let start = tail.len();
    put_extensions(
        &mut tail,
        entry.version,
        &entry.tags,
        entry.fetch_metadata.as_deref(),
        entry.lifetime.revalidation_window,
    );
    let checksum = value_checksum(entry.version, entry.kind, &entry.data);
    put_extension(&mut tail, start, VALUE_CHECKSUM, &checksum.to_be_bytes());
    put_length(&mut tail, start);
    tail.put_slice(&entry.data);
    tail
}

/// Encodes the extensions, without their length and without the checksum of the value.
pub(super) fn encode_extensions(
    version: Version,
    tags: &Tags,
    fetch_metadata: Option<&FetchMetadata>,
    revalidation_window: Duration,
) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(64);
    put_extensions(&mut extensions, version, tags, fetch_metadata, revalidation_window);
    extensions.split_off(2)
}

fn value_checksum(version: Version, kind: Kind, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, version.0 ^ kind as u64)
}

fn extensions_checksum(version: Version, extensions: &[u8]) -> [u8; 4] {
    let [.., a, b, c, d] = xxh3_64_with_seed(extensions, version.0).to_be_bytes();
    [a, b, c, d]
}

/// Omits extensions that do not fit; the limits on tags and validators keep them far below that.
fn put_extensions(
    out: &mut Vec<u8>,
    version: Version,
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
        if let Some(FetchSource { target, headers }) = fetch_metadata.source {
            let source = [target.to_be_bytes(), headers.to_be_bytes()];
            put_extension(out, start, SOURCE, source.as_flattened());
        }
    }
    if !revalidation_window.is_zero() {
        put_extension(
            out,
            start,
            REVALIDATION_WINDOW,
            &millis_ceil(revalidation_window).to_be_bytes(),
        );
    }
    if out.len() > start + 2 {
        let checksum = extensions_checksum(version, &out[start + 2..]);
        put_extension(out, start, EXTENSIONS_CHECKSUM, &checksum);
    }
}

/// Writes the length of the extensions that begin at `start` with the place for it.
fn put_length(out: &mut [u8], start: usize) {
    let length = u16::try_from(out.len() - start - 2).unwrap_or(0);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

fn put_extension(out: &mut Vec<u8>, start: usize, kind: u8, content: &[u8]) {
    let Ok(length) = u16::try_from(content.len()) else { return };
    let is_checksum = matches!(kind, EXTENSIONS_CHECKSUM | VALUE_CHECKSUM);
    let reserved = if is_checksum { 0 } else { 7 + VALUE_CHECKSUM_BYTES };
    if out.len() - start + 3 + content.len() + reserved <= usize::from(u16::MAX) {
        out.put_u8(kind);
        out.put_u16(length);
        out.put_slice(content);
    }
}

/// Encodes the stale windows.
pub(super) fn encode_windows(lifetime: &Lifetime) -> [u8; 16] {
    let mut windows = [0; 16];
    windows[..8].copy_from_slice(&millis_ceil(lifetime.stale_while_revalidate).to_be_bytes());
    windows[8..].copy_from_slice(&millis_ceil(lifetime.stale_if_error).to_be_bytes());
    windows
}

/// Encodes kind and flags.
pub(super) fn kind_and_flags(kind: Kind) -> [u8; 2] {
    [kind as u8, 0]
}

/// Whether an entry, of which at least the header is given, was written under a generation.
pub(super) fn is_of_generation(stored: &[u8], generation: &[u8]) -> bool {
    stored.len() >= HEADER_BYTES
        && matches!(stored[0], FORMAT | UNCHECKED_FORMAT)
        && stored[1..CREATED_AT] == *generation
        && stored[FLAGS_AT] == 0
}

/// Decodes an entry; none if it was written under another generation, or is of a format or kind
/// that this release does not know.
pub(super) fn decode(mut stored: Bytes, generation: &[u8]) -> Result<Option<Entry>, CorruptEntry> {
    if !is_of_generation(&stored, generation) {
        return Ok(None);
    }
    let Some(kind) = Kind::from_byte(stored[KIND_AT]) else { return Ok(None) };
    let version = Version(u64_at(&stored, VERSION_AT));
    let value_at = HEADER_BYTES + usize::from((&stored[LENGTH_AT..]).get_u16());
    let extensions = stored
        .get(HEADER_BYTES..value_at)
        .and_then(|extensions| Extensions::decode(extensions, version, kind, &stored[value_at..]));
    // Without a checksum, a wrong length would make extensions a part of the value.
    let is_valid = |found: &Extensions| found.is_value_checked || stored[0] == UNCHECKED_FORMAT;
    let Some(extensions) = extensions.filter(is_valid) else {
        return Err(CorruptEntry::new(&stored));
    };
    let mut windows = &stored[WINDOWS_AT..];
    Ok(Some(Entry {
        kind,
        version,
        created_at: Timestamp(u64_at(&stored, CREATED_AT)),
        fresh_until: Timestamp(u64_at(&stored, FRESH_UNTIL_AT)),
        stale_while_revalidate: Duration::from_millis(windows.get_u64()),
        stale_if_error: Duration::from_millis(windows.get_u64()),
        revalidation_window: extensions.revalidation_window,
        tags: extensions.tags.into(),
        fetch_metadata: extensions.fetch_metadata.map(Arc::new),
        data: {
            stored.advance(value_at);
            stored
        },
    }))
}

/// Reads a number of the header.
fn u64_at(stored: &[u8], offset: usize) -> u64 {
    (&stored[offset..]).get_u64()
}

impl CorruptEntry {
    #[cold]
    fn new(stored: &[u8]) -> Self {
        Self { header: stored[..HEADER_BYTES].into() }
    }
}

#[derive(Default)]
struct Extensions {
    tags: Vec<String>,
    fetch_metadata: Option<FetchMetadata>,
    revalidation_window: Duration,
    is_value_checked: bool,
}

impl Extensions {
    /// Decodes the extensions of an entry, and checks them and its value. None if they are not what
    /// was written.
    fn decode(stored: &[u8], version: Version, kind: Kind, value: &[u8]) -> Option<Self> {
        let mut extensions = Self::default();
        let mut rest = stored;
        while !rest.is_empty() {
            let before = stored.len() - rest.len();
            let (header, contents) = rest.split_at_checked(3)?;
            let length = usize::from((&header[1..]).get_u16());
            let (content, next) = contents.split_at_checked(length)?;
            rest = next;
            let is_valid = match header[0] {
                EXTENSIONS_CHECKSUM => content == extensions_checksum(version, &stored[..before]),
                VALUE_CHECKSUM => content == value_checksum(version, kind, value).to_be_bytes(),
                COPY => content.strip_prefix(&kind_and_flags(kind)) == Some(value),
                other => extensions.add(other, content).is_some(),
            };
            if !is_valid {
                return None;
            }
            extensions.is_value_checked |= matches!(header[0], VALUE_CHECKSUM | COPY);
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
            REVALIDATION_WINDOW => self.revalidation_window = millis()?,
            SOURCE => {
                let (mut target, mut headers) = content.split_at_checked(8)?;
                let source = FetchSource {
                    target: target.try_get_u64().ok()?,
                    headers: headers.try_get_u64().ok()?,
                };
                self.fetch_metadata().source = Some(source);
            }
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

    fn set_entry() -> NewEntry {
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

    fn fetched_entry() -> NewEntry {
        let validators =
            Validators { etag: Some("\"e1\"".into()), last_modified: Some("yesterday".into()) };
        let mut entry = set_entry();
        entry.lifetime.revalidation_window = Duration::from_secs(3);
        entry.fetch_metadata = Some(Arc::new(FetchMetadata {
            validators,
            fetch_time: Duration::from_millis(250),
            source: Some(FetchSource { target: 1, headers: u64::MAX }),
        }));
        entry
    }

    /// Does the part of the scripts.
    fn store(entry: &NewEntry, now: Timestamp) -> Vec<u8> {
        let mut stored = vec![FORMAT];
        stored.extend_from_slice(&GENERATION);
        stored.put_u64(now.0);
        stored.put_u64(now.after(entry.lifetime.ttl).0);
        stored.extend_from_slice(&encode_tail(entry));
        stored
    }

    /// The next release must be able to decode the entries of this one.
    #[test]
    fn stored_bytes_never_change() {
        let expected = [
            "02",                               // format
            "30313233343536373839616263646566", // generation
            "0000010203040506",                 // created_at
            "000001020304ef66",                 // fresh_until
            "1122334455667788",                 // version
            "00000000000003e8",                 // stale_while_revalidate
            "00000000000007d0",                 // stale_if_error
            "0100",                             // kind and flags
            "001b",                             // length of the extensions
            "01000161",                         // tag
            "0100026263",                       // tag
            "060004c6ca3e15",                   // checksum of the extensions
            "070008a8ef38bc5a1a992c",           // checksum of the value
            "76616c7565",                       // value
        ];
        assert_eq!(
            HEXLOWER.encode(&store(&set_entry(), Timestamp(0x0102_0304_0506))),
            expected.concat()
        );
    }

    #[test]
    fn stored_bytes_of_a_fetched_value_never_change() {
        let expected = [
            "0057",                     // length of the extensions
            "01000161",                 // tag
            "0100026263",               // tag
            "02000422653122",           // etag
            "030009796573746572646179", // last modified
            "04000800000000000000fa",   // fetch time
            "0900100000000000000001",   // source: target
            "ffffffffffffffff",         // source: headers
            "0500080000000000000bb8",   // revalidation window
            "06000406c1573c",           // checksum of the extensions
            "070008a8ef38bc5a1a992c",   // checksum of the value
            "76616c7565",               // value
        ];
        assert_eq!(
            HEXLOWER.encode(&store(&fetched_entry(), Timestamp(1))[59..]),
            expected.concat()
        );
    }

    #[test]
    fn entries_round_trip() {
        let now = Timestamp(1_700_000_000_000);
        for new in [set_entry(), fetched_entry()] {
            let entry = decode(store(&new, now).into(), &GENERATION);
            assert_eq!(entry, Ok(Some(Entry::written(&new, now))));
        }
    }

    #[test]
    fn extensions_that_exceed_the_length_field_are_omitted() {
        let tags: Vec<String> = (0..3).map(|_| "t".repeat(30_000)).collect();
        let entry = decode(
            store(&NewEntry { tags: tags.into(), ..set_entry() }, Timestamp(1)).into(),
            &GENERATION,
        )
        .unwrap()
        .unwrap();
        assert_eq!((entry.tags.len(), &entry.data[..]), (2, &b"value"[..]));
    }

    #[test]
    fn other_generations_formats_kinds_and_flags_count_as_missing() {
        let stored = store(&set_entry(), Timestamp(1));
        assert_eq!(decode(stored.clone().into(), b"another-generati"), Ok(None));
        for (offset, byte) in [(0, 3), (57, 9), (58, 1)] {
            let mut other = stored.clone();
            other[offset] = byte;
            assert_eq!(decode(other.into(), &GENERATION), Ok(None), "offset {offset}");
        }
    }

    /// An entry with these extensions.
    fn with_extensions(format: u8, extensions: &[u8]) -> Vec<u8> {
        let mut stored = store(&NewEntry { tags: Vec::new().into(), ..set_entry() }, Timestamp(1));
        stored[0] = format;
        stored[LENGTH_AT..HEADER_BYTES]
            .copy_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
        let checksum = HEADER_BYTES..HEADER_BYTES + VALUE_CHECKSUM_BYTES;
        stored.splice(checksum, extensions.iter().copied());
        stored
    }

    #[test]
    fn unknown_extensions_are_skipped() {
        let stored = with_extensions(UNCHECKED_FORMAT, &[99, 0, 4, 1, 2, 3, 4]);
        let entry = decode(stored.into(), &GENERATION).unwrap().unwrap();
        assert_eq!((entry.tags.len(), &entry.data[..]), (0, &b"value"[..]));
    }

    #[test]
    fn entries_without_checksum_are_accepted_in_the_old_format_only() {
        let mut stored = with_extensions(UNCHECKED_FORMAT, &[1, 0, 1, b'a']);
        assert!(decode(with_extensions(FORMAT, &[1, 0, 1, b'a']).into(), &GENERATION).is_err());
        let last = stored.len() - 1;
        stored[last] ^= 1;
        let entry = decode(stored.into(), &GENERATION).unwrap().unwrap();
        assert_eq!((&entry.tags[..], &entry.data[..]), (&["a".to_owned()][..], &b"valud"[..]));
    }

    #[test]
    fn changed_bytes_are_noticed_unless_they_are_times() {
        for new in [set_entry(), fetched_entry()] {
            let stored = store(&new, Timestamp(1));
            let expected = decode(stored.clone().into(), &GENERATION).unwrap().unwrap();
            for (offset, bit) in (0..stored.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut changed = stored.clone();
                changed[offset] ^= 1 << bit;
                let decoded = decode(changed.into(), &GENERATION);
                let is_time = (CREATED_AT..VERSION_AT).contains(&offset)
                    || (WINDOWS_AT..KIND_AT).contains(&offset);
                match decoded {
                    Err(_) | Ok(None) => assert!(!is_time),
                    Ok(Some(entry)) => assert!(is_time || entry == expected, "at {offset}"),
                }
            }
        }
    }

    #[test]
    fn corrupt_entry_has_the_header() {
        let mut stored = store(&set_entry(), Timestamp(1));
        let last = stored.len() - 1;
        stored[last] ^= 1;
        let header = stored[..HEADER_BYTES].into();
        assert_eq!(decode(stored.into(), &GENERATION), Err(CorruptEntry { header }));
    }

    #[test]
    fn counter_is_compared_with_its_copy() {
        let copy = |text: &[u8]| [&[COPY, 0, 2 + 5, 1, 0][..], text].concat();
        let decode = |text| decode(with_extensions(FORMAT, &copy(text)).into(), &GENERATION);
        assert!(decode(b"value").unwrap().is_some());
        assert!(decode(b"valud").is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(
            mut stored in proptest::collection::vec(any::<u8>(), 0..200),
            valid in any::<bool>(),
        ) {
            if valid && stored.len() > 17 {
                stored[0] = FORMAT;
                stored[1..17].copy_from_slice(&GENERATION);
            }
            let _ = decode(stored.into(), &GENERATION);
        }
    }
}
