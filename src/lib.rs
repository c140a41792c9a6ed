//! Larder: a gRPC cache service, one namespaced, TTL-governed cache for services in every language.
//!
//! # Layers
//!
//! A request passes five layers from top to bottom, and its answer passes them back up.
//!
//! | module | has | does not depend on |
//! |---|---|---|
//! | [`transport`] (`crates/transport`) | connections, HTTP/2, admission, drain | gRPC, Larder |
//! | [`rpc`] | protobuf, validation, status codes, deadlines | freshness, leases |
//! | [`cache`] | freshness, singleflight, degradation | gRPC, Redis |
//! | [`store`] | entries until they expire, leases, atomicity per key | freshness policy |
//! | [`origin`] | HTTP and gRPC origins, retries, concurrency | store, leases, waiters |
//!
//! [`server`] builds the parts of all layers and connects them. [`cli`] reads the command line and
//! handles signals. [`cloud_events`] and [`event_streams`] bring events of the business to
//! [`cache`]. [`auth`] identifies callers and has their permissions,
//! and [`audit`] records what they change. [`config`] is plain data that
//! all layers may read. [`model`] has the types that all layers share: keys, entries, timestamps.
//! [`changes`] passes changes on to the watches of callers. [`stats`] counts, [`telemetry`]
//! exports, [`health`] and [`admin`] answer probes. `docs/architecture.md` has the diagrams, and
//! the table of the modules that each module may use; a test checks it.
//!
//! # One Get
//!
//! 1. `crates/transport`: the connection's task reads the request and calls the handler.
//! 2. `rpc/pipeline.rs`: starts the observed call (`rpc/call.rs`: span, metrics, access log),
//!    identifies the caller (`rpc/access.rs`, [`auth`]), reads the message, admits or rejects the
//!    request, and sets its deadline.
//! 3. `rpc/cache_service.rs`, `rpc/convert`: validates the message into an [`model::EntryKey`], and
//!    checks the permission of the caller for it.
//! 4. `cache/get.rs`, [`cache::Cache::get`]: reads the near cache (`cache/near_read.rs`) if the
//!    namespace has one, and otherwise asks the store.
//! 5. `store`: the embedded store (`store/memory.rs`) looks up the entry. On Redis, the near cache
//!    (`store/near_cache/store.rs`) reserves a slot for the answer, the journal
//!    (`store/journal/store.rs`) and the failover window (`store/failover_window/store.rs`) let the
//!    call pass unless an invalidation of the entry is outstanding, and so does the circuit breaker
//!    (`store/circuit_breaker_store.rs`) while Redis answers. The read batcher
//!    (`store/redis/read_batcher.rs`) sends it with other concurrent reads as one `MGET`.
//! 6. `cache/policy.rs`: evaluates the entry as fresh, stale, negative or expired. `cache/get.rs`
//!    counts the outcome.
//! 7. `rpc/convert`: builds the response and its metadata.
//!
//! A failure of the store becomes a degraded miss in step 4, and nowhere else.
//!
//! # One cold GetOrFetch with an origin
//!
//! 1. As a Get, up to [`cache::Cache::get_or_fetch`] in `cache/get_or_fetch.rs`.
//! 2. `get_or_fetch/context.rs`: reads the store; `get_or_fetch/decision.rs`: decides by the state
//!    of the entry and the mode of the call. Here: compute the value.
//! 3. `get_or_fetch/origin_mode.rs`: joins the flight of the key (`singleflight/group.rs`). The
//!    first caller starts it; all of them are its waiters (`singleflight/waiters.rs`).
//! 4. `singleflight/flight/acquire.rs`: acquires the key's lease, so that one replica fetches for
//!    all.
//! 5. `origin/client.rs`: the bulkhead of the origin limits concurrent fetches, and retries. Behind
//!    it, `origin/http.rs` or `origin/grpc.rs` sends the request. Meanwhile the lease is extended
//!    (`singleflight/lease_guard.rs`).
//! 6. `singleflight/fill.rs`: writes the value under the lease. The store refuses it if the key was
//!    invalidated or written since.
//! 7. `singleflight/flight.rs`: notifies the waiters. `cache/get_or_fetch.rs` counts the outcome.
//!
//! Without an origin, `get_or_fetch/lease_mode.rs` offers the lease to one caller in steps 3 to 5,
//! and the caller fills with Set.
//!
//! # Where things go
//!
//! - A method: `proto/`, a conversion in `rpc/convert`, a use case in `cache`.
//! - A use case: one file in `cache`, an `impl Cache` with one public method.
//! - An operation of the store: a trait in `store.rs`, both implementations, and the decorators.
//! - A metric: `metric_list`, and the `metrics.rs` of the folder that measures it.
//! - A configuration key: the section's file in `config`.
//!
//! - A page for people: one file in `dashboard/pages`.

pub mod admin;
pub mod audit;
pub mod auth;
pub mod cache;
#[cfg(test)]
mod captured_log;
pub mod changes;
pub mod circuit_breaker;
pub mod cli;
pub mod cloud_events;
pub mod config;
pub mod count_guard;
pub mod dashboard;
pub mod error_chain;
pub mod event_streams;
pub mod event_template;
pub mod exemplars;
#[cfg(test)]
mod fuzzing;
pub mod growing_pauses;
pub mod health;
#[cfg(test)]
mod measured_memory;
pub mod metric_list;
pub mod model;
pub mod origin;
pub mod pb;
pub mod planted;
pub mod quota;
pub mod rpc;
pub mod sentinel_url;
pub mod server;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trace_sampler;
pub mod units;
pub mod url_template;
pub mod visible_text;
pub mod warm_list;
