//! Quotas of principals, by role.

use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use larder::pb::v1::{
    FetchStreamFill, FetchStreamRequest, GetOrFetchRequest, GetRequest, MintTokenRequest,
    PatchRequest, SetRequest, admin_service_client::AdminServiceClient,
    cache_service_client::CacheServiceClient, fetch_stream_request::Message as ClientMessage,
    patch_request,
};
use sha2::{Digest as _, Sha256};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

use super::{expect_exceeded, is_exceeded};
use crate::support::{
    client::{Fetched as _, data, fetch, get, json, set, text},
    observe::waiting,
    server::Larder,
    status::expect_error,
    wait::{SOON, eventually},
};

/// `a` with two tokens, and `b`: both with the role `limited`, which has this quota.
async fn start(quota: &str, more: &str) -> Larder {
    let digest =
        |name: &str| format!("\"sha256:{}\"", HEXLOWER.encode(&Sha256::digest(token(name))));
    let (a, second, b) = (digest("a"), digest("second"), digest("b"));
    Larder::memory()
        .env("KEY", "a-key-of-more-than-32-characters-for-tests")
        .config(&format!(
            "[auth.principals.a]\ntokens = [{a}, {second}]\nroles = ['limited']\n\
             [auth.principals.b]\ntokens = [{b}]\nroles = ['limited', 'more']\n\
             [auth.roles.limited]\nallow = [{{ verbs = ['*'], namespaces = ['*'] }}]\n\
             quota = {{ {quota} }}\n[auth.roles.more]\n{more}\n\
             [auth.minted]\nkeys = ['${{env:KEY}}']\n",
        ))
        .start()
        .await
}

fn token(name: &str) -> String {
    format!("test-token-of-more-than-32-characters-{name}")
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A caller with a connection of its own.
#[derive(Clone)]
struct Caller {
    cache: CacheServiceClient<Channel>,
    token: String,
}

impl Caller {
    async fn new(server: &Larder, token: &str) -> Self {
        let cache = CacheServiceClient::connect(format!("http://{}", server.address()));
        Self { cache: cache.await.unwrap(), token: token.to_owned() }
    }

    async fn get(&self, request: GetRequest) -> Result<(), Status> {
        self.cache.clone().get(with_token(request, &self.token)).await.map(drop)
    }

    async fn set(&self, request: SetRequest) -> Result<(), Status> {
        self.cache.clone().set(with_token(request, &self.token)).await.map(drop)
    }

    async fn fetch(
        &self,
        request: GetOrFetchRequest,
    ) -> Result<larder::pb::v1::GetOrFetchResponse, Status> {
        let answer = self.cache.clone().get_or_fetch(with_token(request, &self.token)).await;
        answer.map(tonic::Response::into_inner)
    }
}

#[tokio::test]
async fn all_credentials_of_a_principal_share_its_quota() {
    let server = start("requests_per_second = 50", "").await;
    let (a, second) = (token("a"), token("second"));
    let (a, second) = (Caller::new(&server, &a).await, Caller::new(&server, &second).await);
    let b = Caller::new(&server, &token("b")).await;
    let mut admin =
        AdminServiceClient::connect(format!("http://{}", server.address())).await.unwrap();
    let request = MintTokenRequest {
        verbs: vec!["read".to_owned()],
        namespaces: vec!["*".to_owned()],
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        ..MintTokenRequest::default()
    };
    let minted = admin.mint_token(with_token(request, &a.token)).await.unwrap().into_inner();
    let minted = Caller::new(&server, &minted.token).await;
    minted.get(get("k")).await.unwrap();
    let refused = loop {
        if let Err(status) = a.get(get("k")).await {
            break status;
        }
    };
    assert!(
        expect_exceeded::<()>(Err(refused), "principal a", "requests_per_second")
            .retry_info()
            .is_some()
    );
    // More calls than the rate allows while one of the others is made.
    for other in [&second, &minted] {
        let refused = async || {
            let _ = a.get(get("k")).await;
            is_exceeded(&other.get(get("k")).await).then_some(())
        };
        eventually("the quota is shared", SOON, refused).await;
    }
    b.get(get("k")).await.unwrap();
    let metrics = server.admin("/metrics").await.body;
    let series = "larder_quota_refusals_total{figure=\"requests_per_second\",principal=\"a\"";
    assert!(metrics.contains(series), "{metrics}");
}

#[tokio::test]
async fn the_largest_quota_of_several_roles_counts() {
    let server = start("max_value_bytes = 100", "quota = { max_value_bytes = 1000 }").await;
    let (a, b) = (Caller::new(&server, &token("a")).await, Caller::new(&server, &token("b")).await);
    a.set(set("k", data(vec![7; 100]))).await.unwrap();
    let refused = a.set(set("k", data(vec![7; 101]))).await;
    assert!(expect_exceeded(refused, "principal a", "max_value_bytes").retry_info().is_none());
    b.set(set("k", data(vec![7; 1000]))).await.unwrap();
    expect_exceeded(b.set(set("k", data(vec![7; 1001]))).await, "principal b", "max_value_bytes");
}

#[tokio::test]
async fn calls_that_wait_are_limited_and_the_others_are_contended() {
    let server = start("waiting = 1", "").await;
    let (a, b) = (Caller::new(&server, &token("a")).await, Caller::new(&server, &token("b")).await);
    a.fetch(fetch("k", 0)).await.unwrap().expect_lease();
    let waiter = a.clone();
    let waiter = tokio::spawn(async move { waiter.fetch(fetch("k", 20_000)).await });
    waiting(&server, 1).await;
    a.fetch(fetch("k", 20_000)).await.unwrap().expect_contended();
    let other = tokio::spawn(async move { b.fetch(fetch("k", 20_000)).await });
    waiting(&server, 2).await;
    a.set(set("k", text("v"))).await.unwrap();
    for call in [waiter, other] {
        call.await.unwrap().unwrap().expect_found();
    }
}

#[tokio::test]
async fn calls_in_flight_and_leases_of_a_principal_are_limited() {
    let server = start("in_flight = 1, leases = 1", "").await;
    let (a, b) = (Caller::new(&server, &token("a")).await, Caller::new(&server, &token("b")).await);
    a.fetch(fetch("k", 0)).await.unwrap().expect_lease();
    expect_exceeded(a.fetch(fetch("other", 0)).await, "principal a", "leases");
    // The lease that was refused goes to the next caller.
    b.fetch(fetch("other", 20_000)).await.unwrap().expect_lease();
    let waiter = a.clone();
    let waiter = tokio::spawn(async move { waiter.fetch(fetch("k", 20_000)).await });
    waiting(&server, 1).await;
    expect_exceeded(a.get(get("k")).await, "principal a", "in_flight");
    b.set(set("k", text("v"))).await.unwrap();
    waiter.await.unwrap().unwrap().expect_found();
    a.get(get("k")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_are_slowed() {
    let server = start("requests_per_second = 1", "").await;
    let a = Caller::new(&server, &token("a")).await;
    while a.get(get("k")).await.is_ok() {}
    let calls = (0..1_500).map(|_| {
        let a = a.clone();
        async move {
            let begun = Instant::now();
            let answer = a.get(get("k")).await;
            (is_exceeded(&answer), begun.elapsed())
        }
    });
    let answers: Vec<_> = futures_util::stream::iter(calls).buffer_unordered(100).collect().await;
    let refused = answers.iter().filter(|(is_refused, _)| *is_refused).count();
    assert!(refused > 1_000, "{refused}");
    let slow = answers.iter().filter(|(_, took)| *took >= Duration::from_millis(50)).count();
    assert!(slow >= 100, "{slow} of {refused}");
    // Others are served at once, and a call whose deadline is close has its answer before it.
    Caller::new(&server, &token("b")).await.get(get("k")).await.unwrap();
    let refused = async || {
        let mut request = with_token(get("k"), &a.token);
        request.set_timeout(Duration::from_millis(120));
        a.cache.clone().get(request).await.err()
    };
    let refused = eventually("the rate is used up", SOON, refused).await;
    expect_exceeded::<()>(Err(refused), "principal a", "requests_per_second");
}

#[tokio::test]
async fn streams_and_patches_are_limited_like_other_writes() {
    let server = start("max_value_bytes = 50, waiting = 0", "").await;
    let a = Caller::new(&server, &token("a")).await;
    // A fill of a FetchStream.
    let (requests, receiver) = tokio::sync::mpsc::channel(4);
    let send = async |message| {
        requests.send(FetchStreamRequest { message: Some(message) }).await.unwrap();
    };
    send(ClientMessage::Open(fetch("k", 0))).await;
    let stream = with_token(ReceiverStream::new(receiver), &a.token);
    let mut answers = a.cache.clone().fetch_stream(stream).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    // A call that must not wait is answered at once.
    let (other, receiver) = tokio::sync::mpsc::channel(4);
    let open = FetchStreamRequest { message: Some(ClientMessage::Open(fetch("k", 20_000))) };
    other.send(open).await.unwrap();
    let waiting = with_token(ReceiverStream::new(receiver), &a.token);
    let mut waiting = a.cache.clone().fetch_stream(waiting).await.unwrap().into_inner();
    let answer = waiting.message().await.unwrap().unwrap().message.unwrap();
    assert!(format!("{answer:?}").contains("Contended"), "{answer:?}");

    let value = Some(data(vec![7; 51]));
    send(ClientMessage::Fill(FetchStreamFill { value, ..Default::default() })).await;
    expect_exceeded(answers.message().await, "principal a", "max_value_bytes");

    a.set(set("json", json("{}"))).await.unwrap();
    let patch = |text: String| PatchRequest {
        namespace: "ns".to_owned(),
        key: "json".to_owned(),
        patch: Some(patch_request::Patch::MergePatch(text)),
        ..PatchRequest::default()
    };
    let long = patch(format!("{{\"a\":\"{}\"}}", "v".repeat(60)));
    let refused = a.cache.clone().patch(with_token(long, &a.token)).await;
    expect_error(refused, Code::ResourceExhausted, "VALUE_TOO_LARGE");
    let short = patch("{\"a\":1}".to_owned());
    a.cache.clone().patch(with_token(short, &a.token)).await.unwrap();
}
