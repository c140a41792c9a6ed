//! The CacheService: each handler converts the request, calls the cache and converts the result.

mod batches;
mod fetch_with_options;
mod get_with_options;
mod invalidate;
mod leases;
mod x_cache_metadata;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    access::Access,
    access_log::KeyLogging,
    audit_trail::AuditTrail,
    batch_stream::ResponseStream,
    compression::Compression,
    convert::{self, XCache},
    deadline::{self, DefaultDeadline},
    fetch_stream::{self, FetchStream, StreamCaller},
    key_listing::KeyListing,
    large_response::LargeResponse,
    lease_quota::{count_lease, end_filled_lease},
    load_limits::{LoadLimits, MustNotWait},
    offered_lease::OfferedLease,
    overload::Overload,
    schema::Schema,
    status, watch_stream,
};
use crate::{
    auth::Scope,
    cache::{
        self, Cache, DeleteResult, Deletion, VersionCondition, Watches, fleet_stats::FleetStats,
    },
    config::LimitsConfig,
    model::EntryKey,
    pb::{
        from_duration,
        v1::{self as pb, cache_service_server::CacheService},
    },
};

/// Implements `larder.v1.CacheService`.
pub struct CacheRpc {
    cache: Arc<Cache>,
    fleet: Arc<FleetStats>,
    keys: Arc<KeyListing>,
    watches: Arc<Watches>,
    limits: Arc<LoadLimits>,
    key_logging: KeyLogging,
    max_batch_keys: usize,
    max_request_bytes: usize,
    default_deadline: DefaultDeadline,
}

/// The parts that serve the calls of a [`CacheRpc`].
pub struct CacheRpcParts {
    /// The cache.
    pub cache: Arc<Cache>,
    /// The statistics of its fleet.
    pub fleet: Arc<FleetStats>,
    /// Its keys.
    pub keys: Arc<KeyListing>,
    /// Its changes.
    pub watches: Arc<Watches>,
}

type RpcResult<T> = Result<Response<T>, Status>;

impl CacheRpc {
    /// Serves the cache within `limits`.
    pub fn new(
        parts: CacheRpcParts,
        key_logging: KeyLogging,
        limits: Arc<LoadLimits>,
        config: &LimitsConfig,
    ) -> Self {
        let CacheRpcParts { cache, fleet, keys, watches } = parts;
        let &LimitsConfig { max_batch_keys, max_request_bytes, .. } = config;
        let default_deadline = DefaultDeadline::new(config);
        Self {
            cache,
            fleet,
            keys,
            watches,
            limits,
            key_logging,
            max_batch_keys,
            max_request_bytes,
            default_deadline,
        }
    }

    /// The deadline of a call that can take long.
    fn deadline(&self, metadata: &MetadataMap) -> Result<Option<Instant>, Status> {
        let headers = metadata.as_ref();
        Ok(deadline::of(headers)?.or_else(|| self.default_deadline.of(headers)))
    }

    fn check_batch_size(&self, field: &'static str, size: usize) -> Result<(), Status> {
        let setting = Some("limits.max_batch_keys");
        convert::check_batch_size(field, size, self.max_batch_keys, setting)
            .map_err(status::batch_size)
    }
}

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get(&self, request: Request<pb::GetRequest>) -> RpcResult<pb::GetResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let access = Access::of(&request);
        let request = request.into_inner();
        if convert::has_read_options(&request) {
            return Box::pin(self.get_with_options(request, access, compression, schema)).await;
        }
        let mut key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        schema.apply(&mut key);
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let result = self.cache.get(&key, max_stale, consistency).await?;
        let x_cache = result.found.as_ref().map(XCache::of);
        let size = result.found.as_ref().map_or(0, |found| found.entry.data.len());
        let mut response = Response::new(convert::get_response(result));
        LargeResponse::mark(&mut response, size);
        compression.fit(&mut response);
        self.add_x_cache(&mut response, &key, x_cache);
        Ok(response)
    }

    async fn set(&self, request: Request<pb::SetRequest>) -> RpcResult<pb::SetResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let mut command = convert::set_command(request.into_inner())?;
        access.check_set(&command, None)?;
        schema.apply(&mut command.key);
        let result = self.cache.set(&command).await;
        end_filled_lease(&access, &command, &result);
        let result = result?;
        let outcome = convert::set_result_name(result.outcome);
        Ok(self.with_log_fields(&command.key, outcome, convert::set_response(result)))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> RpcResult<pb::DeleteResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        trail.key(&key);
        access.check(&key)?;
        let key = schema.key(key);
        let deletion = convert::deletion(&request)?;
        if deletion.returns_entry {
            access.check_special(&key)?;
        }
        let required = convert::required_durability(request.required_durability)?;
        let result = self.delete_one(&key, &deletion).await?;
        trail.deletes([&result].into_iter());
        status::check_durability(required, result.durability)?;
        let outcome = convert::delete_result_name(&result);
        let size = result.removed.as_ref().map_or(0, |found| found.entry.data.len());
        let mut response = self.with_log_fields(&key, outcome, convert::delete_response(result));
        LargeResponse::mark(&mut response, size);
        compression.fit(&mut response);
        Ok(response)
    }

    async fn invalidate_namespace(
        &self,
        request: Request<pb::InvalidateNamespaceRequest>,
    ) -> RpcResult<pb::InvalidateNamespaceResponse> {
        self.serve_invalidate_namespace(request).await
    }

    async fn invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> RpcResult<pb::InvalidateResponse> {
        self.serve_invalidate(request).await
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> RpcResult<pb::StatsResponse> {
        let (access, compression) = (Access::of(&request), Compression::of(&request));
        let request = request.into_inner();
        // An empty list is valid: it selects all namespaces.
        self.check_batch_size("namespaces", request.namespaces.len().max(1))?;
        access.check_names(&request.namespaces)?;
        let page = convert::stats_page(request)?.visible_to(access.filter());
        let overview = self.fleet.overview(&page).await;
        let mut response = Response::new(convert::stats_response(&overview, &page));
        compression.fit(&mut response);
        Ok(response)
    }

    async fn get_or_fetch(
        &self,
        request: Request<pb::GetOrFetchRequest>,
    ) -> RpcResult<pb::GetOrFetchResponse> {
        let compression = Compression::of(&request);
        let deadline = self.deadline(request.metadata())?;
        let must_not_wait = request.extensions().get::<MustNotWait>().is_some();
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let mut request = request.into_inner();
        let options = convert::fetch_options(&mut request)?;
        let mut request = convert::get_or_fetch_request(request, deadline)?;
        access.check_fetch(&request)?;
        if options.as_ref().is_some_and(|options| options.touch.is_some()) {
            access.check_slides(std::slice::from_ref(&request.key))?;
        }
        schema.apply(&mut request.key);
        let would_wait = request.wait != Some(Duration::ZERO);
        if must_not_wait {
            request.wait = Some(Duration::ZERO);
        }
        let result = self.cache.get_or_fetch(&request).await?;
        let result = count_lease(&access, &request.key, result);
        let result = result.map_err(cache::Error::from)?;
        if must_not_wait && would_wait && result.is_contended() {
            self.limits.record_rejection(Overload::Waiting);
        }
        if let Some(options) = options {
            return Box::pin(self.reply_with_options(request, result, options, compression)).await;
        }
        let size = result.value_bytes();
        let reply = convert::get_or_fetch_reply(result);
        let mut response = Response::new(reply.response);
        LargeResponse::mark(&mut response, size);
        compression.fit(&mut response);
        self.add_fetch_status(&mut response, &request.key, &reply.status);
        if let Some(lease) = reply.lease {
            OfferedLease::attach(&mut response, lease.guard);
        }
        Ok(response)
    }

    type FetchStreamStream = FetchStream;

    async fn fetch_stream(
        &self,
        request: Request<Streaming<pb::FetchStreamRequest>>,
    ) -> RpcResult<FetchStream> {
        let deadline = deadline::of(request.metadata().as_ref())?;
        let must_not_wait = request.extensions().get::<MustNotWait>().is_some();
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let caller = StreamCaller { access, schema, must_not_wait };
        let (cache, limit) = (self.cache.clone(), self.max_request_bytes);
        let requests = request.into_inner();
        Ok(Response::new(fetch_stream::serve(cache, requests, caller, deadline, limit)))
    }

    type BatchGetOrFetchStream = ResponseStream<pb::BatchGetOrFetchResponse>;

    async fn batch_get_or_fetch(
        &self,
        request: Request<pb::BatchGetOrFetchRequest>,
    ) -> RpcResult<Self::BatchGetOrFetchStream> {
        self.serve_batch_get_or_fetch(request).await
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> RpcResult<pb::RenewResponse> {
        self.serve_renew(request).await
    }

    async fn abandon(
        &self,
        request: Request<pb::AbandonRequest>,
    ) -> RpcResult<pb::AbandonResponse> {
        self.serve_abandon(request).await
    }

    type BatchGetStream = ResponseStream<pb::BatchGetResponse>;

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> RpcResult<Self::BatchGetStream> {
        self.serve_batch_get(request).await
    }

    async fn batch_set(
        &self,
        request: Request<pb::BatchSetRequest>,
    ) -> RpcResult<pb::BatchSetResponse> {
        self.serve_batch_set(request).await
    }

    async fn batch_delete(
        &self,
        request: Request<pb::BatchDeleteRequest>,
    ) -> RpcResult<pb::BatchDeleteResponse> {
        self.serve_batch_delete(request).await
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> RpcResult<pb::TouchResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        let key = schema.key(key);
        let touched = self.cache.touch(&key, convert::ttl(request.ttl)?).await?;
        let (found, degraded) = (touched.ttl.is_some(), touched.degraded);
        let ttl = touched.ttl.map(from_duration);
        let outcome = if found { "TOUCHED" } else { "ABSENT" };
        Ok(self.with_log_fields(&key, outcome, pb::TouchResponse { found, ttl, degraded }))
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> RpcResult<pb::ListKeysResponse> {
        let (access, compression) = (Access::of(&request), Compression::of(&request));
        let (keys, next_page_token) = self.keys.list(&request.into_inner(), &access).await?;
        let mut response = Response::new(pb::ListKeysResponse { keys, next_page_token });
        compression.fit(&mut response);
        Ok(response)
    }

    async fn count_keys(
        &self,
        request: Request<pb::CountKeysRequest>,
    ) -> RpcResult<pb::CountKeysResponse> {
        let access = Access::of(&request);
        Ok(Response::new(self.keys.count(&request.into_inner(), &access).await?))
    }

    type WatchStream = ResponseStream<pb::WatchResponse>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> RpcResult<Self::WatchStream> {
        let access = Access::of(&request);
        let command = convert::watch_command(request.into_inner())?;
        let mut namespaces = command.namespaces.iter().enumerate();
        namespaces.try_for_each(|(index, namespace)| {
            access.check_scope(namespace, Scope::ALL, Some(index))
        })?;
        let stream = watch_stream::serve(self.watches.clone(), command).inspect_err(|error| {
            if matches!(error, cache::Error::TooManyWatched(_)) {
                self.limits.record_rejection(Overload::WatchedNamespaces);
            }
        });
        Ok(Response::new(stream?))
    }

    async fn increment(
        &self,
        request: Request<pb::IncrementRequest>,
    ) -> RpcResult<pb::IncrementResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        let key = schema.key(key);
        let (delta, ttl) = (request.delta.unwrap_or(1), convert::ttl(request.ttl)?);
        let initial = (!request.if_present).then_some(request.initial);
        let sum = self.cache.increment(&key, delta, initial, ttl).await?;
        let outcome = if sum.is_some() { "INCREMENTED" } else { "ABSENT" };
        Ok(self.with_log_fields(&key, outcome, convert::increment_response(sum)))
    }

    async fn patch(&self, request: Request<pb::PatchRequest>) -> RpcResult<pb::PatchResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let mut command = convert::patch_command(request.into_inner())?;
        access.check(&command.key)?;
        command.max_bytes = access.max_value_bytes();
        schema.apply(&mut command.key);
        let patched = self.cache.patch(&command).await?;
        let outcome = convert::patch_result_name(patched);
        Ok(self.with_log_fields(&command.key, outcome, convert::patch_response(patched)))
    }
}

impl CacheRpc {
    async fn delete_one(
        &self,
        key: &EntryKey,
        deletion: &Deletion,
    ) -> Result<DeleteResult, cache::Error> {
        if deletion.condition != VersionCondition::Always || deletion.returns_entry {
            return self.cache.delete_with(key, deletion).await;
        }
        self.cache.delete(key, deletion.hold_off).await
    }

    /// A response with its fields for the access log.
    fn with_log_fields<T>(&self, key: &EntryKey, outcome: &'static str, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.key_logging.attach(&mut response, key, outcome);
        response
    }
}
