//! A FetchStream, message by message.

use larder::pb::v1::{
    FetchStreamFill, FetchStreamRequest, FetchStreamResponse, SetResult,
    fetch_stream_request::Message as Said, fetch_stream_response::Message as Told,
    get_or_fetch_response::Outcome,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::client::{Cache, fetch, text};

/// An open stream. Dropped, it is broken off.
pub(crate) struct Stream {
    pub(crate) say: mpsc::Sender<FetchStreamRequest>,
    pub(crate) told: Streaming<FetchStreamResponse>,
}

impl Stream {
    /// A stream on which this is said first.
    pub(crate) async fn begin(cache: &Cache, first: Said) -> Result<Self, Status> {
        let (say, said) = mpsc::channel(4);
        say.send(FetchStreamRequest { message: Some(first) }).await.unwrap();
        let told = cache.rpc().fetch_stream(ReceiverStream::new(said)).await?.into_inner();
        Ok(Self { say, told })
    }

    /// A stream on which nothing was said yet.
    pub(crate) async fn silent(cache: &Cache) -> Self {
        let (say, said) = mpsc::channel(4);
        let told = cache.rpc().fetch_stream(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { say, told }
    }

    /// A stream about a key, and what it is answered.
    pub(crate) async fn open(cache: &Cache, key: &str) -> (Self, Outcome) {
        let mut stream = Self::begin(cache, Said::Open(fetch(key, 50_000))).await.unwrap();
        let Some(Told::Answer(answer)) = stream.next().await.unwrap() else { panic!("no answer") };
        (stream, answer.outcome.unwrap())
    }

    /// A stream about a key that is to be computed by this caller.
    pub(crate) async fn lease(cache: &Cache, key: &str) -> Self {
        let (stream, outcome) = Self::open(cache, key).await;
        assert!(matches!(outcome, Outcome::Lease(_)), "{outcome:?}");
        stream
    }

    /// Says something, or sends a message that says nothing.
    pub(crate) async fn say(&self, message: impl Into<Option<Said>>) {
        self.say.send(FetchStreamRequest { message: message.into() }).await.unwrap();
    }

    /// What is told next; none if the stream has ended well.
    pub(crate) async fn next(&mut self) -> Result<Option<Told>, Status> {
        Ok(self.told.message().await?.and_then(|told| told.message))
    }

    /// Fills under the lease.
    pub(crate) async fn fill(&mut self, value: &str) -> SetResult {
        let fill = FetchStreamFill { value: Some(text(value)), ..Default::default() };
        self.say(Said::Fill(fill)).await;
        match self.next().await.unwrap() {
            Some(Told::Filled(filled)) => filled.result(),
            other => panic!("{other:?}"),
        }
    }
}
