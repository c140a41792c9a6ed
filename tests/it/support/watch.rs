//! A client of Watch.

use std::{collections::BTreeSet, time::Duration};

use larder::pb::v1::{
    KeysChanged, NamespaceInvalidated, PatternInvalidated, ResetReason, TagsInvalidated,
    WatchRequest, WatchResponse, watch_response::Event,
};
use prost::Message as _;
use tonic::{Status, Streaming};

use super::{
    client::{Cache, NS},
    wait::SOON,
};

/// An event of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WatchEvent {
    Ready {
        token: Vec<u8>,
        resumed: bool,
    },
    Heartbeat {
        token: Vec<u8>,
    },
    Reset(ResetReason),
    Namespace(String),
    Tags(String, Vec<String>),
    Pattern(String, String),
    /// Namespace, keys and digests.
    Keys(String, Vec<(String, String)>),
}

/// An open stream, cancelled when dropped.
pub(crate) struct Watch {
    pub(crate) stream: Streaming<WatchResponse>,
}

pub(crate) fn watch_request(namespaces: &[&str], keys: bool, token: &[u8]) -> WatchRequest {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    WatchRequest { namespaces, keys, resume_token: token.to_vec().into() }
}

impl Watch {
    /// Opens a stream.
    pub(crate) async fn open(cache: &Cache, request: WatchRequest) -> Result<Self, Status> {
        Ok(Self { stream: cache.rpc().watch(request).await?.into_inner() })
    }

    /// Opens a stream of the namespace `ns`, and waits for Ready.
    pub(crate) async fn of_ns(cache: &Cache, keys: bool) -> Self {
        let mut watch = Self::open(cache, watch_request(&[NS], keys, b"")).await.unwrap();
        watch.ready().await;
        watch
    }

    /// The next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<WatchEvent>, Status> {
        let next = tokio::time::timeout(3 * SOON, self.stream.message()).await;
        let Some(message) = next.expect("a message")? else { return Ok(None) };
        Ok(Some(WatchEvent::of(message)))
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> WatchEvent {
        self.next().await.unwrap().expect("a message")
    }

    /// The next but heartbeats.
    pub(crate) async fn news(&mut self) -> WatchEvent {
        loop {
            match self.event().await {
                WatchEvent::Heartbeat { .. } => {}
                event => return event,
            }
        }
    }

    /// Waits for Ready, and returns its token.
    pub(crate) async fn ready(&mut self) -> Vec<u8> {
        loop {
            if let WatchEvent::Ready { token, .. } = self.event().await {
                return token;
            }
        }
    }

    /// Waits for a heartbeat, and returns its token.
    pub(crate) async fn token(&mut self) -> Vec<u8> {
        loop {
            if let WatchEvent::Heartbeat { token } = self.event().await {
                return token;
            }
        }
    }

    /// Waits for a reset.
    pub(crate) async fn reset(&mut self) -> ResetReason {
        loop {
            if let WatchEvent::Reset(reason) = self.event().await {
                return reason;
            }
        }
    }

    /// Waits for this event, and nothing is lost until then.
    pub(crate) async fn expect(&mut self, expected: &WatchEvent) {
        loop {
            let event = self.news().await;
            assert!(!matches!(event, WatchEvent::Reset(_)), "{event:?}");
            if event == *expected {
                return;
            }
        }
    }

    /// Waits until all of these keys of `ns` have changed, and nothing is lost until then.
    pub(crate) async fn expect_keys(&mut self, expected: &[&str]) {
        let mut missing: BTreeSet<&str> = expected.iter().copied().collect();
        while !missing.is_empty() {
            let event = self.news().await;
            assert!(!matches!(event, WatchEvent::Reset(_)), "{event:?}");
            if let WatchEvent::Keys(namespace, keys) = event {
                assert_eq!(namespace, NS);
                missing.retain(|key| keys.iter().all(|(changed, _)| changed != key));
            }
        }
    }

    /// Nothing but heartbeats comes for a while.
    pub(crate) async fn expect_silence(&mut self, time: Duration) {
        let news = tokio::time::timeout(time, self.news()).await;
        assert!(news.is_err(), "{news:?}");
    }
}

impl WatchEvent {
    pub(crate) fn of(message: WatchResponse) -> Self {
        match message.event.expect("an event") {
            Event::Ready(ready) => {
                Self::Ready { token: ready.resume_token.into(), resumed: ready.resumed }
            }
            Event::Heartbeat(heartbeat) => Self::Heartbeat { token: heartbeat.resume_token.into() },
            Event::Reset(reset) => Self::Reset(reset.reason()),
            Event::NamespaceInvalidated(bytes) => {
                Self::Namespace(NamespaceInvalidated::decode(bytes).unwrap().namespace)
            }
            Event::TagsInvalidated(bytes) => {
                let TagsInvalidated { namespace, tags } = TagsInvalidated::decode(bytes).unwrap();
                Self::Tags(namespace, tags)
            }
            Event::PatternInvalidated(bytes) => {
                let PatternInvalidated { namespace, glob } =
                    PatternInvalidated::decode(bytes).unwrap();
                Self::Pattern(namespace, glob)
            }
            Event::KeysChanged(bytes) => {
                let KeysChanged { namespace, keys } = KeysChanged::decode(bytes).unwrap();
                let keys = keys.into_iter().map(|key| (key.key, key.params_digest));
                Self::Keys(namespace, keys.collect())
            }
        }
    }

    pub(crate) fn all_of_ns() -> Self {
        Self::Namespace(NS.to_owned())
    }

    pub(crate) fn tag_of_ns(tag: &str) -> Self {
        Self::Tags(NS.to_owned(), vec![tag.to_owned()])
    }

    pub(crate) fn pattern_of_ns(glob: &str) -> Self {
        Self::Pattern(NS.to_owned(), glob.to_owned())
    }
}
