//! Answers requests: from the cache, by the service, or by waiting for another request.

mod making;
mod reading;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use hashlink::LruCache;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_MODIFIED_SINCE,
        IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, UPGRADE,
    },
    request, response,
};
use http_body::Body;
use parking_lot::Mutex;
use tokio::sync::{
    oneshot::{self, error::TryRecvError},
    watch,
};
use tower_service::Service;

use self::reading::Found;
use super::{
    collecting::{CacheBody, Collected, boxed, collect, empty, full},
    entries::{Entry, Stored, entity_tag, is_text},
    keys::{params_of, path_of, path_tag, variant},
    options::Options,
    rules::{
        age_of, dated, forbids_storing, fresh_for, is_not_modified, satisfies, storable_headers,
        vary_names, whole_age,
    },
};
use crate::{
    Failure, FetchError, FetchOptions, Key, Loaded, Namespace, Read, ReadOptions, Reason, Targets,
    Tier, Ttl, Write, WriteOptions, transport::authorization::TokenError as BoxError,
};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_CACHE_KEY: HeaderName = HeaderName::from_static("x-cache-key");
const X_CACHE_TTL: HeaderName = HeaderName::from_static("x-cache-ttl-remaining");
/// Headers of the cache itself, which a stored answer does not have.
const OWN: [HeaderName; 3] = [X_CACHE, X_CACHE_KEY, X_CACHE_TTL];
/// Requests with these get a part of an answer, none or another protocol: they go past the cache.
const PARTIAL: [HeaderName; 5] = [RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, IF_RANGE, UPGRADE];
/// Methods that change nothing.
const SAFE: [Method; 4] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];
/// After an error of the service, requests wait for each other again soon.
const FAILED_PASS: Duration = Duration::from_secs(1);
/// How long a body may take that is to be cached, and how long a request waits for another one's.
const JOINED: Duration = Duration::from_secs(5);
/// URLs whose `Vary` this process remembers.
const MAX_REMEMBERED: usize = 1000;
/// Lookups of one request: its variants are found one after the other.
const MAX_ROUNDS: usize = 4;

/// The service has failed; its error is that of the request that it was called for.
#[derive(Debug, thiserror::Error)]
#[error("the service has failed")]
struct ServiceFailed;

/// A request whose answer may come from the cache.
struct Lookup {
    parts: request::Parts,
    path: String,
    params: BTreeMap<String, String>,
    shared: bool,
}

impl Lookup {
    /// The entry of a variant.
    fn variant(&self, names: &[HeaderName]) -> Key<'static> {
        variant(&self.path, &self.parts.headers, &self.params, names)
    }
}

/// The service and the request, until one of them is used.
type Turn<S, Q> = Arc<Mutex<Option<(S, Request<Q>)>>>;
type Live<E> = Result<Response<CacheBody>, E>;

/// A cache of answers.
pub(super) struct Engine {
    handle: Namespace<Entry>,
    options: Options,
    remembered: Mutex<LruCache<Key<'static>, Vec<HeaderName>>>,
    /// Whether an answer that cannot be stored was logged.
    has_warned: AtomicBool,
}

impl Engine {
    pub(super) fn new(handle: Namespace<Entry>, options: Options) -> Self {
        let remembered = Mutex::new(LruCache::new(MAX_REMEMBERED));
        Self { handle, options, remembered, has_warned: AtomicBool::new(false) }
    }

    pub(super) async fn call<S, Q, B>(
        self: Arc<Self>,
        service: S,
        request: Request<Q>,
    ) -> Live<S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        Q: Body + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let lookup = self.lookup(&parts, body.is_end_stream());
        let is_change = !SAFE.contains(&parts.method) && parts.method != Method::CONNECT;
        let changed = is_change.then(|| self.path(&parts));
        let request = Request::from_parts(parts, body);
        let Some(lookup) = lookup else {
            let answer = self.bypass(service, request, "BYPASS").await?;
            if let Some(path) = changed {
                self.changed(path, answer.status()).await;
            }
            return Ok(answer);
        };
        if lookup.parts.method == Method::HEAD {
            return match self.answer_head(&lookup).await {
                Some(answer) => Ok(answer),
                None => self.bypass(service, request, "MISS").await,
            };
        }
        let turn: Turn<S, Q> = Arc::new(Mutex::new(Some((service, request))));
        if let Some(answer) = self.answer(Arc::new(lookup), &turn).await {
            return answer;
        }
        let left = turn.lock().take();
        match left {
            Some((service, request)) => self.bypass(service, request, "BYPASS").await,
            None => {
                // The service has panicked in the task of its computation.
                let mut failed = Response::new(empty());
                *failed.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(failed)
            }
        }
    }

    /// `None` for a request that goes past the cache.
    fn lookup(&self, parts: &request::Parts, is_empty: bool) -> Option<Lookup> {
        let Options { skip, user, query, vary_origin, obey_requests, .. } = &self.options;
        let is_cached = matches!(parts.method, Method::GET | Method::HEAD) && is_empty;
        if !is_cached
            || PARTIAL.iter().any(|name| parts.headers.contains_key(name))
            || (*obey_requests && forbids_storing(&parts.headers))
            || skip.as_ref().is_some_and(|skip| skip(parts))
        {
            return None;
        }
        let user = match user {
            Some(user) => Some(user(parts).filter(|user| !user.is_empty())?),
            None => None,
        };
        let params = params_of(parts, query.as_deref(), *vary_origin, user.as_deref());
        let (path, parts, shared) = (self.path(parts), parts.clone(), user.is_none());
        Some(Lookup { parts, path, params, shared })
    }

    /// The path by which answers are found and invalidated.
    fn path(&self, parts: &request::Parts) -> String {
        match &self.options.path {
            Some(path) => path_of(&path(parts)).to_owned(),
            None => path_of(parts.uri.path()).to_owned(),
        }
    }

    /// The headers that make different answers of a URL, as far as answers have named them.
    fn header_names(&self, primary: &Key<'static>) -> Vec<HeaderName> {
        let remembered = self.remembered.lock().get(primary).cloned();
        merged(&self.options.headers, &remembered.unwrap_or_default())
    }

    fn primary(&self, lookup: &Lookup) -> Key<'static> {
        lookup.variant(&self.options.headers)
    }

    fn read_options() -> ReadOptions {
        ReadOptions::default().max_stale(Duration::ZERO)
    }

    /// The answer to HEAD, which is never computed by itself.
    async fn answer_head(&self, lookup: &Lookup) -> Option<Response<CacheBody>> {
        let mut names = self.header_names(&self.primary(lookup));
        for _ in 0..MAX_ROUNDS {
            let key = lookup.variant(&names);
            let read = self.handle.get_with(key, &Self::read_options()).await.ok()?;
            match &**read.value.as_ref()? {
                Entry::Answer(stored) if self.is_wanted(lookup, stored, &read) => {
                    return Some(self.serve(lookup, &names, stored, &read));
                }
                Entry::Vary(more) => names = merged(&names, more),
                Entry::Answer(_) | Entry::Pass => return None,
            }
        }
        None
    }

    /// `None`: the service answers, unless it was called.
    async fn answer<S, Q, B>(
        self: &Arc<Self>,
        lookup: Arc<Lookup>,
        turn: &Turn<S, Q>,
    ) -> Option<Live<S::Error>>
    where
        S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let primary = self.primary(&lookup);
        let mut names = self.header_names(&primary);
        let mut refresh = false;
        for _ in 0..MAX_ROUNDS {
            let read = match self.read(&lookup, &names, refresh, turn).await {
                Found::Live(live) => return Some(live),
                Found::Made(stored) => {
                    return Some(Ok(self.serve(&lookup, &names, &stored, &unstored())));
                }
                Found::Read(read) => read,
                Found::Nothing => return None,
            };
            match read.value.as_deref()? {
                // An answer that was made for this request is always wanted.
                Entry::Answer(stored)
                    if refresh || is_own(&read) || self.is_wanted(&lookup, stored, &read) =>
                {
                    self.spare(&lookup, &names, &read).await;
                    return Some(Ok(self.serve(&lookup, &names, stored, &read)));
                }
                Entry::Answer(_) => refresh = true,
                Entry::Vary(more) => {
                    names = merged(&names, more);
                    self.remembered.lock().insert(primary.clone(), names.clone());
                }
                Entry::Pass => return None,
            }
        }
        None
    }

    fn is_wanted<V>(&self, lookup: &Lookup, stored: &Stored, read: &Read<V>) -> bool {
        let age = whole_age(&stored.headers, read.age.unwrap_or_default());
        let remaining = read.ttl_remaining.unwrap_or_default();
        !self.options.obey_requests || satisfies(&lookup.parts.headers, age, remaining)
    }

    /// After an answer that the server refuses to store, such as one over its limit, requests do
    /// not wait for each other for a while.
    async fn spare<V>(&self, lookup: &Lookup, names: &[HeaderName], read: &Read<V>) {
        let Some(Write::NotStored { degraded: false, error: Some(Failure::Call(error)), .. }) =
            read.stored.as_deref().filter(|_| is_own(read))
        else {
            return;
        };
        self.warn(&lookup.path, error);
        let options = WriteOptions::default().ttl(self.options.pass);
        let stored = self.handle.set_with(lookup.variant(names), &Entry::Pass, &options).await;
        if let Err(error) = stored {
            tracing::debug!("requests wait for each other: {error}");
        }
    }

    /// Logs the first answer that cannot be stored.
    fn warn(&self, path: &str, error: &dyn std::fmt::Display) {
        if !self.has_warned.swap(true, Relaxed) {
            tracing::warn!(path, "an answer cannot be cached: {error}");
        }
    }

    /// The answer to send.
    fn serve<V>(
        &self,
        lookup: &Lookup,
        names: &[HeaderName],
        stored: &Stored,
        read: &Read<V>,
    ) -> Response<CacheBody> {
        let mut headers = stored.headers.clone();
        let age = age_of(&headers, read.age.unwrap_or_default());
        headers.insert(AGE, age.into());
        if let Some(remaining) = read.ttl_remaining {
            let seconds = remaining.as_secs() + u64::from(remaining.subsec_nanos() > 0);
            headers.insert(X_CACHE_TTL, seconds.into());
        }
        let outcome = if read.tier == Some(Tier::Loader) { "MISS" } else { "HIT" };
        self.mark(&mut headers, outcome, lookup, names);
        let is_head = lookup.parts.method == Method::HEAD;
        let (status, body) = if is_not_modified(&lookup.parts.headers, stored.status, &headers) {
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                headers.remove(name);
            }
            (StatusCode::NOT_MODIFIED, empty())
        } else {
            headers.insert(CONTENT_LENGTH, stored.body.len().into());
            (stored.status, if is_head { empty() } else { full(stored.body.clone()) })
        };
        let mut answer = Response::new(body);
        *answer.status_mut() = status;
        *answer.headers_mut() = headers;
        answer
    }

    fn mark(
        &self,
        headers: &mut HeaderMap,
        outcome: &'static str,
        lookup: &Lookup,
        names: &[HeaderName],
    ) {
        headers.insert(X_CACHE, HeaderValue::from_static(outcome));
        if self.options.debug {
            let key = lookup.variant(names);
            let params = key.params().iter().map(|(name, value)| format!(" {name}={value}"));
            let text = format!("{}{}", key.text(), params.collect::<String>());
            headers.extend(HeaderValue::try_from(text).ok().map(|text| (X_CACHE_KEY, text)));
        }
    }

    /// Lets the service answer as without a cache.
    async fn bypass<S, Q, B>(
        &self,
        mut service: S,
        request: Request<Q>,
        outcome: &'static str,
    ) -> Live<S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let mut answer = service.call(request).await?.map(boxed);
        answer.headers_mut().insert(X_CACHE, HeaderValue::from_static(outcome));
        Ok(answer)
    }

    /// RFC 9111, 4.4: a change of a resource makes its cached answers invalid. It is done also if
    /// the client leaves meanwhile.
    async fn changed(&self, path: String, status: StatusCode) {
        if status.is_client_error() || status.is_server_error() {
            return;
        }
        let handle = self.handle.clone();
        let invalidating = tokio::spawn(crate::telemetry::in_trace(async move {
            let targets = Targets::new().tags([path_tag(&path)]);
            if let Err(error) = handle.invalidate(&targets).await {
                tracing::warn!(path, "cached answers are not invalidated: {error}");
            }
        }));
        // A task that has panicked, or has ended with its runtime, changes nothing for the request.
        let _ = invalidating.await;
    }
}

/// Whether the service was called for this request.
fn is_own<V>(read: &Read<V>) -> bool {
    read.tier == Some(Tier::Loader) && !read.joined
}

/// The facts of an answer that is not in the cache.
fn unstored() -> Read<()> {
    Read::loaded((), Write::refused(Reason::NotStored), Vec::new())
}

/// Both lists as one, sorted.
fn merged(one: &[HeaderName], other: &[HeaderName]) -> Vec<HeaderName> {
    let mut all: Vec<_> = one.iter().chain(other).cloned().collect();
    all.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    all.dedup();
    all
}
