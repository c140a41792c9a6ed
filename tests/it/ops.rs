//! What an operator sees and does: health, metrics, signals, command line.

// The admin port.
mod admin;
// Threads that look for work before they sleep.
mod busy_poll;
// The other subcommands.
mod cli;
// Figures of all replicas together.
mod fleet;
// The standard health service.
mod health;
// What is logged, and what is not.
mod logs;
// The embedded store stays as small as it says.
mod memory;
// Reflection, both versions.
mod reflection;
// SIGHUP.
mod reload;
// SIGTERM and SIGINT.
mod shutdown;
