//! Integration tests: the contract, over real gRPC, against the real binary and a real Redis.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::while_let_loop,
    // The tests measure the time of another process, which cannot be paused.
    clippy::disallowed_types
)]

// Servers, clients and faults for all tests. It comes first, because its macros define their tests.
#[macro_use]
mod support;

// The admin port with a token.
mod admin_access;
// The audit log.
mod audit;
// Callers and what they may do.
mod auth;
// The commands of the command line that use a running server.
mod cli;
// Redis Cluster: slots, redirections, failover, resharding.
mod cluster;
// The contract of every call, on all stores.
mod conformance;
// Events of the business: rules, CloudEvents, streams.
mod events;
// The pages of the admin port.
mod dashboard;
// Behaviour during and after an outage of the store.
mod faults;
// Invalidations that are kept on disk while Redis is away.
mod journal;
// Limits, overload and deadlines.
mod limits;
// Dashboards, alerts and runbooks.
mod monitoring;
// The near cache.
mod near;
// Health, metrics, logs, signals, command line.
mod ops;
// Values that Larder fetches itself.
mod origins;
// Quotas of callers and of namespaces.
mod quota;
// Fills, deletes and invalidations on two replicas at once.
mod races;
// Redis: connections, cost in commands, data loss, key names.
mod redis;
// Redis with sentinels: addresses, failovers.
mod sentinel;
// TLS of the ports and to Redis.
mod tls;
// Spans joined to the caller's trace.
mod traces;
// The stream of changes.
mod watch;

// The source tree: allowed dependencies between modules, tables of errors and log lines, wording.
mod error_table;
mod layers;
mod log_table;
mod sources;
mod wording;

/// Path of the server that is tested.
fn larder_binary() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_larder").into()
}
