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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_not_looked_up() {
        for (host, expected) in [("192.0.2.1", "192.0.2.1:7"), ("[2001:db8::1]", "[2001:db8::1]:7")]
        {
            let resolver = DnsResolver { host: Host::parse(host).unwrap(), port: 7 };
            let expected: Vec<SocketAddr> = vec![expected.parse().unwrap()];
            assert_eq!(resolver.resolve().await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let resolver = DnsResolver { host: Host::parse("localhost").unwrap(), port: 7 };
        let found = resolver.resolve().await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
    }
}
