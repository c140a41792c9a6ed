//! The changes of a namespace, over as many connections as it takes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Streaming;

use crate::{
    Error, ListedKey,
    calls::stream,
    core::Scope,
    pb::{self, watch_response::Event},
    transport::wire::Attempt,
    ttl::from_wire,
};

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);
/// How long the first message may take.
const UNTIL_READY: Duration = Duration::from_secs(5);

/// Why changes may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// The stream broke, and could not be continued in time.
    Disconnected,
    /// The store did not announce changes for a while, or another server has taken its place.
    FeedLost,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store was emptied.
    StoreFlushed,
    /// The program did not read fast enough.
    SlowReader,
    /// The changes since the end of a stream cannot be delivered completely.
    NotResumable,
    /// The replica is stopping.
    ShuttingDown,
    /// An event or a reason that this release does not have.
    Unknown,
}

/// A change in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// All changes arrive from now on. With `resumed`, none was missed since the last event.
    Ready {
        /// Whether the stream continues an earlier one.
        resumed: bool,
    },
    /// All entries are invalid.
    Namespace,
    /// The entries with any of these tags are invalid.
    Tags(Vec<String>),
    /// The entries whose key matches are invalid.
    Pattern(String),
    /// Entries were written or removed. Only with `keys`.
    Keys(Vec<ListedKey>),
    /// Changes may be missing until the next `Ready`: what is derived from entries is invalid.
    Reset(ResetReason),
}

/// A message of a stream, or its end.
#[derive(Debug)]
pub(crate) enum Signal {
    Change(Change),
    /// The stream is alive.
    Alive,
    /// The stream is broken and may be continued.
    Broken,
}

/// Reads the changes of a namespace, and connects again whenever the stream ends.
pub(crate) struct Follower {
    scope: Scope,
    keys: bool,
    token: Bytes,
    /// Time without a message after which the stream is dead.
    silence: Duration,
    /// When the stream was opened, or had its last message.
    alive_at: Instant,
    last_message: Instant,
    /// Time after the last message for which what was derived from entries stays valid.
    pub(crate) grace: Duration,
    backoff: Duration,
    /// When the next attempt begins, after one that failed or a stream that ended.
    retry_at: Option<Instant>,
    is_broken: bool,
    /// The token of this attempt is a new one, because the server refused the one before.
    is_renewed: bool,
    /// In a mutex, so that a follower can be shared between threads.
    opening: Mutex<Option<Opening>>,
    stream: Option<Open>,
}

/// An attempt to open a stream. It goes on in the next call of `next`.
struct Opening {
    opened: BoxFuture<'static, Result<Messages, Error>>,
    attempt: Attempt,
}

type Messages = Streaming<pb::WatchResponse>;

/// A stream, and the call that opened it.
struct Open {
    messages: Messages,
    attempt: Attempt,
}

impl Follower {
    pub(crate) fn new(scope: Scope, keys: bool) -> Self {
        Self {
            scope,
            keys,
            token: Bytes::new(),
            silence: UNTIL_READY,
            alive_at: Instant::now(),
            last_message: Instant::now(),
            grace: UNTIL_READY,
            backoff: FIRST_BACKOFF,
            retry_at: None,
            is_broken: false,
            is_renewed: false,
            opening: Mutex::default(),
            stream: None,
        }
    }

    /// The next signal: `Broken` also after each attempt that fails. It can be dropped and called
    /// again.
    ///
    /// # Errors
    ///
    /// A mistake: the stream is not tried again.
    pub(crate) async fn next(&mut self) -> Result<Signal, Error> {
        loop {
            let Some(stream) = &mut self.stream else {
                let (opened, attempt) = self.open().await?;
                match opened {
                    Ok(messages) => {
                        self.silence = UNTIL_READY;
                        self.alive_at = Instant::now();
                        self.stream = Some(Open { messages, attempt });
                    }
                    Err(error) if self.renews(&error, &attempt) => {}
                    Err(error) if !error.is_outage() => return Err(error),
                    Err(_) => return Ok(self.broken()),
                }
                continue;
            };
            let dead = self.alive_at + self.silence;
            match tokio::time::timeout_at(dead, stream.messages.message()).await {
                Ok(Ok(Some(message))) => {
                    self.last_message = Instant::now();
                    self.alive_at = self.last_message;
                    return Ok(self.read(message));
                }
                Ok(Err(status)) => {
                    let (error, attempt) = (Error::from(status), stream.attempt.clone());
                    if error.is_outage() || self.renews(&error, &attempt) {
                        return Ok(self.broken());
                    }
                    return Err(error);
                }
                Ok(Ok(None)) => return Ok(self.broken()),
                Err(_) => {
                    stream.attempt.dead();
                    return Ok(self.broken());
                }
            }
        }
    }

    fn broken(&mut self) -> Signal {
        self.stream = None;
        self.is_broken = true;
        let share = 0.5 + 0.5 * rand::random::<f64>();
        self.retry_at = Some(Instant::now() + self.backoff.mul_f64(share));
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        Signal::Broken
    }

    /// Whether the call can be repeated with another token. One that is refused, too, is wrong.
    fn renews(&mut self, error: &Error, attempt: &Attempt) -> bool {
        let is_refused = error.code() == tonic::Code::Unauthenticated;
        let renews = is_refused && !self.is_renewed && attempt.refused();
        self.is_renewed |= renews;
        renews
    }

    /// Opens a stream, or goes on with the attempt of a call that was dropped.
    async fn open(&mut self) -> Result<(Result<Messages, Error>, Attempt), Error> {
        if let Some(error) = &self.scope.wrong {
            return Err(error.clone());
        }
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
            self.retry_at = None;
        }
        if self.opening.get_mut().is_none() {
            let opening = self.attempt();
            *self.opening.get_mut() = Some(opening);
        }
        let opening = self.opening.get_mut();
        let Some(Opening { opened, attempt }) = opening else { unreachable!("it has begun") };
        let ended = (opened.await, attempt.clone());
        *opening = None;
        Ok(ended)
    }

    fn attempt(&self) -> Opening {
        let attempt = Attempt::new(Arc::clone(&self.scope.core.shared));
        let request = pb::WatchRequest {
            namespaces: vec![self.scope.namespace.to_string()],
            keys: self.keys,
            resume_token: self.token.clone(),
        };
        let own = attempt.clone();
        let opened = Box::pin(async move {
            let opening = stream(own.clone(), tonic::Request::new(Arc::new(request)));
            let late = |_| {
                own.silent();
                tonic::Status::deadline_exceeded("no stream of changes in time")
            };
            Ok(tokio::time::timeout(UNTIL_READY, opening).await.map_err(late)??)
        });
        Opening { opened, attempt }
    }

    fn read(&mut self, message: pb::WatchResponse) -> Signal {
        Signal::Change(match message.event {
            Some(Event::Heartbeat(heartbeat)) => {
                self.token = heartbeat.resume_token;
                return Signal::Alive;
            }
            Some(Event::Ready(ready)) => {
                self.token = ready.resume_token;
                self.silence = from_wire(ready.heartbeat).unwrap_or(UNTIL_READY)
                    + from_wire(ready.max_delay).unwrap_or_default();
                self.grace = self.silence;
                self.backoff = FIRST_BACKOFF;
                (self.is_broken, self.is_renewed) = (false, false);
                Change::Ready { resumed: ready.resumed }
            }
            Some(Event::NamespaceInvalidated(_)) => Change::Namespace,
            Some(Event::TagsInvalidated(event)) => Change::Tags(event.tags),
            Some(Event::PatternInvalidated(event)) => Change::Pattern(event.glob),
            Some(Event::KeysChanged(event)) => Change::Keys(
                event
                    .keys
                    .into_iter()
                    .map(|pb::ChangedKey { key, params_digest }| ListedKey { key, params_digest })
                    .collect(),
            ),
            Some(Event::Reset(reset)) => Change::Reset(cause(reset.reason())),
            // An event of a later release: what it invalidates is open. The server sends no Ready
            // after it, so that another stream begins, which does not continue this one.
            None => {
                self.broken();
                self.token = Bytes::new();
                Change::Reset(ResetReason::Unknown)
            }
        })
    }
}

const fn cause(reason: pb::ResetReason) -> ResetReason {
    match reason {
        pb::ResetReason::Unspecified => ResetReason::Unknown,
        pb::ResetReason::FeedLost => ResetReason::FeedLost,
        pb::ResetReason::StoreUnavailable => ResetReason::StoreUnavailable,
        pb::ResetReason::StoreFlushed => ResetReason::StoreFlushed,
        pb::ResetReason::SlowReader => ResetReason::SlowReader,
        pb::ResetReason::NotResumable => ResetReason::NotResumable,
        pb::ResetReason::ShuttingDown => ResetReason::ShuttingDown,
    }
}

/// The changes of a namespace: see [`Namespace::watch`](crate::Namespace::watch).
pub struct Watch {
    follower: Follower,
    /// Whether what was derived from entries is valid.
    is_valid: bool,
    is_broken: bool,
    next: Option<Change>,
    _owner: Arc<crate::client::Owner>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watch").field("is_valid", &self.is_valid).finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(follower: Follower, owner: Arc<crate::client::Owner>) -> Self {
        Self { follower, is_valid: false, is_broken: false, next: None, _owner: owner }
    }

    /// The next change; `None` after the client is closed. It can be dropped and called again.
    ///
    /// # Errors
    ///
    /// The call is wrong, such as without permission.
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        let core = Arc::clone(&self.follower.scope.core);
        tokio::select! {
            biased;
            () = core.ended() => Ok(None),
            change = self.change() => change.map(Some),
        }
    }

    async fn change(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.next.take() {
                return Ok(change);
            }
            let lost = self.follower.last_message + self.follower.grace;
            let signal = tokio::select! {
                signal = self.follower.next() => signal?,
                // Until then, a new stream can prove that nothing was missed.
                () = tokio::time::sleep_until(lost), if self.is_broken && self.is_valid => {
                    self.is_valid = false;
                    return Ok(Change::Reset(ResetReason::Disconnected));
                }
            };
            match signal {
                Signal::Alive => {}
                Signal::Broken => self.is_broken = true,
                Signal::Change(Change::Ready { resumed }) => {
                    let missed = self.is_valid && !resumed;
                    (self.is_valid, self.is_broken) = (true, false);
                    if missed {
                        self.next = Some(Change::Ready { resumed });
                        return Ok(Change::Reset(ResetReason::Disconnected));
                    }
                    return Ok(Change::Ready { resumed });
                }
                Signal::Change(change) => {
                    self.is_valid &= !matches!(change, Change::Reset(_));
                    return Ok(change);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_event_of_a_later_release_begins_another_stream() {
        let client = crate::Client::builder("127.0.0.1:1").connect_lazy();
        let client = client.unwrap_or_else(|error| unreachable!("{error}"));
        let mut follower = Follower::new(Scope::new(Arc::clone(client.core()), "n"), true);
        let ready = pb::Ready { resume_token: Bytes::from_static(b"t"), ..Default::default() };
        let ready = follower.read(pb::WatchResponse { event: Some(Event::Ready(ready)) });
        assert!(matches!(ready, Signal::Change(Change::Ready { resumed: false })));
        let unknown = follower.read(pb::WatchResponse { event: None });
        assert!(matches!(unknown, Signal::Change(Change::Reset(ResetReason::Unknown))));
        assert!(follower.token.is_empty() && follower.retry_at.is_some());
    }
}
