//! The AdminService, for operators.

mod fleet_calls;
mod warm_call;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status};

use super::{
    access::Access,
    access_control::AccessControl,
    audit_stream,
    audit_trail::AuditTrail,
    batch_stream::ResponseStream,
    convert::{self, HotKeysQuery, InspectedKey},
    key_listing::KeyListing,
    load_limits::LoadLimits,
    running_config::RunningConfig,
    schema::Schema,
    status,
};
use crate::{
    audit::AuditLog,
    cache::{Cache, Directory, Durability, EventRoute, FlushedCopies, fleet_stats::FleetStats},
    model::Namespace,
    pb::v1::{self as pb, admin_service_server::AdminService},
};
use warm_call::WarmStream;

/// Most concurrent Warm calls.
const MAX_WARM_CALLS: usize = 4;

/// Implements `larder.v1.AdminService`.
pub struct AdminRpc {
    cache: Arc<Cache>,
    fleet: Arc<FleetStats>,
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
    /// The statistics of its fleet.
    pub fleet: Arc<FleetStats>,
    /// Its namespaces and entries.
    pub directory: Arc<Directory>,
    /// Its keys.
    pub keys: Arc<KeyListing>,
    /// The callers and their permissions.
    pub access: AccessControl,
    /// The audit log.
    pub audit: AuditLog,
}

impl AdminRpc {
    /// Serves `cache` and what is in it.
    pub fn new(parts: AdminRpcParts, limits: Arc<LoadLimits>, config: RunningConfig) -> Self {
        let AdminRpcParts { cache, fleet, directory, keys, access, audit } = parts;
        let warm_calls = Arc::new(Semaphore::new(MAX_WARM_CALLS));
        Self { cache, fleet, directory, keys, limits, config, access, audit, warm_calls }
    }
}

#[tonic::async_trait]
impl AdminService for AdminRpc {
    type WarmStream = WarmStream;

    async fn warm(
        &self,
        request: Request<pb::WarmRequest>,
    ) -> Result<Response<Self::WarmStream>, Status> {
        self.serve_warm(request).await
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

    async fn get_history(
        &self,
        request: Request<pb::GetHistoryRequest>,
    ) -> Result<Response<pb::GetHistoryResponse>, Status> {
        self.serve_history(request).await
    }

    async fn list_replicas(
        &self,
        request: Request<pb::ListReplicasRequest>,
    ) -> Result<Response<pb::ListReplicasResponse>, Status> {
        self.serve_replicas(request).await
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
}
