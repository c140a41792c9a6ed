//! A FetchStream client.

use larder::pb::v1::{
    FetchStreamFill, FetchStreamRequest, FetchStreamResponse, SetResult,
    fetch_stream_request::Message as ClientMessage,
    fetch_stream_response::Message as ServerMessage, get_or_fetch_response::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::client::{Cache, fetch, text};

/// An open stream, cancelled when dropped.
pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<FetchStreamRequest>,
    pub(crate) responses: Streaming<FetchStreamResponse>,
}

impl Stream {
    /// Opens a stream and sends its first message.
    pub(crate) async fn start(cache: &Cache, first: ClientMessage) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(4);
        requests.send(FetchStreamRequest { message: Some(first) }).await.unwrap();
        let responses = cache.rpc().fetch_stream(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Self { requests, responses })
    }

    /// Opens a stream without sending a message.
    pub(crate) async fn open_empty(cache: &Cache) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let responses =
            cache.rpc().fetch_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    /// Opens a stream for a key and returns its outcome.
    pub(crate) async fn open(cache: &Cache, key: &str) -> (Self, Outcome) {
        let mut stream = Self::start(cache, ClientMessage::Open(fetch(key, 50_000))).await.unwrap();
        let Some(ServerMessage::Answer(answer)) = stream.next().await.unwrap() else {
            panic!("no answer")
        };
        (stream, answer.outcome.unwrap())
    }

    /// Opens a stream for a key and expects the lease.
    pub(crate) async fn lease(cache: &Cache, key: &str) -> Self {
        let (stream, outcome) = Self::open(cache, key).await;
        assert!(matches!(outcome, Outcome::Lease(_)), "{outcome:?}");
        stream
    }

    /// Sends a message, or an empty one.
    pub(crate) async fn send(&self, message: impl Into<Option<ClientMessage>>) {
        self.requests.send(FetchStreamRequest { message: message.into() }).await.unwrap();
    }

    /// The next message; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<ServerMessage>, Status> {
        Ok(self.responses.message().await?.and_then(|response| response.message))
    }

    /// Fills under the lease.
    pub(crate) async fn fill(&mut self, value: &str) -> SetResult {
        let fill = FetchStreamFill { value: Some(text(value)), ..Default::default() };
        self.send(ClientMessage::Fill(fill)).await;
        match self.next().await.unwrap() {
            Some(ServerMessage::Filled(filled)) => filled.result(),
            other => panic!("{other:?}"),
        }
    }
}
