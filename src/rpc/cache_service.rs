//! The cache's service: every method translates, delegates and translates back.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Request, Response, Status, Streaming};

use super::{
    access_log::KeyLogging,
    batch_stream::{self, Messages},
    convert,
    convert::{get_or_fetch, stats},
    deadline,
    fetch_stream::{self, FetchStream},
    status,
};
use crate::{
    cache::{self, BatchGet, BatchGetOrFetch, Cache, RenewResult, fleet_stats::FleetStats},
    config::LimitsConfig,
    model::{EntryKey, Namespace},
    pb::v1::{self as pb, cache_service_server::CacheService},
    store::LeaseLoss,
};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_CACHE_FETCH: HeaderName = HeaderName::from_static("x-cache-fetch");
/// Seconds.
const X_CACHE_AGE: HeaderName = HeaderName::from_static("x-cache-age");
/// Seconds.
const X_CACHE_TTL_REMAINING: HeaderName = HeaderName::from_static("x-cache-ttl-remaining");

/// Implements `larder.v1.CacheService`.
pub struct CacheRpc {
    cache: Arc<Cache>,
    fleet: Arc<FleetStats>,
    log_keys: KeyLogging,
    max_batch_keys: usize,
    max_request_bytes: usize,
}

type Answered<T> = Result<Response<T>, Status>;

impl CacheRpc {
    /// Serves `cache` and what is counted of it.
    pub fn new(
        cache: Arc<Cache>,
        fleet: Arc<FleetStats>,
        log_keys: KeyLogging,
        limits: &LimitsConfig,
    ) -> Self {
        let &LimitsConfig { max_batch_keys, max_request_bytes, .. } = limits;
        Self { cache, fleet, log_keys, max_batch_keys, max_request_bytes }
    }

    fn check_batch(&self, field: &'static str, size: usize) -> Result<(), Status> {
        convert::batch_size(field, size, self.max_batch_keys).map_err(status::batch_size)
    }

    fn batch_keys(&self, keys: &[pb::KeyRef]) -> Result<Vec<EntryKey>, Status> {
        self.check_batch("keys", keys.len())?;
        let mut checked: Vec<EntryKey> = Vec::with_capacity(keys.len());
        for (place, key) in keys.iter().enumerate() {
            let key = convert::key_ref(key, checked.last().map(EntryKey::namespace));
            checked.push(key.map_err(|violation| violation.within(&format!("keys[{place}].")))?);
        }
        Ok(checked)
    }
}

#[tonic::async_trait]
impl CacheService for CacheRpc {
    async fn get(&self, request: Request<pb::GetRequest>) -> Answered<pb::GetResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let read = self.cache.get(&key, max_stale, consistency).await?;
        Ok(self.with_x_cache(
            &key,
            read.found.as_ref().map(convert::x_cache),
            convert::get_response(read),
        ))
    }

    async fn set(&self, request: Request<pb::SetRequest>) -> Answered<pb::SetResponse> {
        let command = convert::set(request.into_inner())?;
        let outcome = self.cache.set(&command).await?;
        let mut response = Response::new(convert::set_response(outcome));
        self.log_keys.note(&mut response, &command.key, convert::set_result_name(outcome.outcome));
        Ok(response)
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Answered<pb::DeleteResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let existed = self.cache.delete(&key, get_or_fetch::hold_off(request.hold_off)?).await?;
        let mut response = Response::new(pb::DeleteResponse { existed });
        self.log_keys.note(&mut response, &key, if existed { "DELETED" } else { "ABSENT" });
        Ok(response)
    }

    async fn invalidate_namespace(
        &self,
        request: Request<pb::InvalidateNamespaceRequest>,
    ) -> Answered<pb::InvalidateNamespaceResponse> {
        let namespace = Namespace::new(&request.into_inner().namespace)?;
        self.cache.invalidate_namespace(&namespace).await?;
        let mut response = Response::new(pb::InvalidateNamespaceResponse {});
        KeyLogging::note_namespace(&mut response, &namespace, "INVALIDATED");
        Ok(response)
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> Answered<pb::StatsResponse> {
        let chosen = request.into_inner().namespaces;
        self.check_batch("namespaces", chosen.len().max(1))?;
        convert::reported(&chosen)?;
        Ok(Response::new(stats::response(&self.fleet.overview().await, &chosen)))
    }

    async fn get_or_fetch(
        &self,
        request: Request<pb::GetOrFetchRequest>,
    ) -> Answered<pb::GetOrFetchResponse> {
        let deadline = deadline::of(request.metadata().as_ref());
        let request = get_or_fetch::request(request.into_inner(), deadline)?;
        let told = get_or_fetch::response(self.cache.get_or_fetch(&request).await?);
        let mut response = self.with_x_cache(&request.key, told.x_cache, told.response);
        if let Some(fetched) = told.x_cache_fetch {
            let headers: &mut HeaderMap = response.metadata_mut().as_mut();
            headers.insert(X_CACHE_FETCH, HeaderValue::from_static(fetched));
        }
        Ok(response)
    }

    type FetchStreamStream = FetchStream;

    async fn fetch_stream(
        &self,
        request: Request<Streaming<pb::FetchStreamRequest>>,
    ) -> Answered<FetchStream> {
        let deadline = deadline::of(request.metadata().as_ref());
        let (cache, limit) = (self.cache.clone(), self.max_request_bytes);
        Ok(Response::new(fetch_stream::answer(cache, request.into_inner(), deadline, limit)))
    }

    type BatchGetOrFetchStream = Messages<pb::BatchGetOrFetchResponse>;

    async fn batch_get_or_fetch(
        &self,
        request: Request<pb::BatchGetOrFetchRequest>,
    ) -> Answered<Self::BatchGetOrFetchStream> {
        let deadline = deadline::of(request.metadata().as_ref());
        let mut request = request.into_inner();
        let keys = self.batch_keys(&request.keys)?;
        let params = std::mem::take(&mut request.keys).into_iter().map(|key| key.params);
        let like = get_or_fetch::batch_request(&request, deadline)?;
        let batch =
            BatchGetOrFetch::new(self.cache.clone(), keys.into_iter().zip(params).collect(), like)?;
        Ok(Response::new(batch_stream::messages(batch, deadline)))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Answered<pb::RenewResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let renewed = match convert::required_token(&request.lease_token)? {
            Some(token) => self.cache.renew(&key, token).await?,
            None => {
                RenewResult { status: Some(Err(LeaseLoss::Expired)), expires_in: Duration::ZERO }
            }
        };
        let mut response = Response::new(get_or_fetch::renew_response(renewed));
        self.log_keys.note(&mut response, &key, "RENEWED");
        Ok(response)
    }

    async fn abandon(&self, request: Request<pb::AbandonRequest>) -> Answered<pb::AbandonResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let token = convert::required_token(&request.lease_token)?;
        let reason = convert::reason(&request.reason)?;
        tracing::debug!(namespace = %key.namespace(), reason, "a lease was abandoned");
        if let Some(token) = token {
            self.cache.abandon(&key, token, reason).await?;
        }
        let mut response = Response::new(pb::AbandonResponse {});
        self.log_keys.note(&mut response, &key, "ABANDONED");
        Ok(response)
    }

    type BatchGetStream = Messages<pb::BatchGetResponse>;

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> Answered<Self::BatchGetStream> {
        let deadline = deadline::of(request.metadata().as_ref());
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys)?;
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let batch = BatchGet::new(self.cache.clone(), keys, max_stale, consistency)?;
        Ok(Response::new(batch_stream::messages(batch, deadline)))
    }

    async fn batch_set(
        &self,
        request: Request<pb::BatchSetRequest>,
    ) -> Answered<pb::BatchSetResponse> {
        let items = request.into_inner().items;
        self.check_batch("items", items.len())?;
        let mut commands = Vec::with_capacity(items.len());
        for (place, item) in items.into_iter().enumerate() {
            let part = || format!("items[{place}].");
            let command = convert::set(item).map_err(|violation| violation.within(&part()))?;
            self.cache.check(&command).map_err(|error| error.within(&part()))?;
            commands.push(command);
        }
        let outcomes: Vec<Result<_, cache::Error>> =
            join_all(commands.iter().map(|command| self.cache.set_checked(command))).await;
        let results = outcomes.into_iter().map(|outcome| outcome.map(convert::set_response));
        Ok(Response::new(pb::BatchSetResponse { results: results.collect::<Result<_, _>>()? }))
    }

    async fn batch_delete(
        &self,
        request: Request<pb::BatchDeleteRequest>,
    ) -> Answered<pb::BatchDeleteResponse> {
        let request = request.into_inner();
        let keys = self.batch_keys(&request.keys)?;
        let hold_off = get_or_fetch::hold_off(request.hold_off)?;
        let existed = try_join_all(keys.iter().map(|key| self.cache.delete(key, hold_off))).await?;
        Ok(Response::new(pb::BatchDeleteResponse { existed }))
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> Answered<pb::TouchResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let touched = self.cache.touch(&key, convert::ttl(request.ttl)?).await?;
        let found = touched.ttl.is_some();
        let ttl = touched.ttl.map(convert::duration);
        let mut response =
            Response::new(pb::TouchResponse { found, ttl, degraded: touched.degraded });
        self.log_keys.note(&mut response, &key, if found { "TOUCHED" } else { "ABSENT" });
        Ok(response)
    }

    async fn increment(
        &self,
        request: Request<pb::IncrementRequest>,
    ) -> Answered<pb::IncrementResponse> {
        let request = request.into_inner();
        let key = convert::key(&request.namespace, &request.key, &request.params)?;
        let ttl = convert::ttl(request.ttl)?;
        let sum =
            self.cache.increment(&key, request.delta.unwrap_or(1), request.initial, ttl).await?;
        let mut response = Response::new(pb::IncrementResponse {
            value: sum.value,
            version: sum.version.to_text(),
            ttl_remaining: Some(convert::duration(sum.ttl_remaining)),
        });
        self.log_keys.note(&mut response, &key, "INCREMENTED");
        Ok(response)
    }
}

impl CacheRpc {
    fn with_x_cache<T>(
        &self,
        key: &EntryKey,
        x_cache: Option<convert::XCache>,
        message: T,
    ) -> Response<T> {
        let mut response = Response::new(message);
        // The library's own map would parse every name again.
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        let outcome = x_cache.map_or(convert::outcome_name(None), |(outcome, ..)| outcome);
        headers.insert(X_CACHE, HeaderValue::from_static(outcome));
        if let Some((_, age, ttl_remaining)) = x_cache {
            headers.insert(X_CACHE_AGE, number(age));
            headers.insert(X_CACHE_TTL_REMAINING, number(ttl_remaining));
        }
        self.log_keys.note(&mut response, key, outcome);
        response
    }
}

/// The conversion from numbers that the library has allocates twice.
fn number(number: u64) -> HeaderValue {
    // Digits are always valid.
    HeaderValue::from_str(itoa::Buffer::new().format(number))
        .unwrap_or(HeaderValue::from_static("0"))
}
