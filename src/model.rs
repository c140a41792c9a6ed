//! The vocabulary of the cache: names and entries. Plain data, known to every layer.

mod entry;
mod key;
mod saturating;
mod violation;

pub use entry::{
    Entry, FetchMetadata, Kind, Lifetime, MAX_TAG_BYTES, MAX_TAGS, NewEntry, Tags, Timestamp,
    Validators, Version, millis_ceil,
};
pub use key::{
    EntryKey, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_PARAMS, MAX_PARAMS_BYTES, Namespace,
    ParamsDigest,
};
pub use saturating::SaturatingFrom;
pub use violation::Violation;
