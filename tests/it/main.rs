//! Integration tests: the contract, over real gRPC, against the real binary and a real Redis.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::while_let_loop,
    // What is measured here is the time of another process, which cannot be paused.
    clippy::disallowed_types
)]

// Servers, clients and faults that the tests are made of; before the others, because its macro makes their tests.
#[macro_use]
mod support;

// What every call promises, on every store.
mod conformance;
// What happens without the store, and after it is back.
mod faults;
// Every limit, violated one at a time; overload and deadlines.
mod limits;
// What an operator sees and does: health, metrics, signals, command line.
mod ops;
// Fills, deletes and invalidations on two replicas at once.
mod races;
// Redis itself: connections, cost in commands, data loss, key names.
mod redis;
// Values that Larder fetches itself.
mod origins;
// What a replica remembers, and how soon it forgets it.
mod near;
// Spans joined to the caller's trace.
mod traces;
