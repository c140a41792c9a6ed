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
    pub(crate) say: mpsc::Sender<FetchStreamRequest>,
    pub(crate) told: Streaming<FetchStreamResponse>,
}

impl Stream {
    /// Opens a stream and sends its first message.
    pub(crate) async fn begin(cache: &Cache, first: ClientMessage) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(4);
        say.send(FetchStreamRequest { message: Some(first) }).await.unwrap();
        let told = cache.rpc().fetch_stream(ReceiverStream::new(said)).await?.into_inner();
        Ok(Self { say, told })
    }

    /// Opens a stream without sending a message.
    pub(crate) async fn silent(cache: &Cache) -> Self {
        let (say, said) = mpsc::channel(4);
        let told = cache.rpc().fetch_stream(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, told }
    }

    /// Opens a stream for a key and returns its outcome.
    pub(crate) async fn open(cache: &Cache, key: &str) -> (Self, Outcome) {
        let mut stream = Self::begin(cache, ClientMessage::Open(fetch(key, 50_000))).await.unwrap();
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
    pub(crate) async fn say(&self, message: impl Into<Option<ClientMessage>>) {
        self.say.send(FetchStreamRequest { message: message.into() }).await.unwrap();
    }

    /// The next message; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<ServerMessage>, Status> {
        Ok(self.told.message().await?.and_then(|told| told.message))
    }

    /// Fills under the lease.
    pub(crate) async fn fill(&mut self, value: &str) -> SetResult {
        let fill = FetchStreamFill { value: Some(text(value)), ..Default::default() };
        self.say(ClientMessage::Fill(fill)).await;
        match self.next().await.unwrap() {
            Some(ServerMessage::Filled(filled)) => filled.result(),
            other => panic!("{other:?}"),
        }
    }
}
