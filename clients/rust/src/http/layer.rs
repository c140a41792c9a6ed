//! The service of the layer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{collecting::CacheBody, engine::Engine};
use crate::transport::authorization::TokenError as BoxError;

/// A service whose answers are cached: see [`HttpCacheLayer`](super::HttpCacheLayer).
#[derive(Clone)]
pub struct HttpCache<S> {
    inner: S,
    engine: Arc<Engine>,
}

impl<S> HttpCache<S> {
    pub(super) const fn new(inner: S, engine: Arc<Engine>) -> Self {
        Self { inner, engine }
    }
}

impl<S> std::fmt::Debug for HttpCache<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpCache").finish_non_exhaustive()
    }
}

impl<S, Q, B> Service<Request<Q>> for HttpCache<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Body + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<CacheBody>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let next = self.inner.clone();
        // The one that is ready.
        let ready = std::mem::replace(&mut self.inner, next);
        let engine = Arc::clone(&self.engine);
        Box::pin(async move { engine.call(ready, request).await })
    }
}
