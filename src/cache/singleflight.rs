//! Singleflight.

pub(super) mod cacheability;
pub(super) mod fetch_job;
pub(super) mod fill;
pub(super) mod flight;
pub(super) mod lease_guard;
pub(super) mod span;
pub(super) mod waiters;
