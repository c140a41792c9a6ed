//! Tests against real servers, each on its own port.

mod answers;
mod balancing;
mod batches;
mod support;
mod tls;
