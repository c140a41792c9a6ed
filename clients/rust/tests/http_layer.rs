//! The cache of HTTP answers, on the real server: `LARDER_BIN`, or `target/debug/larder`.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, Response, StatusCode, header},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use larder_client::{Client, Preset, http::HttpCacheLayer, testing::LarderServer};
use support::{LIMIT, server, until};
use tokio::sync::Semaphore;
use tower::{Layer as _, ServiceExt as _, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

fn client(server: &LarderServer) -> Client {
    Client::builder(server.target()).preset(Preset::Local).connect_lazy().unwrap()
}

/// A service that counts its calls.
#[derive(Clone)]
struct App {
    layer: HttpCacheLayer,
    calls: Arc<AtomicUsize>,
    handler: Arc<dyn Fn(Request) -> Answering + Send + Sync>,
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl App {
    fn new<F, Fut>(layer: HttpCacheLayer, handler: F) -> Self
    where
        F: Fn(Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<Body>> + Send + 'static,
    {
        let handler = Arc::new(move |request| Box::pin(handler(request)) as Answering);
        Self { layer, calls: Arc::default(), handler }
    }

    /// An app whose answers have these headers, and the number of the call as their body.
    fn with(layer: HttpCacheLayer, headers: &'static [(&'static str, &'static str)]) -> Self {
        let count = AtomicUsize::new(0);
        Self::new(layer, move |_| {
            let body = format!("{}", count.fetch_add(1, SeqCst) + 1);
            let answer = headers
                .iter()
                .fold(Response::builder(), |answer, (name, value)| answer.header(*name, *value));
            std::future::ready(answer.body(Body::from(body)).unwrap())
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    fn send(&self, request: Request) -> Answering {
        let (calls, handler) = (Arc::clone(&self.calls), Arc::clone(&self.handler));
        let service = service_fn(move |request: Request| {
            calls.fetch_add(1, SeqCst);
            let answering = handler(request);
            answering.map(Ok::<_, std::convert::Infallible>)
        });
        let answering = self.layer.layer(service).oneshot(request);
        answering.map(|Ok(answer)| answer.map(Body::new)).boxed()
    }

    /// The body of an answer.
    async fn plain(self, url: &'static str) -> String {
        let answer = self.send(Request::get(url).body(Body::empty()).unwrap()).await;
        let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        String::from_utf8_lossy(&body).into_owned()
    }

    async fn get(&self, url: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
        self.ask(Method::GET, url, headers).await
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(url);
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = self.send(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_answer_is_made_once_and_sent_again_with_its_age() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).debug(true);
    let headers = &[("cache-control", "max-age=60"), ("content-type", "text/x"), ("age", "5")];
    let app = App::with(layer, headers);
    let (status, first, body) = app.get("/a?x=1", &[]).await;
    assert_eq!((status, text(&first, "x-cache"), &*body), (StatusCode::OK, "MISS", "1"));
    let (status, second, body) = app.get("/a?x=1", &[]).await;
    assert_eq!((status, text(&second, "x-cache"), &*body), (StatusCode::OK, "HIT", "1"));
    assert_eq!(text(&second, "content-type"), "text/x");
    assert_eq!(text(&second, "content-length"), "1");
    assert_eq!(text(&second, "etag"), text(&first, "etag"));
    assert!(matches!(text(&second, "age"), "5" | "6"), "{second:?}");
    assert!(text(&second, "x-cache-ttl-remaining").parse::<u32>().unwrap() <= 55);
    assert!(text(&second, "x-cache-key").contains("query=x=1"), "{second:?}");

    // The answer to HEAD is that to GET without its body, and a request that has it gets 304.
    let (_, head, body) = app.ask(Method::HEAD, "/a?x=1", &[]).await;
    assert_eq!((text(&head, "x-cache"), text(&head, "content-length"), &*body), ("HIT", "1", ""));
    let etag = text(&first, "etag").to_owned();
    let (status, headers, body) = app.get("/a?x=1", &[("if-none-match", &etag)]).await;
    assert_eq!((status, &*body), (StatusCode::NOT_MODIFIED, ""));
    assert!(!headers.contains_key(header::CONTENT_LENGTH), "{headers:?}");
    assert_eq!(app.calls(), 1);
    // Other URLs, hosts and methods are other answers.
    app.get("/a?x=2", &[]).await;
    app.get("/a?x=1", &[("host", "other")]).await;
    assert_eq!(app.calls(), 3);
}

#[tokio::test]
async fn the_first_request_with_a_condition_makes_the_whole_answer() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let app = App::new(layer, |request: Request| {
        assert!(!request.headers().contains_key(header::IF_NONE_MATCH));
        std::future::ready(Response::builder().header("etag", "\"1\"").body("v".into()).unwrap())
    });
    let (status, ..) = app.get("/c", &[("if-none-match", "\"1\"")]).await;
    assert_eq!(status, StatusCode::NOT_MODIFIED);
    let (status, headers, body) = app.get("/c", &[]).await;
    assert_eq!((status, text(&headers, "x-cache"), &*body), (StatusCode::OK, "HIT", "v"));
}

#[tokio::test]
async fn what_must_not_be_shared_is_not() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    for (number, (asked, headers)) in [
        (&[][..], &[("set-cookie", "session=1")][..]),
        (&[], &[("set-cookie", "session=1"), ("cache-control", "public, max-age=60")]),
        (&[], &[("cache-control", "Private")]),
        (&[], &[("cache-control", "no-store")]),
        (&[], &[("cache-control", "no-cache")]),
        (&[], &[("vary", "*")]),
        (&[], &[("content-type", "text/event-stream")]),
        (&[("authorization", "Bearer a")], &[]),
        (&[("authorization", "Bearer a")], &[("cache-control", "max-age=60")]),
        (&[("range", "bytes=0-1")], &[]),
        (&[("upgrade", "websocket")], &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let app = App::with(layer.clone(), headers);
        let url = format!("/private/{number}");
        for call in 1..=3 {
            let (_, answer, body) = app.get(&url, asked).await;
            assert_eq!(body, call.to_string(), "{asked:?} {headers:?}");
            assert_ne!(text(&answer, "x-cache"), "HIT");
        }
        assert_eq!(app.calls(), 3, "{asked:?} {headers:?}");
    }
}

#[tokio::test]
async fn answers_with_credentials_do_not_spoil_those_without() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let app = App::with(layer.clone(), &[]);
    app.get("/mixed", &[("authorization", "Bearer a")]).await;
    app.get("/mixed", &[]).await;
    let (_, headers, _) = app.get("/mixed", &[]).await;
    assert_eq!(text(&headers, "x-cache"), "HIT");

    let by_user = layer.namespace("by-user").by_user(|parts| {
        parts.headers.get("x-user").and_then(|user| user.to_str().ok()).map(str::to_owned)
    });
    let app = App::with(by_user, &[("cache-control", "private, max-age=60")]);
    let asked = |user| [("x-user", user), ("authorization", "Bearer a")];
    let (.., one) = app.get("/me", &asked("1")).await;
    let (.., two) = app.get("/me", &asked("2")).await;
    let (_, headers, again) = app.get("/me", &asked("1")).await;
    assert_eq!((&*one, &*two, &*again, text(&headers, "x-cache")), ("1", "2", "1", "HIT"));
    let (_, headers, _) = app.get("/me", &[]).await;
    assert_eq!(text(&headers, "x-cache"), "BYPASS");
}

#[tokio::test]
async fn variants_by_vary_are_entries_of_their_own() {
    let server = server().await;
    let (one, two) = (client(&server), client(&server));
    let make = |client: &Client| {
        App::new(HttpCacheLayer::new(client).ttl(MINUTE), |request: Request| {
            let language = text(request.headers(), "accept-language").to_owned();
            let answer = Response::builder().header("vary", "Accept-Language");
            std::future::ready(answer.body(Body::from(language)).unwrap())
        })
    };
    let (one, two) = (make(&one), make(&two));
    for app in [&one, &two] {
        for language in ["de", "fr", "de", "fr"] {
            let (.., body) = app.get("/v", &[("accept-language", language)]).await;
            assert_eq!(body, language);
        }
        let (.., body) = app.get("/v", &[]).await;
        assert_eq!(body, "");
    }
    // The first answer shows that there are variants, and is made again for its own entry.
    assert_eq!((one.calls(), two.calls()), (4, 0));
}

#[tokio::test]
async fn one_process_makes_the_answer_for_all() {
    let server = server().await;
    let gate = Arc::new(Semaphore::new(0));
    let apps: Vec<_> = (0..2)
        .map(|_| {
            let opened = Arc::clone(&gate);
            App::new(HttpCacheLayer::new(&client(&server)).ttl(MINUTE), move |_| {
                let opened = Arc::clone(&opened);
                async move {
                    let _permit = opened.acquire().await;
                    Response::new(Body::from("v"))
                }
            })
        })
        .collect();
    let calls = || apps.iter().map(App::calls).sum::<usize>();
    let mut requests = tokio::task::JoinSet::new();
    for number in 0..100 {
        let app = apps[number % 2].clone();
        requests.spawn(async move { app.plain("/slow").await });
    }
    until("the first call", || calls() == 1).await;
    gate.add_permits(1);
    while let Some(body) = requests.join_next().await {
        assert_eq!(body.unwrap(), "v");
    }
    assert_eq!(calls(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_hold_up_the_others() {
    let server = server().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let app = App::new(HttpCacheLayer::new(&client(&server)).ttl(MINUTE), move |_| {
        let opened = Arc::clone(&opened);
        async move {
            let _permit = opened.acquire().await;
            Response::new(Body::from("v"))
        }
    });
    let ask = || {
        let app = app.clone();
        tokio::spawn(async move { app.plain("/left").await })
    };
    let first = ask();
    until("the first call", || app.calls() == 1).await;
    // Alone: its call ends, and the next request makes another.
    first.abort();
    let second = ask();
    until("the second call", || app.calls() == 2).await;
    let third = ask();
    tokio::task::yield_now().await;
    second.abort();
    gate.add_permits(10);
    assert_eq!(tokio::time::timeout(LIMIT, third).await.unwrap().unwrap(), "v");
}

#[tokio::test]
async fn a_change_of_a_resource_purges_its_answers() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server))
        .ttl(MINUTE)
        .tags_with(|_, _| vec!["team:7".to_owned()]);
    let app = App::with(layer.clone(), &[]);
    for url in ["/r?page=1", "/r?page=2"] {
        app.get(url, &[]).await;
    }
    app.ask(Method::POST, "/r", &[]).await;
    for (url, number) in [("/r?page=1", "4"), ("/r?page=2", "5")] {
        assert_eq!(app.get(url, &[]).await.2, number);
    }
    layer.purge("/r?any").await.unwrap();
    assert_eq!(app.get("/r?page=1", &[]).await.2, "6");
    layer.invalidate_tags(["team:7"]).await.unwrap();
    assert_eq!(app.get("/r?page=1", &[]).await.2, "7");
}

#[tokio::test]
async fn a_large_or_broken_body_passes_through() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE).max_body(1000);
    let parts =
        || stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 100]))));
    let app = App::new(layer.clone(), move |_| {
        std::future::ready(Response::new(Body::from_stream(parts())))
    });
    for _ in 0..2 {
        assert_eq!(app.get("/large", &[]).await.2.len(), 2000);
    }
    assert_eq!(app.calls(), 2);

    let broken = App::new(layer.clone(), move |_| {
        let end = stream::iter([Err(std::io::Error::other("cut"))]);
        let body = parts().take(3).chain(end);
        std::future::ready(Response::new(Body::from_stream(body)))
    });
    for _ in 0..2 {
        let request = Request::builder().uri("/broken").body(Body::empty()).unwrap();
        let answer = broken.send(request).await;
        assert!(to_bytes(answer.into_body(), usize::MAX).await.is_err());
    }
    assert_eq!(broken.calls(), 2);

    // A body that is shorter than its length is not whole.
    let short = App::with(layer, &[("content-length", "7")]);
    short.get("/short", &[]).await;
    short.get("/short", &[]).await;
    assert_eq!(short.calls(), 2);
}

#[tokio::test]
async fn the_begin_of_a_stream_that_is_not_cached_comes_at_once() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let app = App::new(layer, |_| {
        let begin = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"data: 1\n\n"))]);
        let events: Pin<Box<dyn Stream<Item = _> + Send>> = begin.chain(stream::pending()).boxed();
        let answer = Response::builder().header("content-type", "text/event-stream");
        std::future::ready(answer.body(Body::from_stream(events)).unwrap())
    });
    for _ in 0..2 {
        let request = Request::builder().uri("/events").body(Body::empty()).unwrap();
        let answer = tokio::time::timeout(LIMIT, app.send(request)).await.expect("the head");
        let mut body = answer.into_body().into_data_stream();
        let first = tokio::time::timeout(LIMIT, body.next()).await.unwrap();
        assert_eq!(first.unwrap().unwrap(), "data: 1\n\n");
    }
    assert_eq!(app.calls(), 2);
}

#[tokio::test]
async fn the_error_of_a_service_is_that_of_its_request() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        let number = counter.fetch_add(1, SeqCst);
        async move { Err::<Response<Body>, String>(format!("error {number}")) }
    });
    let service = layer.layer(service);
    for number in 0..2 {
        let request = Request::builder().uri("/e").body(Body::empty()).unwrap();
        let error = service.clone().oneshot(request).await.map(|_| ()).unwrap_err();
        assert_eq!(error, format!("error {number}"));
    }
}

#[tokio::test]
async fn requests_are_answered_without_the_cache() {
    let client = Client::builder("127.0.0.1:1").connect_lazy().unwrap();
    let app = App::with(HttpCacheLayer::new(&client).ttl(MINUTE), &[]);
    for number in ["1", "2"] {
        let (status, headers, body) = app.get("/x", &[]).await;
        assert_eq!((status, &*body), (StatusCode::OK, number));
        assert_eq!(text(&headers, "x-cache"), "MISS");
    }
    let (status, ..) = app.ask(Method::POST, "/x", &[]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn requests_can_ask_for_a_new_answer_only_with_permission() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let app = App::with(layer.clone(), &[]);
    let anew = [("cache-control", "No-Cache")];
    app.get("/o", &[]).await;
    assert_eq!(app.get("/o", &anew).await.2, "1");
    let obeying = App::with(layer.namespace("obeying").obey_requests(true), &[]);
    obeying.get("/o", &[]).await;
    assert_eq!(obeying.get("/o", &anew).await.2, "2");
    assert_eq!(obeying.get("/o", &[]).await.2, "2");
    assert_eq!(obeying.get("/o", &[("cache-control", "no-store")]).await.2, "3");
    assert_eq!(obeying.get("/o", &[]).await.2, "2");
}

#[tokio::test]
async fn a_router_of_axum_takes_the_layer() {
    let server = server().await;
    let layer = HttpCacheLayer::new(&client(&server)).ttl(MINUTE);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let handler = move || {
        let number = counter.fetch_add(1, SeqCst);
        async move { format!("call {number}") }
    };
    let router = Router::new().route("/report", axum::routing::get(handler)).layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/report", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    for outcome in ["MISS", "HIT"] {
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(answer.headers()["x-cache"], outcome);
        assert!(answer.headers().contains_key("date"));
        assert_eq!(answer.text().await.unwrap(), "call 0");
    }
    serving.abort();
}
