//! The gRPC side: requests are translated and checked here, and decided elsewhere.

mod admin_service;
mod admission;
mod cache_service;
mod convert;
mod deadline;
mod facts;
mod fetch;
mod fetch_stream;
mod health;
mod method;
mod metrics;
mod observed_body;
mod pipeline;
mod reflection;
mod stats;
mod status;
mod stream;

pub use admin_service::AdminRpc;
pub use admission::Admission;
pub use cache_service::CacheRpc;
pub use facts::LogKeys;
pub use health::Health;
pub use metrics::{LATENCY_BOUNDS, RpcMetrics};
pub use pipeline::Pipeline;
