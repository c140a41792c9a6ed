//! Names and entries: plain data that every layer shares.

mod audit_event;
mod bearer;
mod entry;
mod event;
mod glob;
mod json;
mod json_member;
mod key;
mod logged_name;
mod namespace_pattern;
mod saturating;
mod schema_version;
mod target_kind;
mod text_prefix;
mod timestamp;
mod verb;
mod violation;

pub use audit_event::{AuditEvent, AuditEvents, UnknownAuditEvent};
pub use bearer::bearer_token;
pub use entry::{
    Entry, FetchMetadata, FetchSource, Kind, Lifetime, MAX_TAG_BYTES, MAX_TAGS, NewEntry, Tags,
    Validators, Version,
};
pub use event::{
    Event, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTE_NAME_BYTES, MAX_EVENT_ATTRIBUTES,
    MAX_EVENT_NAME_BYTES, attribute_field, check_event_name,
};
pub use glob::{Glob, MAX_GLOB_BYTES, MAX_GLOB_WILDCARDS, escaped};
pub use json::{InvalidJson, MAX_JSON_DEPTH, check_json, parse_json};
pub use json_member::json_member;
pub use key::{
    EntryKey, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, MAX_PARAMS, MAX_PARAMS_BYTES, Namespace,
    PARAMS_DIGEST_BYTES, ParamsDigest,
};
pub use logged_name::{log_names_in_plain_text, logged_name};
pub use namespace_pattern::{InvalidNamespacePattern, NamespacePattern};
pub use saturating::SaturatingFrom;
pub use schema_version::{MAX_SCHEMA_VERSION_BYTES, SchemaVersion};
pub use target_kind::TargetKind;
pub use text_prefix::text_prefix;
pub use timestamp::{Timestamp, millis_ceil};
pub use verb::{UnknownVerb, Verb, VerbSet};
pub use violation::Violation;
