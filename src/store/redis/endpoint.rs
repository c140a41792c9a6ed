//! Where connections lead: to the server of a URL, or to the primary that sentinels name. Every
//! connection to Redis is opened to a [`Route`] of its [`Endpoint`].

use std::{sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    ProtocolVersion, RedisError, RedisResult, aio::MultiplexedConnection,
};

use super::{
    fault::{Fault, words},
    sentinels::{Primary, Sentinels},
    server_identity::{ServerInfo, is_replica},
    stream::{self, Opened, tcp_settings},
};
use crate::{
    sentinel_url::{SentinelUrl, is_sentinel_url},
    store::Topology,
    tls::ClientTls,
};

/// A server, or a service of sentinels. Clones share what is known of the service.
#[derive(Clone)]
pub struct Endpoint {
    kind: Arc<Kind>,
    tls: Option<ClientTls>,
    connect_timeout: Duration,
}

// One is made per URL.
#[allow(clippy::large_enum_variant)]
enum Kind {
    Server(ConnectionInfo),
    Service(Sentinels),
}

/// The server that a connection is opened to.
pub(super) struct Route {
    info: ConnectionInfo,
    tls: Option<ClientTls>,
    connect_timeout: Duration,
    /// None: the URL names the server.
    primary: Option<Primary>,
    /// See [`ServerInfo::term`].
    term: u64,
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads a URL. Nothing is connected to before the first route is asked for. `tls` are the
    /// settings of TLS, and `connect_timeout` is that of the connections.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(url: &str, tls: Option<&ClientTls>, connect_timeout: Duration) -> RedisResult<Self> {
        let kind = if is_sentinel_url(url) {
            let invalid = |problem| RedisError::from((ErrorKind::InvalidClientConfig, problem));
            let url = SentinelUrl::parse(url).map_err(invalid)?;
            Kind::Service(Sentinels::new(url, tls, connect_timeout)?)
        } else {
            let info = url.into_connection_info()?;
            Kind::Server(info.set_tcp_settings(tcp_settings()))
        };
        Ok(Self { kind: Arc::new(kind), tls: tls.cloned(), connect_timeout })
    }

    /// Opens a connection for other uses than those of the store. The caller limits the time.
    ///
    /// # Errors
    /// The server does not answer, or is no primary of the sentinels.
    pub async fn connect(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<(MultiplexedConnection, u64)> {
        let route = self.route().await?;
        let mut connection = route.connect(protocol, config).await?;
        if route.primary.is_some() {
            route.identify(&mut connection).await?;
        }
        Ok((connection, route.term))
    }

    /// Asks the sentinels, if there are any, until another primary is named than that of `term`.
    /// With a server, and with the latest primary, it never returns.
    pub async fn moved_by_sentinels(&self, term: u64) {
        match &*self.kind {
            Kind::Server(_) => std::future::pending().await,
            Kind::Service(sentinels) => {
                tokio::select! {
                    () = sentinels.moved(term) => {}
                    () = sentinels.follow(|_, _| ()) => {}
                }
            }
        }
    }

    /// The server to connect to.
    ///
    /// # Errors
    /// No sentinel has named it so far.
    pub(super) async fn route(&self) -> RedisResult<Route> {
        let (info, primary, term) = match &*self.kind {
            Kind::Server(info) => (info.clone(), None, 0),
            Kind::Service(sentinels) => {
                let (primary, term) = sentinels.resolve().await?;
                (sentinels.server(&primary)?, Some(primary), term)
            }
        };
        let (tls, connect_timeout) = (self.tls.clone(), self.connect_timeout);
        Ok(Route { info, tls, connect_timeout, primary, term })
    }

    /// Waits until the sentinels name another primary than that of the route.
    pub(super) async fn moved(&self, route: &Route) {
        match &*self.kind {
            Kind::Server(_) => std::future::pending().await,
            Kind::Service(sentinels) => sentinels.moved(route.term).await,
        }
    }

    /// The sentinels; none if the URL names the server.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        match &*self.kind {
            Kind::Server(_) => None,
            Kind::Service(sentinels) => Some(sentinels),
        }
    }

    /// State of the way to the server.
    pub(super) fn topology(&self) -> Topology {
        match self.sentinels() {
            Some(sentinels) => sentinels.topology(),
            None => Topology { name: "standalone", ..Topology::default() },
        }
    }

    /// Whether any certificate is accepted.
    pub(super) fn is_unverified(&self) -> bool {
        match &*self.kind {
            Kind::Server(info) => {
                matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. })
            }
            Kind::Service(sentinels) => sentinels.is_unverified(),
        }
    }
}

// === impl Route ===

impl Route {
    pub(super) fn address(&self) -> &ConnectionAddr {
        self.info.addr()
    }

    /// Opens a connection whose written bytes are counted. The caller limits the time.
    pub(super) async fn open(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<Opened> {
        stream::open(&self.client(protocol)?, config, self.tls.as_ref()).await
    }

    /// Opens a connection that lasts for as long as it is used.
    pub(super) async fn connect(
        &self,
        protocol: ProtocolVersion,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let client = self.client(protocol)?;
        let connecting = stream::connect(&client, config, self.tls.as_ref(), self.connect_timeout);
        connecting.await.map_err(|error| self.explain(error))
    }

    /// A client of the server.
    fn client(&self, protocol: ProtocolVersion) -> RedisResult<Client> {
        let settings = self.info.redis_settings().clone().set_protocol(protocol);
        Client::open(self.info.clone().set_redis_settings(settings))
    }

    /// Asks the server of a new connection which one it is. If the sentinels named it, it must be
    /// a primary: a sentinel may be late, and name one that was demoted.
    pub(super) async fn identify(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<ServerInfo> {
        let mut server = ServerInfo::ask(connection).await?;
        server.term = self.term;
        let Some(primary) = &self.primary else { return Ok(server) };
        if server.run_id.is_none() {
            // INFO is not permitted, and HELLO is to users with few rights.
            server.run_id = Some(primary.address());
            let hello = redis::cmd("HELLO").query_async(connection).await;
            server.is_replica = hello.is_ok_and(|hello| is_replica(&hello));
        }
        if server.is_replica {
            let words = format!(
                "the sentinels name {}, which is a replica: the server takes no writes",
                primary.address()
            );
            return Err((ErrorKind::InvalidClientConfig, "no primary", words).into());
        }
        Ok(server)
    }

    /// Adds the state that the sentinels report of a primary that cannot be connected to.
    #[cold]
    pub(super) fn explain(&self, error: RedisError) -> RedisError {
        let is_vague = matches!(Fault::of(&error), Fault::Connection | Fault::Timeout);
        let Some(primary) = self.primary.as_ref().filter(|primary| is_vague && primary.is_down)
        else {
            return error;
        };
        let words = format!(
            "the primary {} is down for the sentinels (s_down): {}",
            primary.address(),
            words(&error)
        );
        (ErrorKind::InvalidClientConfig, "no primary", words).into()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Console =
        (&'static str, &'static str, u16, bool, Option<&'static str>, Option<&'static str>);

    const AWS: &str = "master.n.abc123.use1.cache.amazonaws.com";
    const AZURE: &str = "n.redis.cache.windows.net";
    const CLOUD: &str = "redis-12345.c1.us-east-1-2.ec2.cloud.redislabs.com";
    const MANAGED: &str = "n.westeurope.redis.azure.net";
    const UPSTASH: &str = "eu1-cat-1.upstash.io";
    /// URL, host, port, TLS, user and password.
    const CONSOLES: [Console; 9] = [
        (
            "rediss://default:AX%3D@eu1-cat-1.upstash.io:6379",
            UPSTASH,
            6379,
            true,
            Some("default"),
            Some("AX="),
        ),
        (
            "rediss://:k%2B%2F%3D@n.redis.cache.windows.net:6380/0",
            AZURE,
            6380,
            true,
            None,
            Some("k+/="),
        ),
        (
            "rediss://1b2c-oid:token@n.redis.cache.windows.net:6380",
            AZURE,
            6380,
            true,
            Some("1b2c-oid"),
            Some("token"),
        ),
        (
            "rediss://:key@n.westeurope.redis.azure.net:10000",
            MANAGED,
            10000,
            true,
            None,
            Some("key"),
        ),
        (
            "redis://default:p@redis-12345.c1.us-east-1-2.ec2.cloud.redislabs.com:12345",
            CLOUD,
            12345,
            false,
            Some("default"),
            Some("p"),
        ),
        (
            "rediss://app:p@master.n.abc123.use1.cache.amazonaws.com:6379",
            AWS,
            6379,
            true,
            Some("app"),
            Some("p"),
        ),
        (
            "valkeys://app:p@master.n.abc123.use1.cache.amazonaws.com:6379",
            AWS,
            6379,
            true,
            Some("app"),
            Some("p"),
        ),
        ("redis://10.0.0.3:6379", "10.0.0.3", 6379, false, None, None),
        ("rediss://:0f3c@10.0.0.3:6378", "10.0.0.3", 6378, true, None, Some("0f3c")),
    ];

    /// URLs as the consoles of managed services show them: docs/scale.md has the table.
    #[tokio::test]
    async fn urls_of_managed_services_lead_to_the_port_with_the_user_and_tls() {
        let timeout = Duration::from_secs(1);
        for (url, host, port, tls, user, password) in CONSOLES {
            let route = Endpoint::new(url, None, timeout).unwrap().route().await.unwrap();
            let (found_host, found_port, found_tls) = match route.address() {
                ConnectionAddr::Tcp(host, port) => (host, *port, false),
                ConnectionAddr::TcpTls { host, port, insecure: false, .. } => (host, *port, true),
                other => panic!("{url}: {other}"),
            };
            assert_eq!((found_host.as_str(), found_port, found_tls), (host, port, tls), "{url}");
            let settings = route.info.redis_settings();
            assert_eq!((settings.username(), settings.password()), (user, password), "{url}");
        }
    }
}
