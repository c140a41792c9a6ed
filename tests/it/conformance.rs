//! What every call promises, on every store: one suite, so that the stores cannot drift apart.

// BatchGetOrFetch where callers compute.
mod batch_leases;
// Many values in one call.
mod batches;
// Increment.
mod counters;
// Set under a condition.
mod conditions;
// TTLs, Touch.
mod expiry;
// What a GetOrFetch lease ends by, and what its late fill is told.
mod lease_ends;
// What the holder of a lease can do beside filling.
mod lease_holders;
// Who computes, who waits, who is woken.
mod leases;
// Leases that live as long as the stream of their caller.
mod fetch_streams;
// GetOrFetch that does not read, and GetOrFetch that only reads.
mod fetch_modes;
// Params are part of the key.
mod params;
// Renew, where there is nothing to renew.
mod renewals;
// Values past their TTL.
mod staleness;
// Counted, and answered by Stats.
mod stats;
// Values, kinds, versions, and the facts that come with them.
mod values;
