//! Servers, clients, origins and faults for the tests.

// BatchGetOrFetch requests and answers.
pub(crate) mod batch;
// Typed helpers around the generated client.
pub(crate) mod client;
// A Redis Cluster for one test.
pub(crate) mod cluster;
// One server with its store, and the macros that run a test on each store.
#[macro_use]
pub(crate) mod env;
// Several servers that share a Redis.
pub(crate) mod fleet;
// A scripted gRPC origin.
pub(crate) mod grpc_origin;
// A client of HTTP/1.1 that keeps nothing.
pub(crate) mod http;
// An HTTP/2 peer that sends any frames.
pub(crate) mod http2;
// Background load that records the slowest answer and all failures.
pub(crate) mod load;
// Entries and metrics, observed without changing them.
pub(crate) mod observe;
// A scripted HTTP origin.
pub(crate) mod origin;
// A TCP proxy that breaks connections on command.
pub(crate) mod proxy;
// A gRPC call with any headers and any body.
pub(crate) mod raw_call;
// A Redis server for one test.
pub(crate) mod redis;
// The larder binary as a child process.
pub(crate) mod server;
// Servers with the sentinels that watch over them.
pub(crate) mod sentinel;
pub(crate) mod sentinel_server;
// Checks of errors and their details.
pub(crate) mod status;
// A FetchStream client.
pub(crate) mod stream;
// Targets of Invalidate.
pub(crate) mod targets;
// A terminal with a shell.
pub(crate) mod tmux;
// A Redis server with TLS.
pub(crate) mod tls;
// Polling with a deadline.
pub(crate) mod wait;
// A client of Watch.
pub(crate) mod watch;
