//! URLs of a service that sentinels watch over:
//! `redis-sentinel://[user:password@]s1:26379,s2:26379/service[/database]`.
//!
//! There is no standard. Other clients use the same scheme (Lettuce), the same path and names of
//! parameters (redis-sentinel-url for Python), and `sentinelMasterId` in place of the path
//! (Lettuce). The user and the password are those of the servers; the sentinels have their own.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::SecretString;

/// The schemes, and whether they stand for TLS.
const SCHEMES: [(&str, bool); 6] = [
    ("redis-sentinel", false),
    ("rediss-sentinel", true),
    ("redis+sentinel", false),
    ("rediss+sentinel", true),
    ("valkey-sentinel", false),
    ("valkeys-sentinel", true),
];
const DEFAULT_PORT: u16 = 26379;
/// Most sentinels of a URL: each is asked once a second.
const MAX_SENTINELS: usize = 16;
const USER_PARAMETER: &str = "sentinel_username";
const PASSWORD_PARAMETER: &str = "sentinel_password";
const SERVICE_PARAMETER: &str = "sentinelMasterId";

/// A parsed URL. `Debug` hides the passwords.
#[derive(Clone, Debug)]
pub struct SentinelUrl {
    /// Host and port of each sentinel.
    pub sentinels: Vec<(String, u16)>,
    /// Name of the service, which the sentinels call master.
    pub service: String,
    /// Number of the database.
    pub database: u32,
    /// User and password of the servers.
    pub credentials: Credentials,
    /// User and password of the sentinels.
    pub sentinel_credentials: Credentials,
    /// Whether the servers and the sentinels are connected to with TLS.
    pub tls: bool,
    /// Whether any certificate is accepted.
    pub insecure: bool,
}

/// A user and a password, either of which may be missing.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// None: the default user.
    pub user: Option<String>,
    /// None: no authentication.
    pub password: Option<SecretString>,
}

/// Parts of a URL, as they are written.
struct Parts<'a> {
    scheme: &'a str,
    user_info: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

/// Whether a text is a URL of this kind, be it valid or not.
pub fn is_sentinel_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| is_tls(scheme).is_some())
}

/// Adds a password of the servers, and the user if it has none, to a URL without a password.
pub fn with_credentials(text: &str, user: Option<&str>, password: &str) -> String {
    let Some(Parts { scheme, user_info, hosts, path, query, fragment }) = Parts::of(text) else {
        return text.to_owned();
    };
    let named = user_info.unwrap_or_default();
    if named.contains(':') {
        return text.to_owned();
    }
    let user = if named.is_empty() { user.map(encoded) } else { Some(named.to_owned()) };
    let user = user.unwrap_or_default();
    let (query, fragment) = (suffix('?', query), suffix('#', fragment));
    let slash = if path.is_empty() { "" } else { "/" };
    format!("{scheme}://{user}:{}@{hosts}{slash}{path}{query}{fragment}", encoded(password))
}

/// Adds a password of the sentinels, and the user if it has none, to a URL without that password.
pub fn with_sentinel_credentials(text: &str, user: Option<&str>, password: &str) -> String {
    let Some(Parts { query, fragment, .. }) = Parts::of(text) else {
        return text.to_owned();
    };
    let has = |name: &str| query.is_some_and(|query| parameters(query).any(|(own, _)| own == name));
    if has(PASSWORD_PARAMETER) {
        return text.to_owned();
    }
    let base = text.strip_suffix(&suffix('#', fragment)).unwrap_or(text);
    let separator = if query.is_some() { '&' } else { '?' };
    let mut added = format!("{base}{separator}{PASSWORD_PARAMETER}={}", encoded(password));
    if let Some(user) = user.filter(|_| !has(USER_PARAMETER)) {
        added.push_str(&format!("&{USER_PARAMETER}={}", encoded(user)));
    }
    added + &suffix('#', fragment)
}

// === impl SentinelUrl ===

impl SentinelUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// The fault, without any part of the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let parts = Parts::of(text.trim());
        let with_tls = parts.and_then(|parts| Some((is_tls(parts.scheme)?, parts)));
        let (tls, parts) = with_tls.ok_or("a URL of another scheme")?;
        let mut credentials = Credentials::default();
        if let Some(user_info) = parts.user_info {
            let (user, password) = match user_info.split_once(':') {
                Some((user, password)) => (user, Some(decoded(password)?)),
                None => (user_info, None),
            };
            let user = decoded(user)?;
            credentials.user = (!user.is_empty()).then_some(user);
            credentials.password = password.filter(|text| !text.is_empty()).map(Into::into);
        }
        let mut sentinel_credentials = Credentials::default();
        let mut service = None;
        for (name, value) in parts.query.into_iter().flat_map(parameters) {
            let value = decoded(value)?;
            match name {
                USER_PARAMETER => sentinel_credentials.user = Some(value),
                PASSWORD_PARAMETER => sentinel_credentials.password = Some(value.into()),
                SERVICE_PARAMETER => service = Some(value),
                _ => {
                    return Err("a URL with a parameter other than sentinel_username, \
                                sentinel_password and sentinelMasterId");
                }
            }
        }
        let mut path = parts.path.split('/').filter(|part| !part.is_empty());
        if service.is_none() {
            service = path.next().map(decoded).transpose()?;
        }
        let service = service.filter(|name| !name.is_empty());
        let service = service.ok_or("a URL without a service after the sentinels")?;
        let database = path.next().map_or(Ok(0), str::parse);
        let (Ok(database), None) = (database, path.next()) else {
            return Err("a URL whose path is not a service and the number of a database");
        };
        let insecure = match parts.fragment {
            None | Some("") => false,
            Some("insecure") if tls => true,
            Some(_) => return Err("a URL with a fragment"),
        };
        let sentinels = parse_hosts(parts.hosts)?;
        Ok(Self { sentinels, service, database, credentials, sentinel_credentials, tls, insecure })
    }
}

// === impl Parts ===

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (rest, fragment) = split(rest, '#');
        let (rest, query) = split(rest, '?');
        let (authority, path) = split(rest, '/');
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let path = path.unwrap_or_default();
        Some(Self { scheme, user_info, hosts, path, query, fragment })
    }
}

fn split(text: &str, separator: char) -> (&str, Option<&str>) {
    text.split_once(separator).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn suffix(separator: char, part: Option<&str>) -> String {
    part.map_or_else(String::new, |part| format!("{separator}{part}"))
}

fn is_tls(scheme: &str) -> Option<bool> {
    let known = SCHEMES.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
    known.map(|(_, is_tls)| *is_tls)
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn parse_hosts(hosts: &str) -> Result<Vec<(String, u16)>, &'static str> {
    let mut sentinels = Vec::new();
    for host in hosts.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        // The brackets of an IPv6 address.
        let port_at = host.rfind(':').filter(|colon| host.rfind(']').is_none_or(|at| at < *colon));
        let (name, port) = match port_at {
            Some(colon) => {
                (&host[..colon], host[colon + 1..].parse().ok().filter(|port| *port > 0))
            }
            None => (host, Some(DEFAULT_PORT)),
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let (Some(port), true) = (port, is_host(name)) else {
            return Err("a URL with an invalid host or port of a sentinel");
        };
        let sentinel = (name.to_owned(), port);
        if !sentinels.contains(&sentinel) {
            sentinels.push(sentinel);
        }
    }
    match sentinels.len() {
        0 => Err("a URL without a host"),
        1..=MAX_SENTINELS => Ok(sentinels),
        _ => Err("a URL with more than 16 sentinels"),
    }
}

fn is_host(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let is_name = !name.is_empty() && name.bytes().all(allowed);
    is_name || name.parse::<std::net::Ipv6Addr>().is_ok()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "a URL with text that is not UTF-8")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn shown(url: &SentinelUrl) -> String {
        let credentials = |Credentials { user, password }: &Credentials| {
            let password = password.as_ref().map(ExposeSecret::expose_secret);
            format!("{}:{}", user.as_deref().unwrap_or("-"), password.unwrap_or("-"))
        };
        let hosts: Vec<String> =
            url.sentinels.iter().map(|(host, port)| format!("{host} {port}")).collect();
        format!(
            "{} {}/{} {} {}{}",
            hosts.join(","),
            url.service,
            url.database,
            credentials(&url.credentials),
            credentials(&url.sentinel_credentials),
            if url.tls { " tls" } else { "" }
        )
    }

    #[test]
    fn every_form_is_read() {
        for (text, expected) in [
            ("redis-sentinel://s1:1,s2,s3:3/main", "s1 1,s2 26379,s3 3 main/0 -:- -:-"),
            ("rediss-sentinel://u:p%40@s/main/2", "s 26379 main/2 u:p@ -:- tls"),
            ("redis+sentinel://:p@[::1]:1,[fe80::2]/m", "::1 1,fe80::2 26379 m/0 -:p -:-"),
            (
                "redis-sentinel://s/m?sentinel_username=su&sentinel_password=s%26p",
                "s 26379 m/0 -:- su:s&p",
            ),
            ("REDIS-SENTINEL://p@@s/m/", "s 26379 m/0 p@:- -:-"),
            ("redis-sentinel://s,s,t/3?sentinelMasterId=m", "s 26379,t 26379 m/3 -:- -:-"),
            ("valkeys-sentinel://s/m#insecure", "s 26379 m/0 -:- -:- tls"),
        ] {
            assert_eq!(shown(&SentinelUrl::parse(text).unwrap()), expected, "{text}");
            assert!(is_sentinel_url(text));
        }
        assert!(!is_sentinel_url("redis://s/0") && !is_sentinel_url("redis-sentinel"));
    }

    #[test]
    fn errors_do_not_contain_the_password() {
        let hosts: Vec<String> = (0..17).map(|number| format!("s{number}")).collect();
        let many = format!("redis-sentinel://{}/m", hosts.join(","));
        for (text, problem) in [
            ("redis-sentinel://u:secret@/m", "without a host"),
            ("redis-sentinel://u:secret@s", "without a service"),
            ("redis-sentinel://u:secret@s/", "without a service"),
            ("redis-sentinel://u:secret@s:x/m", "invalid host or port"),
            ("redis-sentinel://u:secret@s:0/m", "invalid host or port"),
            ("redis-sentinel://u:se/cret@s/m", "number of a database"),
            ("redis-sentinel://s/m/x", "number of a database"),
            ("redis-sentinel://s/m/1/2", "number of a database"),
            ("redis-sentinel://s/m?pass=secret", "a parameter other than"),
            ("redis-sentinel://s/m#insecure", "a fragment"),
            ("redis-sentinel://u:%ff@s/m", "not UTF-8"),
            ("http://s/m", "another scheme"),
            (many.as_str(), "more than 16 sentinels"),
        ] {
            let found = SentinelUrl::parse(text).unwrap_err();
            assert!(found.contains(problem) && !found.contains("secret"), "{text}: {found}");
        }
    }

    #[test]
    fn debug_hides_both_passwords() {
        let url = "redis-sentinel://u:S3CRET@s/m?sentinel_password=S3CRET";
        assert!(!format!("{:?}", SentinelUrl::parse(url).unwrap()).contains("S3CRET"));
    }

    #[test]
    fn credentials_are_added_to_those_that_are_missing() {
        let with = |text, user| with_credentials(text, user, "p@");
        assert_eq!(
            with("redis-sentinel://s,t/m/1?a=b#c", None),
            "redis-sentinel://:p%40@s,t/m/1?a=b#c"
        );
        assert_eq!(with("redis-sentinel://s/m", Some("u")), "redis-sentinel://u:p%40@s/m");
        assert_eq!(with("redis-sentinel://own@s/m", Some("u")), "redis-sentinel://own:p%40@s/m");
        assert_eq!(with("redis-sentinel://o:own@s/m", None), "redis-sentinel://o:own@s/m");
        let with = |text, user| with_sentinel_credentials(text, user, "p@");
        let added = "redis-sentinel://s/m?sentinel_password=p%40";
        assert_eq!(with("redis-sentinel://s/m", None), added);
        assert_eq!(
            with("rediss-sentinel://s/m?sentinel_username=own#insecure", Some("u")),
            "rediss-sentinel://s/m?sentinel_username=own&sentinel_password=p%40#insecure"
        );
        assert_eq!(with("redis-sentinel://s/m", Some("u")), format!("{added}&sentinel_username=u"));
        assert_eq!(with(added, Some("u")), added, "it has one");
    }
}
