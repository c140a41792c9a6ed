//! The gRPC side: requests are translated and checked here, and decided elsewhere.

mod access_log;
mod admin_service;
mod batch_stream;
mod cache_service;
mod call;
mod convert;
mod deadline;
mod fetch_stream;
mod method;
mod metrics;
mod pipeline;
mod reflection;
mod status;

pub use access_log::KeyLogging;
pub use admin_service::AdminRpc;
pub use cache_service::CacheRpc;
pub use metrics::RpcMetrics;
pub use pipeline::Pipeline;
