//! The format of entries in Redis.
//!
//! ```text
//! offset  size
//!      0     1  format, 2; or 1, without checksums; or 3, with a position
//!      1    16  generation
//!    [17    24  position in the log of bans, in format 3; all later offsets are larger by 24]
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
//! Numbers are big-endian. The scripts write the part before the version, because only they have
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

use super::marker::{GENERATION_BYTES, POSITION_BYTES, Position};
use crate::model::{
    Entry, FetchMetadata, FetchSource, Kind, Lifetime, NewEntry, Tags, Timestamp, Version,
    millis_ceil,
};

const FORMAT: u8 = 2;
/// The format of an entry with a position in the log of bans.
const POSITIONED_FORMAT: u8 = 3;
/// The format of earlier releases, without checksums.
const UNCHECKED_FORMAT: u8 = 1;
/// Size of the part before the extensions.
const HEADER_BYTES: usize = 61;
/// Size of the longest header.
pub(super) const MAX_HEADER_BYTES: usize = HEADER_BYTES + POSITION_BYTES;
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

/// Encodes an entry for staging, with zeros in place of the part that the script writes. It always
/// has room for a position.
pub(super) fn encode_staged(entry: &NewEntry) -> Vec<u8> {
    encode_after(VERSION_AT + POSITION_BYTES, entry)
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

/// Whether an entry was written under this marker: in the same generation, and after the same bans.
pub(super) fn is_under(stored: &[u8], marker: &[u8]) -> bool {
    is_in_generation(stored, marker)
        && position_of_entry(stored) == marker.get(GENERATION_BYTES..).unwrap_or_default().into()
}

/// Whether an entry was written in the generation of this marker.
pub(super) fn is_in_generation(stored: &[u8], marker: &[u8]) -> bool {
    let generation = marker.get(..GENERATION_BYTES);
    generation.is_some() && stored.get(1..CREATED_AT) == generation
}

/// The position of an entry in the log of bans at the time of its write.
pub(super) fn position_of_entry(stored: &[u8]) -> Position {
    match stored {
        [POSITIONED_FORMAT, rest @ ..] => {
            rest.get(GENERATION_BYTES..GENERATION_BYTES + POSITION_BYTES).unwrap_or_default().into()
        }
        _ => Position::default(),
    }
}

/// Bytes before the value of an entry, of which the first [`MAX_HEADER_BYTES`] or all are given;
/// none if this release cannot decode its format.
pub(super) fn value_offset(stored: &[u8]) -> Option<usize> {
    let shift = shift_of(stored).filter(|shift| stored[FLAGS_AT + shift] == 0)?;
    Some(HEADER_BYTES + shift + usize::from((&stored[LENGTH_AT + shift..]).get_u16()))
}

/// When an entry was created, and until when it is fresh; none if this release cannot decode its
/// format.
pub(super) fn times(stored: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let shift = shift_of(stored)?;
    let time = |offset| Timestamp(u64_at(stored, offset + shift));
    Some((time(CREATED_AT), time(FRESH_UNTIL_AT)))
}

/// The tags of an entry, of which the value may be missing; none if they are not what was written.
pub(super) fn decode_tags(head: &[u8]) -> Option<Vec<String>> {
    let shift = shift_of(head)?;
    let version = Version(u64_at(head, VERSION_AT + shift));
    let length = usize::from((&head[LENGTH_AT + shift..]).get_u16());
    let extensions = head.get(HEADER_BYTES + shift..HEADER_BYTES + shift + length)?;
    Extensions::decode(extensions, version, None).map(|extensions| extensions.tags)
}

/// Bytes of the position in an entry, which all later parts follow; none if this release cannot
/// decode the entry's format.
fn shift_of(stored: &[u8]) -> Option<usize> {
    let shift = match *stored.first()? {
        POSITIONED_FORMAT => POSITION_BYTES,
        FORMAT | UNCHECKED_FORMAT => 0,
        _ => return None,
    };
    (stored.len() >= HEADER_BYTES + shift).then_some(shift)
}

/// Decodes an entry; none if this release has no such format or kind.
pub(super) fn decode(mut stored: Bytes) -> Result<Option<Entry>, CorruptEntry> {
    let Some(shift) = shift_of(&stored).filter(|shift| stored[FLAGS_AT + shift] == 0) else {
        return Ok(None);
    };
    let Some(kind) = Kind::from_byte(stored[KIND_AT + shift]) else { return Ok(None) };
    let version = Version(u64_at(&stored, VERSION_AT + shift));
    let header = HEADER_BYTES + shift;
    let value_at = header + usize::from((&stored[LENGTH_AT + shift..]).get_u16());
    let extensions = stored.get(header..value_at).and_then(|extensions| {
        Extensions::decode(extensions, version, Some((kind, &stored[value_at..])))
    });
    // Without a checksum, a wrong length would make extensions a part of the value.
    let is_valid = |found: &Extensions| found.is_value_checked || stored[0] == UNCHECKED_FORMAT;
    let Some(extensions) = extensions.filter(is_valid) else {
        return Err(CorruptEntry::new(&stored[..header]));
    };
    let mut windows = &stored[WINDOWS_AT + shift..];
    Ok(Some(Entry {
        kind,
        version,
        created_at: Timestamp(u64_at(&stored, CREATED_AT + shift)),
        fresh_until: Timestamp(u64_at(&stored, FRESH_UNTIL_AT + shift)),
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
    /// The entry with these first bytes.
    #[cold]
    pub(super) fn new(header: &[u8]) -> Self {
        Self { header: header.into() }
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
    /// Decodes the extensions of an entry, and checks them and its value, if it is given. None if
    /// they are not what was written.
    fn decode(stored: &[u8], version: Version, value: Option<(Kind, &[u8])>) -> Option<Self> {
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
                VALUE_CHECKSUM => value.is_none_or(|(kind, value)| {
                    content == value_checksum(version, kind, value).to_be_bytes()
                }),
                COPY => value.is_none_or(|(kind, value)| {
                    content.strip_prefix(&kind_and_flags(kind)) == Some(value)
                }),
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
mod fuzz_tests;
#[cfg(test)]
mod tests;
