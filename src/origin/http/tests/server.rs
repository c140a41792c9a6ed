//! Servers for single tests, each on its own port.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::body::Body;
use http::{Request, Response, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

/// A server that stops when it is dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Parts>>>,
    pub(super) connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

#[derive(Clone, Copy)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Server {
    /// Sends the same response to all requests.
    pub(super) async fn answering(answer: fn() -> Response<Body>) -> Self {
        Self::http(Protocol::Http1, None, move |_| answer()).await
    }

    pub(super) async fn http(
        protocol: Protocol,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Parts) -> Response<Body> + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let requests = seen.clone();
        let mut server = Self::raw(move |stream| {
            let (answer, requests, tls) = (answer.clone(), requests.clone(), tls.clone());
            async move {
                let answer = move |request: Request<Incoming>| {
                    let (parts, _) = request.into_parts();
                    let response = answer(&parts);
                    requests.lock().push(parts);
                    async { Ok::<_, Infallible>(response) }
                };
                match tls {
                    None => serve(protocol, stream, answer).await,
                    // A client that rejects the certificate closes the connection.
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(protocol, stream, answer).await;
                        }
                    }
                }
            }
        })
        .await;
        server.seen = seen;
        server
    }

    /// Sends the same bytes on each connection after the request, and closes it.
    pub(super) async fn sending(bytes: &'static [u8]) -> Self {
        Self::raw(move |mut stream| async move {
            read_head(&mut stream).await;
            // The client may already have closed the connection.
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        })
        .await
    }

    /// Accepts connections and sends nothing.
    pub(super) async fn silent() -> Self {
        Self::raw(|stream| async move {
            let _held = stream;
            std::future::pending::<()>().await;
        })
        .await
    }

    async fn raw<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream));
            }
        };
        let task = tokio::spawn(accept).abort_handle();
        Self { address, seen: Arc::default(), connections, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        let seen = self.seen.lock();
        seen.last()?.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<
    R: Future<Output = std::result::Result<Response<Body>, Infallible>> + Send + 'static,
>(
    protocol: Protocol,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answer: impl Fn(Request<Incoming>) -> R + Send + 'static,
) {
    let (io, service) = (TokioIo::new(stream), service_fn(answer));
    // Clients may close connections at any time.
    let _ = match protocol {
        Protocol::Http1 => {
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        }
        Protocol::Http2 => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        }
    };
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
}

/// A response without a body.
pub(super) fn answer(status: u16, headers: &[(&str, &str)]) -> Response<Body> {
    with_body(status, headers, Body::empty())
}

pub(super) fn with_body(
    status: u16,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}
