//! Options of the cache of answers.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode, request, response};
use tower_layer::Layer;

use super::{
    engine::Engine,
    entries::{Entry, EntryCodec},
    keys::{path_of, path_tag},
    layer::HttpCache,
};
use crate::{Client, Error, Namespace, NearCache, Targets};

const MAX_BODY: usize = 512 * 1024;
const PASS: Duration = Duration::from_secs(10);

type Path = dyn Fn(&request::Parts) -> String + Send + Sync;
type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;
type User = dyn Fn(&request::Parts) -> Option<String> + Send + Sync;
type Ttl = dyn Fn(&request::Parts, &response::Parts) -> Option<Duration> + Send + Sync;
type Tagging = dyn Fn(&request::Parts, &response::Parts) -> Vec<String> + Send + Sync;

/// The rules of what is cached.
#[derive(Clone)]
pub(super) struct Options {
    pub(super) path: Option<Arc<Path>>,
    pub(super) ttl: Option<Arc<Ttl>>,
    pub(super) skip: Option<Arc<Skip>>,
    pub(super) user: Option<Arc<User>>,
    pub(super) tags: Option<Arc<Tagging>>,
    pub(super) query: Option<Vec<String>>,
    pub(super) headers: Vec<HeaderName>,
    pub(super) vary_origin: bool,
    pub(super) statuses: Vec<StatusCode>,
    pub(super) max_body: usize,
    pub(super) pass: Duration,
    pub(super) obey_requests: bool,
    pub(super) debug: bool,
}

/// Caches the answers of a service: see [the module](crate::http). Services that it makes share
/// its entries: a layer of several nested routers needs [`path_with`](Self::path_with).
#[derive(Clone)]
#[must_use]
pub struct HttpCacheLayer {
    client: Client,
    handle: Namespace<Entry>,
    options: Options,
}

impl std::fmt::Debug for HttpCacheLayer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.handle.wire_name();
        formatter.debug_struct("HttpCacheLayer").field("namespace", name).finish_non_exhaustive()
    }
}

fn handle(client: &Client, name: &str) -> Namespace<Entry> {
    // Outages never fail a request, whatever the client's choice is.
    client.namespace::<()>(name).on_error(crate::OnError::Open).codec(EntryCodec)
}

impl HttpCacheLayer {
    /// A cache in the namespace `http`. Answers without a lifetime of their own are not cached.
    pub fn new(client: &Client) -> Self {
        let options = Options {
            path: None,
            ttl: None,
            skip: None,
            user: None,
            tags: None,
            query: None,
            headers: Vec::new(),
            vary_origin: true,
            statuses: vec![StatusCode::OK],
            max_body: MAX_BODY,
            pass: PASS,
            obey_requests: false,
            debug: false,
        };
        Self { client: client.clone(), handle: handle(client, "http"), options }
    }

    /// The namespace of Larder. Set it before [`near_cache`](Self::near_cache).
    pub fn namespace(mut self, name: &str) -> Self {
        self.handle = handle(&self.client, name);
        self
    }

    /// Keeps answers in this process, too.
    pub fn near_cache(mut self, bounds: NearCache) -> Self {
        self.handle = self.handle.near_cache(bounds);
        self
    }

    /// Lifetime of answers without one of their own.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.ttl_with(move |_, _| Some(ttl))
    }

    /// Lifetime of answers without one of their own; `None`: they are not cached.
    pub fn ttl_with(
        mut self,
        ttl: impl Fn(&request::Parts, &response::Parts) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.options.ttl = Some(Arc::new(ttl));
        self
    }

    /// The path by which answers are found and invalidated, in place of that of the request. A
    /// router that is nested in another sees a part of the path only: without this option, equal
    /// parts in several of them share their answers, and `purge` takes the part. With axum:
    ///
    /// ```ignore
    /// layer.path_with(|parts| match parts.extensions.get::<axum::extract::OriginalUri>() {
    ///     Some(uri) => uri.path().to_owned(),
    ///     None => parts.uri.path().to_owned(),
    /// })
    /// ```
    pub fn path_with(
        mut self,
        path: impl Fn(&request::Parts) -> String + Send + Sync + 'static,
    ) -> Self {
        self.options.path = Some(Arc::new(path));
        self
    }

    /// Requests that go past the cache.
    pub fn skip(mut self, skip: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.options.skip = Some(Arc::new(skip));
        self
    }

    /// One answer per user: a function that returns the id of the user, such as from an extension
    /// of the request. A request without one goes past the cache. Answers with `private`, and to
    /// requests with `Authorization`, are cached then.
    pub fn by_user(
        mut self,
        user: impl Fn(&request::Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.options.user = Some(Arc::new(user));
        self
    }

    /// Tags of an answer, for [`invalidate_tags`](Self::invalidate_tags).
    pub fn tags_with(
        mut self,
        tags: impl Fn(&request::Parts, &response::Parts) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.options.tags = Some(Arc::new(tags));
        self
    }

    /// The parameters of the query that make different answers. All otherwise.
    pub fn vary_query<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.options.query = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Headers of the request that make different answers, besides those in `Vary`.
    pub fn vary_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.options.headers = names.into_iter().collect();
        self
    }

    /// Whether the scheme and the host of the request make different answers: true.
    pub fn vary_origin(mut self, vary_origin: bool) -> Self {
        self.options.vary_origin = vary_origin;
        self
    }

    /// Statuses of answers that are cached: 200.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.options.statuses = statuses.into_iter().collect();
        self
    }

    /// Largest body that is cached, in bytes: 512 KiB. A larger one passes through.
    pub fn max_body(mut self, max_body: usize) -> Self {
        self.options.max_body = max_body;
        self
    }

    /// For how long requests of a URL do not wait for each other after an answer that must not be
    /// cached: 10 s.
    pub fn pass_for(mut self, pass: Duration) -> Self {
        self.options.pass = pass;
        self
    }

    /// Obey `Cache-Control` of requests: `no-cache`, `max-age` and `min-fresh` make a new answer,
    /// `no-store` goes past the cache. Off, because then any caller can defeat the cache.
    pub fn obey_requests(mut self, obey_requests: bool) -> Self {
        self.options.obey_requests = obey_requests;
        self
    }

    /// Adds `X-Cache-Key` to answers.
    pub fn debug(mut self, debug: bool) -> Self {
        self.options.debug = debug;
        self
    }

    /// Invalidates all answers of a path, with every query and for every user.
    ///
    /// # Errors
    ///
    /// The store did not apply it; the call can be repeated.
    pub async fn purge(&self, path: &str) -> Result<(), Error> {
        self.invalidate_tags([path_tag(path_of(path))]).await
    }

    /// Invalidates all answers with any of the tags.
    ///
    /// # Errors
    ///
    /// The store did not apply it; the call can be repeated.
    pub async fn invalidate_tags<T: Into<String>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), Error> {
        self.handle.invalidate(&Targets::new().tags(tags)).await.map(|_| ())
    }
}

impl<S> Layer<S> for HttpCacheLayer {
    type Service = HttpCache<S>;

    fn layer(&self, inner: S) -> HttpCache<S> {
        let engine = Engine::new(self.handle.clone(), self.options.clone());
        HttpCache::new(inner, Arc::new(engine))
    }
}
