//! Typed helpers around the generated client.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use larder::pb::v1::{
    AbandonRequest, AbandonResponse, BatchDeleteRequest, BatchDeleteResponse,
    BatchGetOrFetchRequest, BatchGetOrFetchResult, BatchGetRequest, BatchGetResponse,
    BatchSetRequest, BatchSetResponse, Contended, CountKeysRequest, DeleteRequest, DeleteResponse,
    Found, GetOrFetchRequest, GetOrFetchResponse, GetRequest, GetResponse, IncrementRequest,
    IncrementResponse, InvalidateNamespaceRequest, InvalidateNamespaceResponse, InvalidateRequest,
    InvalidateResponse, KeyRef, Lease, ListKeysRequest, ListedKey, PatchRequest, PatchResponse,
    RenewRequest, RenewResponse, SetRequest, SetResponse, StatsRequest, StatsResponse,
    TouchRequest, TouchResponse, Value, admin_service_client::AdminServiceClient,
    cache_service_client::CacheServiceClient, get_or_fetch_response::Outcome as Answer,
    value::Kind,
};
use tonic::{
    IntoRequest, Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// The default namespace of requests.
pub(crate) const NS: &str = "ns";
/// Deadline of every call, longer than any wait in a test.
const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A client of one server, on one connection. Clones share the connection.
#[derive(Clone)]
pub(crate) struct Cache {
    channel: Channel,
    schema: Schema,
}

/// Adds the schema version of a client to its requests, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Schema(Option<AsciiMetadataValue>);

impl Interceptor for Schema {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(version) = &self.0 {
            request.metadata_mut().insert("larder-schema-version", version.clone());
        }
        Ok(request)
    }
}

macro_rules! calls {
    ($($call:ident($request:ty) -> $response:ty;)*) => {
        $(
            pub(crate) async fn $call(
                &self,
                request: impl IntoRequest<$request>,
            ) -> Result<$response, Status> {
                self.rpc().$call(request).await.map(Response::into_inner)
            }
        )*
    };
}

// === impl Cache ===

impl Cache {
    /// Connects to a server.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::on(endpoint(address).connect().await.unwrap())
    }

    /// Connects with these HTTP/2 windows in bytes, per stream and per connection.
    pub(crate) async fn connect_with_windows(
        address: SocketAddr,
        stream: u32,
        connection: u32,
    ) -> Self {
        let endpoint = endpoint(address)
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection);
        Self::on(endpoint.connect().await.unwrap())
    }

    /// A client on a channel.
    pub(crate) fn on(channel: Channel) -> Self {
        Self { channel, schema: Schema::default() }
    }

    /// The same client with a schema version in its requests; empty: with none.
    pub(crate) fn of_schema(&self, version: &str) -> Self {
        let version = (!version.is_empty()).then(|| version.parse().unwrap());
        Self { channel: self.channel.clone(), schema: Schema(version) }
    }

    /// The generated client, for calls that the methods below do not cover.
    pub(crate) fn rpc(&self) -> CacheServiceClient<InterceptedService<Channel, Schema>> {
        CacheServiceClient::with_interceptor(self.channel.clone(), self.schema.clone())
    }

    /// The client of the operators' calls.
    pub(crate) fn admin(&self) -> AdminServiceClient<InterceptedService<Channel, Schema>> {
        AdminServiceClient::with_interceptor(self.channel.clone(), self.schema.clone())
    }

    /// The channel, for clients of other services.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    calls! {
        get(GetRequest) -> GetResponse;
        set(SetRequest) -> SetResponse;
        delete(DeleteRequest) -> DeleteResponse;
        invalidate_namespace(InvalidateNamespaceRequest) -> InvalidateNamespaceResponse;
        invalidate(InvalidateRequest) -> InvalidateResponse;
        stats(StatsRequest) -> StatsResponse;
        get_or_fetch(GetOrFetchRequest) -> GetOrFetchResponse;
        abandon(AbandonRequest) -> AbandonResponse;
        renew(RenewRequest) -> RenewResponse;
        batch_set(BatchSetRequest) -> BatchSetResponse;
        batch_delete(BatchDeleteRequest) -> BatchDeleteResponse;
        touch(TouchRequest) -> TouchResponse;
        increment(IncrementRequest) -> IncrementResponse;
        patch(PatchRequest) -> PatchResponse;
    }

    /// All chunks of a BatchGet.
    pub(crate) async fn batch_get(
        &self,
        request: BatchGetRequest,
    ) -> Result<Vec<BatchGetResponse>, Status> {
        let mut stream = self.rpc().batch_get(request).await?.into_inner();
        let mut chunks = Vec::new();
        while let Some(chunk) = stream.message().await? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// All pages of ListKeys.
    pub(crate) async fn list_keys(
        &self,
        mut request: ListKeysRequest,
    ) -> Result<Vec<ListedKey>, Status> {
        let mut keys = Vec::new();
        loop {
            let page = self.rpc().list_keys(request.clone()).await?.into_inner();
            keys.extend(page.keys);
            if page.next_page_token.is_empty() {
                return Ok(keys);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// All parts of CountKeys.
    pub(crate) async fn count_keys(&self, mut request: CountKeysRequest) -> Result<u64, Status> {
        let mut count = 0;
        loop {
            let part = self.rpc().count_keys(request.clone()).await?.into_inner();
            count += part.count;
            if part.next_page_token.is_empty() {
                return Ok(count);
            }
            request.page_token = part.next_page_token;
        }
    }

    /// All results of a BatchGetOrFetch.
    pub(crate) async fn batch_get_or_fetch(
        &self,
        request: BatchGetOrFetchRequest,
    ) -> Result<Vec<BatchGetOrFetchResult>, Status> {
        let mut stream = self.rpc().batch_get_or_fetch(request).await?.into_inner();
        let mut results = Vec::new();
        while let Some(chunk) = stream.message().await? {
            results.extend(chunk.results);
        }
        Ok(results)
    }

    /// Calls GetOrFetch with a wait of 20 s. Expects a text or a negative entry.
    pub(crate) async fn fetched(&self, key: &str) -> (Option<String>, GetOrFetchResponse) {
        let answer = self.get_or_fetch(fetch(key, 20_000)).await.unwrap();
        (as_text(answer.clone().expect_found().value), answer)
    }

    /// Stores a text and returns its version.
    pub(crate) async fn put(&self, key: &str, value: &str) -> String {
        let answer = self.set(set(key, text(value))).await.unwrap();
        assert_eq!(answer.result(), larder::pb::v1::SetResult::Stored, "{answer:?}");
        answer.version
    }

    /// The text stored under a key; none for a miss.
    pub(crate) async fn read(&self, key: &str) -> Option<String> {
        as_text(self.get(get(key)).await.unwrap().value)
    }

    /// Calls GetOrFetch for a missing key and expects the lease.
    pub(crate) async fn lease(&self, key: &str) -> Lease {
        self.get_or_fetch(fetch(key, 0)).await.unwrap().expect_lease()
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.timeout(CALL_LIMIT).connect_timeout(Duration::from_secs(5))
}

/// Checks of a GetOrFetch answer's outcome.
pub(crate) trait Fetched {
    /// The value. Panics on any other outcome.
    fn expect_found(self) -> Found;
    /// The lease. Panics on any other outcome.
    fn expect_lease(self) -> Lease;
    /// The retry advice. Panics on any other outcome.
    fn expect_contended(self) -> Contended;
}

impl Fetched for GetOrFetchResponse {
    fn expect_found(self) -> Found {
        match self.outcome {
            Some(Answer::Found(found)) => found,
            other => panic!("expected found, got {other:?}"),
        }
    }

    fn expect_lease(self) -> Lease {
        match self.outcome {
            Some(Answer::Lease(lease)) => lease,
            other => panic!("expected a lease, got {other:?}"),
        }
    }

    fn expect_contended(self) -> Contended {
        match self.outcome {
            Some(Answer::Contended(contended)) => contended,
            other => panic!("expected contended, got {other:?}"),
        }
    }
}

// === Values ===

pub(crate) fn text(value: &str) -> Value {
    Value { kind: Some(Kind::Text(value.to_owned().into())) }
}

pub(crate) fn json(value: &str) -> Value {
    Value { kind: Some(Kind::Json(value.to_owned().into())) }
}

pub(crate) fn data(value: impl Into<Vec<u8>>) -> Value {
    Value { kind: Some(Kind::Data(value.into().into())) }
}

/// The text of a value; none without a value. Panics on other kinds.
pub(crate) fn as_text(value: Option<Value>) -> Option<String> {
    match value?.kind {
        Some(Kind::Text(text)) => Some(String::from_utf8(text.into()).unwrap()),
        other => panic!("expected a text, got {other:?}"),
    }
}

/// A protobuf duration from milliseconds.
pub(crate) fn ms(millis: i64) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(millis % 1000).unwrap() * 1_000_000;
    Some(prost_types::Duration { seconds: millis / 1000, nanos })
}

/// The duration of a field that must be set.
pub(crate) fn duration(from: Option<prost_types::Duration>) -> Duration {
    from.expect("a duration").try_into().expect("a duration that is not negative")
}

pub(crate) fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

// === Requests, in namespace NS ===

pub(crate) fn get(key: &str) -> GetRequest {
    GetRequest { namespace: NS.to_owned(), key: key.to_owned(), ..Default::default() }
}

pub(crate) fn set(key: &str, value: Value) -> SetRequest {
    SetRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        value: Some(value),
        ..Default::default()
    }
}

/// A Set with a TTL in milliseconds.
pub(crate) fn set_for(key: &str, value: Value, millis: i64) -> SetRequest {
    SetRequest { ttl: ms(millis), ..set(key, value) }
}

/// A Set under a lease.
pub(crate) fn fill(key: &str, value: Value, lease: &Lease) -> SetRequest {
    SetRequest { lease_token: lease.token.clone(), ..set(key, value) }
}

pub(crate) fn delete(key: &str) -> DeleteRequest {
    DeleteRequest { namespace: NS.to_owned(), key: key.to_owned(), ..Default::default() }
}

pub(crate) fn invalidate(namespace: &str) -> InvalidateNamespaceRequest {
    let namespace = namespace.to_owned();
    InvalidateNamespaceRequest { namespace, ..InvalidateNamespaceRequest::default() }
}

/// A GetOrFetch with a wait in milliseconds.
pub(crate) fn fetch(key: &str, wait: i64) -> GetOrFetchRequest {
    GetOrFetchRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        wait: ms(wait),
        ..Default::default()
    }
}

pub(crate) fn abandon(key: &str, lease: &Lease) -> AbandonRequest {
    AbandonRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        lease_token: lease.token.clone(),
        ..Default::default()
    }
}

pub(crate) fn renewal(key: &str, lease: &Lease) -> RenewRequest {
    RenewRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        lease_token: lease.token.clone(),
        ..Default::default()
    }
}

/// A Touch with a TTL in milliseconds.
pub(crate) fn touch(key: &str, millis: i64) -> TouchRequest {
    TouchRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        ttl: ms(millis),
        ..Default::default()
    }
}

pub(crate) fn increment(key: &str, delta: i64) -> IncrementRequest {
    IncrementRequest {
        namespace: NS.to_owned(),
        key: key.to_owned(),
        delta: Some(delta),
        ..Default::default()
    }
}

pub(crate) fn key_ref(key: &str) -> KeyRef {
    KeyRef { namespace: NS.to_owned(), key: key.to_owned(), ..Default::default() }
}

pub(crate) fn batch_get(keys: Vec<KeyRef>) -> BatchGetRequest {
    BatchGetRequest { keys, ..Default::default() }
}
