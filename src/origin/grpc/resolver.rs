//! Resolves the host name of an origin.

use std::{io, net::SocketAddr};

use async_trait::async_trait;
use url::Host;

/// Looks up the addresses of an origin.
#[async_trait]
pub(super) trait Resolve: Send + Sync + 'static {
    /// All current addresses, in any order.
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub(super) struct DnsResolver {
    pub(super) host: Host,
    pub(super) port: u16,
}

#[async_trait]
impl Resolve for DnsResolver {
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Ipv4(ip) => Ok(vec![(*ip, self.port).into()]),
            Host::Ipv6(ip) => Ok(vec![(*ip, self.port).into()]),
            Host::Domain(name) => {
                Ok(tokio::net::lookup_host((name.as_str(), self.port)).await?.collect())
            }
        }
    }
}
