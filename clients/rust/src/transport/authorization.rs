//! The header `authorization`.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};
use tonic::Code;

use crate::Error;

const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// A token is renewed in the background before its end.
const RENEWED_BEFORE: Duration = Duration::from_secs(30);
/// A provider that has failed is asked again after this long, while its token is valid.
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// Time for a provider to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A token with its lifetime.
#[derive(Clone)]
pub struct Token {
    token: String,
    lifetime: Duration,
}

impl Token {
    /// A token that is valid for a minute.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: token.into(), lifetime: DEFAULT_LIFETIME }
    }

    /// How long the token is valid. Another is asked for before that, in the background.
    #[must_use]
    pub const fn expires_in(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Token").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl<T: Into<String>> From<T> for Token {
    fn from(token: T) -> Self {
        Self::new(token)
    }
}

/// An error of a provider of tokens.
pub type TokenError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<Token, TokenError>> + Send>>;
pub(crate) type Provider = Arc<dyn Fn() -> Answer + Send + Sync>;

/// Where tokens come from.
#[derive(Clone)]
pub(crate) enum Source {
    Fixed(String),
    Provider(Provider),
}

/// A token. Without a time it has no end.
struct Held {
    header: HeaderValue,
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
}

type Answered = Shared<BoxFuture<'static, Result<HeaderValue, Error>>>;

/// A question to the provider, in a task.
struct Asked {
    task: AbortHandle,
    answered: Answered,
}

/// Keeps the header, and asks the provider for a new token when it must.
pub(crate) struct Authorization {
    provider: Option<Provider>,
    current: Arc<Mutex<Option<Held>>>,
    /// The question to the provider that runs, which all calls wait for.
    asked: Mutex<Option<Asked>>,
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let header = is_valid.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
    let mut header = header
        .ok_or_else(|| Error::argument("token", "expected printable ASCII without white space"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Authorization {
    /// # Errors
    ///
    /// The token cannot be a header.
    pub(crate) fn new(source: Source) -> Result<Self, Error> {
        let (provider, current) = match source {
            Source::Fixed(token) => {
                (None, Some(Held { header: bearer(&token)?, renew_at: None, ends_at: None }))
            }
            Source::Provider(provider) => (Some(provider), None),
        };
        let current = Arc::new(Mutex::new(current));
        Ok(Self { provider, current, asked: Mutex::default() })
    }

    /// Whether there can be another token.
    pub(crate) fn renews(&self) -> bool {
        self.provider.is_some()
    }

    /// Forgets the token that the server does not accept, unless there is another by now.
    pub(crate) fn refuse(&self, refused: &HeaderValue) {
        let mut current = self.current.lock();
        if self.renews() && current.as_ref().is_some_and(|held| held.header == refused) {
            *current = None;
        }
    }

    /// The token that is valid. Whether another should be asked for.
    fn held(&self) -> Option<(HeaderValue, bool)> {
        let now = Instant::now();
        let current = self.current.lock();
        let held = current.as_ref().filter(|held| held.ends_at.is_none_or(|end| now < end))?;
        Some((held.header.clone(), held.renew_at.is_some_and(|at| at <= now)))
    }

    /// The question to the provider that runs, or a new one.
    fn ask(&self, provider: &Provider) -> Answered {
        let mut asked = self.asked.lock();
        match asked.as_ref().filter(|asked| !asked.task.is_finished()) {
            Some(running) => running.answered.clone(),
            None => {
                let new = ask(Arc::clone(provider), Arc::clone(&self.current));
                asked.insert(new).answered.clone()
            }
        }
    }

    /// # Errors
    ///
    /// The provider failed: `UNAVAILABLE` (`NO_TOKEN`), or its own error if that is of a call.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let held = self.held();
        let Some(provider) = &self.provider else { return Ok(held.map(|(header, _)| header)) };
        match held {
            Some((header, false)) => Ok(Some(header)),
            Some((header, true)) => {
                // Its task runs by itself.
                drop(self.ask(provider));
                Ok(Some(header))
            }
            None => self.ask(provider).await.map(Some),
        }
    }
}

/// Asks the provider in a task of its own, so that a call whose deadline is short does not end the
/// question.
fn ask(provider: Provider, current: Arc<Mutex<Option<Held>>>) -> Asked {
    let asking = tokio::spawn(async move {
        let asked_at = Instant::now();
        let renewed = provided(&provider, asked_at).await;
        let mut current = current.lock();
        match renewed {
            Ok(held) => {
                let header = held.header.clone();
                *current = Some(held);
                Ok(header)
            }
            Err(error) => {
                if let Some(held) = &mut *current {
                    held.renew_at = Some(Instant::now() + ASKED_AGAIN);
                }
                Err(error)
            }
        }
    });
    let task = asking.abort_handle();
    let ended = async {
        // It has panicked, or its runtime has ended.
        asking.await.unwrap_or_else(|error| Err(no_token(format!("the token provider: {error}"))))
    };
    Asked { task, answered: ended.boxed().shared() }
}

async fn provided(provider: &Provider, asked_at: Instant) -> Result<Held, Error> {
    let late = |_| no_token(format!("the token provider has not answered within {LIMIT:?}"));
    let answer = tokio::time::timeout(LIMIT, provider()).await.map_err(late)?;
    let token = answer.map_err(|cause| match cause.downcast::<Error>() {
        Ok(error) => *error,
        Err(cause) => {
            let error = no_token(format!("the token provider failed: {cause}"));
            error.with_source(Arc::from(cause))
        }
    })?;
    // A token of a short life is renewed after nine tenths of it.
    let used = token.lifetime - RENEWED_BEFORE.min(token.lifetime / 10);
    // A lifetime beyond the clock is one without end.
    let after = |time| asked_at.checked_add(time);
    let (renew_at, ends_at) = (after(used), after(token.lifetime));
    Ok(Held { header: bearer(&token.token)?, renew_at, ends_at })
}

fn no_token(message: String) -> Error {
    Error::new(Code::Unavailable, message).with_reason("NO_TOKEN")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;

    fn provided(lifetime: Duration) -> (Authorization, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let provider: Provider = Arc::new(move || {
            let number = counter.fetch_add(1, Relaxed);
            Box::pin(async move { Ok(Token::new(format!("t{number}")).expires_in(lifetime)) })
        });
        let made = Authorization::new(Source::Provider(provider));
        (made.unwrap_or_else(|error| unreachable!("{error}")), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_its_end() {
        let (authorization, asked) = provided(Duration::from_secs(600));
        let _ = tokio::join!(authorization.header(), authorization.header());
        assert_eq!(asked.load(Relaxed), 1);
        tokio::time::advance(Duration::from_secs(569)).await;
        let _ = authorization.header().await;
        assert_eq!(asked.load(Relaxed), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        let header = authorization.header().await.ok().flatten();
        assert_eq!(header, Some(HeaderValue::from_static("Bearer t0")), "it is valid");
        let asked = authorization.asked.lock().as_ref().map(|asked| asked.answered.clone());
        assert!(asked.unwrap_or_else(|| unreachable!("a question")).await.is_ok());
        let header = authorization.header().await.ok().flatten();
        assert_eq!(header, Some(HeaderValue::from_static("Bearer t1")));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_do_not_wait_for_a_provider_while_their_token_is_valid() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let provider: Provider = Arc::new(move || {
            let number = counter.fetch_add(1, Relaxed);
            Box::pin(async move {
                match number {
                    0 => Ok(Token::new("first")),
                    1 => Err("no answer".into()),
                    _ => std::future::pending().await,
                }
            })
        });
        let made = Authorization::new(Source::Provider(provider));
        let made = made.unwrap_or_else(|error| unreachable!("{error}"));
        let first = Some(HeaderValue::from_static("Bearer first"));
        assert_eq!(made.header().await.ok().flatten(), first);
        tokio::time::advance(Duration::from_secs(55)).await;
        for number in [2, 3] {
            for _ in 0..10 {
                let header = tokio::time::timeout(Duration::from_millis(1), made.header()).await;
                assert_eq!(header.ok().and_then(Result::ok).flatten(), first);
                tokio::task::yield_now().await;
            }
            assert_eq!(asked.load(Relaxed), number);
            tokio::time::advance(ASKED_AGAIN).await;
        }
        // After its end calls wait.
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(tokio::time::timeout(Duration::from_millis(1), made.header()).await.is_err());
    }

    #[tokio::test]
    async fn a_refused_token_is_asked_for_again() {
        let (authorization, asked) = provided(Duration::from_secs(600));
        let first = authorization.header().await.ok().flatten();
        let first = first.unwrap_or_else(|| unreachable!("a header"));
        authorization.refuse(&first);
        let _ = authorization.header().await;
        assert_eq!(asked.load(Relaxed), 2);
        // Calls that were made with the first token are answered later.
        authorization.refuse(&first);
        let _ = authorization.header().await;
        assert_eq!(asked.load(Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_is_slower_than_the_calls_is_asked_once() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let provider: Provider = Arc::new(move || {
            counter.fetch_add(1, Relaxed);
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(3)).await;
                Ok(Token::new("slow"))
            })
        });
        let made = Authorization::new(Source::Provider(provider));
        let made = made.unwrap_or_else(|error| unreachable!("{error}"));
        for _ in 0..3 {
            let short = tokio::time::timeout(Duration::from_millis(500), made.header()).await;
            assert!(short.is_err());
        }
        let header = made.header().await.ok().flatten();
        assert_eq!(header, Some(HeaderValue::from_static("Bearer slow")));
        assert_eq!(asked.load(Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_never_answers_is_asked_again() {
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        let provider: Provider = Arc::new(move || {
            counter.fetch_add(1, Relaxed);
            Box::pin(std::future::pending())
        });
        let made = Authorization::new(Source::Provider(provider));
        let made = made.unwrap_or_else(|error| unreachable!("{error}"));
        for number in 1..=2 {
            let error = made.header().await.err();
            assert_eq!(error.as_ref().map(Error::reason), Some("NO_TOKEN"));
            assert_eq!(asked.load(Relaxed), number);
        }
    }

    #[test]
    fn a_token_with_white_space_is_refused() {
        assert!(Authorization::new(Source::Fixed("a b".to_owned())).is_err());
        assert!(Authorization::new(Source::Fixed(String::new())).is_err());
    }
}
