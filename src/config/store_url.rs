//! The URL of the store, which may hold a password.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::connection_string;
use super::redact::redact;
use super::toml::quoted;
use super::value::{ValueType, as_text, mismatch, value_type};
use crate::sentinel_url::{self, SentinelUrl};

/// The store of the entries. `Debug` and `Display` hide the password.
#[derive(Clone, Default)]
pub enum StoreUrl {
    /// The embedded store, in this process.
    #[default]
    Memory,
    /// Redis, Valkey or another server with their protocol, or the sentinels that name it. The URL
    /// may contain passwords.
    Redis(SecretString),
}

/// The error for a text that names no store. The message does not repeat a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {forms}, got {got}", forms = StoreUrl::FORMS)]
pub struct InvalidStoreUrl {
    got: String,
    problem: &'static str,
}

impl InvalidStoreUrl {
    /// The fault of the URL, without any part of its text.
    pub(super) fn problem(&self) -> &'static str {
        self.problem
    }
}

impl StoreUrl {
    pub(super) const FORMS: &str = "\"memory\" or a URL such as redis://host:6379/0 with one of \
        the schemes redis, rediss, valkey, valkeys, unix, redis+unix, valkey+unix; \
        redis-sentinel://host:26379,host:26379/service with redis-sentinel or rediss-sentinel; or \
        redis-cluster://host1,host2 with redis-cluster, rediss-cluster, valkey-cluster or \
        valkeys-cluster";

    /// Whether it is the URL of a Redis Cluster.
    pub(super) fn is_cluster(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Redis(url) => ClusterUrl::split(url.expose_secret()).is_some(),
        }
    }

    /// Whether Redis is connected to with TLS, and its certificate is verified.
    pub(super) fn has_verified_tls(&self) -> bool {
        match self {
            Self::Memory => false,
            Self::Redis(url) => {
                let url = url.expose_secret();
                let has_tls = ["rediss", "valkeys"].iter().any(|scheme| url.starts_with(scheme));
                has_tls && !url.ends_with("#insecure")
            }
        }
    }

    /// Adds credentials to a Redis URL without a password; any other URL is returned unchanged.
    pub(super) fn with_credentials(self, user: Option<&str>, password: &str) -> Self {
        let Self::Redis(secret) = &self else {
            return self;
        };
        if sentinel_url::is_sentinel_url(secret.expose_secret()) {
            let url = sentinel_url::with_credentials(secret.expose_secret(), user, password);
            return Self::Redis(url.into());
        }
        if let Some(cluster) = ClusterUrl::split(secret.expose_secret()) {
            return cluster.with_credentials(user, password).map_or(self, Self::Redis);
        }
        let Ok(mut url) = Url::parse(secret.expose_secret()) else {
            return self;
        };
        if is_socket(url.scheme()) {
            if url.query_pairs().any(|(name, _)| name == "pass") {
                return self;
            }
            let named = url.query_pairs().any(|(name, _)| name == "user");
            let mut query = url.query_pairs_mut();
            query.append_pair("pass", password);
            if let Some(user) = user.filter(|_| !named) {
                query.append_pair("user", user);
            }
        } else {
            if url.password().is_some() {
                return self;
            }
            // Encoded beforehand, because `Url` accepts a literal `%`.
            let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
            let unnamed = url.username().is_empty();
            if url.set_password(Some(&encode(password))).is_err() {
                return self;
            }
            if let Some(user) = user.filter(|_| unnamed)
                && url.set_username(&encode(user)).is_err()
            {
                return self;
            }
        }
        Self::Redis(String::from(url).into())
    }
}

impl StoreUrl {
    /// Adds credentials of the sentinels to a URL of sentinels without their password; any other
    /// URL is returned unchanged.
    pub(super) fn with_sentinel_credentials(self, user: Option<&str>, password: &str) -> Self {
        match &self {
            Self::Redis(url) if sentinel_url::is_sentinel_url(url.expose_secret()) => {
                let url = url.expose_secret();
                Self::Redis(sentinel_url::with_sentinel_credentials(url, user, password).into())
            }
            Self::Memory | Self::Redis(_) => self,
        }
    }
}

/// The URL of a store. Its messages never repeat a password.
pub(super) fn store_url() -> impl ValueType<Value = StoreUrl> {
    value_type(
        |raw| match as_text(raw) {
            Some(text) => text.parse().map_err(|error: InvalidStoreUrl| error.to_string()),
            None => Err(mismatch(StoreUrl::FORMS, raw)),
        },
        |url: &StoreUrl| quoted(&url.to_string()),
    )
}

fn with_scheme(problem: &str, scheme: &str) -> String {
    problem.replacen("URL", &format!("{scheme}:// URL"), 1)
}

/// The URL of a cluster in parts: `scheme://user@hosts` and what follows.
struct ClusterUrl<'a> {
    scheme: &'a str,
    /// The scheme of one of its servers.
    plain: &'static str,
    user_info: Option<&'a str>,
    hosts: &'a str,
    rest: &'a str,
}

impl<'a> ClusterUrl<'a> {
    /// The parts of a URL; none if it is not that of a cluster.
    fn split(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        let plain = match scheme {
            "redis-cluster" | "valkey-cluster" => "redis",
            "rediss-cluster" | "valkeys-cluster" => "rediss",
            _ => return None,
        };
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        Some(Self { scheme, plain, user_info, hosts, rest })
    }

    /// The first fault of the URL, if it has one.
    fn problem(&self) -> Option<&'static str> {
        let Self { plain, user_info, hosts, rest, .. } = self;
        let user_info = user_info.map_or_else(String::new, |user_info| format!("{user_info}@"));
        for host in hosts.split(',') {
            if host.is_empty() {
                return Some("a URL without a host");
            }
            let Ok(url) = Url::parse(&format!("{plain}://{user_info}{host}{rest}")) else {
                return Some("a URL that cannot be parsed");
            };
            if !matches!(url.path().trim_matches('/'), "" | "0") {
                return Some("a URL with a database, of which a cluster has only one");
            }
        }
        None
    }

    /// The URL with a password; none if it has one.
    fn with_credentials(&self, user: Option<&str>, password: &str) -> Option<SecretString> {
        let Self { scheme, user_info, hosts, rest, .. } = self;
        let user_info = user_info.unwrap_or_default();
        if user_info.contains(':') {
            return None;
        }
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let user = match user {
            Some(user) if user_info.is_empty() => encode(user),
            _ => user_info.to_owned(),
        };
        Some(format!("{scheme}://{user}:{}@{hosts}{rest}", encode(password)).into())
    }
}

fn is_socket(scheme: &str) -> bool {
    matches!(scheme, "unix" | "redis+unix" | "valkey+unix")
}

impl FromStr for StoreUrl {
    type Err = InvalidStoreUrl;

    fn from_str(text: &str) -> Result<Self, InvalidStoreUrl> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("memory") {
            return Ok(Self::Memory);
        }
        let invalid = |got: String, problem| InvalidStoreUrl { got, problem };
        let is_scheme = |b: u8| b.is_ascii_alphanumeric() || b"+-".contains(&b);
        let split = text.split_once("://").filter(|(scheme, _)| scheme.bytes().all(is_scheme));
        let Some((scheme, _)) = split else {
            if let Some(url) = connection_string::url_of(text) {
                // A text with a password is not repeated.
                return url.parse().map_err(|error: InvalidStoreUrl| {
                    invalid("a connection string of an invalid address".to_owned(), error.problem)
                });
            }
            // With an `@`, the text may be a URL with a password and without its scheme.
            let is_secret = text.contains('@') || redact(text) != text;
            let got = if is_secret { "a text without scheme".to_owned() } else { quoted(text) };
            return Err(invalid(got, "a text without scheme"));
        };
        if let Some(cluster) = ClusterUrl::split(text) {
            return match cluster.problem() {
                Some(problem) => {
                    Err(invalid(problem.replacen("URL", &format!("{scheme}:// URL"), 1), problem))
                }
                None => Ok(Self::Redis(text.to_owned().into())),
            };
        }
        // Shows only the scheme: in a broken URL it is unknown where a password ends.
        if sentinel_url::is_sentinel_url(text) {
            return match SentinelUrl::parse(text) {
                Ok(_) => Ok(Self::Redis(text.to_owned().into())),
                Err(problem) => Err(invalid(with_scheme(problem, scheme), problem)),
            };
        }
        let url = Url::parse(text).map_err(|error| {
            invalid(format!("a {scheme}:// URL with {error}"), "a URL that cannot be parsed")
        })?;
        let problem = match url.scheme() {
            "redis" | "rediss" | "valkey" | "valkeys" => {
                let database = url.path().trim_matches('/');
                if url.host_str().is_none_or(str::is_empty) {
                    Some("a URL without a host")
                } else if !database.is_empty() && database.parse::<u32>().is_err() {
                    Some("a URL whose path is not the number of a database")
                } else {
                    None
                }
            }
            scheme if is_socket(scheme) => {
                (url.path().len() <= 1).then_some("a URL without the path of a socket")
            }
            _ => Some("a URL of another scheme"),
        };
        match problem {
            Some(problem) => Err(invalid(with_scheme(problem, scheme), problem)),
            None => Ok(Self::Redis(text.to_owned().into())),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redis(url) => f.write_str(&redact(url.expose_secret())),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

impl PartialEq for StoreUrl {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory, Self::Memory) => true,
            (Self::Redis(a), Self::Redis(b)) => a.expose_secret() == b.expose_secret(),
            (Self::Memory, Self::Redis(_)) | (Self::Redis(_), Self::Memory) => false,
        }
    }
}
