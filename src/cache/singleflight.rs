//! Singleflight: one computation of a key for all callers of this replica that wait for it, and,
//! by the store's leases, one for all replicas.
//!
//! A caller joins the flight of its key ([`FlightGroup::join`]); the first one starts it. A flight
//! is a task that acts for all its waiters. It ends when no waiter is left.
//!
//! ```text
//! start ──► admit waiters ──► acquire the lease
//!             ▲    │             │
//!             │    │ none left   ├─ Found ──────────────────► notify all ─────────────────┐
//!             │    ▼             ├─ Held ───────────────────► wait for the lease's end ───┤
//!             │   end            ├─ BackedOff ──────────────► notify; refreshes cool down ┤
//!             │                  ├─ Granted, no origin ─────► offer the lease to one ─────┤
//!             │                  └─ Granted, origin ──► fetch ──► fill ──► notify all ────┤
//!             └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A result is given only to waiters that were admitted before the flight asked for it: a caller
//! that came later may follow an invalidation that the result does not include. There is one
//! exception. Waiters that arrive during a fetch may have its value if the store accepts the fill,
//! because that proves that there was no invalidation until then.

mod batch;
mod cacheability;
mod fetch_job;
mod fill;
mod flight;
mod flight_result;
mod group;
mod lease_guard;
mod lease_keeper;
mod span;
#[cfg(test)]
mod tests;
mod waiters;

pub use fill::FillOutcome;
pub use lease_guard::LeaseGuard;

pub(super) use batch::run_together;
pub(super) use fetch_job::FetchJob;
pub(super) use fill::{FetchKind, FetchedEntry};
pub(super) use flight::Flight;
pub(super) use flight_result::FlightResult;
pub(super) use group::{FlightGroup, FlightHandle};
pub(super) use waiters::Requirement;
