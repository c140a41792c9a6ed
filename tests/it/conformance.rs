//! Contract of every call: one suite for all stores, so that they cannot diverge.

// Encodings of messages.
mod compression;
// Messages in their frames: none, two, in parts, malformed.
mod framing;
// The health service.
mod health;
// The reflection service.
mod reflection;
// BatchGetOrFetch with leases.
mod batch_leases;
// Batches of values in one call.
mod batches;
// Conditional Set.
mod conditions;
// Increment.
mod counters;
// Delete on a condition, and with the removed entry.
mod deletes;
// TTLs and Touch.
mod expiry;
// GetOrFetch with `no_cache` and with `only_if_cached`.
mod fetch_modes;
// GetOrFetch with the read options of Get.
mod fetch_projections;
// Leases that last as long as the caller's stream.
mod fetch_streams;
// Invalidation by tag, by pattern, and of several targets.
mod invalidate;
// Events that end a lease, and the result of a late fill.
mod lease_loss;
// ListKeys and CountKeys.
mod key_lists;
// One caller computes, the others wait and are woken.
mod leases;
// Params are part of the key.
mod params;
// Patch.
mod patches;
// Reads that carry less than the value.
mod projections;
// Requests that break the specification of gRPC, and the interop cases.
mod protocol;
// Renew, and the reason given with Abandon.
mod renew_abandon;
// Renew without a valid lease.
mod renew_failures;
// Values past their TTL.
mod staleness;
// Counters, latencies and sizes.
mod stats;
// Values, kinds, versions and entry metadata.
mod values;
