//! Larder: a gRPC cache service, one namespaced and TTL-governed cache for services in every language.
//!
//! The way of a request, and what each room knows:
//!
//! ```text
//! transport   connections, HTTP/2 limits, draining        knows nothing of what is asked
//! rpc         protobuf, validity, status codes            knows nothing of caching
//! cache       freshness, leases, degradation              knows nothing of gRPC or Redis
//! store       bytes until an instant, atomically          knows nothing of policy
//! origin      how to ask those who have the values        knows nothing of leases and of who waits
//! ```
//!
//! One Get: [`transport::serve`] hands the request to [`rpc::Pipeline`], which observes, admits and bounds it; the method in `rpc`
//! checks it and calls [`cache::Cache::get`]; that asks the [`store::Store`], which is the embedded one, or Redis behind
//! a [`store::guard::Guard`]; the cache judges what it gets by its policy, and `rpc` puts the outcome into a message. A
//! store that does not answer becomes a degraded miss in the cache and nowhere else. A GetOrFetch that finds nothing waits in
//! the cache's waiting room, where an usher acts for all who wait: it takes the lease, asks the [`origin`] behind its
//! [`origin::gate::Gate`], and stores the answer under the lease.
//!
//! Beside them: [`config`] is plain data that everybody may know, [`stats`] counts, [`telemetry`] exports, [`admin`] is the
//! HTTP port, [`causes`] puts errors into words, [`transport::runtime`] has the threads, and [`server`] puts it all together.

pub mod admin;
pub mod cache;
pub mod circuit_breaker;
pub mod cli;
pub mod config;
pub mod error_chain;
pub mod health;
pub mod histogram;
pub mod model;
pub mod origin;
pub mod pb;
pub mod rpc;
pub mod server;
pub mod stats;
pub mod store;
pub mod telemetry;
pub mod trace_sampler;
pub mod url_template;
pub mod warm_list;
