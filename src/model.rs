//! Names and entries: plain data that every layer shares.

mod entry;
mod glob;
mod json;
mod key;
mod saturating;
mod schema_version;
mod timestamp;
mod violation;

pub use entry::{
    Entry, FetchMetadata, FetchSource, Kind, Lifetime, MAX_TAG_BYTES, MAX_TAGS, NewEntry, Tags,
    Validators, Version,
};
pub use glob::{Glob, MAX_GLOB_BYTES, MAX_GLOB_WILDCARDS, escaped};
pub use json::{InvalidJson, MAX_JSON_DEPTH, check_json, parse_json};
pub use key::{
    EntryKey, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_PARAMS, MAX_PARAMS_BYTES, Namespace,
    PARAMS_DIGEST_BYTES, ParamsDigest,
};
pub use saturating::SaturatingFrom;
pub use schema_version::{MAX_SCHEMA_VERSION_BYTES, SchemaVersion};
pub use timestamp::{Timestamp, millis_ceil};
pub use violation::Violation;
