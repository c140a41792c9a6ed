//! A service for the generated clients, on the connections of a client.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, header::USER_AGENT};
use tonic::{Status, body::Body, codegen::Service};

use super::{
    authorization::Authorization,
    link::{Link, Sent},
    pool::Pool,
};
use crate::{Error, client::Owner};

const AGENT: &str = concat!("larder-rust/", env!("CARGO_PKG_VERSION"));
const SCHEMA_VERSION: &str = "larder-schema-version";

/// A service in the process, in place of a server.
pub(crate) type Local = Arc<dyn Fn(Request<Body>) -> Sent + Send + Sync>;

/// Where calls go.
pub(crate) enum Route {
    Pool(Arc<Pool>),
    Local(Local),
}

/// The calls of a client on their way to a server.
pub(crate) struct Shared {
    pub(crate) route: Route,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) schema_version: Option<HeaderValue>,
}

impl Shared {
    /// Adds the headers that all calls have. Returns the token.
    async fn prepare(&self, request: &mut Request<Body>) -> Result<Option<HeaderValue>, Error> {
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(version) = &self.schema_version {
            headers.insert(SCHEMA_VERSION, version.clone());
        }
        let Some(authorization) = &self.authorization else { return Ok(None) };
        let token = authorization.header().await?;
        if let Some(token) = &token {
            request.headers_mut().insert(http::header::AUTHORIZATION, token.clone());
        }
        Ok(token)
    }
}

/// The connection and the token of a call.
#[derive(Default)]
struct Taken {
    link: Option<Arc<Link>>,
    token: Option<HeaderValue>,
}

/// One call: a service that notes the connection and the token that it took.
#[derive(Clone)]
pub(crate) struct Attempt {
    shared: Arc<Shared>,
    taken: Arc<parking_lot::Mutex<Taken>>,
}

impl Attempt {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, taken: Arc::default() }
    }

    /// Notes that no answer came in time.
    pub(crate) fn silent(&self) {
        if let Route::Pool(pool) = &self.shared.route
            && let Some(link) = self.taken.lock().link.clone()
        {
            pool.silent(&link);
        }
    }

    /// Notes that a stream was silent for longer than the server promises: its connection is dead.
    pub(crate) fn dead(&self) {
        if let Route::Pool(pool) = &self.shared.route
            && let Some(link) = self.taken.lock().link.clone()
        {
            pool.dead(&link);
        }
    }

    /// Notes that the server does not accept the token. Whether there can be another.
    pub(crate) fn refused(&self) -> bool {
        let Some(authorization) = &self.shared.authorization else { return false };
        if let Some(token) = &self.taken.lock().token {
            authorization.refuse(token);
        }
        authorization.renews()
    }
}

impl Service<Request<Body>> for Attempt {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Sent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Sent {
        let Self { shared, taken } = self.clone();
        Box::pin(async move {
            let token = shared.prepare(&mut request).await.map_err(Status::from)?;
            if token.is_some() {
                taken.lock().token = token;
            }
            match &shared.route {
                Route::Local(local) => local(request).await,
                Route::Pool(pool) => {
                    let link = pool.pick().await?;
                    taken.lock().link = Some(Arc::clone(&link));
                    let sent = link.send(request).await;
                    if sent.is_ok() {
                        link.answered();
                    } else {
                        link.ended();
                    }
                    sent
                }
            }
        })
    }
}

/// The service of the generated clients: see [`Client::cache_stub`](crate::Client::cache_stub).
#[derive(Clone)]
pub struct Wire(pub(crate) Arc<Owner>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Wire {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Sent;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Sent {
        Attempt::new(Arc::clone(&self.0.0.shared)).call(request)
    }
}
