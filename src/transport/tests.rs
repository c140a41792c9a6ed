//! The transport as a client sees it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use futures_util::poll;
use http_body_util::{BodyExt as _, Full};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::*;

const SOON: Duration = Duration::from_secs(10);

/// A transport that serves until it is told to drain.
struct Served {
    address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Served {
    async fn new<A, F>(backpressure: &Arc<Backpressure>, answer: A) -> Self
    where
        A: Fn(Request<RequestBody>) -> Work<F> + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = TransportOptions {
            // All requests share it.
            max_connections: 1,
            max_streams: 100,
            max_header_bytes: 16 * 1024,
            max_age: Duration::ZERO,
            keepalive_interval: Duration::ZERO,
            keepalive_timeout: Duration::from_secs(1),
        };
        let shutdown = Shutdown::default();
        let serving =
            tokio::spawn(serve(listener, options, backpressure.clone(), shutdown.clone(), answer));
        Self { address, shutdown, serving }
    }

    async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (requests, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Client { address: self.address, requests }
    }

    /// Its clients are gone.
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
        is_whole: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::get(format!("http://{}{path}", self.address)).body(()).unwrap();
        self.requests.send_request(request, is_whole).unwrap()
    }

    async fn get(&mut self, path: &str) -> Result<Response<h2::RecvStream>, h2::Error> {
        let answer = self.begin(path, true).0;
        timeout(SOON, answer).await.unwrap()
    }
}

#[tokio::test]
async fn a_request_that_panics_costs_the_others_nothing() {
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (says, told) = (began.clone(), go_on.clone());
    let answer = move |request: Request<RequestBody>| {
        let (says, told, path) = (says.clone(), told.clone(), request.uri().path().to_owned());
        assert_ne!(path, "/at-once");
        let answer = async move {
            assert_ne!(path, "/in-the-answer");
            says.notify_one();
            told.notified().await;
            Answer { response: Response::new(Body::empty()), unread: None }
        };
        Work { is_heavy: false, is_too_much: false, answer }
    };
    let served = Served::new(&Arc::default(), answer).await;
    let mut client = served.connect().await;
    let other = client.begin("/other", true).0;
    began.notified().await;
    for path in ["/at-once", "/in-the-answer"] {
        let refused = client.get(path).await;
        assert!(refused.is_err(), "{path}: {refused:?}");
    }
    go_on.notify_one();
    assert!(timeout(SOON, other).await.unwrap().unwrap().status().is_success());
    drop(client);
    served.drain().await;
}

/// The size of a large answer: 128 windows of HTTP/2's default size.
const LARGE: usize = 8 << 20;

/// A client of a transport under backpressure, whose connection has brought too much, so that each read is held back for 20 ms. `/large`
/// has a large answer; of other requests the bytes are counted as they come. Requests to `/heavy` go on beside their connection.
async fn held_back(backpressure: &Arc<Backpressure>) -> (Served, Client, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let counts = received.clone();
    let answer = move |request: Request<RequestBody>| {
        let received = counts.clone();
        let is_heavy = request.uri().path() == "/heavy";
        let answer = async move {
            if request.uri().path() == "/large" {
                let response = Response::new(Body::new(Full::new(Bytes::from(vec![7; LARGE]))));
                return Answer { response, unread: None };
            }
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                received.fetch_add(frame.data_ref().map_or(0, Bytes::len), SeqCst);
            }
            Answer { response: Response::new(Body::empty()), unread: None }
        };
        Work { is_heavy, is_too_much: true, answer }
    };
    let served = Served::new(backpressure, answer).await;
    let mut client = served.connect().await;
    assert!(client.get("/first").await.is_ok());
    backpressure.begin();
    (served, client, received)
}

#[tokio::test]
async fn what_is_too_much_is_held_back() {
    let backpressure = Arc::default();
    let (served, mut client, _) = held_back(&backpressure).await;
    let held = async {
        loop {
            let mut answer = client.begin("/another", true).0;
            // On a busy machine it may have been read, as nobody is held back for long, before this sees that it was.
            while poll!(&mut answer).is_pending() {
                if backpressure.held() > 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(SOON, held).await.unwrap();
    backpressure.ease();
    backpressure.end();
    assert!(client.get("/at-last").await.is_ok());
    assert_eq!(backpressure.held(), 0);
    drop(client);
    served.drain().await;
}

#[tokio::test]
async fn a_request_that_was_begun_is_read_to_its_end() {
    const PARTS: usize = 200;
    for path in ["/upload", "/heavy"] {
        let backpressure = Arc::default();
        let (served, mut client, received) = held_back(&backpressure).await;
        let began = Instant::now();
        let (answer, mut upload) = client.begin(path, false);
        for part in 1..=PARTS {
            upload.send_data(Bytes::from_static(b"part"), part == PARTS).unwrap();
            let arrival = async {
                while received.load(SeqCst) < part * 4 {
                    tokio::task::yield_now().await;
                }
            };
            assert!(timeout(SOON, arrival).await.is_ok(), "part {part} of {path}");
        }
        assert!(timeout(SOON, answer).await.unwrap().is_ok());
        // Held back it would take 4 s.
        assert!(began.elapsed() < Duration::from_secs(2), "{path}: {:?}", began.elapsed());
        drop((client, upload));
        served.drain().await;
    }
}

#[tokio::test]
async fn an_answer_that_was_begun_is_sent_to_its_end() {
    let backpressure = Arc::default();
    let (served, mut client, _) = held_back(&backpressure).await;
    let began = Instant::now();
    let mut body = client.get("/large").await.unwrap().into_body();
    let mut received = 0;
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        let data = data.unwrap();
        received += data.len();
        // The server has to hear of this at least once for each window.
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(received, LARGE);
    // Held back it would take more than 2.5 s.
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    drop((client, body));
    served.drain().await;
}

#[tokio::test]
async fn a_request_that_was_turned_away_is_not_reset() {
    const CALLS: usize = 2000;
    let answer = |request: Request<RequestBody>| {
        let answer = async {
            Answer { response: Response::new(Body::empty()), unread: Some(request.into_body()) }
        };
        Work { is_heavy: false, is_too_much: true, answer }
    };
    let served = Served::new(&Arc::default(), answer).await;
    let mut client = served.connect().await;
    for call in 0..CALLS {
        let (answer, mut request) = client.begin("/", false);
        assert!(timeout(SOON, answer).await.unwrap().unwrap().status().is_success(), "call {call}");
        request.send_data(Bytes::from_static(b"late"), true).unwrap();
    }
    // Who sends too much of it, or does not end it, is told not to go on.
    for rest in [1 << 20, 0] {
        let (answer, mut request) = client.begin("/", false);
        assert!(timeout(SOON, answer).await.unwrap().is_ok());
        request.send_data(Bytes::from(vec![7; rest]), false).unwrap();
        assert!(timeout(SOON, poll_fn(|cx| request.poll_reset(cx))).await.is_ok(), "{rest} bytes");
    }
    drop(client);
    served.drain().await;
}
