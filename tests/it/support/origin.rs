//! A scripted HTTP origin: it records requests, and answers, hangs or breaks off as configured.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A request that the origin received.
#[derive(Debug, Clone)]
pub(crate) struct OriginRequest {
    /// Path and query, as sent.
    pub(crate) target: String,
    /// Names are in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Number of earlier requests for the same target.
    pub(crate) before: usize,
    pub(crate) at: Instant,
}

/// The origin's reaction to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Sends a response.
    Send { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Sends these bytes and keeps the connection open.
    Stall(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Replies after a delay.
    After(Duration, Box<Reply>),
}

type Answer = dyn Fn(&OriginRequest) -> Reply + Send + Sync;

/// A scripted HTTP origin, stopped when dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    answer: Mutex<Arc<Answer>>,
    requests: Mutex<Vec<OriginRequest>>,
    in_flight: AtomicUsize,
    max_in_flight: AtomicUsize,
    held: watch::Sender<bool>,
}

struct InFlight<'a>(&'a State);

impl Origin {
    /// Starts an origin that answers with the text `<target>#<n>`, where n counts the requests for
    /// the target from 1.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new(Arc::new(numbered)),
            requests: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            max_in_flight: AtomicUsize::new(0),
            held: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// A URL or a URL template of this origin.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Sets the reply to each request.
    pub(crate) fn answer(&self, answer: impl Fn(&OriginRequest) -> Reply + Send + Sync + 'static) {
        *self.state.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Sets the reply to all requests.
    pub(crate) fn always(&self, reply: Reply) {
        self.answer(move |_| reply.clone());
    }

    /// Holds back all replies until [`Origin::release`].
    pub(crate) fn hold(&self) {
        self.state.held.send_replace(true);
    }

    pub(crate) fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<OriginRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Number of requests so far.
    pub(crate) fn calls(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// Number of unanswered requests.
    pub(crate) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::SeqCst)
    }

    /// Highest number of unanswered requests so far.
    pub(crate) fn max_in_flight(&self) -> usize {
        self.state.max_in_flight.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OriginRequest {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

// === replies ===

/// A 200 response with a text and further headers.
pub(crate) fn ok(body: impl Into<Vec<u8>>, headers: &[(&'static str, &str)]) -> Reply {
    send(200, body, headers)
}

/// A response without a body.
pub(crate) fn status(status: u16) -> Reply {
    send(status, "", &[])
}

pub(crate) fn send(
    status: u16,
    body: impl Into<Vec<u8>>,
    headers: &[(&'static str, &str)],
) -> Reply {
    let plain = headers
        .iter()
        .all(|(name, _)| *name != "content-type")
        .then_some(("content-type", "text/plain"));
    let headers =
        headers.iter().copied().chain(plain).map(|(name, value)| (name, value.to_owned()));
    Reply::Send { status, headers: headers.collect(), body: body.into() }
}

/// A reply after a delay.
pub(crate) fn after(delay: Duration, reply: Reply) -> Reply {
    Reply::After(delay, Box::new(reply))
}

/// The default reply.
pub(crate) fn numbered(request: &OriginRequest) -> Reply {
    ok(format!("{}#{}", request.target, request.before + 1), &[])
}

// === the server ===

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropping the set closes the connections.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).unwrap();
        connections.spawn(serve(stream, state.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer, &state).await {
        let _in_flight = InFlight::new(&state);
        let mut held = state.held.subscribe();
        held.wait_for(|held| !held).await.unwrap();
        let answer = state.answer.lock().unwrap().clone();
        let mut reply = answer(&request);
        while let Reply::After(delay, next) = reply {
            tokio::time::sleep(delay).await;
            reply = *next;
        }
        match reply {
            Reply::Send { status, headers, body } => {
                if stream.write_all(&response(status, &headers, &body)).await.is_err() {
                    return;
                }
            }
            Reply::Raw(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Reply::Close => return,
            Reply::Stall(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return wait_for_close(&mut stream).await;
            }
            Reply::Hang => return wait_for_close(&mut stream).await,
            Reply::After(..) => unreachable!("unwrapped above"),
        }
    }
}

async fn wait_for_close(stream: &mut TcpStream) {
    let _ = stream.read(&mut [0]).await;
}

fn response(status: u16, headers: &[(&'static str, String)], body: &[u8]) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 {status} x\r\n");
    for (name, value) in headers {
        response.push_str(&format!("{name}: {value}\r\n"));
    }
    if status != 304 && status != 204 {
        response.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    response.push_str("\r\n");
    let mut response = response.into_bytes();
    response.extend_from_slice(body);
    response
}

async fn read_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    state: &State,
) -> Option<OriginRequest> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut all = state.requests.lock().unwrap();
    let before = all.iter().filter(|request| request.target == target).count();
    let request = OriginRequest { target, headers, before, at: Instant::now() };
    all.push(request.clone());
    Some(request)
}

impl<'a> InFlight<'a> {
    fn new(state: &'a State) -> Self {
        let now = state.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        state.max_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(state)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
