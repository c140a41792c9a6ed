//! A gRPC server that records each call, and answers by a script or forwards to the real server.

use std::{
    convert::Infallible,
    future::{Future, ready},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::Grpc as GrpcClient,
    metadata::MetadataMap,
    server::{Grpc as GrpcServer, StreamingService},
    transport::{Channel, Endpoint},
};
use tower::Service;

use crate::{
    raw_codec::RawCodec,
    recorder::{CallHandle, Recorder, ScriptedAnswer},
};

/// Largest message in either direction, in bytes.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A gateway on a free port. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// The service of the gateway.
#[derive(Debug, Clone)]
struct Forwarding {
    upstream: Channel,
    recorder: Recorder,
}

/// One call on its way to the server.
struct ForwardedCall {
    path: http::uri::PathAndQuery,
    forwarding: Forwarding,
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Messages>, Status>> + Send>>;

// === impl Gateway ===

impl Gateway {
    /// Starts a gateway to the server at `upstream`.
    pub(crate) async fn start(upstream: SocketAddr, recorder: Recorder) -> Result<Self, String> {
        let endpoint = Endpoint::from_shared(format!("http://{upstream}"))
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT_TIMEOUT);
        let forwarding = Forwarding { upstream: endpoint.connect_lazy(), recorder };
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let task = tokio::spawn(serve(listener, forwarding));
        Ok(Self { address, task })
    }

    /// The address for clients.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves connections, which end with the task. Without tonic's server, which would end calls at
/// their deadline before their client does.
async fn serve(listener: TcpListener, forwarding: Forwarding) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(forwarding.clone());
        let builder = http2::Builder::new(TokioExecutor::new());
        connections.spawn(async move {
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

// === impl Forwarding ===

impl Service<http::Request<Incoming>> for Forwarding {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let forwarding = self.clone();
        Box::pin(async move {
            let path = http::uri::PathAndQuery::try_from(request.uri().path());
            let path = path.unwrap_or_else(|_| http::uri::PathAndQuery::from_static("/"));
            let mut server = GrpcServer::new(RawCodec)
                .apply_max_message_size_config(Some(MAX_MESSAGE), Some(MAX_MESSAGE));
            Ok(server.streaming(ForwardedCall { path, forwarding }, request).await)
        })
    }
}

impl StreamingService<Bytes> for ForwardedCall {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Answer;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Answer {
        let (path, forwarding) = (self.path.clone(), self.forwarding.clone());
        Box::pin(async move {
            let (handle, scripted) = forwarding.recorder.record(path.path(), request.metadata());
            match scripted {
                None => forward(&forwarding.upstream, path, request, handle).await,
                Some(answer) => answer_by_script(answer, &forwarding, path, request, handle).await,
            }
        })
    }
}

async fn answer_by_script(
    answer: ScriptedAnswer,
    forwarding: &Forwarding,
    path: http::uri::PathAndQuery,
    request: Request<Streaming<Bytes>>,
    handle: CallHandle,
) -> Result<Response<Messages>, Status> {
    let Some(response) = answer.response else {
        sleep(answer.delay).await;
        return forward(&forwarding.upstream, path, request, handle).await;
    };
    if answer.applied {
        let forwarded = forward(&forwarding.upstream, path, request, handle).await;
        drain(forwarded?.into_inner()).await;
    } else {
        // A client that has sent half of its request would wait for the rest of its window.
        let mut messages = request.into_inner();
        if let Some(Ok(message)) = messages.next().await {
            handle.add_message(&message);
        }
    }
    sleep(answer.delay).await;
    response.map(|message| Response::new(stream::once(async { Ok(message) }).boxed()))
}

async fn drain(mut messages: Messages) {
    while messages.next().await.is_some() {}
}

async fn forward(
    upstream: &Channel,
    path: http::uri::PathAndQuery,
    request: Request<Streaming<Bytes>>,
    handle: CallHandle,
) -> Result<Response<Messages>, Status> {
    let mut client = GrpcClient::new(upstream.clone())
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(format!("the server is away: {error}")))?;
    let (metadata, extensions, messages) = request.into_parts();
    // A message that the client could not send ends the request.
    let messages = messages.scan(handle, |handle, message| {
        let message = message.ok().inspect(|message| handle.add_message(message));
        ready(message)
    });
    let request = Request::from_parts(without_encodings(metadata), extensions, messages);
    let response = client.streaming(request, path, RawCodec).await?;
    Ok(response.map(|messages: Streaming<Bytes>| messages.boxed()))
}

/// The encodings of the client are not those of the gateway.
fn without_encodings(mut metadata: MetadataMap) -> MetadataMap {
    metadata.remove("grpc-encoding");
    metadata.remove("grpc-accept-encoding");
    metadata
}
