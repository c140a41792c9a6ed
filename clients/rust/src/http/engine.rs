//! Answers requests: from the cache, by the service, or by waiting for another request.

mod making;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

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
use tokio::sync::oneshot;
use tower_service::Service;

use super::{
    collecting::{CacheBody, Collected, boxed, collect, empty, full},
    entries::{Entry, Stored, entity_tag},
    keys::{params_of, path_of, path_tag, variant},
    options::Options,
    rules::{
        age_of, dated, forbids_storing, fresh_for, is_not_modified, satisfies, storable_headers,
        vary_names,
    },
};
use crate::{
    FetchError, FetchOptions, Key, Loaded, Namespace, Read, ReadOptions, Targets, Tier, Ttl,
    WriteOptions, transport::authorization::TokenError as BoxError,
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
    params: BTreeMap<String, String>,
    shared: bool,
}

/// The service and the request, until one of them is used.
type Turn<S, Q> = Arc<Mutex<Option<(S, Request<Q>)>>>;
type Live<E> = Result<Response<CacheBody>, E>;

/// A cache of answers.
pub(super) struct Engine {
    handle: Namespace<Entry>,
    options: Options,
    remembered: Mutex<LruCache<Key<'static>, Vec<HeaderName>>>,
}

/// The result of a lookup.
enum Found<E> {
    /// The answer of the service to this request.
    Live(Live<E>),
    Read(Read<Entry>),
    /// The cache cannot help.
    Nothing,
}

impl Engine {
    pub(super) fn new(handle: Namespace<Entry>, options: Options) -> Self {
        let remembered = Mutex::new(LruCache::new(MAX_REMEMBERED));
        Self { handle, options, remembered }
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
        let request = Request::from_parts(parts, body);
        let Some(lookup) = lookup else { return self.bypass(service, request, "BYPASS").await };
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
        Some(Lookup { parts: parts.clone(), params, shared: user.is_none() })
    }

    /// The headers that make different answers of a URL, as far as answers have named them.
    fn header_names(&self, primary: &Key<'static>) -> Vec<HeaderName> {
        let remembered = self.remembered.lock().get(primary).cloned();
        merged(&self.options.headers, &remembered.unwrap_or_default())
    }

    fn primary(&self, lookup: &Lookup) -> Key<'static> {
        variant(&lookup.parts, &lookup.params, &self.options.headers)
    }

    fn read_options() -> ReadOptions {
        ReadOptions::default().max_stale(Duration::ZERO)
    }

    /// The answer to HEAD, which is never computed by itself.
    async fn answer_head(&self, lookup: &Lookup) -> Option<Response<CacheBody>> {
        let mut names = self.header_names(&self.primary(lookup));
        for _ in 0..MAX_ROUNDS {
            let key = variant(&lookup.parts, &lookup.params, &names);
            let read = self.handle.get_with(key, &Self::read_options()).await.ok()?;
            match &**read.value.as_ref()? {
                Entry::Answer(stored) if self.is_wanted(lookup, &read) => {
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
                Found::Read(read) => read,
                Found::Nothing => return None,
            };
            match read.value.as_deref()? {
                Entry::Answer(stored) if refresh || self.is_wanted(&lookup, &read) => {
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

    async fn read<S, Q, B>(
        self: &Arc<Self>,
        lookup: &Arc<Lookup>,
        names: &[HeaderName],
        refresh: bool,
        turn: &Turn<S, Q>,
    ) -> Found<S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (sender, mut live) = oneshot::channel();
        let load = {
            let (engine, lookup, turn) = (Arc::clone(self), Arc::clone(lookup), Arc::clone(turn));
            let names = names.to_vec();
            move || async move { engine.load(&lookup, &names, &turn, sender).await }
        };
        let options = FetchOptions::default().timeout(JOINED).read(Self::read_options());
        let options = if refresh { options.refresh() } else { options };
        let handle = self.handle.clone();
        let key = variant(&lookup.parts, &lookup.params, names);
        let mut reading =
            Box::pin(async move { handle.get_or_fetch_with(key, options, load).await });
        let ended = tokio::select! {
            biased;
            sent = &mut live => match sent {
                Ok(live) => {
                    // The marker that spares later requests the wait is stored all the same.
                    tokio::spawn(reading);
                    return Found::Live(live);
                }
                Err(_) => reading.await,
            },
            ended = &mut reading => match live.try_recv() {
                Ok(live) => return Found::Live(live),
                Err(_) => ended,
            },
        };
        match ended {
            Ok(read) => Found::Read(read),
            // The service has failed for another request.
            Err(FetchError::Loader(_)) => Found::Nothing,
            Err(FetchError::Cache(error)) => {
                tracing::warn!("an answer does not come from the cache: {error}");
                Found::Nothing
            }
        }
    }

    fn is_wanted<V>(&self, lookup: &Lookup, read: &Read<V>) -> bool {
        let (age, remaining) =
            (read.age.unwrap_or_default(), read.ttl_remaining.unwrap_or_default());
        !self.options.obey_requests || satisfies(&lookup.parts.headers, age, remaining)
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
            let key = variant(&lookup.parts, &lookup.params, names);
            let params = key.params().iter().map(|(name, value)| format!(" {name}={value}"));
            let text = format!("{}{}", key.text(), params.collect::<String>());
            headers.extend(HeaderValue::try_from(text).ok().map(|text| (X_CACHE_KEY, text)));
        }
    }

    /// Lets the service answer as without a cache. RFC 9111, 4.4: a change of a resource makes its
    /// cached answers invalid.
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
        let changes = !SAFE.contains(request.method()) && *request.method() != Method::CONNECT;
        let path = changes.then(|| path_of(request.uri().path()).to_owned());
        let mut answer = service.call(request).await?.map(boxed);
        let is_done = !answer.status().is_client_error() && !answer.status().is_server_error();
        if let Some(path) = path.filter(|_| is_done) {
            let targets = Targets::new().tags([path_tag(&path)]);
            if let Err(error) = self.handle.invalidate(&targets).await {
                tracing::warn!(path, "cached answers are not invalidated: {error}");
            }
        }
        answer.headers_mut().insert(X_CACHE, HeaderValue::from_static(outcome));
        Ok(answer)
    }
}

/// Both lists as one, sorted.
fn merged(one: &[HeaderName], other: &[HeaderName]) -> Vec<HeaderName> {
    let mut all: Vec<_> = one.iter().chain(other).cloned().collect();
    all.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    all.dedup();
    all
}
