//! Behaviour on Redis: connections, cost in commands, data loss, and key names.

// Leases and hold-offs that patterns ban.
mod ban_leases;
// Bounds of what a replica keeps of bans.
mod ban_memory;
// Bans that overtake each other.
mod ban_order;
// Replicas on one Redis, for the tests of bans.
mod ban_setup;
// The sweep removes banned entries, and bans that are not needed any more.
mod ban_sweep;
// Bans by tag and pattern: several replicas, lost logs and cost.
mod bans;
// The clock of Redis is set back and forward.
mod clock_steps;
// Connections over TCP and TLS, and the documented ACL user.
pub(crate) mod connections;
// Lost, evicted or corrupt data.
mod data_loss;
// Cost of InvalidateNamespace in Redis commands.
mod invalidation_cost;
// Hostile names never reach another entry.
mod key_isolation;
// Listings of keys cost Redis little, and find what other keys hide.
mod key_lists;
// Large values bypass the scripts.
mod large_values;
// A server without the commands of managed services.
mod missing_commands;
// Concurrent reads share one command.
mod read_batching;
// Releases side by side.
mod schema_versions;
