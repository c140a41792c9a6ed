//! The variables that the replaced systems read, under their old names and meanings.

use super::StoreUrl;
use super::environment::Environment;
use super::error::Problem;
use super::toml::quoted;
use super::value::parse_boolean;

pub(super) const PREFIX: &str = "REDIS_CACHE_KEY_PREFIX";

/// The switch, under the name of either system; the first one set decides.
const SWITCHES: [&str; 2] = ["REDIS_ENABLED", "REDIS_CACHE_ENABLED"];

type Origin = &'static str;

/// The store that the environment selects, if any, with the variable that selects it.
pub(super) fn store_url(
    env: &Environment,
    configured: Option<&str>,
) -> Result<Option<(String, Origin)>, Problem> {
    let switch = switch(env)?;
    if let Some((false, origin)) = switch {
        return Ok(Some(("memory".to_owned(), origin)));
    }
    for origin in ["LARDER_STORE", "LARDER_STORE__URL", "REDIS_URL"] {
        if let Some(url) = env.get(origin) {
            return Ok(Some((url.to_owned(), origin)));
        }
    }
    if let Some(host) = env.get("REDIS_HOST") {
        return Ok(Some((compose(env, host)?, "REDIS_HOST")));
    }
    match switch {
        // The switch says that, not where: a Redis of the file stays.
        Some((true, origin)) if !names_redis(configured) => {
            Ok(Some((compose(env, "127.0.0.1")?, origin)))
        }
        _ => Ok(None),
    }
}

fn switch(env: &Environment) -> Result<Option<(bool, Origin)>, Problem> {
    let found = SWITCHES.into_iter().find_map(|name| Some((name, env.get(name)?)));
    let Some((name, value)) = found else {
        return Ok(None);
    };
    let expected = "true or false (also 1, 0, yes, no, on, off)";
    let on = parse_boolean(value).ok_or_else(|| mismatch("store.url", name, expected, value))?;
    Ok(Some((on, name)))
}

fn names_redis(url: Option<&str>) -> bool {
    url.is_some_and(|url| !matches!(url.parse(), Ok(StoreUrl::Memory)))
}

/// The URL without password, which is filled in later as for every other URL.
fn compose(env: &Environment, host: &str) -> Result<String, Problem> {
    let port = env.get("REDIS_PORT").map_or(Ok(6379), port)?;
    let database = env.get("REDIS_DB").map_or(Ok(0), |value| {
        let expected = "the number of a database";
        value.parse::<u32>().map_err(|_| mismatch("store.url", "REDIS_DB", expected, value))
    })?;
    let is_bare_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let host = if is_bare_ipv6 { format!("[{host}]") } else { host.to_owned() };
    Ok(format!("redis://{host}:{port}/{database}"))
}

/// Kubernetes sets `REDIS_PORT=tcp://10.0.0.1:6379` beside a Service called `redis`.
fn port(value: &str) -> Result<u16, Problem> {
    let injected = value.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':'));
    let digits = injected.map_or(value, |(_, port)| port);
    let port = digits.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| mismatch("store.url", "REDIS_PORT", "a port from 1 to 65535", value))
}

fn mismatch(key: &str, origin: Origin, expected: &str, value: &str) -> Problem {
    Problem {
        key: key.to_owned(),
        message: format!("expected {expected}, got {}", quoted(value)),
        origin: Some(origin.to_owned()),
    }
}
