//! A gRPC call with any headers and any bytes as its body.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Status;

pub(crate) const GET: &str = "/larder.v1.CacheService/Get";
pub(crate) const GRPC: [(&str, &str); 2] =
    [("content-type", "application/grpc"), ("te", "trailers")];

/// The head of an answer, and its trailers.
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The status in the trailers, or in the headers of an answer without messages.
    pub(crate) fn status(&self) -> Status {
        let status = Status::from_header_map(&self.trailers);
        status.or_else(|| Status::from_header_map(self.head.headers())).expect("a gRPC status")
    }
}

/// Sends one request on a new connection.
pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let request = request(address, method, path, headers);
    exchange(address, request, body, true).await
}

/// Sends one request whose side may stay open until it is answered.
pub(crate) async fn send_open(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
    stays_open: bool,
) -> Answer {
    exchange(address, request(address, "POST", path, headers), body, !stays_open).await
}

fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    request.body(()).unwrap()
}

async fn exchange(address: SocketAddr, request: Request<()>, body: Bytes, end: bool) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let (response, mut sender) = requests.send_request(request, false).unwrap();
    // A refused request may have been reset already.
    let _ = sender.send_data(body, end);
    let (head, mut received) = response.await.unwrap().into_parts();
    let mut body = Vec::new();
    while let Some(data) = received.data().await {
        let Ok(data) = data else { break };
        body.extend_from_slice(&data);
    }
    let trailers = received.trailers().await.ok().flatten().unwrap_or_default();
    Answer { head: Response::from_parts(head, ()), body, trailers }
}

/// A message with its frame header.
pub(crate) fn message(request: &impl Message) -> Bytes {
    framed(0, &request.encode_to_vec())
}

/// A message with this flag in its frame header: 1 if it is compressed.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap();
    [&[flag], &length.to_be_bytes()[..], message].concat().into()
}
