//! The calls of the fake, as the generated code has them.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    checks, entries,
    fake::{Shared, State},
    fetches, invalidations,
    leases::Lost,
    store::Place,
};
use crate::{
    pb::{self, cache_service_server::CacheService},
    ttl::to_wire,
};

/// The fake as a service.
#[derive(Clone)]
pub(crate) struct Served(pub(crate) Arc<Shared>);

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The schema version of the client.
fn schema<T>(request: &Request<T>) -> String {
    let version = request.metadata().get("larder-schema-version");
    version.and_then(|version| version.to_str().ok()).unwrap_or_default().to_owned()
}

fn place(namespace: &str, key: &str, params: &BTreeMap<String, String>, schema: &str) -> Place {
    Place {
        namespace: namespace.to_owned(),
        key: key.to_owned(),
        params: params.clone(),
        schema: schema.to_owned(),
    }
}

fn one<T: Send + 'static>(message: T) -> Response<Messages<T>> {
    Response::new(stream::once(async { Ok(message) }).boxed())
}

impl Served {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Status>) -> Answer<T> {
        let answer = act(&mut self.0.state.lock());
        self.0.changed.notify_waiters();
        answer.map(Response::new)
    }
}

macro_rules! entered {
    ($self:ident, $request:ident, $method:literal) => {{
        $self.0.enter($method, $request.get_ref()).await?;
        let schema = schema(&$request);
        (schema, $request.into_inner())
    }};
}

macro_rules! entry {
    ($request:ident, $schema:ident) => {
        place(&$request.namespace, &$request.key, &$request.params, &$schema)
    };
}

#[async_trait]
impl CacheService for Served {
    type FetchStreamStream = Messages<pb::FetchStreamResponse>;
    type BatchGetOrFetchStream = Messages<pb::BatchGetOrFetchResponse>;
    type BatchGetStream = Messages<pb::BatchGetResponse>;
    type WatchStream = Messages<pb::WatchResponse>;

    async fn get(&self, request: Request<pb::GetRequest>) -> Answer<pb::GetResponse> {
        let (schema, request) = entered!(self, request, "Get");
        let place = entry!(request, schema);
        self.with(|state| entries::get(state, &place, &request))
    }

    async fn set(&self, request: Request<pb::SetRequest>) -> Answer<pb::SetResponse> {
        let (schema, request) = entered!(self, request, "Set");
        let place = entry!(request, schema);
        self.with(|state| {
            entries::check_set(state, &place, &request)?;
            Ok(entries::set(state, &place, request))
        })
    }

    async fn delete(&self, request: Request<pb::DeleteRequest>) -> Answer<pb::DeleteResponse> {
        let (schema, request) = entered!(self, request, "Delete");
        let place = entry!(request, schema);
        self.with(|state| entries::delete(state, &place, &request))
    }

    async fn invalidate_namespace(
        &self,
        request: Request<pb::InvalidateNamespaceRequest>,
    ) -> Answer<pb::InvalidateNamespaceResponse> {
        let (_, request) = entered!(self, request, "InvalidateNamespace");
        let durability = pb::Durability::Applied.into();
        self.with(|state| {
            invalidations::invalidate_namespace(state, &request.namespace)?;
            Ok(pb::InvalidateNamespaceResponse { durability })
        })
    }

    async fn invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> Answer<pb::InvalidateResponse> {
        let (schema, request) = entered!(self, request, "Invalidate");
        self.with(|state| invalidations::invalidate(state, request, &schema))
    }

    async fn stats(&self, request: Request<pb::StatsRequest>) -> Answer<pb::StatsResponse> {
        let (_, request) = entered!(self, request, "Stats");
        self.with(|state| {
            let namespaces = request.namespaces.into_iter().map(|namespace| {
                let keys = state.store.of(&namespace).len() as u64;
                let size = Some(pb::NamespaceSize { keys, ..Default::default() });
                pb::NamespaceStats { namespace, size, ..Default::default() }
            });
            let namespaces = namespaces.collect();
            let degraded = state.degraded;
            Ok(pb::StatsResponse { namespaces, degraded, ..Default::default() })
        })
    }

    async fn get_or_fetch(
        &self,
        request: Request<pb::GetOrFetchRequest>,
    ) -> Answer<pb::GetOrFetchResponse> {
        let (schema, request) = entered!(self, request, "GetOrFetch");
        let place = entry!(request, schema);
        fetches::get_or_fetch(&self.0, &place, &request).await.map(Response::new)
    }

    async fn fetch_stream(
        &self,
        _: Request<Streaming<pb::FetchStreamRequest>>,
    ) -> Answer<Self::FetchStreamStream> {
        Err(Status::unimplemented("the fake does not have FetchStream"))
    }

    async fn batch_get_or_fetch(
        &self,
        request: Request<pb::BatchGetOrFetchRequest>,
    ) -> Answer<Self::BatchGetOrFetchStream> {
        let (schema, request) = entered!(self, request, "BatchGetOrFetch");
        let places: Vec<_> = request.keys.iter().map(|key| entry!(key, schema)).collect();
        let answer = fetches::batch(&self.0, &places, &request).await?;
        let end = self.0.late_failure("BatchGetOrFetch").map(Err);
        Ok(Response::new(stream::iter([Ok(answer)].into_iter().chain(end)).boxed()))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Answer<pb::RenewResponse> {
        let (schema, request) = entered!(self, request, "Renew");
        let place = entry!(request, schema);
        self.with(|state| {
            if state.degraded {
                return Ok(pb::RenewResponse { degraded: true, ..Default::default() });
            }
            let now = state.store.now();
            let result = match state.leases.refusal(&place, &request.lease_token, &[], now) {
                Some(Lost::Expired) => pb::RenewResult::LeaseLost,
                Some(Lost::Invalidated) => pb::RenewResult::Invalidated,
                Some(Lost::Superseded) => pb::RenewResult::Superseded,
                None => {
                    let lease_ttl = state.store.settings(&place.namespace).lease_ttl;
                    state.leases.renew(&place, now + lease_ttl);
                    let expires_in = Some(to_wire(lease_ttl));
                    let result = pb::RenewResult::Renewed.into();
                    return Ok(pb::RenewResponse { result, expires_in, degraded: false });
                }
            };
            Ok(pb::RenewResponse { result: result.into(), ..Default::default() })
        })
    }

    async fn abandon(&self, request: Request<pb::AbandonRequest>) -> Answer<pb::AbandonResponse> {
        let (schema, request) = entered!(self, request, "Abandon");
        let place = entry!(request, schema);
        self.with(|state| {
            let backoff = state.store.settings(&place.namespace).backoff;
            let until = state.store.now() + backoff;
            let backoff = (!request.pass_on).then_some((until, request.reason));
            state.leases.abandon(&place, &request.lease_token, backoff);
            Ok(pb::AbandonResponse {})
        })
    }

    async fn batch_get(
        &self,
        request: Request<pb::BatchGetRequest>,
    ) -> Answer<Self::BatchGetStream> {
        let (schema, request) = entered!(self, request, "BatchGet");
        let mut results = Vec::with_capacity(request.keys.len());
        for key in &request.keys {
            let single = pb::GetRequest {
                max_stale: request.max_stale,
                touch: request.touch,
                ..Default::default()
            };
            let place = entry!(key, schema);
            let found = self.with(|state| entries::get(state, &place, &single))?.into_inner();
            let pb::GetResponse { outcome, value, entry, .. } = found;
            results.push(pb::BatchGetResult { outcome, value, entry, ..Default::default() });
        }
        let degraded = self.0.state.lock().degraded;
        Ok(one(pb::BatchGetResponse { results, degraded }))
    }

    async fn batch_set(
        &self,
        request: Request<pb::BatchSetRequest>,
    ) -> Answer<pb::BatchSetResponse> {
        let (schema, request) = entered!(self, request, "BatchSet");
        self.with(|state| {
            for item in &request.items {
                entries::check_set(state, &entry!(item, schema), item)?;
            }
            let set = |item: pb::SetRequest| entries::set(state, &entry!(item, schema), item);
            Ok(pb::BatchSetResponse { results: request.items.into_iter().map(set).collect() })
        })
    }

    async fn batch_delete(
        &self,
        request: Request<pb::BatchDeleteRequest>,
    ) -> Answer<pb::BatchDeleteResponse> {
        let (schema, request) = entered!(self, request, "BatchDelete");
        self.with(|state| {
            let mut answer = pb::BatchDeleteResponse::default();
            for (index, key) in request.keys.iter().enumerate() {
                let version = request.if_versions.get(index).filter(|own| !own.is_empty());
                let single = pb::DeleteRequest {
                    hold_off: request.hold_off,
                    if_version: version.cloned(),
                    ..Default::default()
                };
                let deleted = entries::delete(state, &entry!(key, schema), &single)?;
                answer.existed.push(deleted.existed);
                answer.deleted.push(deleted.deleted);
                answer.durabilities.push(deleted.durability);
            }
            Ok(answer)
        })
    }

    async fn touch(&self, request: Request<pb::TouchRequest>) -> Answer<pb::TouchResponse> {
        let (schema, request) = entered!(self, request, "Touch");
        let place = entry!(request, schema);
        self.with(|state| entries::touch(state, &place, &request))
    }

    async fn increment(
        &self,
        request: Request<pb::IncrementRequest>,
    ) -> Answer<pb::IncrementResponse> {
        let (schema, request) = entered!(self, request, "Increment");
        let place = entry!(request, schema);
        self.with(|state| entries::increment(state, &place, &request))
    }

    async fn patch(&self, request: Request<pb::PatchRequest>) -> Answer<pb::PatchResponse> {
        let (schema, request) = entered!(self, request, "Patch");
        let place = entry!(request, schema);
        self.with(|state| entries::patch(state, &place, request))
    }

    async fn list_keys(
        &self,
        request: Request<pb::ListKeysRequest>,
    ) -> Answer<pb::ListKeysResponse> {
        let (_, request) = entered!(self, request, "ListKeys");
        self.with(|state| invalidations::list_keys(state, &request))
    }

    async fn count_keys(
        &self,
        request: Request<pb::CountKeysRequest>,
    ) -> Answer<pb::CountKeysResponse> {
        let (_, request) = entered!(self, request, "CountKeys");
        self.with(|state| {
            let all = invalidations::matching(state, &request.namespace, &request.glob)?;
            let next_page_token = String::new();
            Ok(pb::CountKeysResponse { count: all.len() as u64, next_page_token })
        })
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Answer<Self::WatchStream> {
        let (_, request) = entered!(self, request, "Watch");
        if request.namespaces.is_empty() {
            return Err(checks::invalid("namespaces", "must not be empty"));
        }
        let events = self.0.state.lock().watches.open(request);
        Ok(Response::new(events.boxed()))
    }
}
