//! The server as a client sees it.

use std::{
    future::{pending, poll_fn},
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::poll;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;

#[path = "tls_tests.rs"]
mod over_tls;
#[path = "unread_tests.rs"]
mod unread;

const SOON: Duration = Duration::from_secs(10);
/// All requests of a client share one connection.
const MAX_CONNECTIONS: usize = 1;

/// A server that runs until it drains.
struct Server {
    address: SocketAddr,
    admission: Arc<Admission>,
    buffered: Arc<FairLimit>,
    stats: Arc<ConnectionStats>,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start<H, F>(handler: H) -> Self
    where
        H: Fn(Request<RequestBody>) -> Dispatched<F> + Clone + Send + Sync + 'static,
        F: Future<Output = Reply<Full<Bytes>>> + Send + 'static,
    {
        Self::start_with(handler, |options| options).await
    }

    async fn start_with<H, F, B>(handler: H, change: impl FnOnce(Options) -> Options) -> Self
    where
        H: Fn(Request<RequestBody>) -> Dispatched<F> + Clone + Send + Sync + 'static,
        F: Future<Output = Reply<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        Self::start_on(handler, change, None).await
    }

    async fn start_on<H, F, B>(
        handler: H,
        change: impl FnOnce(Options) -> Options,
        tls: Option<Arc<TlsPort>>,
    ) -> Self
    where
        H: Fn(Request<RequestBody>) -> Dispatched<F> + Clone + Send + Sync + 'static,
        F: Future<Output = Reply<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = Options {
            max_streams: 100,
            max_header_bytes: 16 * 1024,
            max_idle: Duration::ZERO,
            max_age: Duration::ZERO,
            max_age_grace: Duration::from_millis(200),
            keepalive_interval: Duration::ZERO,
            keepalive_timeout: Duration::from_secs(1),
        };
        let options = change(options);
        let (admission, shutdown) = (Admission::new(1), Shutdown::default());
        let buffered = FairLimit::new(Resource::Bytes, 16 << 20, 64 << 10);
        let server = crate::ServerParts {
            options,
            admission: admission.clone(),
            stall_policy: StallPolicy::new(Duration::from_millis(200), buffered.clone()),
            stats: Arc::new(ConnectionStats::new(MAX_CONNECTIONS)),
            tls,
            shutdown: shutdown.clone(),
        };
        let stats = server.stats.clone();
        let serving = tokio::spawn(serve(listener, server, handler));
        Self { address, admission, buffered, stats, shutdown, serving }
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Client { address: self.address, requests }
    }

    /// Drains the server, whose clients have disconnected.
    async fn drain(self) {
        self.shutdown.drain.cancel();
        timeout(SOON, self.serving).await.unwrap().unwrap();
    }
}

struct Client {
    address: SocketAddr,
    requests: h2::client::SendRequest<Bytes>,
}

impl Client {
    fn begin(
        &mut self,
        path: &str,
        ends: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::get(format!("http://{}{path}", self.address)).body(()).unwrap();
        self.requests.send_request(request, ends).unwrap()
    }

    async fn get(&mut self, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
        let response = self.begin(path, true).0;
        timeout(SOON, response).await.unwrap()
    }
}

fn reply(body: Full<Bytes>) -> Reply<Full<Bytes>> {
    Reply { response: Response::new(body), unread: None, held: None }
}

#[tokio::test]
async fn the_handler_sees_the_address_of_the_peer() {
    let handler = |request: Request<RequestBody>| {
        let peer = request.body().connection().peer().clone();
        let reply = async move { reply(Full::from(format!("{peer:?}"))) };
        Dispatched { may_spawn: false, is_queued: false, reply }
    };
    let server = Server::start(handler).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let expected = Peer { address: stream.local_addr().unwrap(), certificate: None };
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = Client { address: server.address, requests };
    let mut body = client.get("/").await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), format!("{expected:?}"));
    drop((client, body));
    server.drain().await;
}

#[tokio::test]
async fn a_panic_ends_only_its_own_request() {
    let (began, proceed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (on_begin, until) = (began.clone(), proceed.clone());
    let handler = move |request: Request<RequestBody>| {
        let (on_begin, until) = (on_begin.clone(), until.clone());
        let path = request.uri().path().to_owned();
        assert_ne!(path, "/in-the-handler");
        let reply = async move {
            assert_ne!(path, "/in-the-reply");
            on_begin.notify_one();
            until.notified().await;
            reply(Full::default())
        };
        Dispatched { may_spawn: false, is_queued: false, reply }
    };
    let server = Server::start(handler).await;
    let mut client = server.connect().await;
    let other = client.begin("/other", true).0;
    began.notified().await;
    for path in ["/in-the-handler", "/in-the-reply"] {
        let failed = client.get(path).await;
        assert!(failed.is_err(), "{path}: {failed:?}");
    }
    proceed.notify_one();
    assert!(timeout(SOON, other).await.unwrap().unwrap().status().is_success());
    drop(client);
    server.drain().await;
}

/// The size of a large response: 128 of HTTP/2's default windows.
const LARGE: usize = 8 << 20;

/// A server under backpressure and a client whose connection has brought a queued request, so that
/// each of its reads is delayed by 20 ms. `/large` has a large response. The bytes of other
/// requests are counted as they arrive. Requests to `/spawned` get a task of their own.
async fn paused() -> (Server, Client, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let counter = received.clone();
    let handler = move |request: Request<RequestBody>| {
        let received = counter.clone();
        let may_spawn = request.uri().path() == "/spawned";
        let reply = async move {
            if request.uri().path() == "/large" {
                return reply(Full::new(Bytes::from(vec![7; LARGE])));
            }
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                received.fetch_add(frame.data_ref().map_or(0, Bytes::len), SeqCst);
            }
            reply(Full::default())
        };
        Dispatched { may_spawn, is_queued: true, reply }
    };
    let server = Server::start(handler).await;
    let mut client = server.connect().await;
    assert!(client.get("/first").await.is_ok());
    server.admission.backpressure().turn_on();
    (server, client, received)
}

#[tokio::test]
async fn a_connection_that_brought_a_queued_request_is_paused() {
    let (server, mut client, _) = paused().await;
    let is_paused = async {
        loop {
            let mut response = client.begin("/another", true).0;
            // On a busy machine the pause may be over before this sees it.
            while poll!(&mut response).is_pending() {
                if server.admission.paused_connections() > 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(SOON, is_paused).await.unwrap();
    server.admission.backpressure().queue_drained();
    server.admission.backpressure().release();
    assert!(client.get("/last").await.is_ok());
    assert_eq!(server.admission.paused_connections(), 0);
    drop(client);
    server.drain().await;
}

#[tokio::test]
async fn a_request_body_that_has_begun_is_read_without_pauses() {
    const PARTS: usize = 200;
    for path in ["/inline", "/spawned"] {
        let (server, mut client, received) = paused().await;
        let began = Instant::now();
        let (response, mut upload) = client.begin(path, false);
        for part in 1..=PARTS {
            upload.send_data(Bytes::from_static(b"part"), part == PARTS).unwrap();
            let arrival = async {
                while received.load(SeqCst) < part * 4 {
                    tokio::task::yield_now().await;
                }
            };
            assert!(timeout(SOON, arrival).await.is_ok(), "part {part} of {path}");
        }
        assert!(timeout(SOON, response).await.unwrap().is_ok());
        // With pauses it would take 4 s.
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
        drop((client, upload));
        server.drain().await;
    }
}

#[tokio::test]
async fn a_response_that_has_begun_is_sent_without_pauses() {
    let (server, mut client, _) = paused().await;
    let began = Instant::now();
    let mut body = client.get("/large").await.unwrap().into_body();
    let mut received = 0;
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        let data = data.unwrap();
        received += data.len();
        // The server has to read a WINDOW_UPDATE at least once per window.
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(received, LARGE);
    // With pauses it would take more than 2.5 s.
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    drop((client, body));
    server.drain().await;
}

#[tokio::test]
async fn the_unread_body_of_a_rejected_request_is_discarded_within_limits() {
    const REQUESTS: usize = 2000;
    let handler = |request: Request<RequestBody>| {
        let reply = async {
            let response = Response::new(Full::default());
            Reply { response, unread: Some(request.into_body()), held: None }
        };
        Dispatched { may_spawn: false, is_queued: true, reply }
    };
    let server = Server::start(handler).await;
    let mut client = server.connect().await;
    for request in 0..REQUESTS {
        let (response, mut body) = client.begin("/", false);
        let response = timeout(SOON, response).await.unwrap().unwrap();
        assert!(response.status().is_success(), "request {request}");
        body.send_data(Bytes::from_static(b"late"), true).unwrap();
    }
    // A body that is too long or does not end is reset.
    for rest in [1 << 20, 0] {
        let (response, mut body) = client.begin("/", false);
        assert!(timeout(SOON, response).await.unwrap().is_ok());
        body.send_data(Bytes::from(vec![7; rest]), false).unwrap();
        assert!(timeout(SOON, poll_fn(|cx| body.poll_reset(cx))).await.is_ok(), "{rest} bytes");
    }
    drop(client);
    server.drain().await;
}

#[tokio::test]
async fn a_peer_that_has_sent_nothing_does_not_delay_the_drain() {
    let handler = |_| Dispatched {
        may_spawn: false,
        is_queued: false,
        reply: async { reply(Full::default()) },
    };
    let server = Server::start(handler).await;
    let mut peer = TcpStream::connect(server.address).await.unwrap();
    // The server may not have accepted the connection yet.
    peer.readable().await.unwrap();
    server.drain().await;
    // The SETTINGS of the server, and then the end.
    let mut received = Vec::new();
    timeout(SOON, peer.read_to_end(&mut received)).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_abort_closes_connections_with_requests_in_flight() {
    let began = Arc::new(Notify::new());
    let on_begin = began.clone();
    let handler = move |_| {
        let on_begin = on_begin.clone();
        let reply = async move {
            on_begin.notify_one();
            pending().await
        };
        Dispatched { may_spawn: false, is_queued: false, reply }
    };
    let server = Server::start(handler).await;
    let mut client = server.connect().await;
    let response = client.begin("/", true).0;
    began.notified().await;
    server.shutdown.drain.cancel();
    server.shutdown.abort.cancel();
    assert!(timeout(SOON, response).await.unwrap().is_err());
    timeout(SOON, server.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_response_that_is_not_read_is_reset_and_the_connection_goes_on() {
    for size in [1, LARGE] {
        let handler = move |request: Request<RequestBody>| {
            let is_large = request.uri().path() == "/large";
            let body = if is_large { vec![7; size] } else { Vec::new() };
            let reply = async move { reply(Full::new(body.into())) };
            Dispatched { may_spawn: is_large, is_queued: false, reply }
        };
        let server = Server::start(handler).await;
        let stream = TcpStream::connect(server.address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(0).handshake(stream);
        let (requests, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let mut client = Client { address: server.address, requests };
        let mut body = client.get("/large").await.unwrap().into_body();
        let end = timeout(SOON, poll_fn(|cx| body.poll_data(cx))).await.unwrap();
        assert!(end.is_some_and(|data| data.is_err_and(|error| error.is_reset())), "{size}");
        assert_eq!(server.buffered.used(), 0);
        assert!(client.get("/small").await.is_ok());
        drop((client, body));
        server.drain().await;
    }
}

/// A response without end, whose parts come more slowly than responses may stall.
#[tokio::test]
async fn a_response_that_waits_for_its_own_parts_is_not_reset() {
    let handler = |_| {
        let parts = futures_util::stream::unfold(0, |part| async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let data = http_body::Frame::data(Bytes::from_static(b"part"));
            (part < 3).then_some((Ok::<_, std::io::Error>(data), part + 1))
        });
        let body = StreamBody::new(parts).boxed_unsync();
        let reply = async { Reply { response: Response::new(body), unread: None, held: None } };
        Dispatched { may_spawn: true, is_queued: false, reply }
    };
    let server = Server::start_with(handler, |options| options).await;
    let mut client = server.connect().await;
    let mut body = client.get("/slow").await.unwrap().into_body();
    let mut received = Vec::new();
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        received.extend_from_slice(&data.unwrap());
    }
    assert_eq!(received, b"partpartpart");
    drop((client, body));
    server.drain().await;
}

#[tokio::test]
async fn streams_that_outlive_the_grace_of_their_connection_are_cut_off() {
    let handler = |_| Dispatched {
        may_spawn: false,
        is_queued: false,
        reply: pending::<Reply<Full<Bytes>>>(),
    };
    let aged = |options| Options { max_age: Duration::from_millis(100), ..options };
    let server = Server::start_with(handler, aged).await;
    let mut client = server.connect().await;
    assert!(client.get("/never").await.is_err());
    drop(client);
    server.drain().await;
}
