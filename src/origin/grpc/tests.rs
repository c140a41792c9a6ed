//! Tests, most of them against real servers on ports of their own.

mod answers;
mod balancing;
mod batches;
mod conversion;
mod failover;
mod support;
mod tls;
