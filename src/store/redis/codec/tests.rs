#![allow(clippy::unwrap_used)]

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::{model::Validators, store::redis::marker};

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

/// Decodes an entry, if it is under the marker.
fn decode_under(stored: Bytes, marker: &[u8]) -> Result<Option<Entry>, CorruptEntry> {
    if is_under(&stored, marker) { decode(stored) } else { Ok(None) }
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
    assert_eq!(HEXLOWER.encode(&store(&fetched_entry(), Timestamp(1))[59..]), expected.concat());
}

#[test]
fn entries_round_trip() {
    let now = Timestamp(1_700_000_000_000);
    for new in [set_entry(), fetched_entry()] {
        let entry = decode_under(store(&new, now).into(), &GENERATION);
        assert_eq!(entry, Ok(Some(Entry::written(&new, now))));
    }
}

#[test]
fn extensions_that_exceed_the_length_field_are_omitted() {
    let tags: Vec<String> = (0..3).map(|_| "t".repeat(30_000)).collect();
    let entry = decode_under(
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
    assert_eq!(decode_under(stored.clone().into(), b"another-generati"), Ok(None));
    for (offset, byte) in [(0, 3), (57, 9), (58, 1)] {
        let mut other = stored.clone();
        other[offset] = byte;
        assert_eq!(decode_under(other.into(), &GENERATION), Ok(None), "offset {offset}");
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
    let entry = decode_under(stored.into(), &GENERATION).unwrap().unwrap();
    assert_eq!((entry.tags.len(), &entry.data[..]), (0, &b"value"[..]));
}

#[test]
fn entries_without_checksum_are_accepted_in_the_old_format_only() {
    let mut stored = with_extensions(UNCHECKED_FORMAT, &[1, 0, 1, b'a']);
    assert!(decode_under(with_extensions(FORMAT, &[1, 0, 1, b'a']).into(), &GENERATION).is_err());
    let last = stored.len() - 1;
    stored[last] ^= 1;
    let entry = decode_under(stored.into(), &GENERATION).unwrap().unwrap();
    assert_eq!((&entry.tags[..], &entry.data[..]), (&["a".to_owned()][..], &b"valud"[..]));
}

#[test]
fn changed_bytes_are_noticed_unless_they_are_times() {
    for new in [set_entry(), fetched_entry()] {
        let stored = store(&new, Timestamp(1));
        let expected = decode_under(stored.clone().into(), &GENERATION).unwrap().unwrap();
        for (offset, bit) in (0..stored.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut changed = stored.clone();
            changed[offset] ^= 1 << bit;
            let decoded = decode_under(changed.into(), &GENERATION);
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
    assert_eq!(decode_under(stored.into(), &GENERATION), Err(CorruptEntry { header }));
}

#[test]
fn counter_is_compared_with_its_copy() {
    let copy = |text: &[u8]| [&[COPY, 0, 2 + 5, 1, 0][..], text].concat();
    let decode = |text| decode_under(with_extensions(FORMAT, &copy(text)).into(), &GENERATION);
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
        let _ = decode_under(stored.into(), &GENERATION);
    }
}

/// An entry in the format with a position.
fn positioned(position: Position, entry: &NewEntry) -> Vec<u8> {
    let mut stored = encode_staged(entry);
    stored[0] = POSITIONED_FORMAT;
    stored[1..17].copy_from_slice(&GENERATION);
    stored[17..41].copy_from_slice(&position.encode());
    stored[41..49].copy_from_slice(&5_000_u64.to_be_bytes());
    stored[49..57].copy_from_slice(&9_000_u64.to_be_bytes());
    stored
}

#[test]
fn entries_with_a_position_decode_as_those_without() {
    for position in [Position::default(), Position { sequence: 7, id: [7; 16] }] {
        let stored = positioned(position, &fetched_entry());
        assert_eq!(position_of_entry(&stored), position);
        assert_eq!(decode_tags(&stored).unwrap(), ["a", "bc"]);
        let marker = marker::moved(&GENERATION, position);
        let entry = decode_under(stored.clone().into(), &marker).unwrap().unwrap();
        let expected = Entry::written(&fetched_entry(), Timestamp(5_000));
        assert_eq!(entry, Entry { fresh_until: Timestamp(9_000), ..expected });
        let other = marker::moved(&GENERATION, Position { sequence: 8, id: [7; 16] });
        assert!(!is_under(&stored, &other) && is_in_generation(&stored, &other));
        let mut corrupt = stored;
        *corrupt.last_mut().unwrap() ^= 1;
        let header = corrupt[..HEADER_BYTES + POSITION_BYTES].into();
        assert_eq!(decode(corrupt.into()), Err(CorruptEntry { header }));
    }
}

#[test]
fn an_entry_without_a_position_is_as_old_as_the_first_ban() {
    let stored = store(&set_entry(), Timestamp(1));
    assert_eq!(position_of_entry(&stored), Position::default());
    assert!(is_under(&stored, &GENERATION));
    let marker = marker::moved(&GENERATION, Position { sequence: 1, id: [1; 16] });
    assert!(!is_under(&stored, &marker) && is_in_generation(&stored, &marker));
    for marker in [&b""[..], b"short", b"another-generati"] {
        assert!(!is_in_generation(&stored, marker) && !is_under(&stored, marker));
    }
}
