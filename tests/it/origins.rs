//! Read-through: values that Larder fetches from an origin.

// A value, a missing value and a failure, fetched once.
mod basics;
// Freshness and storability according to HTTP headers.
mod http_caching;
// Conditional requests.
mod revalidation;
// Kinds of values and tags of HTTP responses.
mod http_values;
// URLs, headers, redirects and size limits of HTTP requests.
mod http_requests;
// Secrets reach only the origin.
mod secrets;
// Stale values during refreshes, after errors, and with slow origins.
mod staleness;
// Refreshes of fresh values.
mod early_refresh;
// no_cache, only_if_cached, short waits and deadlines.
mod fetch_modes;
// Error reasons, retries and back-off.
mod failures;
// Truncated and invalid HTTP responses.
mod malformed_responses;
// Concurrency limit and queue.
mod bulkhead;
// Breaker and probes.
mod circuit_breaker;
// Statistics and metrics of fetches.
mod stats;
// Outages of the store, of the origin, and of both.
mod outages;
// Health watches.
mod health;
// A value that was fetched before an invalidation is never read after it.
mod fencing;
// Invalidation of fetched values by tag and by pattern.
mod invalidate;
// One fetch per key across replicas.
mod fleet;
// Fetches when a replica or the store fails.
mod replica_failover;
// Deletes that refuse fills for a while.
mod hold_off;
// Random calls and faults, checked against the contract.
mod model;
// Origins that a reload adds, changes and removes.
mod reload;
// Configured warm lists, at startup and periodically.
mod warm_lists;
// AdminService.Warm.
mod warming;
// BatchGetOrFetch.
mod batches;
// Batches of keys with and without an origin.
mod mixed_batches;
// gRPC origins.
mod grpc_origins;
