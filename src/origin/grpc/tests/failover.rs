//! How often a call is made when connections fail.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{net::TcpListener, task::AbortHandle, time::Instant};
use tonic::{Request, Status};

use super::support::{Script, ScriptedResolver, TestServer, options, origin, request, text};
use crate::{
    origin::{
        FetchRequest, Origin as _, OriginErrorKind,
        grpc::{DEADLINE_MARGIN, GrpcOrigin, MAX_ATTEMPTS},
    },
    pb::origin::v1 as wire,
};

/// How a server fails each call.
#[derive(Clone, Copy)]
enum Failure {
    /// Shuts down before it has processed the call.
    GoAway,
    /// Closes the connection after it has received the call.
    Close,
}

/// A server that fails all calls, and counts its connections: each serves one call.
struct FailingServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl FailingServer {
    async fn start(failure: Failure) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let accepted = connections.clone();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let mut connection: h2::server::Connection<_, Bytes> =
                    h2::server::handshake(stream).await.unwrap();
                match failure {
                    Failure::GoAway => {
                        connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                        while connection.accept().await.is_some() {}
                    }
                    Failure::Close => drop(connection.accept().await),
                }
            }
        };
        Self { address, connections, task: tokio::spawn(accept).abort_handle() }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for FailingServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn origin_at(addresses: &[SocketAddr]) -> GrpcOrigin {
    let resolver = ScriptedResolver::default();
    resolver.set_addresses(addresses.to_vec());
    GrpcOrigin::with_resolver(options(), Box::new(resolver)).unwrap()
}

async fn failure(origin: &GrpcOrigin) -> OriginErrorKind {
    origin.fetch(&request("k")).await.unwrap_err().kind
}

#[tokio::test]
async fn unprocessed_call_is_repeated_up_to_the_limit() {
    let server = FailingServer::start(Failure::GoAway).await;
    assert_eq!(failure(&origin_at(&[server.address])).await, OriginErrorKind::Unreachable);
    assert_eq!(server.connections(), MAX_ATTEMPTS);
}

#[tokio::test]
async fn broken_call_is_not_repeated_at_the_same_endpoint() {
    let server = FailingServer::start(Failure::Close).await;
    assert_eq!(failure(&origin_at(&[server.address])).await, OriginErrorKind::Unreachable);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn broken_call_is_repeated_at_one_other_endpoint() {
    let servers = [
        FailingServer::start(Failure::Close).await,
        FailingServer::start(Failure::Close).await,
        FailingServer::start(Failure::Close).await,
    ];
    let addresses = servers.each_ref().map(|server| server.address);
    assert_eq!(failure(&origin_at(&addresses)).await, OriginErrorKind::Unreachable);
    let mut connections = servers.each_ref().map(FailingServer::connections);
    connections.sort_unstable();
    assert_eq!(connections, [0, 1, 1]);
}

#[tokio::test]
async fn cancellation_at_the_deadline_is_a_timeout() {
    let server =
        TestServer::start(Script::new(|request: Request<wire::FetchRequest>| async move {
            match request.get_ref().key.as_str() {
                "k" => Err(Status::cancelled("deadline")),
                _ => Ok(text("v")),
            }
        }))
        .await;
    let (origin, _resolver) = origin(&[&server]);
    origin.fetch(&request("connected")).await.unwrap();
    assert_eq!(failure(&origin).await, OriginErrorKind::Failed);
    // Within the margin, whether the status arrives or not.
    let late = FetchRequest { deadline: Instant::now() + DEADLINE_MARGIN, ..request("k") };
    assert_eq!(origin.fetch(&late).await.unwrap_err().kind, OriginErrorKind::Timeout);
}

#[tokio::test]
async fn error_status_is_an_answer_and_not_repeated() {
    let failing = || Script::always(Err(Status::unavailable("down")));
    let servers = [TestServer::start(failing()).await, TestServer::start(failing()).await];
    let (origin, _resolver) = origin(&servers.each_ref());
    assert_eq!(failure(&origin).await, OriginErrorKind::Failed);
    assert_eq!(servers.iter().map(TestServer::fetches).sum::<usize>(), 1);
}
