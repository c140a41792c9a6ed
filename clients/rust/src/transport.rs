//! Carries calls to a server: connections over TCP or a Unix socket, or a service in the process.

pub(crate) mod authorization;
pub(crate) mod connect;
pub(crate) mod link;
pub(crate) mod pool;
pub(crate) mod target;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod wire;
