//! Addresses of the servers of a cluster, and the URL that names some of them.

use std::fmt;

use redis::{ErrorKind, RedisError, RedisResult};
use secrecy::{ExposeSecret as _, SecretString};

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The content of a cluster's URL: some of its servers, and how to connect to each of them.
pub(super) struct Seeds {
    pub(super) addresses: Vec<Address>,
    /// The URL of one server, in parts: scheme and user, and what follows the address.
    before: SecretString,
    after: String,
}

const DEFAULT_PORT: u16 = 6379;

impl Address {
    /// Parses `host:port`. Without a host, it is that of the sender.
    pub(super) fn parse(text: &str, sender: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { &sender.host } else { host };
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

// === impl Seeds ===

impl Seeds {
    /// Whether a URL is that of a cluster.
    pub(super) fn is_cluster(url: &str) -> bool {
        plain_scheme(url).is_some()
    }

    /// Parses `redis-cluster://user:password@host:port,host:port`.
    ///
    /// # Errors
    /// The URL is invalid. The error has no part of it.
    pub(super) fn parse(url: &str) -> RedisResult<Self> {
        let invalid = || RedisError::from((ErrorKind::InvalidClientConfig, "invalid cluster URL"));
        let (scheme, rest) = plain_scheme(url).ok_or_else(invalid)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let addresses: Option<Vec<Address>> = hosts.split(',').map(parse_host).collect();
        let addresses = addresses.filter(|list| !list.is_empty()).ok_or_else(invalid)?;
        let before = SecretString::from(format!("{scheme}://{user}"));
        Ok(Self { addresses, before, after: after.to_owned() })
    }

    /// The URL of one server.
    pub(super) fn url_of(&self, Address { host, port }: &Address) -> SecretString {
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{}{host}:{port}{}", self.before.expose_secret(), self.after).into()
    }
}

/// The scheme of the servers of a cluster, and the rest of its URL.
fn plain_scheme(url: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) = url.trim().split_once("://")?;
    match scheme {
        "redis-cluster" | "valkey-cluster" => Some(("redis", rest)),
        "rediss-cluster" | "valkeys-cluster" => Some(("rediss", rest)),
        _ => None,
    }
}

fn parse_host(text: &str) -> Option<Address> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':')?)),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Some(DEFAULT_PORT), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| Address { host: host.to_owned(), port })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn urls(url: &str) -> Vec<String> {
        let seeds = Seeds::parse(url).unwrap();
        let urls = seeds.addresses.iter().map(|address| seeds.url_of(address));
        urls.map(|url| url.expose_secret().to_owned()).collect()
    }

    #[test]
    fn each_server_of_the_url_has_its_user_and_its_options() {
        assert_eq!(urls("redis-cluster://a:1,b"), ["redis://a:1", "redis://b:6379"]);
        assert_eq!(
            urls("rediss-cluster://u:p%40@a:1,[::1]:2/0?x=y"),
            ["rediss://u:p%40@a:1/0?x=y", "rediss://u:p%40@[::1]:2/0?x=y"]
        );
        assert_eq!(urls("valkey-cluster://a/"), ["redis://a:6379/"]);
        assert_eq!(urls("valkeys-cluster://a#insecure"), ["rediss://a:6379#insecure"]);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in ["redis://a", "redis-cluster://", "redis-cluster://a:b", "redis-cluster://a,,b"]
        {
            assert!(Seeds::parse(url).is_err(), "{url}");
        }
        assert!(Seeds::is_cluster("redis-cluster://a") && !Seeds::is_cluster("redis://a"));
    }

    #[test]
    fn an_address_without_host_is_that_of_the_sender() {
        let sender = Address { host: "10.0.0.1".to_owned(), port: 1 };
        let parsed = |text| Address::parse(text, &sender).map(|address| address.to_string());
        assert_eq!(parsed(":7").as_deref(), Some("10.0.0.1:7"));
        assert_eq!(parsed("h:7").as_deref(), Some("h:7"));
        assert_eq!(parsed("::1:7").as_deref(), Some("::1:7"));
        assert_eq!(parsed("h"), None);
    }
}
