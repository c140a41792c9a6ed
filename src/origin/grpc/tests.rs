//! Against real servers on ports of their own.

mod answers;
mod balancing;
mod batches;
mod support;
mod tls;
