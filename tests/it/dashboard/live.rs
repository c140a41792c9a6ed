//! Live figures.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::Http;
use crate::{
    admin_access::{Browser, minted, principal, token_of},
    support::{
        server::Larder,
        wait::{SOON, eventually},
    },
};

const MAX_STREAMS: usize = 32;
const TOKEN: &str = "test-token-of-the-admin-port-0123456789";

/// A stream of events.
struct Stream {
    stream: TcpStream,
    text: String,
}

impl Stream {
    async fn open(larder: &Larder, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(larder.admin_address()).await.unwrap();
        let address = larder.admin_address();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self { stream, text: String::new() }
    }

    /// Reads until the text is there; false if the stream ends before.
    async fn reads(&mut self, expected: &str) -> bool {
        let mut part = vec![0; 64 * 1024];
        while !self.text.contains(expected) {
            let read = timeout(2 * SOON, self.stream.read(&mut part)).await;
            let count = read.unwrap_or_else(|_| panic!("{expected}: {}", self.text)).unwrap_or(0);
            if count == 0 {
                return false;
            }
            self.text.push_str(&String::from_utf8_lossy(&part[..count]));
        }
        true
    }
}

async fn metric(http: &Http, name: &str) -> u64 {
    let metrics = http.bearer("/metrics", TOKEN).await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
}

on_both_stores!(figures_change_without_a_request, |env| {
    let mut stream = Stream::open(&env.larder, "/live?page=overview&span=1h", "").await;
    assert!(stream.reads("event: begin\ndata: begin").await);
    assert!(stream.text.contains("content-type: text/event-stream"), "{}", stream.text);
    for index in 0..30 {
        env.cache.put(&format!("k{index}"), "v").await;
        env.cache.read(&format!("k{index}")).await;
    }
    assert!(stream.reads("event: content").await && stream.reads("100.0 %").await);
});

on_both_stores!(a_namespace_and_its_hot_keys_change_without_a_request, |env| {
    env.cache.put("k", "v").await;
    let path = "/live?page=namespace&namespace=ns&span=1h";
    let mut stream = Stream::open(&env.larder, path, "").await;
    assert!(stream.reads("event: begin\ndata: begin").await);
    // So many that some are sampled.
    for _ in 0..2000 {
        env.cache.read("k").await;
    }
    assert!(stream.reads("event: content").await && stream.reads("100.0 %").await);
    let place = "<div class=\"still\" data-key=\"entries\" data-still></div>";
    assert!(stream.text.contains(place), "{}", stream.text);
    let path = "/live?page=hot-keys&namespace=ns&minutes=60";
    let mut stream = Stream::open(&env.larder, path, "").await;
    assert!(stream.reads("key=k\"").await, "{}", stream.text);
    let http = Http::to(&env.larder);
    for page in ["namespace&namespace=N%20S", "namespace", "hot-keys"] {
        assert_eq!(http.get(&format!("/live?page={page}")).await.status, 400, "{page}");
    }
});

#[tokio::test]
async fn streams_have_a_bound_and_share_their_content() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS {
        let mut stream = Stream::open(&larder, "/live?page=overview&span=1h", "").await;
        assert!(stream.reads("event: begin").await);
        streams.push(stream);
    }
    let refused = http.get("/live?page=replicas").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    assert_eq!(metric(&http, "larder_dashboard_streams").await, 32);
    assert_eq!(metric(&http, "larder_dashboard_streams_refused_total").await, 1);
    for stream in &mut streams {
        assert!(stream.reads("event: content").await);
    }
    let made = metric(&http, "larder_dashboard_updates_total").await;
    assert!((1..=5).contains(&made), "made {made} times for {MAX_STREAMS} viewers");
    assert_eq!(http.get("/").await.status, 200, "pages have places of their own");
    streams.pop();
    eventually("a place is free", SOON, async || {
        let mut stream = Stream::open(&larder, "/live?page=replicas", "").await;
        stream.reads("event: begin").await.then_some(())
    })
    .await;
    drop(streams);
    eventually("all have ended", SOON, async || {
        (metric(&http, "larder_dashboard_streams").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn operators_have_places_that_others_cannot_take() {
    let config = format!(
        "[auth]\n{}[auth.roles.operator]\nallow = [{{ verbs = ['admin'], namespaces = ['*'] }}]\n",
        principal("operator", "operator")
    );
    let larder = Larder::memory().config(&config).start().await;
    let http = Http::to(&larder);
    let path = "/live?page=replicas";
    let mut streams = Vec::new();
    for _ in 0..MAX_STREAMS / 2 {
        let mut stream = Stream::open(&larder, path, "").await;
        assert!(stream.reads("event: begin").await, "{}", stream.text);
        streams.push(stream);
    }
    let refused = http.get(path).await;
    assert!(refused.status == 503 && refused.body.contains("16 at most"), "{refused:?}");
    let bearer = format!("authorization: Bearer {}\r\n", token_of("operator"));
    for _ in 0..MAX_STREAMS / 2 {
        let mut stream = Stream::open(&larder, path, &bearer).await;
        assert!(stream.reads("event: begin").await, "{}", stream.text);
        streams.push(stream);
    }
    let refused = http.bearer(path, &token_of("operator")).await;
    assert!(refused.status == 503 && refused.body.contains("32 at most"), "{refused:?}");
}

#[tokio::test]
async fn a_page_that_connects_again_does_not_keep_a_session() {
    let config = "[admin]\ntoken = '${env:TOKEN}'\nsession_idle = '2s'\n";
    let larder = Larder::memory().env("TOKEN", TOKEN).config(config).start().await;
    let http = Http::to(&larder);
    let browser = Browser::log_in_with(&http, TOKEN).await;
    let headers = browser.headers();
    eventually("it ends while it is asked for figures", SOON, async || {
        let asset = http.send("GET", "/assets/dashboard.js", &headers, "").await;
        let live = http.send("GET", "/live?page=nothing", &headers, "").await;
        assert!([404, 401].contains(&live.status), "{live:?}");
        (asset.status == 401 && live.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn streams_end_with_the_session_and_with_the_server() {
    let config = "[admin]\ntoken = '${env:TOKEN}'\nsession_idle = '3s'\n";
    let mut larder = Larder::memory().env("TOKEN", TOKEN).config(config).start().await;
    let http = Http::to(&larder);
    let cookie = "larder_login=0123456789012345678901234567890123456789abc";
    let headers = [("cookie", cookie.to_owned()), ("origin", http.origin())];
    let secret = cookie.split('=').nth(1).unwrap();
    let login = http.form("/login", &headers, &[("csrf", secret), ("token", TOKEN)]).await;
    let session = login.cookie("larder_session").unwrap().0;
    let path = "/live?page=overview&span=1h";
    let mut stream = Stream::open(&larder, path, &format!("cookie: {session}\r\n")).await;
    assert!(stream.reads("event: begin").await);
    // The stream itself does not keep the session.
    assert!(stream.reads("event: end\ndata: end").await, "{}", stream.text);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let mut stream = Stream::open(&larder, path, &bearer).await;
    assert!(stream.reads("event: begin").await);
    larder.signal(Signal::SIGTERM);
    assert!(!stream.reads("nothing").await, "it ends");
    assert!(larder.wait_exit(Duration::from_secs(10)).await.success());
}

#[tokio::test]
async fn a_stream_ends_when_the_token_of_its_bearer_expires() {
    let config = format!(
        "[auth]\n{}[auth.minted]\nkeys = ['${{env:KEY}}']\n\
         [auth.roles.operator]\nallow = [{{ verbs = ['admin'], namespaces = ['*'] }}]\n",
        principal("operator", "operator")
    );
    let key = "a-key-of-more-than-32-characters-for-tokens";
    let larder = Larder::memory().env("KEY", key).config(&config).start().await;
    let bearer = format!("authorization: Bearer {}\r\n", minted(&larder, "operator", 4).await);
    let mut stream = Stream::open(&larder, "/live?page=replicas", &bearer).await;
    assert!(stream.reads("event: begin").await);
    assert!(stream.reads("event: end\ndata: end").await, "{}", stream.text);
}
