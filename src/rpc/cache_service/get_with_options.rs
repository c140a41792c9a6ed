//! Get with fields that few callers set, apart from the plain Get.

use tonic::Response;

use super::{Access, CacheRpc, Compression, RpcResult, Schema, XCache, convert};
use crate::pb::v1 as pb;

impl CacheRpc {
    pub(super) async fn get_with_options(
        &self,
        request: pb::GetRequest,
        access: Access,
        compression: Compression,
        schema: Schema,
    ) -> RpcResult<pb::GetResponse> {
        let key = convert::entry_key(&request.namespace, &request.key, &request.params)?;
        access.check(&key)?;
        let key = schema.key(key);
        let max_stale = convert::non_negative("max_stale", request.max_stale)?;
        let consistency = convert::consistency(request.consistency)?;
        let touch = convert::touch(request.touch)?;
        if touch.is_some() {
            access.check_slides(std::slice::from_ref(&key))?;
        }
        let projection = convert::projection(request)?;
        let mut result = self.cache.get(&key, max_stale, consistency).await?;
        let projected = projection.of(result.found.as_ref())?;
        if let (Some(touch), Some(found)) = (touch, &mut result.found) {
            self.cache.slide(&key, found, touch).await;
        }
        let x_cache = result.found.as_ref().map(XCache::of);
        let mut response = Response::new(convert::projected_get_response(result, projected));
        compression.fit(&mut response);
        self.add_x_cache(&mut response, &key, x_cache);
        Ok(response)
    }
}
