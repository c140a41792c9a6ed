//! Servers, clients and faults, shared with the integration tests.
#![allow(
    dead_code,
    clippy::disallowed_types,
    clippy::wildcard_enum_match_arm,
    clippy::while_let_loop,
    unreachable_pub
)]

#[path = "../../../tests/it/support/client.rs"]
pub(crate) mod client;
#[path = "../../../tests/it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../../tests/it/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../../tests/it/support/redis.rs"]
pub(crate) mod redis;
#[path = "../../../tests/it/support/sentinel.rs"]
pub(crate) mod sentinel;
#[path = "../../../tests/it/support/sentinel_server.rs"]
pub(crate) mod sentinel_server;
#[path = "../../../tests/it/support/server.rs"]
pub(crate) mod server;
#[path = "../../../tests/it/support/tls.rs"]
pub(crate) mod tls;
#[path = "../../../tests/it/support/wait.rs"]
pub(crate) mod wait;
#[path = "../../../tests/it/support/watch.rs"]
pub(crate) mod watch;
