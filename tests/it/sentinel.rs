//! Redis with sentinels, which name the primary and replace it.

// Credentials, TLS, sentinels that are away, and errors.
mod addresses;
// Failovers: the primary is killed, demoted or paused.
mod failovers;
// Parts that follow Redis across a failover: near cache, watches, event streams.
mod followers;
