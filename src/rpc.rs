//! The gRPC services: validation, conversion and status codes. Decisions are made in
//! [`crate::cache`].

mod access;
mod access_control;
mod access_log;
mod admin_service;
mod audit_stream;
mod audit_trail;
mod batch_stream;
mod batch_with_options;
mod cache_service;
mod call;
mod call_trace;
mod compression;
mod convert;
mod counted_body;
mod deadline;
mod event_targets;
mod fetch_batch;
mod fetch_stream;
mod key_listing;
mod large_response;
mod lease_quota;
mod load_limits;
mod method;
mod metrics;
mod offered_lease;
mod overload;
mod permissions;
mod pipeline;
mod protocol;
mod reflection;
mod running_config;
mod schema;
mod slow_refusals;
mod status;
mod watch_stream;

pub use access_control::AccessControl;
pub use access_log::KeyLogging;
pub use admin_service::{AdminRpc, AdminRpcParts};
pub use cache_service::{CacheRpc, CacheRpcParts};
pub use key_listing::KeyListing;
pub use load_limits::LoadLimits;
pub use metrics::{RpcMetrics, register_load};
pub use pipeline::{Pipeline, RpcServices};
pub use running_config::RunningConfig;
