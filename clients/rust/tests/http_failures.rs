//! The cache of HTTP answers when clients leave, the client closes, or an answer cannot be stored.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{OriginalUri, Request},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, request::Parts},
    routing::get,
};
use futures_util::FutureExt as _;
use larder_client::{
    Client,
    http::HttpCacheLayer,
    testing::{FakeFailure, FakeLarder, FakeNamespace},
};
use support::{LIMIT, methods, until};
use tokio::sync::Semaphore;
use tower::{Layer as _, ServiceExt as _, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

type Answer = (StatusCode, HeaderMap, String);

fn client(fake: &FakeLarder) -> Client {
    fake.client().connect_lazy().unwrap()
}

/// A layer around a service. Its answers are the number of the call, from `make`.
#[derive(Clone)]
struct App {
    layer: HttpCacheLayer,
    calls: Arc<AtomicUsize>,
    make: Arc<dyn Fn(String) -> Response<Body> + Send + Sync>,
    gate: Arc<Semaphore>,
}

impl App {
    fn new(
        layer: HttpCacheLayer,
        make: impl Fn(String) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { layer, calls: Arc::default(), make: Arc::new(make), gate }
    }

    fn plain(layer: HttpCacheLayer) -> Self {
        Self::new(layer, |number| Response::new(number.into()))
    }

    /// Its answers wait for a permit.
    fn closed(mut self) -> Self {
        self.gate = Arc::new(Semaphore::new(0));
        self
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    fn ask(
        self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> impl Future<Output = Answer> + Send + use<> {
        let request = Request::builder().method(method).uri(url);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let (calls, make, gate) = (self.calls, self.make, self.gate);
        let service = service_fn(move |_: Request| {
            let answer = make((calls.fetch_add(1, SeqCst) + 1).to_string());
            let gate = Arc::clone(&gate);
            async move {
                let _permit = gate.acquire().await;
                Ok::<_, std::convert::Infallible>(answer)
            }
            .boxed()
        });
        let asked = self.layer.layer(service).oneshot(request.body(Body::empty()).unwrap()).boxed();
        async move {
            let (parts, body) = asked.await.unwrap().into_parts();
            let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
            (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
        }
    }

    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answer {
        self.clone().ask(Method::GET, url, headers).await
    }

    fn spawn(&self, method: Method, url: &'static str) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(self.clone().ask(method, url, &[]))
    }
}

fn outcome(answer: &Answer) -> &str {
    answer.1["x-cache"].to_str().unwrap()
}

#[tokio::test]
async fn a_new_answer_is_made_also_if_there_is_none_yet() {
    let fake = FakeLarder::new();
    let app = App::plain(HttpCacheLayer::new(&client(&fake)).ttl(MINUTE).obey_requests(true));
    for (number, header) in
        [("cache-control", "no-cache"), ("pragma", "no-cache"), ("cache-control", "min-fresh=3600")]
            .into_iter()
            .enumerate()
    {
        let (status, _, body) = app.get(&format!("/new/{number}"), &[header]).await;
        assert_eq!((status, body), (StatusCode::OK, (number + 1).to_string()), "{header:?}");
        assert_eq!(app.calls(), number + 1);
    }
    let abandoned = methods(&fake, "Abandon");
    assert_eq!(abandoned, 0);
}

#[tokio::test]
async fn the_age_of_an_answer_counts_from_its_origin() {
    let fake = FakeLarder::new();
    let layer = HttpCacheLayer::new(&client(&fake)).obey_requests(true);
    let app = App::new(layer, |number| {
        let answer = Response::builder().header("age", "50");
        answer.header("cache-control", "max-age=100").body(number.into()).unwrap()
    });
    let young = [("cache-control", "max-age=10")];
    assert_eq!(app.get("/aged", &[]).await.2, "1");
    assert_eq!(app.get("/aged", &[("cache-control", "max-age=60")]).await.2, "1");
    assert_eq!(app.get("/aged", &young).await.2, "2");
}

#[tokio::test]
async fn nested_routers_have_answers_of_their_own_by_the_whole_path() {
    let fake = FakeLarder::new();
    let whole = |parts: &Parts| match parts.extensions.get::<OriginalUri>() {
        Some(uri) => uri.path().to_owned(),
        None => parts.uri.path().to_owned(),
    };
    let layer = HttpCacheLayer::new(&client(&fake)).ttl(MINUTE).path_with(whole);
    let calls = Arc::new(AtomicUsize::new(0));
    let router = |version: &'static str| {
        let counter = Arc::clone(&calls);
        let answer = move || async move { format!("{version} {}", counter.fetch_add(1, SeqCst)) };
        Router::new().route("/users", get(answer.clone()).post(answer)).layer(layer.clone())
    };
    let app = Router::new().nest("/v1", router("one")).nest("/v2", router("two"));
    let ask = async |method: Method, url: &str| {
        let request = Request::builder().method(method).uri(url).body(Body::empty()).unwrap();
        let answer = app.clone().oneshot(request).await.unwrap();
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    };
    for _ in 0..2 {
        assert_eq!(ask(Method::GET, "/v1/users").await, "one 0");
        assert_eq!(ask(Method::GET, "/v2/users").await, "two 1");
    }
    layer.purge("/v1/users").await.unwrap();
    assert_eq!(ask(Method::GET, "/v1/users").await, "one 2");
    assert_eq!(ask(Method::GET, "/v2/users").await, "two 1");
    ask(Method::POST, "/v2/users").await;
    assert_eq!(ask(Method::GET, "/v2/users").await, "two 4");
    assert_eq!(ask(Method::GET, "/v1/users").await, "one 2");
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_invalidation_of_its_change() {
    let fake = FakeLarder::new();
    let app = App::plain(HttpCacheLayer::new(&client(&fake)).ttl(MINUTE));
    assert_eq!(app.get("/r", &[]).await.2, "1");
    fake.delay(Duration::from_millis(50));
    let change = app.spawn(Method::POST, "/r");
    until("the invalidation", || methods(&fake, "Invalidate") == 1).await;
    change.abort();
    assert!(change.await.is_err_and(|error| error.is_cancelled()));
    fake.recover();
    let seen = async { while app.get("/r", &[]).await.2 == "1" {} };
    tokio::time::timeout(LIMIT, seen).await.expect("the answer of before is invalid");
}

#[tokio::test]
async fn requests_of_now_are_answered_when_the_client_closes() {
    let fake = FakeLarder::new();
    let client = client(&fake);
    let app = App::plain(HttpCacheLayer::new(&client).ttl(MINUTE)).closed();
    let requests = [app.spawn(Method::GET, "/a"), app.spawn(Method::GET, "/a")];
    until("the call of the service", || app.calls() == 1).await;
    client.close().await;
    app.gate.add_permits(10);
    for request in requests {
        let (status, _, body) = tokio::time::timeout(LIMIT, request).await.unwrap().unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_is_being_stored_is_sent_when_the_client_closes() {
    let fake = FakeLarder::new();
    let client = client(&fake);
    let app = App::plain(HttpCacheLayer::new(&client).ttl(MINUTE));
    fake.fail(FakeFailure {
        methods: vec!["Set".to_owned()],
        after: LIMIT,
        ..FakeFailure::default()
    });
    let request = app.spawn(Method::GET, "/a");
    until("the fill", || methods(&fake, "Set") == 1).await;
    client.close().await;
    let (status, _, body) = tokio::time::timeout(LIMIT, request).await.unwrap().unwrap();
    assert_eq!((status, &*body, app.calls()), (StatusCode::OK, "1", 1));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_of_the_service_that_no_other_wants() {
    let fake = FakeLarder::new();
    let app = App::plain(HttpCacheLayer::new(&client(&fake)).ttl(MINUTE)).closed();
    let gate = Arc::downgrade(&app.gate);
    let own = gate.strong_count();
    let request = app.spawn(Method::GET, "/left");
    until("the call of the service", || app.calls() == 1).await;
    assert!(gate.strong_count() > own);
    request.abort();
    until("the end of the call", || gate.strong_count() == own).await;
}

#[tokio::test]
async fn requests_do_not_wait_for_answers_that_cannot_be_stored() {
    let fake = FakeLarder::new();
    let max_value_bytes = 1000;
    fake.configure("http", FakeNamespace { max_value_bytes, ..FakeNamespace::default() });
    let layer = HttpCacheLayer::new(&client(&fake)).ttl(MINUTE);
    let large = App::new(layer.clone(), |_| Response::new("x".repeat(2000).into()));
    let name = HeaderValue::from_bytes("attachment; filename=\"é\"".as_bytes()).unwrap();
    let named = App::new(layer.clone(), move |number| {
        let answer = Response::builder().header("content-disposition", name.clone());
        answer.body(number.into()).unwrap()
    });
    let many = |_: &Parts, _: &_| (0..32).map(|number| number.to_string()).collect();
    let tagged = App::plain(layer.tags_with(many));
    for (app, url) in [(large, "/large"), (named, "/named"), (tagged, "/tagged")] {
        assert_eq!(outcome(&app.get(url, &[]).await), "MISS", "{url}");
        assert_eq!(outcome(&app.get(url, &[]).await), "BYPASS", "{url}");
        assert_eq!(app.calls(), 2, "{url}");
    }
}
