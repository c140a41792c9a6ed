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

// Ways to reach Redis.
mod connections;
// What every call promises, on every store.
mod conformance;
// What happens without the store, and after it is back.
mod faults;
// What InvalidateNamespace costs, counted in Redis commands.
mod invalidation_cost;
// Large values do not go through scripts.
mod large_values;
// Reads of the same moment go to Redis together.
mod shared_reads;
// Hostile names never reach another entry.
mod keys;
// Every limit, violated one at a time; overload and deadlines.
mod limits;
// What Redis may lose or mix up without anybody being told an old value.
mod markers;
// What an operator sees and does: health, metrics, signals, command line.
mod ops;
// Fills, deletes and invalidations on two replicas at once.
mod races;
// Values that Larder fetches itself.
mod origins;
// What a replica remembers, and how soon it forgets it.
mod near;
// Spans joined to the caller's trace.
mod traces;
