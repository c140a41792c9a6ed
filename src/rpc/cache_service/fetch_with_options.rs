//! GetOrFetch with fields that few callers set, apart from the plain GetOrFetch.

use tonic::Response;

use super::{CacheRpc, RpcResult};
use crate::{
    cache::{GetOrFetchRequest, GetOrFetchResult},
    pb::v1 as pb,
    rpc::{
        compression::Compression,
        convert::{self, BatchReadOptions},
        offered_lease::OfferedLease,
    },
};

impl CacheRpc {
    /// The response to a request that has such fields.
    pub(super) async fn reply_with_options(
        &self,
        request: GetOrFetchRequest,
        mut result: GetOrFetchResult,
        mut options: BatchReadOptions,
        compression: Compression,
    ) -> RpcResult<pb::GetOrFetchResponse> {
        if let Some(touch) = options.touch {
            self.cache.slide_fetched(&request.key, &mut result, touch).await;
        }
        let reply = convert::projected_reply(result, |entry| options.found(0, entry));
        let mut response = Response::new(reply.response);
        compression.fit(&mut response);
        self.add_fetch_status(&mut response, &request.key, &reply.status);
        if let Some(lease) = reply.lease {
            OfferedLease::attach(&mut response, lease.guard);
        }
        Ok(response)
    }
}
