//! Reads the keys of an issuer: at the start, at intervals, and when a token has an unknown key.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::error::AuthError;
use super::jwt::{InvalidKeySet, Issuer, KeySet};
use crate::{count_guard::CountGuard, error_chain::ErrorChain};

/// Least time between two reads of a URL because of unknown keys. Anyone can send a token with such
/// a key.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// The same for files.
const MIN_FILE_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two checks whether a file with keys has changed.
const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// Time limit of one read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for which a call waits for a read.
const WAIT: Duration = Duration::from_secs(2);
/// Most calls that wait.
const MAX_WAITING: usize = 1000;
/// Maximum size of a set of keys, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("the request failed")]
    Request(#[from] reqwest::Error),
    #[error("there is no HTTP client: {0}")]
    Client(String),
    #[error("the answer has the status {0}")]
    Status(reqwest::StatusCode),
    #[error("the keys have more than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the keys are no UTF-8 text")]
    NotText,
    #[error("the time limit of {} s has passed", READ_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Invalid(#[from] InvalidKeySet),
}

/// Reads the keys of one issuer.
pub(super) struct KeyRefresh(Arc<State>);

struct State {
    issuer: Arc<Issuer>,
    requested: Notify,
    /// Number of reads that have begun.
    begun: AtomicU64,
    /// Number of reads that have ended.
    ended: watch::Sender<u64>,
    /// When a read was requested last, and the number of reads that had begun.
    last_request: Mutex<Option<(Instant, u64)>>,
    succeeded_at: Mutex<Option<Instant>>,
    waiting: AtomicUsize,
}

/// A read that is about to end.
pub struct PendingKeys {
    state: Arc<State>,
    /// Number of reads that had begun: an older one may have read the keys before they changed.
    begun: u64,
}

impl KeyRefresh {
    /// Reads the keys until `end`.
    pub(super) fn start(issuer: Arc<Issuer>, end: CancellationToken) -> Self {
        let state = Arc::new(State {
            issuer,
            requested: Notify::new(),
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(0),
            last_request: Mutex::default(),
            succeeded_at: Mutex::default(),
            waiting: AtomicUsize::new(0),
        });
        let task = state.clone();
        tokio::spawn(async move { end.run_until_cancelled(task.run()).await });
        Self(state)
    }

    /// Asks for a read, unless the last one was a moment ago or too many calls wait.
    pub(super) fn request(&self) -> Option<PendingKeys> {
        let state = &self.0;
        if state.waiting.load(Relaxed) >= MAX_WAITING {
            return None;
        }
        let is_file = !is_url(&state.issuer.config.keys);
        let interval = if is_file { MIN_FILE_INTERVAL } else { MIN_INTERVAL };
        let mut last = state.last_request.lock();
        let begun = match *last {
            // The read has not ended, and is waited for.
            Some((_, begun)) if *state.ended.borrow() <= begun => begun,
            Some((time, _)) if time.elapsed() < interval => return None,
            _ => {
                let begun = state.begun.load(SeqCst);
                *last = Some((Instant::now(), begun));
                state.requested.notify_one();
                begun
            }
        };
        Some(PendingKeys { state: state.clone(), begun })
    }

    /// Time since the keys were read.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.succeeded_at.lock().map(|time| time.elapsed())
    }
}

impl PendingKeys {
    /// The error of a call that does not wait.
    pub fn error(&self) -> AuthError {
        if self.state.issuer.keys.load().is_some() {
            AuthError::UnknownKey
        } else {
            AuthError::KeysUnavailable
        }
    }

    /// Waits for the end of the read, for a moment at most.
    pub async fn wait(self) {
        let _waiting = CountGuard::new(&self.state.waiting);
        let mut ended = self.state.ended.subscribe();
        // The task may be gone, and the read may take longer.
        let _ = timeout(WAIT, ended.wait_for(|ended| *ended > self.begun)).await;
    }
}

impl fmt::Debug for PendingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PendingKeys").field(&self.state.issuer.name).finish()
    }
}

impl State {
    async fn run(&self) {
        let config = &self.issuer.config;
        let is_file = !is_url(&config.keys);
        let interval = if is_file { config.refresh.min(FILE_INTERVAL) } else { config.refresh };
        let client = (!is_file).then(http_client).transpose();
        let mut failures = RepeatedEvent::default();
        loop {
            self.begun.fetch_add(1, SeqCst);
            let read = match &client {
                Ok(client) => self.read(client.as_ref()).await,
                Err(error) => Err(ReadError::Client(error.to_string())),
            };
            match read {
                Ok(keys) => self.replace(keys, &mut failures),
                Err(error) => self.log(&error, &mut failures),
            }
            self.ended.send_modify(|ended| *ended += 1);
            // At most as often as unknown keys may ask for it, also while the reads fail.
            let pause = if failures.is_lasting() { MIN_INTERVAL.min(interval) } else { interval };
            let _ = timeout(pause, self.requested.notified()).await;
        }
    }

    async fn read(&self, client: Option<&reqwest::Client>) -> Result<KeySet, ReadError> {
        let text = timeout(READ_TIMEOUT, async {
            match client {
                Some(client) => download(client, &self.issuer.config.keys).await,
                None => read_file(Path::new(&self.issuer.config.keys)).await,
            }
        });
        let text = text.await.map_err(|_elapsed| ReadError::Timeout)??;
        Ok(KeySet::parse(&text)?)
    }

    fn replace(&self, keys: KeySet, failures: &mut RepeatedEvent) {
        *self.succeeded_at.lock() = Some(Instant::now());
        if let Some(Summary { count, seconds }) = failures.ended_if(|_| true) {
            let issuer = &self.issuer.name;
            tracing::info!(issuer, count, seconds, "the keys of the issuer are read again");
        }
        let count = keys.len();
        if self.issuer.replace_keys(keys) {
            let issuer = &self.issuer.name;
            tracing::info!(issuer, keys = count, "the keys of the issuer are in use");
        }
    }

    /// Tokens are verified with the keys that were read last.
    fn log(&self, error: &ReadError, failures: &mut RepeatedEvent) {
        if let Some(Summary { count, seconds }) = failures.occurred() {
            tracing::error!(
                issuer = self.issuer.name,
                error = %ErrorChain(error),
                count,
                seconds,
                has_keys = self.issuer.keys.load().is_some(),
                remedy = "check auth.jwt.<name>.keys",
                "the keys of the issuer cannot be read"
            );
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// A client that follows no redirection, as it could lead to the keys of another issuer.
fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .referer(false)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(READ_TIMEOUT)
        .build()
}

async fn download(client: &reqwest::Client, url: &str) -> Result<String, ReadError> {
    let mut response = client.get(url).send().await?;
    if !response.status().is_success() {
        return Err(ReadError::Status(response.status()));
    }
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        body.extend_from_slice(&part);
        if body.len() as u64 > MAX_BYTES {
            return Err(ReadError::TooLarge);
        }
    }
    String::from_utf8(body).map_err(|_| ReadError::NotText)
}

async fn read_file(path: &Path) -> Result<String, ReadError> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > MAX_BYTES { Err(ReadError::TooLarge) } else { Ok(text) }
}
