//! The calls of the service, by their requests.

use crate::pb;

/// A request with its call.
pub(crate) trait Rpc: prost::Message + Clone + Default + Send + 'static {
    type Response: prost::Message + Default + Send + 'static;
    /// Name in the service, such as `Get`.
    const NAME: &'static str;
    const PATH: &'static str;
}

macro_rules! calls {
    ($($name:ident: $request:ident -> $response:ident;)*) => {
        $(impl Rpc for pb::$request {
            type Response = pb::$response;
            const NAME: &'static str = stringify!($name);
            const PATH: &'static str = concat!("/larder.v1.CacheService/", stringify!($name));
        })*
    };
}

calls! {
    Get: GetRequest -> GetResponse;
    Set: SetRequest -> SetResponse;
    Delete: DeleteRequest -> DeleteResponse;
    InvalidateNamespace: InvalidateNamespaceRequest -> InvalidateNamespaceResponse;
    Invalidate: InvalidateRequest -> InvalidateResponse;
    Stats: StatsRequest -> StatsResponse;
    GetOrFetch: GetOrFetchRequest -> GetOrFetchResponse;
    BatchGetOrFetch: BatchGetOrFetchRequest -> BatchGetOrFetchResponse;
    Renew: RenewRequest -> RenewResponse;
    Abandon: AbandonRequest -> AbandonResponse;
    BatchGet: BatchGetRequest -> BatchGetResponse;
    BatchSet: BatchSetRequest -> BatchSetResponse;
    BatchDelete: BatchDeleteRequest -> BatchDeleteResponse;
    Touch: TouchRequest -> TouchResponse;
    Increment: IncrementRequest -> IncrementResponse;
    Patch: PatchRequest -> PatchResponse;
    ListKeys: ListKeysRequest -> ListKeysResponse;
    CountKeys: CountKeysRequest -> CountKeysResponse;
    Watch: WatchRequest -> WatchResponse;
}
