//! The client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::Request;
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Code, body::Body, codegen::Service as _};

use crate::{
    ClientBuilder, Counts, Error, Namespace, Published, Wire,
    core::{Core, Scope},
    feed::removing_all,
    names::encode_namespace,
    pb::{admin_service_client::AdminServiceClient, cache_service_client::CacheServiceClient},
    transport::wire::{Attempt, Route},
};

/// Time between two attempts of `connect`.
const PAUSE: Duration = Duration::from_millis(20);
/// Any answer is that of a server.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A client of Larder. A process has one: clones share its connections. It connects at the first
/// call, and closes when the last clone and the last handle are dropped.
#[derive(Clone)]
pub struct Client {
    owner: Arc<Owner>,
}

/// Held by clients, handles, streams and generated clients: the end of the last one closes the
/// client.
pub(crate) struct Owner(pub(crate) Arc<Core>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { owner: Arc::new(Owner(core)) }
    }

    /// A client of the server at `target`: `host:port`, `dns:///host:port`, `unix:path`, or several
    /// addresses separated by commas, over which calls are spread.
    pub fn builder(target: impl Into<String>) -> ClientBuilder {
        ClientBuilder::to(Some(target.into()))
    }

    /// A client of the server that the environment names: `LARDER_ENDPOINT`, or else
    /// `127.0.0.1:50051`.
    pub fn from_env() -> ClientBuilder {
        ClientBuilder::to(None)
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.owner.0
    }

    /// A handle for a namespace with values of a type. A name that the server does not take as it
    /// is gets an encoded one. With an empty name, all calls fail.
    #[must_use]
    pub fn namespace<V>(&self, name: &str) -> Namespace<V>
    where
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Namespace::new(Arc::clone(&self.owner), name)
    }

    /// Connects now rather than at the first call.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if that takes longer than `connect_timeout`.
    pub async fn connect(&self) -> Result<(), Error> {
        let core = self.core();
        core.check_open()?;
        let Route::Pool(pool) = &core.shared.route else { return Ok(()) };
        let limit = core.limits.connect;
        let connecting = async {
            while !pool.has_answered() {
                let mut request = Request::new(Body::empty());
                *request.method_mut() = http::Method::POST;
                *request.uri_mut() = http::Uri::from_static(HEALTH);
                let headers = request.headers_mut();
                headers.insert("content-type", http::HeaderValue::from_static("application/grpc"));
                headers.insert("te", http::HeaderValue::from_static("trailers"));
                let sent = Attempt::new(Arc::clone(&core.shared)).call(request).await;
                if sent.is_err() {
                    core.check_open()?;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(())
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
            Err(Error::new(Code::Unavailable, format!("no connection within {limit:?}")))
        })
    }

    /// Invalidates what the rules of the server select for an event, in all namespaces.
    ///
    /// # Errors
    ///
    /// The server is away, or does not accept the event.
    pub async fn publish_event<N, T>(
        &self,
        name: impl Into<String>,
        attributes: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Published, Error>
    where
        N: Into<String>,
        T: Into<String>,
    {
        let scope = self.scope();
        let pairs = attributes.into_iter().map(|(name, value)| (name.into(), value.into()));
        let call = scope.publish_event(name.into(), pairs.collect(), scope.spec(None, true)?);
        removing_all(self.core(), call).await
    }

    /// A scope for calls without a namespace.
    fn scope(&self) -> Scope {
        Scope { wrong: None, ..Scope::new(Arc::clone(self.core()), "") }
    }

    /// Statistics of these namespaces, or of all.
    ///
    /// # Errors
    ///
    /// The server is away.
    pub async fn stats<N: AsRef<str>>(
        &self,
        namespaces: impl IntoIterator<Item = N>,
    ) -> Result<crate::pb::StatsResponse, Error> {
        let prefix = &self.core().prefix;
        let names = namespaces
            .into_iter()
            .map(|name| encode_namespace(&format!("{prefix}{}", name.as_ref())))
            .collect::<Result<_, _>>()?;
        self.scope().stats(names).await
    }

    /// Events by namespace since the client was made.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, Counts> {
        self.core().counters.read()
    }

    /// The service under generated clients, for stubs that a program has generated itself. It keeps
    /// the connections of this client open. Calls on it are sent as they are: without retries, the
    /// breaker and the limits of this client.
    #[must_use]
    pub fn wire(&self) -> Wire {
        Wire(Arc::clone(&self.owner))
    }

    /// Opens a connection without a call. Unlike [`connect`](Self::connect) it does not try again.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` with the cause as soon as no address can be reached.
    pub async fn open(&self) -> Result<(), Error> {
        match &self.core().shared.route {
            Route::Pool(pool) => Ok(pool.pick().await.map(drop)?),
            Route::Local(_) => self.core().check_open(),
        }
    }

    /// The generated client of the `CacheService`, on the connections of this client, which it
    /// keeps open.
    #[must_use]
    pub fn cache_stub(&self) -> CacheServiceClient<Wire> {
        CacheServiceClient::new(self.wire())
    }

    /// The generated client of the `AdminService`, on the connections of this client, which it
    /// keeps open.
    #[must_use]
    pub fn admin_stub(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire())
    }

    /// Cancels computations, gives their leases up, and ends the connections. Calls after that are
    /// errors. It can be repeated.
    pub async fn close(&self) {
        self.core().close().await;
    }
}
