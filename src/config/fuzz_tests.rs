//! Fuzz targets of the configuration.

#![allow(clippy::unwrap_used)]

use secrecy::ExposeSecret;

use super::load::load_text;
use super::value::{
    DAY, GIB, MILLISECOND, ValueType, counts, duration, number, size, socket_address,
};
use super::*;
use crate::fuzzing::{Input, check};
use crate::sentinel_url::SentinelUrl;

/// Begin of a line that is a variable and no part of the file.
const VARIABLE: &[u8] = b"$";

/// A file, and lines with variables such as `$LARDER_LISTEN=:1`. What is accepted is rendered as a
/// file that is accepted and has the same content, as far as nothing in it is secret.
#[test]
fn config_reader() {
    check("config_reader", |bytes| {
        let mut input = Input::new(bytes);
        let (mut file, mut env) = (String::new(), BTreeMap::new());
        while !input.is_empty() {
            let line = input.line();
            let text = String::from_utf8_lossy(line.strip_prefix(VARIABLE).unwrap_or(line));
            match text.split_once('=').filter(|_| line.starts_with(VARIABLE)) {
                Some((name, value)) => drop(env.insert(name.to_owned(), value.to_owned())),
                None => file.extend([&*text, "\n"]),
            }
        }
        let sources = |env| Sources { file: None, env, overrides: Overrides::default() };
        let config = match load_text(&file, sources(env.clone())) {
            Ok(config) => config,
            Err(error) => {
                let _ = error.to_string();
                return;
            }
        };
        let rendered = config.render();
        if rendered.contains("***") {
            return;
        }
        // Variables to which secrets refer are still needed.
        env.retain(|name, _| !["LARDER_", "REDIS_", "OTEL_"].iter().any(|p| name.starts_with(p)));
        let again = load_text(&rendered, sources(env));
        let again = again.unwrap_or_else(|error| panic!("{error}\n{rendered}"));
        assert_eq!(again.render(), rendered);
        assert_eq!(again, config, "{rendered}");
    });
}

/// The text of a value. What is accepted is rendered as a text that has the same value.
#[test]
fn config_values() {
    check("config_values", |bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let raw = ::config::ValueKind::String(text);
        same(&duration(MILLISECOND, 365 * DAY).or_zero(), &raw);
        same(&duration(Duration::ZERO, 365 * DAY).or_off(), &raw);
        same(&size::<u64>(1..=1024 * GIB), &raw);
        same(&size::<u32>(0..=u64::MAX), &raw);
        same(&number(-1e300..=1e300), &raw);
        same(&socket_address(), &raw);
        same(&counts("numbers", 1..=u16::MAX), &raw);
    });
}

fn same<T: ValueType<Value: PartialEq + std::fmt::Debug>>(of: &T, raw: &::config::ValueKind) {
    let Ok(value) = of.parse(raw) else { return };
    let rendered = format!("x = {}", of.render(&value));
    let table = ::config::Config::builder()
        .add_source(::config::File::from_str(&rendered, ::config::FileFormat::Toml))
        .build()
        .unwrap();
    let again = of.parse(&table.get::<::config::Value>("x").unwrap().kind);
    assert_eq!(again.as_ref(), Ok(&value), "{rendered}");
}

/// The URL of a store, on the first line, and a password. What is accepted shows no password, and
/// is accepted with the credentials that are added to it.
#[test]
fn store_url() {
    check("store_url", |bytes| {
        let mut input = Input::new(bytes);
        let (text, password) = (input.text(), input.text());
        let url: StoreUrl = match text.parse() {
            Ok(url) => url,
            Err(error) => {
                let InvalidStoreUrl { .. } = error;
                return;
            }
        };
        let _ = (url.is_cluster(), url.has_verified_tls(), SentinelUrl::parse(&text));
        let shown = format!("{url} {url:?}");
        if let Some(secret) = password_of(&url).filter(|secret| secret.len() > 7) {
            assert!(!shown.contains(&secret), "{text:?} {shown}");
        }
        if password.is_empty() {
            return;
        }
        let with = url.clone().with_credentials(Some("user"), &password);
        assert!(is_same(&with, &with.clone().with_credentials(Some("other"), "another")));
        let sentinels = with.clone().with_sentinel_credentials(Some("user"), &password);
        for changed in [&with, &sentinels] {
            if let StoreUrl::Redis(changed) = changed {
                let changed = changed.expose_secret();
                assert!(changed.parse::<StoreUrl>().is_ok(), "{text:?} {changed:?}");
            }
        }
    });
}

fn is_same(one: &StoreUrl, other: &StoreUrl) -> bool {
    one == other
}

/// The password of a URL, as it is written.
fn password_of(url: &StoreUrl) -> Option<String> {
    let StoreUrl::Redis(url) = url else { return None };
    let url = url::Url::parse(url.expose_secret()).ok()?;
    url.password().map(str::to_owned)
}
