//! The gRPC services, and the one that a call is for.

use std::error::Error;

use bytes::Bytes;
use http::Request;
use tonic::{codec::CompressionEncoding, service::Routes};
use tower::{Service as _, ServiceExt as _};

use crate::{
    audit::AuditLog,
    health::Health,
    pb::v1::{admin_service_server::AdminServiceServer, cache_service_server::CacheServiceServer},
    rpc::{
        access_control::AccessControl, admin_service::AdminRpc, cache_service::CacheRpc,
        call::ServiceFuture, method::Method, protocol, reflection,
    },
};

/// The services that a pipeline serves.
pub struct RpcServices<'a> {
    /// The cache.
    pub cache: CacheRpc,
    /// The operator calls.
    pub admin: AdminRpc,
    /// Health checks.
    pub health: &'a Health,
    /// Whether reflection is served as well.
    pub reflection: bool,
    /// The callers of the services and their permissions.
    pub access: AccessControl,
    /// The audit log of calls.
    pub audit: AuditLog,
}

/// The services, with their messages decoded.
pub(super) struct ServiceRoutes {
    cache: CacheServiceServer<CacheRpc>,
    /// For compressed requests: tonic looks for more headers then.
    accepting_cache: CacheServiceServer<CacheRpc>,
    /// For compressed requests whose response may be long.
    compressing_cache: CacheServiceServer<CacheRpc>,
    others: Routes,
}

impl ServiceRoutes {
    pub(super) fn new(
        services: RpcServices<'_>,
        max_message_bytes: usize,
    ) -> Result<Self, tonic_reflection::server::Error> {
        let RpcServices { cache, admin, health, reflection: has_reflection, .. } = services;
        let admin = AdminServiceServer::new(admin)
            .max_decoding_message_size(max_message_bytes)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Zstd);
        let others = Routes::new(health.service()).add_service(admin);
        let others = if has_reflection { reflection::add_to(others)? } else { others };
        let cache = CacheServiceServer::new(cache).max_decoding_message_size(max_message_bytes);
        let accepting_cache = cache
            .clone()
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd);
        let compressing_cache = accepting_cache
            .clone()
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Zstd);
        Ok(Self { cache, accepting_cache, compressing_cache, others: others.prepare() })
    }

    /// Calls the service of a method.
    #[inline]
    pub(super) fn call<B>(&self, request: Request<B>, method: Method) -> ServiceFuture
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        if !method.is_cache() {
            return Box::pin(self.others.clone().oneshot(request));
        }
        let server = if !request.headers().contains_key(protocol::ENCODING) {
            &self.cache
        } else if method.has_short_response() {
            &self.accepting_cache
        } else {
            &self.compressing_cache
        };
        server.clone().call(request)
    }
}
