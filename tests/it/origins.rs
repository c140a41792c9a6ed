//! Values that Larder fetches itself.

// Fetched once, stored, answered; what is missing, and what fails.
mod basics;
// Whether and how long an answer is kept, by the headers it came with.
mod http_caching;
// Asking again only whether a value has changed.
mod revalidation;
// What becomes of an answer's body, and the tags of its entry.
mod http_values;
// What the origin is asked, and that no key leads elsewhere.
mod http_requests;
// Secrets reach the origin and nobody else.
mod secrets;
// Stale values: while they are refreshed, after errors, and when the origin is slow.
mod staleness;
// Refreshes before a value is stale.
mod early_refresh;
// Calls that want no cache, or nothing else, or cannot wait.
mod patience;
// Every failure of an origin, by name; retries and back-off.
mod failures;
// Answers that break off, lie, or are none.
mod broken_answers;
// How many fetches at once, and when the origin is left alone.
mod gate;
// What is counted of fetches.
mod figures;
// The store or the origin is away, or both.
mod outages;
// Who watches an origin's health.
mod health;
// What was fetched before an invalidation is never read after it.
mod fencing;
// One fetch for a whole fleet.
mod fleet;
// What becomes of a fetch when its replica, or the store, goes away.
mod takeover;
// Deletes after which no fill is taken for a while.
mod hold_off;
// Random calls and accidents, checked against what the contract says.
mod model;
// Origins that a SIGHUP adds, changes and removes.
mod reload;
// Warm lists, at the start and from time to time.
mod warm_lists;
// AdminService.Warm.
mod warming;
// Many keys in one call.
mod batches;
// The same, of keys that are fetched and keys whose values callers compute.
mod mixed_batches;
// Origins that speak gRPC.
mod grpc_origins;
// What was stored does not outlive the origin's word.
mod taken_back;
