//! The calls of the holder of a lease.

use tonic::Request;

use super::{CacheRpc, RpcResult};
use crate::{
    pb::v1 as pb,
    rpc::{access::Access, convert, lease_quota::end_lease, schema::Schema},
};

impl CacheRpc {
    pub(super) async fn serve_renew(
        &self,
        request: Request<pb::RenewRequest>,
    ) -> RpcResult<pb::RenewResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        let key = schema.key(key);
        let token = convert::required_token(&request.lease_token)?;
        let result = self.cache.renew(&key, token).await?;
        if let (Some(quota), Some(Ok(()))) = (access.quota(), result.status) {
            quota.extend_lease(&key, token.0, result.expires_in);
        }
        let response = convert::renew_response(result);
        Ok(self.with_log_fields(&key, "RENEWED", response))
    }

    pub(super) async fn serve_abandon(
        &self,
        request: Request<pb::AbandonRequest>,
    ) -> RpcResult<pb::AbandonResponse> {
        let (access, schema) = (Access::of(&request), Schema::of(&request));
        let request = request.into_inner();
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        let key = schema.key(key);
        let token = convert::required_token(&request.lease_token)?;
        let reason = convert::abandon_reason(&request.reason)?;
        let outcome = if request.pass_on {
            self.cache.pass_on(&key, token).await?;
            "PASSED_ON"
        } else {
            self.cache.abandon(&key, token, reason).await?;
            "ABANDONED"
        };
        end_lease(&access, &key, token);
        Ok(self.with_log_fields(&key, outcome, pb::AbandonResponse {}))
    }
}
