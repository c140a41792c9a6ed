//! Where a client connects to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use crate::Error;

/// One address of a server, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp { address: SocketAddr, host: String },
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => address.fmt(formatter),
            Self::Unix(path) => path.display().fmt(formatter),
        }
    }
}

/// The addresses of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) Vec<Endpoint>);

fn is_loopback(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Unix(_) => true,
        Endpoint::Tcp { host, .. } => {
            let host = host.to_ascii_lowercase();
            host == "localhost"
                || host.ends_with(".localhost")
                || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

impl Target {
    /// Reads `host:port`, `dns:///host:port`, `unix:path`, or several addresses separated by
    /// commas.
    ///
    /// # Errors
    ///
    /// Names the part that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///path` is the form with an empty authority.
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Error::argument("target", "unix: without a path"));
            }
            return Ok(Self(vec![Endpoint::Unix(path.into())]));
        }
        let list = match text.split_once("://") {
            None => text.strip_prefix("dns:").unwrap_or(text),
            Some(("dns", rest)) => rest.split_once('/').map_or(rest, |(_, path)| path),
            Some((scheme, _)) => {
                let message = format!("the scheme {scheme} is not supported");
                return Err(Error::argument("target", message));
            }
        };
        list.split(',').map(|address| endpoint(address.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether all addresses are on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.0.iter().all(is_loopback)
    }
}

fn endpoint(address: &str) -> Result<Endpoint, Error> {
    let wrong = || Error::argument("target", format!("expected host:port, got {address:?}"));
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        return Err(wrong());
    }
    let host = bare.unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 || host.contains(['/', '@', ' ']) {
        return Err(wrong());
    }
    Ok(Endpoint::Tcp { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn all_forms_are_read() {
        for (text, endpoints) in [
            ("a:1", vec![tcp("a", 1)]),
            ("dns:///a.b:2", vec![tcp("a.b", 2)]),
            ("dns:a:2", vec![tcp("a", 2)]),
            ("dns://8.8.8.8/a:2", vec![tcp("a", 2)]),
            ("[::1]:3, 127.0.0.1:4", vec![tcp("::1", 3), tcp("127.0.0.1", 4)]),
            ("unix:/run/l", vec![Endpoint::Unix("/run/l".into())]),
            ("unix:///run/l", vec![Endpoint::Unix("/run/l".into())]),
        ] {
            assert_eq!(Target::parse(text).ok(), Some(Target(endpoints)), "{text}");
        }
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for (text, part) in [
            ("", "host:port"),
            ("host", "host"),
            ("host:0", "host:0"),
            ("host:port", "host:port"),
            ("a:1,,b:2", "\"\""),
            ("::1:3", "::1:3"),
            ("http://a:1", "http"),
            ("unix:", "path"),
        ] {
            let message =
                Target::parse(text).map_or_else(|error| error.to_string(), |_| text.into());
            assert!(message.starts_with("target: ") && message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_target_on_this_machine_is_loopback() {
        let loopback = |text: &str| Target::parse(text).is_ok_and(|target| target.is_loopback());
        assert!(loopback("127.0.0.9:1,[::1]:1,localhost:1") && loopback("unix:/a"));
        assert!(!loopback("localhost:1,example.org:1"));
    }
}
