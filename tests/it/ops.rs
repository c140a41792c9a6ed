//! Operation: health, metrics, logs, signals, command line.

// The admin port: probes and metrics.
mod admin;
// Worker threads poll for events before they sleep.
mod busy_poll;
// The command line.
mod cli;
// Listings and inspection of namespaces and entries.
mod directory;
// How entries are spread over sizes and ages.
mod distributions;
// Ports that other machines can reach.
mod exposure;
// Statistics of all replicas together.
mod fleet_stats;
// The standard gRPC health service.
mod health;
// The counters of the fleet over time.
mod history;
// The keys that are read most.
mod hot_keys;
// Leases and hold-offs of the embedded store have a limit of their own.
mod lease_records;
// Log output.
mod logs;
// The embedded store keeps to its memory limit.
mod memory_limit;
// Server reflection, both versions.
mod reflection;
// Reload of the configuration on SIGHUP.
mod reload;
// Calls on one replica: its near cache and its configuration.
mod replica;
// The replicas of the fleet, as they report themselves.
mod replicas;
// Shutdown on SIGTERM and SIGINT.
mod shutdown;
