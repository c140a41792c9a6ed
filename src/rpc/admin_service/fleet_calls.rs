//! The calls of operators that report on the fleet as a whole.

use tonic::{Request, Response, Status};

use super::AdminRpc;
use crate::{
    model::Namespace,
    pb::v1 as pb,
    rpc::{access::Access, audit_trail::AuditTrail, convert, status},
};

/// Most namespaces of a GetHistory.
const MAX_NAMESPACES: usize = 100;

impl AdminRpc {
    pub(super) async fn serve_history(
        &self,
        request: Request<pb::GetHistoryRequest>,
    ) -> Result<Response<pb::GetHistoryResponse>, Status> {
        let (access, trail) = (Access::of(&request), AuditTrail::of(&request));
        // An empty list is valid: only the sums are reported.
        let requested = request.get_ref().namespaces.len().max(1);
        convert::check_batch_size("namespaces", requested, MAX_NAMESPACES, None)
            .map_err(status::batch_size)?;
        let span = convert::history_span(request.get_ref())?;
        let namespaces = request.into_inner().namespaces;
        let named = namespaces.iter().filter_map(|name| Namespace::new(name).ok());
        named.for_each(|namespace| trail.namespace(&namespace));
        access.check_names(&namespaces)?;
        let history = self.fleet.history(span, &namespaces, access.filter().as_ref()).await;
        Ok(Response::new(convert::history_response(history)))
    }

    pub(super) async fn serve_replicas(
        &self,
        request: Request<pb::ListReplicasRequest>,
    ) -> Result<Response<pb::ListReplicasResponse>, Status> {
        let access = Access::of(&request);
        let fleet = self.fleet.replicas().await;
        Ok(Response::new(convert::replicas_response(fleet, |name| access.sees(name))))
    }
}
