//! Behaviour during and after an outage of the store.

// Cause and remedy of outages, in log, status and statistics.
mod causes;
// Answers of each call without a store.
mod degraded_answers;
// Connections that Redis or a proxy closes.
mod closed_connections;
// Error answers of Redis: log, health and circuit breaker.
mod error_answers;
// Another server behind the same name.
mod failover;
// Writes that reach the store after the call was answered with an error.
mod late_writes;
// Redis killed, paused, cut off or slow under load, and the recovery.
mod outages;
// Changes that wait for replicas of Redis.
mod replicas;
// Starting without Redis, and running without it on purpose.
mod startup;
// Redis restarts or hangs, and all features heal by themselves.
mod restarts;
// Redis fails only briefly, or only for some commands.
mod transient_errors;
