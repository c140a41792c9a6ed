//! Connection strings of StackExchange.Redis, which the console of Azure shows:
//! `name.redis.cache.windows.net:6380,password=...,ssl=True,abortConnect=False`.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The port that stands for TLS if `ssl` is not set.
const TLS_PORT: &str = "6380";

/// The URL that a connection string stands for; none for any other text. Options that are about
/// that client are left out.
pub(super) fn url_of(text: &str) -> Option<String> {
    let (address, options) = text.split_once(',')?;
    if address.is_empty() || address.contains([':', '/', '@', '=']) != is_host_and_port(address) {
        return None;
    }
    let (mut user, mut password, mut database) = ("", None, "0");
    let mut is_tls = address.ends_with(&format!(":{TLS_PORT}"));
    for option in options.split(',').filter(|option| !option.trim().is_empty()) {
        let (name, value) = option.split_once('=')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "password" => password = Some(value.trim()),
            "user" => user = value.trim(),
            "ssl" => is_tls = value.trim().eq_ignore_ascii_case("true"),
            "defaultdatabase" => database = value.trim(),
            _ => {}
        }
    }
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let credentials = match password {
        Some(password) => format!("{}:{}@", encode(user), encode(password)),
        None => String::new(),
    };
    let scheme = if is_tls { "rediss" } else { "redis" };
    Some(format!("{scheme}://{credentials}{address}/{database}"))
}

fn is_host_and_port(address: &str) -> bool {
    let split = address.split_once(':');
    split.is_some_and(|(host, port)| {
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        !host.is_empty() && host.bytes().all(is_host) && port.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_become_urls() {
        for (text, url) in [
            (
                "n.redis.cache.windows.net:6380,password=k+/=,ssl=True,abortConnect=False",
                Some("rediss://:k%2B%2F%3D@n.redis.cache.windows.net:6380/0"),
            ),
            ("h:6379,password=p,ssl=False", Some("redis://:p@h:6379/0")),
            ("h:10000,user=u,password=p,ssl=true", Some("rediss://u:p@h:10000/0")),
            ("h:6380,defaultDatabase=3,password=p", Some("rediss://:p@h:6380/3")),
            ("h,ssl=true", Some("rediss://h/0")),
            ("h:6379", None),
            ("redis-sentinel://a,b=c/m", None),
            ("u:p@h:6379,password=p", None),
            ("h:6379,password", None),
            ("", None),
        ] {
            assert_eq!(url_of(text).as_deref(), url, "{text}");
        }
    }
}
