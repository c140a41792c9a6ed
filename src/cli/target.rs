//! The address of a server, as the client library has it.

use std::net::IpAddr;

use http::uri::Authority;

/// The scheme of an address with TLS.
pub(super) const HTTPS: &str = "https://";

const PORT: u16 = 80;
const TLS_PORT: u16 = 443;

/// An address without the scheme that many tools add. Without a port, it is that of the scheme.
pub(super) fn target(address: &str, has_tls: bool) -> String {
    let schemes = ["http://", HTTPS];
    let list = schemes.iter().find_map(|scheme| address.strip_prefix(scheme));
    let list = list.unwrap_or(address).trim_end_matches('/');
    let port = if has_tls { TLS_PORT } else { PORT };
    let complete = |address: &str| match address.parse::<Authority>() {
        Ok(authority) if !authority.as_str().contains('@') && !has_port(&authority) => {
            format!("{address}:{port}")
        }
        Ok(_) | Err(_) => address.to_owned(),
    };
    list.split(',').map(complete).collect::<Vec<_>>().join(",")
}

fn has_port(authority: &Authority) -> bool {
    authority.as_str().len() > authority.host().len()
}

/// Whether all addresses of a target are on this host.
pub(super) fn is_local(target: &str) -> bool {
    let is_loopback = |address: &str| {
        let authority = address.trim().parse::<Authority>();
        authority.is_ok_and(|authority| is_loopback(authority.host()))
    };
    let list = target.strip_prefix("dns:///").unwrap_or(target);
    list.starts_with("unix:") || list.split(',').all(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_an_address_is_optional() {
        for scheme in ["", "http://", "https://"] {
            for end in ["", "/"] {
                let address = format!("{scheme}localhost:50051{end}");
                assert_eq!(target(&address, false), "localhost:50051");
            }
        }
    }

    #[test]
    fn an_address_without_a_port_has_that_of_its_scheme() {
        assert_eq!(target("https://larder.example", true), "larder.example:443");
        assert_eq!(target("http://larder.example/", false), "larder.example:80");
        assert_eq!(target("[::1]", false), "[::1]:80");
        for complete in
            ["a:1,[::1]:2", "dns:///a:1", "dns:a:1", "unix:/run/larder", "a:port", "a b"]
        {
            assert_eq!(target(complete, false), complete);
        }
    }

    #[test]
    fn all_addresses_of_a_local_target_are_on_this_host() {
        let local =
            ["127.0.0.9:1", "localhost:1,[::1]:2", "dns:///localhost:1", "unix:/run/larder"];
        assert!(local.into_iter().all(is_local));
        let remote = ["10.0.0.1:1", "localhost.example:1", "localhost:1,b:1", "dns:///b:1"];
        assert!(!remote.into_iter().any(is_local));
    }
}
