//! The audit log: which caller invalidated, deleted and changed what, and which calls were refused.
//!
//! A [`Record`] is made where something happens, and [`AuditLog::record`] puts it into a bounded
//! queue. One thread writes the queue to a file, as one JSON object per line. It never makes a call
//! wait: a record that finds the queue full is counted and not written. The last records stay in
//! memory, where a [`Tail`] reads them.
//!
//! Nothing here depends on gRPC: `src/rpc` makes the records of calls.

mod counts;
mod key_names;
mod log;
mod record;
mod ring;
mod sink;
mod tail;
#[cfg(test)]
mod tests;
mod touched;
mod writer;

pub use log::AuditLog;
pub use record::{AuditedCaller, Record};
pub use tail::{Tail, TailPart};
pub use touched::Touched;
