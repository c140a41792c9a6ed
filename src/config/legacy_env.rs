//! The variables of the systems that Larder replaces, with their names and meanings.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::error::Problem;
use super::store_url::StoreUrl;
use super::toml::quoted;
use super::value::parse_boolean;

pub(super) const PREFIX: &str = "REDIS_CACHE_KEY_PREFIX";

/// The name of the switch in either system; the first one set decides.
const SWITCHES: [&str; 2] = ["REDIS_ENABLED", "REDIS_CACHE_ENABLED"];

type Variables = BTreeMap<String, String>;

/// The store that the environment selects, if any, with the name of the deciding variable.
pub(super) fn store_url(
    variables: &Variables,
    configured: Option<&str>,
) -> Result<Option<(String, &'static str)>, Problem> {
    let switch = switch(variables)?;
    if let Some((false, name)) = switch {
        return Ok(Some(("memory".to_owned(), name)));
    }
    for name in ["LARDER_STORE", "LARDER_STORE__URL", "REDIS_URL"] {
        if let Some(url) = variables.get(name) {
            return Ok(Some((url.clone(), name)));
        }
    }
    if let Some(host) = variables.get("REDIS_HOST") {
        return Ok(Some((compose(variables, host)?, "REDIS_HOST")));
    }
    match switch {
        // The switch names no address, so a Redis URL in the file stays.
        Some((true, name)) if !names_redis(configured) => {
            Ok(Some((compose(variables, "127.0.0.1")?, name)))
        }
        _ => Ok(None),
    }
}

/// Whether a variable only selects whether Redis is used.
pub(super) fn is_switch(name: &str) -> bool {
    SWITCHES.contains(&name)
}

fn switch(variables: &Variables) -> Result<Option<(bool, &'static str)>, Problem> {
    let found = SWITCHES.into_iter().find_map(|name| Some((name, variables.get(name)?)));
    let Some((name, value)) = found else {
        return Ok(None);
    };
    let expected = "true or false (also 1, 0, yes, no, on, off)";
    let on = parse_boolean(value).ok_or_else(|| mismatch(name, expected, value))?;
    Ok(Some((on, name)))
}

fn names_redis(url: Option<&str>) -> bool {
    url.is_some_and(|url| !matches!(url.parse(), Ok(StoreUrl::Memory)))
}

/// Builds the URL without a password, which is filled in later as for every other URL.
fn compose(variables: &Variables, host: &str) -> Result<String, Problem> {
    let port = variables.get("REDIS_PORT").map_or(Ok(6379), |value| port(value))?;
    let database = variables.get("REDIS_DB").map_or(Ok(0), |value| {
        let expected = "the number of a database";
        value.parse::<u32>().map_err(|_| mismatch("REDIS_DB", expected, value))
    })?;
    let is_bare_ipv6 = host.parse::<Ipv6Addr>().is_ok();
    let host = if is_bare_ipv6 { format!("[{host}]") } else { host.to_owned() };
    Ok(format!("redis://{host}:{port}/{database}"))
}

/// Also accepts `tcp://10.0.0.1:6379`, which Kubernetes sets next to a Service called `redis`.
fn port(value: &str) -> Result<u16, Problem> {
    let injected = value.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':'));
    let digits = injected.map_or(value, |(_, port)| port);
    let port = digits.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| mismatch("REDIS_PORT", "a port from 1 to 65535", value))
}

fn mismatch(variable: &str, expected: &str, value: &str) -> Problem {
    Problem {
        key: "store.url".to_owned(),
        message: format!("expected {expected}, got {}", quoted(value)),
        origin: Some(variable.to_owned()),
    }
}
