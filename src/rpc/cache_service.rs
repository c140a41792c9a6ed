//! The CacheService: each handler converts the request, calls the cache and converts the result.

mod fetch_with_options;
mod get_with_options;

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    access_log::{self, KeyLogging},
    batch_stream::{self, ResponseStream},
    batch_with_options::{BatchWithOptions, FetchWithOptions},
    compression::Compression,
    convert::{self, RequestedTarget, XCache},
    deadline::{self, DefaultDeadline},
    event_targets::PlannedTargets,
    fetch_batch::FetchBatch,
    fetch_stream::{self, FetchStream},
    key_listing::KeyListing,
    large_response::LargeResponse,
    load_limits::{LoadLimits, MustNotWait},
    overload::Overload,
    schema::Schema,
    status, watch_stream,
};
use crate::{
    cache::{
        self, BatchGet, BatchGetOrFetch, Cache, DeleteResult, Deletion, InvalidateTarget,
        SetCommand, VersionCondition, Watches, fleet_stats::FleetStats,
    },
    config::LimitsConfig,
    model::{EntryKey, Namespace},
    pb::{
        from_duration,
        v1::{self as pb, cache_service_server::CacheService},
    },
};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE_FETCH: HeaderName = HeaderName::from_static("x-cache-fetch");
/// In seconds.
const X_CACHE_AGE: HeaderName = HeaderName::from_static("x-cache-age");
/// In seconds.
const X_CACHE_TTL_REMAINING: HeaderName = HeaderName::from_static("x-cache-ttl-remaining");

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

type RpcResult<T> = Result<Response<T>, Status>;

impl CacheRpc {
    /// Serves `cache`, the statistics of its fleet, its keys and its changes.
    pub fn new(
        cache: Arc<Cache>,
        fleet: Arc<FleetStats>,
        keys: Arc<KeyListing>,
        watches: Arc<Watches>,
        key_logging: KeyLogging,
        (limits, config): (Arc<LoadLimits>, &LimitsConfig),
    ) -> Self {
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

    fn batch_keys(&self, keys: &[pb::KeyRef], schema: &Schema) -> Result<Vec<EntryKey>, Status> {
        self.check_batch_size("keys", keys.len())?;
        let mut keys = convert::entry_keys(keys)?;
        if !schema.is_none() {
            keys.iter_mut().for_each(|key| schema.apply(key));
        }
        Ok(keys)
    }

    /// Validates all items, so that an invalid item fails the batch before any other is stored.
    fn batch_commands(
        &self,
        items: Vec<pb::SetRequest>,
        schema: &Schema,
    ) -> Result<Vec<SetCommand>, Status> {
        self.check_batch_size("items", items.len())?;
        let mut commands = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let path = || format!("items[{index}].");
            let mut command = convert::set_command(item).map_err(|error| error.within(&path()))?;
            schema.apply(&mut command.key);
            self.cache.check(&command).map_err(|error| error.within(&path()))?;
            commands.push(command);
        }
        Ok(commands)
    }
}

/// The namespace of all targets; none if they have several.
fn common_namespace(targets: &[InvalidateTarget]) -> Option<&Namespace> {
    let (first, rest) = targets.split_first()?;
    rest.iter().all(|target| target.namespace() == first.namespace()).then(|| first.namespace())
}

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get(&self, request: Request<pb::GetRequest>) -> RpcResult<pb::GetResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let request = request.into_inner();
        if convert::has_read_options(&request) {
            return Box::pin(self.get_with_options(request, compression, schema)).await;
        }
        let mut key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
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
        let schema = Schema::of(&request);
        let mut command = convert::set_command(request.into_inner())?;
        schema.apply(&mut command.key);
        let result = self.cache.set(&command).await?;
        let outcome = convert::set_result_name(result.outcome);
        Ok(self.with_log_fields(&command.key, outcome, convert::set_response(result)))
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> RpcResult<pb::DeleteResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        let key = schema.key(key);
        let deletion = convert::deletion(&request)?;
        let result = self.delete_one(&key, &deletion).await?;
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
        let namespace = Namespace::new(&request.into_inner().namespace)?;
        self.cache.invalidate_namespace(&namespace).await?;
        let mut response = Response::new(pb::InvalidateNamespaceResponse {});
        access_log::attach_namespace(&mut response, &namespace, "INVALIDATED");
        Ok(response)
    }

    async fn invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> RpcResult<pb::InvalidateResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let request = request.into_inner();
        self.check_batch_size("targets", request.targets.len())?;
        let requested = convert::invalidate_targets(request.targets)?;
        let hold_off = convert::hold_off(request.hold_off)?;
        let has_globs = requested.iter().any(RequestedTarget::is_matching);
        let known = if has_globs { self.keys.namespaces().await? } else { Vec::new() };
        let limit = self.max_batch_keys;
        let mut planned = PlannedTargets::new(&self.cache, requested, &known, limit).await?;
        planned.keys_mut().for_each(|key| schema.apply(key));
        if planned.targets().len() > limit {
            return Err(status::batch_size(convert::too_many_targets(limit)));
        }
        let outcomes = self.cache.invalidate(planned.targets(), hold_off).await;
        planned.count(&self.cache, outcomes.is_ok());
        let mut response = Response::new(planned.response(&outcomes?));
        compression.fit(&mut response);
        if let Some(namespace) = common_namespace(planned.targets()) {
            access_log::attach_namespace(&mut response, namespace, "INVALIDATED");
        }
        Ok(response)
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> RpcResult<pb::StatsResponse> {
        let compression = Compression::of(&request);
        let request = request.into_inner();
        // An empty list is valid: it selects all namespaces.
        self.check_batch_size("namespaces", request.namespaces.len().max(1))?;
        let page = convert::stats_page(request)?;
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
        let schema = Schema::of(&request);
        let mut request = request.into_inner();
        let options = convert::fetch_options(&mut request)?;
        let mut request = convert::get_or_fetch_request(request, deadline)?;
        schema.apply(&mut request.key);
        let would_wait = request.wait != Some(Duration::ZERO);
        if must_not_wait {
            request.wait = Some(Duration::ZERO);
        }
        let result = self.cache.get_or_fetch(&request).await?;
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
        self.add_x_cache(&mut response, &request.key, reply.x_cache);
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(CACHE_STATUS, HeaderValue::from_static(reply.cache_status));
        add_fetch_status(&mut response, reply.x_cache_fetch);
        reply.lease.map(|lease| lease.guard.into_token());
        Ok(response)
    }

    type FetchStreamStream = FetchStream;

    async fn fetch_stream(
        &self,
        request: Request<Streaming<pb::FetchStreamRequest>>,
    ) -> RpcResult<FetchStream> {
        let deadline = deadline::of(request.metadata().as_ref())?;
        let schema = Schema::of(&request);
        let (cache, limit) = (self.cache.clone(), self.max_request_bytes);
        let requests = request.into_inner();
        Ok(Response::new(fetch_stream::serve(cache, requests, schema, deadline, limit)))
    }

    type BatchGetOrFetchStream = ResponseStream<pb::BatchGetOrFetchResponse>;

    async fn batch_get_or_fetch(
        &self,
        request: Request<pb::BatchGetOrFetchRequest>,
    ) -> RpcResult<Self::BatchGetOrFetchStream> {
        let deadline = self.deadline(request.metadata())?;
        let must_not_wait = request.extensions().get::<MustNotWait>().is_some();
        let schema = Schema::of(&request);
        let mut request = request.into_inner();
        let would_wait = request.wait != Some(from_duration(Duration::ZERO));
        if must_not_wait {
            request.wait = Some(from_duration(Duration::ZERO));
        }
        let unwaited = (must_not_wait && would_wait).then(|| self.limits.clone());
        let keys = self.batch_keys(&request.keys, &schema)?;
        let options = convert::batch_fetch_options(&mut request, keys.len())?;
        let params = std::mem::take(&mut request.keys).into_iter().map(|key| key.params);
        let keys = keys.into_iter().zip(params).collect();
        let template = convert::get_or_fetch_template(&request, deadline)?;
        let batch = BatchGetOrFetch::new(self.cache.clone(), keys, template)?;
        let batch = FetchBatch::new(batch, unwaited);
        Ok(Response::new(match options {
            None => batch_stream::responses(batch, deadline),
            Some(options) => {
                batch_stream::responses(FetchWithOptions::new(batch, options), deadline)
            }
        }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> RpcResult<pb::RenewResponse> {
        let schema = Schema::of(&request);
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        let key = schema.key(key);
        let token = convert::required_token(&request.lease_token)?;
        let response = convert::renew_response(self.cache.renew(&key, token).await?);
        Ok(self.with_log_fields(&key, "RENEWED", response))
    }

    async fn abandon(
        &self,
        request: Request<pb::AbandonRequest>,
    ) -> RpcResult<pb::AbandonResponse> {
        let schema = Schema::of(&request);
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        let key = schema.key(key);
        let token = convert::required_token(&request.lease_token)?;
        let reason = convert::abandon_reason(&request.reason)?;
        self.cache.abandon(&key, token, reason).await?;
        Ok(self.with_log_fields(&key, "ABANDONED", pb::AbandonResponse {}))
    }

    type BatchGetStream = ResponseStream<pb::BatchGetResponse>;

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> RpcResult<Self::BatchGetStream> {
        let deadline = self.deadline(request.metadata())?;
        let schema = Schema::of(&request);
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys, &schema)?;
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let options = convert::batch_read_options(request)?;
        let batch = BatchGet::new(self.cache.clone(), keys, max_stale, consistency)?;
        Ok(Response::new(match options {
            None => batch_stream::responses(batch, deadline),
            Some(options) => {
                batch_stream::responses(BatchWithOptions::new(batch, options), deadline)
            }
        }))
    }

    async fn batch_set(
        &self,
        request: Request<pb::BatchSetRequest>,
    ) -> RpcResult<pb::BatchSetResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let commands = self.batch_commands(request.into_inner().items, &schema)?;
        let results: Vec<Result<_, cache::Error>> =
            join_all(commands.iter().map(|command| self.cache.set_checked(command))).await;
        let results = results.into_iter().map(|result| result.map(convert::set_response));
        let results = results.collect::<Result<_, _>>()?;
        let mut response = Response::new(pb::BatchSetResponse { results });
        compression.fit(&mut response);
        Ok(response)
    }

    async fn batch_delete(
        &self,
        request: Request<pb::BatchDeleteRequest>,
    ) -> RpcResult<pb::BatchDeleteResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys, &schema)?;
        let deletions = convert::deletions(&request)?;
        let deletes = keys.iter().zip(&deletions).map(|(key, with)| self.delete_one(key, with));
        let results = try_join_all(deletes).await?;
        let existed = results.iter().map(|result| result.existed).collect();
        let deleted = results.iter().map(|result| result.deleted).collect();
        let mut response = Response::new(pb::BatchDeleteResponse { existed, deleted });
        compression.fit(&mut response);
        Ok(response)
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> RpcResult<pb::TouchResponse> {
        let schema = Schema::of(&request);
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
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
        let compression = Compression::of(&request);
        let (keys, next_page_token) = self.keys.list(&request.into_inner()).await?;
        let mut response = Response::new(pb::ListKeysResponse { keys, next_page_token });
        compression.fit(&mut response);
        Ok(response)
    }

    async fn count_keys(
        &self,
        request: Request<pb::CountKeysRequest>,
    ) -> RpcResult<pb::CountKeysResponse> {
        Ok(Response::new(self.keys.count(&request.into_inner()).await?))
    }

    type WatchStream = ResponseStream<pb::WatchResponse>;

    async fn watch(&self, request: Request<pb::WatchRequest>) -> RpcResult<Self::WatchStream> {
        let command = convert::watch_command(request.into_inner())?;
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
        let schema = Schema::of(&request);
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        let key = schema.key(key);
        let (delta, ttl) = (request.delta.unwrap_or(1), convert::ttl(request.ttl)?);
        let initial = (!request.if_present).then_some(request.initial);
        let sum = self.cache.increment(&key, delta, initial, ttl).await?;
        let outcome = if sum.is_some() { "INCREMENTED" } else { "ABSENT" };
        Ok(self.with_log_fields(&key, outcome, convert::increment_response(sum)))
    }

    async fn patch(&self, request: Request<pb::PatchRequest>) -> RpcResult<pb::PatchResponse> {
        let schema = Schema::of(&request);
        let mut command = convert::patch_command(request.into_inner())?;
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
        let existed = self.cache.delete(key, deletion.hold_off).await?;
        Ok(DeleteResult { existed, deleted: existed, removed: None })
    }

    /// A response with its fields for the access log.
    fn with_log_fields<T>(&self, key: &EntryKey, outcome: &'static str, message: T) -> Response<T> {
        let mut response = Response::new(message);
        self.key_logging.attach(&mut response, key, outcome);
        response
    }

    /// Adds the `x-cache*` and `cache-status` metadata, and the fields for the access log.
    #[inline]
    fn add_x_cache<T>(&self, response: &mut Response<T>, key: &EntryKey, x_cache: Option<XCache>) {
        let (outcome, status) = x_cache.map_or((XCache::MISS, XCache::NOT_CACHED), |x_cache| {
            (x_cache.outcome, x_cache.status)
        });
        self.key_logging.attach(response, key, outcome);
        // tonic's own MetadataMap would parse each name again.
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(X_CACHE, HeaderValue::from_static(outcome));
        headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
        if let Some(XCache { age_seconds, ttl_remaining_seconds, .. }) = x_cache {
            headers.insert(X_CACHE_AGE, number(age_seconds));
            headers.insert(X_CACHE_TTL_REMAINING, number(ttl_remaining_seconds));
        }
    }
}

/// Adds the `x-cache-fetch` metadata.
#[inline]
fn add_fetch_status<T>(response: &mut Response<T>, fetch_status: Option<&'static str>) {
    if let Some(fetch_status) = fetch_status {
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(X_CACHE_FETCH, HeaderValue::from_static(fetch_status));
    }
}

/// A number as a header value. The conversion of the `http` crate allocates twice.
fn number(number: u64) -> HeaderValue {
    // Digits are always valid.
    HeaderValue::from_str(itoa::Buffer::new().format(number))
        .unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_header_values() {
        for value in [0, 7, u64::MAX] {
            assert_eq!(number(value).to_str().unwrap_or_default(), value.to_string());
        }
    }
}
