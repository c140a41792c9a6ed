//! What the tests are made of.

// BatchGetOrFetch and what it is answered.
pub(crate) mod batch;
// Small typed helpers around the generated client.
pub(crate) mod client;
// One server with its store, and the macro that runs a test on each store.
#[macro_use]
pub(crate) mod env;
// Several servers that share a Redis.
pub(crate) mod fleet;
// A gRPC origin that does as it is told.
pub(crate) mod grpc_origin;
// Load that measures every answer while something breaks.
pub(crate) mod load;
// What can be seen of entries and in the server's figures.
pub(crate) mod observe;
// An HTTP origin that does as it is told.
pub(crate) mod origin;
// A TCP proxy that breaks connections on command.
pub(crate) mod proxy;
// A Redis server of the test's own.
pub(crate) mod redis;
// The larder binary as a child process.
pub(crate) mod server;
// What an error must carry.
pub(crate) mod status;
// A FetchStream, message by message.
pub(crate) mod stream;
// Polling with a deadline.
pub(crate) mod wait;
