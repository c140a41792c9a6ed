//! The store of `http-cache` under its middleware for reqwest, on the real server: `LARDER_BIN`,
//! or `target/debug/larder`.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header},
    response::IntoResponse as _,
    routing::any,
};
use http_cache_reqwest::{Cache, CacheMode, HttpCache, HttpCacheOptions};
use larder_client::{Client, Preset, http_cache::LarderManager};
use reqwest_middleware::ClientWithMiddleware;
use support::server;

fn client(target: &str) -> Client {
    Client::builder(target).preset(Preset::Local).connect_lazy().unwrap()
}

fn http(manager: LarderManager, mode: CacheMode) -> ClientWithMiddleware {
    let cache = HttpCache { mode, manager, options: HttpCacheOptions::default() };
    reqwest_middleware::ClientBuilder::new(reqwest::Client::new()).with(Cache(cache)).build()
}

/// A server of pages: `/fresh`, `/stale`, which has an ETag, and `/private`.
struct Pages {
    url: String,
    calls: Arc<AtomicUsize>,
    revalidated: Arc<AtomicUsize>,
}

impl Pages {
    async fn start() -> Self {
        let (calls, revalidated) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counter, matches) = (Arc::clone(&calls), Arc::clone(&revalidated));
        let page = move |request: Request| {
            let number = counter.fetch_add(1, SeqCst) + 1;
            let control = match request.uri().path() {
                "/fresh" => "max-age=60",
                "/stale" => "max-age=0, must-revalidate",
                _ => "no-store",
            };
            let has_it = request.headers().contains_key(header::IF_NONE_MATCH);
            matches.fetch_add(usize::from(has_it), SeqCst);
            let headers = [(header::CACHE_CONTROL, control), (header::ETAG, "\"1\"")];
            let status = if has_it { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            let body = if has_it { String::new() } else { format!("page {number}") };
            std::future::ready((status, headers, body).into_response())
        };
        let router = Router::new().route("/{page}", any(page));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, calls, revalidated }
    }

    async fn get(&self, on: &ClientWithMiddleware, page: &str) -> (String, String) {
        let answer = on.get(format!("{}{page}", self.url)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let outcome = answer.headers()["x-cache"].to_str().unwrap().to_owned();
        (outcome, answer.text().await.unwrap())
    }

    fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

fn pair(outcome: &str, body: &str) -> (String, String) {
    (outcome.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_fresh_answer_is_shared_by_processes() {
    let (server, pages) = (server().await, Pages::start().await);
    let managers = [0, 1].map(|_| LarderManager::new(&client(server.target())));
    let [one, two] = managers.map(|manager| http(manager, CacheMode::Default));
    assert_eq!(pages.get(&one, "/fresh").await, pair("MISS", "page 1"));
    assert_eq!(pages.get(&one, "/fresh").await, pair("HIT", "page 1"));
    assert_eq!(pages.get(&two, "/fresh").await, pair("HIT", "page 1"));
    assert_eq!(pages.calls(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_fresh_is_revalidated() {
    let (server, pages) = (server().await, Pages::start().await);
    let http = http(LarderManager::new(&client(server.target())), CacheMode::Default);
    assert_eq!(pages.get(&http, "/stale").await, pair("MISS", "page 1"));
    assert_eq!(pages.get(&http, "/stale").await, pair("HIT", "page 1"));
    assert_eq!((pages.calls(), pages.revalidated.load(SeqCst)), (2, 1));
    // Without a time in which it is kept there is nothing to revalidate.
    let manager = LarderManager::new(&client(server.target())).namespace("short");
    let http = self::http(manager.keep(std::time::Duration::ZERO), CacheMode::Default);
    assert_eq!(pages.get(&http, "/stale").await, pair("MISS", "page 3"));
    assert_eq!(pages.get(&http, "/stale").await, pair("MISS", "page 4"));
}

#[tokio::test]
async fn what_must_not_be_stored_is_not() {
    let (server, pages) = (server().await, Pages::start().await);
    let http = http(LarderManager::new(&client(server.target())), CacheMode::Default);
    for number in 1..=2 {
        let expected = pair("MISS", &format!("page {number}"));
        assert_eq!(pages.get(&http, "/private").await, expected);
    }
}

#[tokio::test]
async fn a_change_of_a_resource_removes_its_answer() {
    let (server, pages) = (server().await, Pages::start().await);
    let manager = LarderManager::new(&client(server.target()));
    let http = http(manager.clone(), CacheMode::Default);
    pages.get(&http, "/fresh").await;
    http.post(format!("{}/fresh", pages.url)).send().await.unwrap();
    assert_eq!(pages.get(&http, "/fresh").await, pair("MISS", "page 3"));
    manager.clear().await.unwrap();
    assert_eq!(pages.get(&http, "/fresh").await, pair("MISS", "page 4"));
}

#[tokio::test]
async fn modes_of_the_middleware_have_their_meaning() {
    let (server, pages) = (server().await, Pages::start().await);
    let manager = LarderManager::new(&client(server.target()));
    let only = http(manager.clone(), CacheMode::OnlyIfCached);
    let answer = only.get(format!("{}/fresh", pages.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    let reload = http(manager.clone(), CacheMode::Reload);
    for number in 1..=2 {
        let expected = pair("MISS", &format!("page {number}"));
        assert_eq!(pages.get(&reload, "/fresh").await, expected);
    }
    assert_eq!(pages.get(&only, "/fresh").await, pair("HIT", "page 2"));
    let without = http(manager, CacheMode::NoStore);
    assert_eq!(pages.get(&without, "/fresh").await.1, "page 3");
    // The middleware removes the answer of a request that goes past the cache.
    let answer = only.get(format!("{}/fresh", pages.url)).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn requests_go_on_without_the_cache() {
    let pages = Pages::start().await;
    let http = http(LarderManager::new(&client("127.0.0.1:1")), CacheMode::Default);
    for number in 1..=2 {
        let expected = pair("MISS", &format!("page {number}"));
        assert_eq!(pages.get(&http, "/fresh").await, expected);
    }
}

#[tokio::test]
async fn what_another_program_has_stored_is_a_miss() {
    let (server, pages) = (server().await, Pages::start().await);
    let client = client(server.target());
    let http = http(LarderManager::new(&client), CacheMode::Default);
    let raw = client.namespace::<bytes::Bytes>("http-cache");
    let key = format!("GET:{}/fresh", pages.url);
    raw.set(&key, &bytes::Bytes::from_static(b"\0\0\0\xff")).await.unwrap();
    assert_eq!(pages.get(&http, "/fresh").await, pair("MISS", "page 1"));
    assert_eq!(pages.get(&http, "/fresh").await, pair("HIT", "page 1"));
}
