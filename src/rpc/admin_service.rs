//! The AdminService, for operators.

use std::{num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};

use super::{
    access::Access,
    access_control::AccessControl,
    audit_stream,
    audit_trail::AuditTrail,
    batch_stream::ResponseStream,
    convert::{self, HotKeysQuery, InspectedKey},
    deadline,
    key_listing::KeyListing,
    load_limits::LoadLimits,
    overload::Overload,
    running_config::RunningConfig,
    schema::Schema,
    status,
};
use crate::{
    audit::AuditLog,
    cache::{
        Analysis, Cache, Directory, Durability, EventRoute, FlushedCopies, WarmPlan, WarmProgress,
    },
    config::WarmConfig,
    model::{Namespace, Violation},
    pb::{
        from_duration,
        v1::{self as pb, admin_service_server::AdminService},
    },
    warm_list,
};

/// Most keys in one Warm.
const MAX_WARM_KEYS: usize = 10_000;
/// Highest rate of a Warm, in fetches per second.
const MAX_WARM_RATE: u32 = 100_000;
/// Most concurrent Warm calls.
const MAX_WARM_CALLS: usize = 4;
/// Time between two progress reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Implements `larder.v1.AdminService`.
pub struct AdminRpc {
    cache: Arc<Cache>,
    directory: Arc<Directory>,
    keys: Arc<KeyListing>,
    limits: Arc<LoadLimits>,
    config: RunningConfig,
    access: AccessControl,
    audit: AuditLog,
    warm_calls: Arc<Semaphore>,
}

/// The parts that serve the calls of an [`AdminRpc`].
pub struct AdminRpcParts {
    /// The cache.
    pub cache: Arc<Cache>,
    /// Its namespaces and entries.
    pub directory: Arc<Directory>,
    /// Its keys.
    pub keys: Arc<KeyListing>,
    /// The callers and their permissions.
    pub access: AccessControl,
    /// The audit log.
    pub audit: AuditLog,
}

type WarmSender = mpsc::Sender<Result<pb::WarmResponse, Status>>;

impl AdminRpc {
    /// Serves `cache` and what is in it.
    pub fn new(parts: AdminRpcParts, limits: Arc<LoadLimits>, config: RunningConfig) -> Self {
        let AdminRpcParts { cache, directory, keys, access, audit } = parts;
        let warm_calls = Arc::new(Semaphore::new(MAX_WARM_CALLS));
        Self { cache, directory, keys, limits, config, access, audit, warm_calls }
    }

    /// The keys of the request, or those of the namespace's warm list.
    async fn plan(&self, request: pb::WarmRequest, access: &Access) -> Result<WarmPlan, Status> {
        let namespace = Namespace::new(&request.namespace)?;
        access.check_namespace(&namespace)?;
        let config = self.cache.warm_config(&namespace)?;
        if request.rate > MAX_WARM_RATE {
            let description = format!("is {}, the limit is {MAX_WARM_RATE}", request.rate);
            return Err(Violation::over_limit("rate", description, MAX_WARM_RATE as usize).into());
        }
        let mut plan = if request.keys.is_empty() && config.keys.is_empty() && config.file.is_none()
        {
            return Err(status::no_warm_list(&namespace));
        } else if request.keys.is_empty() {
            warm_list::read(namespace, config)
                .await
                .map_err(|error| status::warm_list_unreadable(&error))?
        } else {
            convert::check_batch_size("keys", request.keys.len(), MAX_WARM_KEYS, None)
                .map_err(status::batch_size)?;
            plan_of_keys(namespace, request.keys, &config)?
        };
        if let Some(quota) = access.quota() {
            quota.charge_keys(&plan.namespace, plan.keys.len().saturating_sub(1) as u64);
        }
        plan.refresh = request.refresh;
        plan.rate = NonZeroU32::new(request.rate).unwrap_or(plan.rate);
        Ok(plan)
    }
}

fn plan_of_keys(
    namespace: Namespace,
    keys: Vec<pb::WarmKey>,
    config: &WarmConfig,
) -> Result<WarmPlan, Violation> {
    let keys = keys.into_iter().enumerate().map(|(index, warm_key)| {
        let key = convert::entry_key(namespace.as_str(), &warm_key.key, &warm_key.params);
        let key = key.map_err(|violation| violation.within(&format!("keys[{index}].")))?;
        Ok((key, warm_key.params))
    });
    let keys = keys.collect::<Result<_, Violation>>()?;
    let rate = NonZeroU32::new(config.rate).unwrap_or(NonZeroU32::MIN);
    Ok(WarmPlan { namespace, keys, refresh: false, rate })
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    type WarmStream = Pin<Box<dyn Stream<Item = Result<pb::WarmResponse, Status>> + Send>>;

    async fn warm(
        &self,
        request: Request<pb::WarmRequest>,
    ) -> Result<Response<Self::WarmStream>, Status> {
        let deadline = deadline::of(request.metadata().as_ref())?;
        let permit = self.warm_calls.clone().try_acquire_owned();
        let permit = permit.map_err(|_| {
            self.limits.record_rejection(Overload::WarmCalls);
            status::overloaded_by(Overload::WarmCalls, Some(MAX_WARM_CALLS))
        })?;
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let trail = AuditTrail::of(&request);
        let mut plan = self.plan(request.into_inner(), &access).await?;
        trail.namespace(&plan.namespace);
        trail.keys(plan.keys.iter().map(|(key, _)| key));
        plan.keys.iter_mut().for_each(|(key, _)| schema.apply(key));
        let (sender, responses) = mpsc::channel(1);
        let cache = self.cache.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let work = async {
                tokio::select! {
                    outcome = warm(cache, plan, &sender, &trail) => outcome,
                    () = sender.closed() => Ok(()),
                }
            };
            if let Err(status) = deadline::within(deadline, work).await.unwrap_or_else(Err) {
                // Sending fails only if the client has disconnected.
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(responses).boxed()))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Result<Response<pb::ListNamespacesResponse>, Status> {
        let access = Access::of(&request);
        let (after, limit) = convert::namespace_page(request.into_inner())?;
        let list = self.directory.namespaces(after, limit, access.filter()).await;
        Ok(Response::new(convert::namespaces_response(&list)))
    }

    async fn list_keys(
        &self,
        request: Request<pb::AdminServiceListKeysRequest>,
    ) -> Result<Response<pb::AdminServiceListKeysResponse>, Status> {
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let pb::AdminServiceListKeysRequest { namespace, glob, page_size, page_token } =
            request.into_inner();
        trail.listing(&namespace, &glob);
        let request = pb::ListKeysRequest { namespace, glob, page_size, page_token };
        let (keys, next_page_token) = self.keys.list(&request, &access).await?;
        Ok(Response::new(pb::AdminServiceListKeysResponse { keys, next_page_token }))
    }

    async fn inspect_entry(
        &self,
        request: Request<pb::InspectEntryRequest>,
    ) -> Result<Response<pb::InspectEntryResponse>, Status> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let trail = AuditTrail::of(&request);
        let report = match convert::inspected_key(request.get_ref())? {
            InspectedKey::OfCaller(key) => {
                trail.key(&key);
                access.check(&key)?;
                self.directory.inspect(&schema.key(key)).await?
            }
            InspectedKey::OfStore(key) => {
                trail.key(&key);
                access.check(&key)?;
                self.directory.inspect_stored(&key).await?
            }
        };
        Ok(Response::new(convert::inspect_response(&report)))
    }

    async fn hot_keys(
        &self,
        request: Request<pb::HotKeysRequest>,
    ) -> Result<Response<pb::HotKeysResponse>, Status> {
        let HotKeysQuery { namespace, window, limit } = convert::hot_keys_query(request.get_ref())?;
        AuditTrail::of(&request).namespace(&namespace);
        Access::of(&request).check_namespace(&namespace)?;
        let report = self.directory.hot_keys(&namespace, window, limit).await?;
        Ok(Response::new(convert::hot_keys_response(&report)))
    }

    async fn distributions(
        &self,
        request: Request<pb::DistributionsRequest>,
    ) -> Result<Response<pb::DistributionsResponse>, Status> {
        AuditTrail::of(&request).listing(&request.get_ref().namespace, "");
        Ok(Response::new(self.keys.distributions(request.get_ref(), &Access::of(&request)).await?))
    }

    async fn flush_near_cache(
        &self,
        request: Request<pb::FlushNearCacheRequest>,
    ) -> Result<Response<pb::FlushNearCacheResponse>, Status> {
        let name = &*request.get_ref().namespace;
        let namespace = (!name.is_empty()).then(|| Namespace::new(name)).transpose()?;
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        namespace.iter().for_each(|namespace| trail.namespace(namespace));
        match &namespace {
            Some(namespace) => access.check_namespace(namespace)?,
            None => access.check_everywhere()?,
        }
        let FlushedCopies { entries, bytes } = self.cache.flush_near(namespace.as_ref())?;
        trail.counts(|| vec![("entries", entries), ("bytes", bytes)]);
        Ok(Response::new(pb::FlushNearCacheResponse { entries, bytes }))
    }

    async fn get_config(
        &self,
        _request: Request<pb::GetConfigRequest>,
    ) -> Result<Response<pb::GetConfigResponse>, Status> {
        Ok(Response::new(self.config.response()))
    }

    async fn publish_event(
        &self,
        request: Request<pb::PublishEventRequest>,
    ) -> Result<Response<pb::PublishEventResponse>, Status> {
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let pb::PublishEventRequest { name, attributes, required_durability } =
            request.into_inner();
        let required = convert::required_durability(required_durability)?;
        let event = convert::event(name, attributes)?;
        trail.note(|record| {
            record.text("event_name", event.name());
        });
        let plan = self.cache.plan_event(&event, EventRoute::Publish)?;
        trail.targets(plan.targets());
        let mut targets = plan.targets().iter().enumerate();
        targets.try_for_each(|(index, target)| access.check_target(target, index, false))?;
        let result = self.cache.publish_plan(plan, EventRoute::Publish).await?;
        trail.outcomes(result.iter().map(|(_, outcome)| *outcome));
        let durability = Durability::of_all(result.iter().map(|(_, outcome)| outcome.durability()));
        status::check_durability(required, durability)?;
        let durability = convert::durability(durability);
        let targets = convert::event_target_results(result);
        Ok(Response::new(pb::PublishEventResponse { targets, durability }))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<pb::ListEventsResponse>, Status> {
        let (after, limit) = convert::event_page(request.into_inner())?;
        let (events, has_more) = self.cache.events().list(&after, limit);
        Ok(Response::new(convert::events_response(events, has_more)))
    }

    async fn mint_token(
        &self,
        request: Request<pb::MintTokenRequest>,
    ) -> Result<Response<pb::MintTokenResponse>, Status> {
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let command = convert::mint_request(request.into_inner())?;
        trail.token(&command);
        let minted = self.access.mint(&access, command).inspect_err(|status| {
            if status.code() == Code::PermissionDenied {
                trail.refused();
            }
        })?;
        let expires_at = Some(minted.expires_at.into());
        Ok(Response::new(pb::MintTokenResponse { token: minted.secret().to_owned(), expires_at }))
    }

    type TailAuditStream = ResponseStream<pb::TailAuditResponse>;

    async fn tail_audit(
        &self,
        request: Request<pb::TailAuditRequest>,
    ) -> Result<Response<Self::TailAuditStream>, Status> {
        AuditTrail::of(&request).note(|record| {
            record.flag("follow", request.get_ref().follow);
        });
        Ok(Response::new(audit_stream::serve(&self.audit, request.get_ref())?))
    }

    async fn analyze(
        &self,
        request: Request<pb::AnalyzeRequest>,
    ) -> Result<Response<pb::AnalyzeResponse>, Status> {
        let access = Access::of(&request);
        let named = &request.get_ref().namespaces;
        // An empty list is valid: it selects all namespaces.
        convert::check_batch_size("namespaces", named.len().max(1), Analysis::MAX_NAMED, None)
            .map_err(status::batch_size)?;
        access.check_names(named)?;
        let names = convert::analyzed_names(request.get_ref())?;
        let analysis = self.directory.analyze(&names, access.filter()).await?;
        Ok(Response::new(convert::analysis_response(&analysis)))
    }
}

async fn warm(
    cache: Arc<Cache>,
    plan: WarmPlan,
    sender: &WarmSender,
    trail: &AuditTrail,
) -> Result<(), Status> {
    let (started, total) = (Instant::now(), plan.keys.len() as u64);
    let (mut last, mut reported) = (WarmProgress::default(), started);
    let warmed = cache.warm(plan, |progress| {
        last.clone_from(progress);
        trail.counts(|| counts(progress));
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            // A client that reads slowly receives fewer reports.
            let _ = sender.try_send(Ok(response(progress, total, started)));
        }
    });
    warmed.await?;
    let _ = sender.send(Ok(response(&last, total, started))).await;
    Ok(())
}

fn counts(progress: &WarmProgress) -> Vec<(&'static str, u64)> {
    let &WarmProgress { done, stored, fresh, not_stored, failed, .. } = progress;
    let results = [("stored", stored), ("fresh", fresh), ("not_stored", not_stored)];
    [("done", done)].into_iter().chain(results).chain([("failed", failed)]).collect()
}

fn response(progress: &WarmProgress, total: u64, started: Instant) -> pb::WarmResponse {
    let WarmProgress { done, stored, fresh, not_stored, failed, last_error } = progress.clone();
    let took = Some(from_duration(started.elapsed()));
    pb::WarmResponse { total, done, stored, fresh, not_stored, failed, last_error, took }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn plan(keys: &[&str]) -> Result<WarmPlan, Violation> {
        let key = |key: &&str| pb::WarmKey { key: (*key).to_owned(), params: BTreeMap::new() };
        let config = WarmConfig { rate: 7, ..WarmConfig::default() };
        plan_of_keys(Namespace::new("ns").unwrap(), keys.iter().map(key).collect(), &config)
    }

    #[test]
    fn plan_has_the_keys_of_the_request_and_the_rate_of_the_warm_list() {
        let plan = plan(&["a", "b"]).unwrap();
        assert_eq!((plan.keys.len(), plan.rate.get(), plan.refresh), (2, 7, false));
    }

    #[test]
    fn violation_of_a_warm_key_names_the_index() {
        assert_eq!(plan(&["a", ""]).unwrap_err().field(), "keys[1].key");
    }
}
