//! Serves Invalidate and InvalidateNamespace.

use tonic::{Request, Response};

use super::{CacheRpc, RpcResult};
use crate::{
    cache::{Durability, InvalidateTarget},
    model::Namespace,
    pb::v1 as pb,
    rpc::{
        access::Access,
        access_log,
        audit_trail::AuditTrail,
        compression::Compression,
        convert::{self, RequestedTarget},
        event_targets::PlannedTargets,
        schema::Schema,
        status,
    },
};

impl CacheRpc {
    pub(super) async fn serve_invalidate_namespace(
        &self,
        request: Request<pb::InvalidateNamespaceRequest>,
    ) -> RpcResult<pb::InvalidateNamespaceResponse> {
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let request = request.into_inner();
        let namespace = Namespace::new(&request.namespace)?;
        let target = InvalidateTarget::Namespace(namespace.clone());
        trail.targets(&[target]);
        access.check_namespace(&namespace)?;
        let required = convert::required_durability(request.required_durability)?;
        let durability = self.cache.invalidate_namespace(&namespace).await?;
        trail.counts(|| vec![("queued", u64::from(durability == Durability::Queued))]);
        status::check_durability(required, durability)?;
        let durability = convert::durability(durability);
        let mut response = Response::new(pb::InvalidateNamespaceResponse { durability });
        access_log::attach_namespace(&mut response, &namespace, "INVALIDATED");
        Ok(response)
    }

    pub(super) async fn serve_invalidate(
        &self,
        request: Request<pb::InvalidateRequest>,
    ) -> RpcResult<pb::InvalidateResponse> {
        let (compression, schema) = (Compression::of(&request), Schema::of(&request));
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        let request = request.into_inner();
        self.check_batch_size("targets", request.targets.len())?;
        let requested = convert::invalidate_targets(request.targets)?;
        trail.note(|record| {
            let names: Vec<_> = requested.iter().filter_map(RequestedTarget::event_name).collect();
            if !names.is_empty() {
                record.list("event_names", &names);
            }
        });
        let hold_off = convert::hold_off(request.hold_off)?;
        let required = convert::required_durability(request.required_durability)?;
        // Errors of events name their rules.
        if requested.iter().any(|target| target.event_name().is_some()) {
            access.check_special_anywhere()?;
        }
        let has_globs = requested.iter().any(RequestedTarget::is_matching);
        let mut known = if has_globs { self.keys.namespaces().await? } else { Vec::new() };
        known.retain(|namespace| access.sees(namespace.as_str()));
        let limit = self.max_batch_keys;
        let mut planned =
            PlannedTargets::new(&self.cache, requested, &known, limit, &access).await?;
        trail.targets(planned.targets());
        planned.check(&access)?;
        planned.keys_mut().for_each(|key| schema.apply(key));
        if planned.targets().len() > limit {
            return Err(status::batch_size(convert::too_many_targets(limit)));
        }
        let outcomes = self.cache.invalidate(planned.targets(), hold_off).await;
        planned.count(&self.cache, outcomes.is_ok());
        let outcomes = outcomes?;
        trail.outcomes(outcomes.iter().copied());
        let durability = Durability::of_all(outcomes.iter().map(|outcome| outcome.durability()));
        status::check_durability(required, durability)?;
        let mut response = Response::new(planned.response(&outcomes));
        compression.fit(&mut response);
        if let Some(namespace) = common_namespace(planned.targets()) {
            access_log::attach_namespace(&mut response, namespace, "INVALIDATED");
        }
        Ok(response)
    }
}

/// The namespace of all targets; none if they have several.
fn common_namespace(targets: &[InvalidateTarget]) -> Option<&Namespace> {
    let (first, rest) = targets.split_first()?;
    rest.iter().all(|target| target.namespace() == first.namespace()).then(|| first.namespace())
}
