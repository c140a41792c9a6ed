//! Client of Larder, a cache service.
//!
//! A process has one [`Client`]. It connects at the first call. A handle of a namespace,
//! [`Namespace`], has all calls: [`get_or_fetch`](Namespace::get_or_fetch) reads a value, and runs
//! a loader once if it is missing.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = larder_client::Client::from_env().connect_lazy()?;
//! let names = client.namespace::<String>("names");
//! let name = names.get_or_fetch("7", || async { std::fs::read_to_string("name") }).await?;
//! println!("{:?}", name.value());
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]

mod background;
mod batch_get;
mod breaker;
mod builder;
mod call_keys;
mod calls;
mod changes;
mod checks;
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
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "http-cache")]
pub mod http_cache;
mod invalidation;
mod json_writer;
mod key;
mod lease;
mod listing;
mod loaded;
mod messages;
mod moment;
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
mod version;
mod watching;
mod writes;

pub use builder::{ClientBuilder, OnError, Preset};
pub use call_keys::{CallKey, KeyForm, ToKey};
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
    Deleted, Incremented, Invalidated, Outcome, Patched, Published, Read, Reason, Tags, Tier,
    Touched, Write,
};
pub use transport::{
    authorization::{Token, TokenError},
    wire::Wire,
};
pub use ttl::Ttl;
pub use version::Version;
pub use watching::{Change, ResetReason, Watch};

/// The examples of the README.
#[cfg(all(doctest, feature = "testing"))]
#[doc = include_str!("../README.md")]
struct Readme;
