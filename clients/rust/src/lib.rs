//! Client of Larder, a cache service.
//!
//! A process has one [`Client`]. It connects at the first call. Handles of namespaces have all
//! calls.

mod background;
mod breaker;
mod builder;
mod calls;
mod changes;
mod client;
mod codec;
mod core;
mod counters;
mod error;
mod feed;
mod fetch_many;
mod fetching;
mod filling;
mod flights;
mod globs;
mod invalidation;
mod json_writer;
mod key;
mod lease;
mod listing;
mod loaded;
mod names;
mod namespace;
mod near;
mod options;
pub mod pb;
mod plain_value;
mod reads;
mod results;
mod rpc;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod top_value;
mod transport;
mod ttl;
mod typed;
mod verbatim;
mod watching;
mod writes;

pub use builder::{ClientBuilder, OnError, Preset};
pub use changes::Patch;
pub use client::Client;
pub use codec::{Auto, Codec, Encoded, Json};
pub use counters::Counts;
pub use error::{
    Code, DecodeError, EncodeError, Error, ErrorKind, Failure, FetchError, LoaderError,
};
pub use key::Key;
pub use listing::{Keys, ListedKey};
pub use loaded::Loaded;
pub use namespace::{Many, Namespace};
pub use near::NearCache;
pub use options::{
    Condition, DeleteOptions, FetchOptions, IncrementOptions, ListOptions, PatchOptions,
    ReadOptions, Targets, WriteOptions,
};
pub use results::{
    Deleted, Incremented, Invalidated, Outcome, Patched, Published, Read, Reason, Tier, Touched,
    Write,
};
pub use transport::{
    authorization::{Token, TokenError},
    wire::Wire,
};
pub use ttl::Ttl;
pub use watching::{Change, ResetReason, Watch};
