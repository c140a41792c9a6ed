#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod errors;
mod events;
mod headers;
mod origin;
mod redis;
mod reference;
mod reload;
mod tls;
mod values;

use std::collections::BTreeMap;
use std::io::Write;

use super::render::TomlRenderer;
use super::*;

const EXAMPLE: &str = include_str!("../../larder.example.toml");

fn sources(file: &str, env: &[(&str, &str)]) -> (Sources, tempfile::NamedTempFile) {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file.as_bytes()).unwrap();
    let sources = Sources {
        file: Some(written.path().to_owned()),
        env: env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        overrides: Overrides::default(),
    };
    (sources, written)
}

fn try_load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let (sources, _written) = sources(file, env);
    load(sources)
}

fn loaded(file: &str, env: &[(&str, &str)]) -> Config {
    try_load(file, env).unwrap_or_else(|error| panic!("{error}"))
}

/// The problems as `key: message`, without origins.
fn problems(file: &str, env: &[(&str, &str)]) -> Vec<String> {
    match try_load(file, env).unwrap_err() {
        ConfigError::Invalid { problems } => {
            problems.iter().map(|p| format!("{}: {}", p.key, p.message)).collect()
        }
        other @ (ConfigError::Read { .. }
        | ConfigError::Emptied { .. }
        | ConfigError::Syntax { .. }) => panic!("{other}"),
    }
}

/// The example file with every key uncommented, including those of origins.
fn uncommented() -> String {
    let key = |line: &str| {
        let live = line.strip_prefix("# ")?;
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        let is_key = live.split_once(" = ").is_some_and(|(name, _)| plain(name));
        let tables = ["[namespaces.", "[[events.", "[[event_sources]]", "[auth"];
        let is_table = tables.iter().any(|table| live.starts_with(table)) && live.ends_with(']');
        (is_key || is_table).then(|| live.to_owned())
    };
    let lines = EXAMPLE.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()));
    lines.collect::<Vec<_>>().join("\n")
}

/// The variables to which the headers of the example file refer.
const EXAMPLE_ENV: [(&str, &str); 3] = [
    ("PROFILE_TOKEN", "secret"),
    ("CHECKOUT_TOKEN", "a-token-of-more-than-32-characters"),
    ("MINT_KEY", "a-key-of-more-than-32-characters"),
];

#[test]
fn no_sources_yield_the_defaults() {
    assert_eq!(load(Sources::default()).unwrap(), Config::default());
}

#[test]
fn example_file_has_the_defaults_and_the_legacy_namespaces() {
    let config = loaded(EXAMPLE, &[]);
    let mut all = loaded(&uncommented(), &EXAMPLE_ENV);
    all.namespaces.retain(|_, namespace| namespace.origin.is_none());
    assert_eq!((all.events.len(), all.event_sources.len()), (2, 1));
    (all.events, all.event_sources) = Default::default();
    let auth = all.auth.take().unwrap();
    assert_eq!((auth.principals.len(), auth.roles.len(), auth.jwt.len()), (1, 1, 1));
    assert_eq!(auth.minted.unwrap().secrets().count(), 1);
    assert_eq!(config, all);
    let minutes: Vec<_> =
        config.namespaces.iter().map(|(name, n)| (name.as_str(), n.ttl.as_secs() / 60)).collect();
    let expected = [
        ("company", 120),
        ("locations", 1440),
        ("pickup", 5),
        ("points", 5),
        ("statistics", 30),
        ("user", 60),
    ];
    assert_eq!(minutes, expected);
    assert_eq!(Config { namespaces: BTreeMap::new(), ..config }, Config::default());
}

#[test]
fn example_file_lists_every_key() {
    let mut path = String::new();
    let mut found = Vec::new();
    for line in uncommented().lines().filter(|line| !line.starts_with('#')) {
        if let Some(table) = line.strip_prefix('[') {
            path = format!("{}.", table.trim_end_matches(']'));
        } else if let Some((name, _)) = line.split_once(" = ") {
            found.push(format!("{path}{name}"));
        }
    }
    let chosen_names = ["namespaces.", "[event", "auth."];
    found.retain(|key| !chosen_names.iter().any(|table| key.starts_with(table)));
    found.sort();
    let keys: Vec<_> = TomlRenderer::of(&Config::default()).into_values().into_keys().collect();
    assert_eq!(found, keys);
}

#[test]
fn rendered_configuration_can_be_loaded() {
    let config = loaded(
        r#"
        [store]
        url = "redis://cache:6379/2"
        [namespaces."a.b"]
        ttl = "1500ms"
        max_value_bytes = 1000
        [log]
        level = "info,larder::store=debug"
        [telemetry]
        service_name = "a \"quoted\" \\ name"
        sample_ratio = 1
        "#,
        &[],
    );
    assert_eq!(loaded(&config.render(), &[]), config);
    assert_eq!(loaded(&loaded(EXAMPLE, &[]).render(), &[]), loaded(EXAMPLE, &[]));
}

#[test]
fn later_sources_override_earlier_ones() {
    let file = "listen = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'\nshutdown_timeout = '3s'";
    let env = [("LARDER_LISTEN", "127.0.0.1:4"), ("LARDER_ADMIN_LISTEN", "127.0.0.1:5")];
    let (mut sources, _written) = sources(file, &env);
    sources.overrides.listen = Some("127.0.0.1:6".to_owned());
    let config = load(sources).unwrap();
    assert_eq!(config.listen.port(), 6);
    assert_eq!(config.admin_listen.port(), 5);
    assert_eq!(config.shutdown_timeout, Duration::from_secs(3));
}

#[test]
fn only_keys_that_a_reload_ignores_need_a_restart() {
    let old = Config::default();
    let new = loaded(
        "shutdown_timeout = '1s'\nstrict_namespaces = true\n\
         [defaults]\nttl = '1m'\n[namespaces.a]\n\
         [log]\nlevel = 'debug'\nformat = 'json'\nkeys = true",
        &[],
    );
    assert_eq!(old.needs_restart(&new), ["log.format", "shutdown_timeout"]);
    assert_eq!(new.needs_restart(&new), [""; 0]);
    let with = |password| loaded("", &[("REDIS_HOST", "h"), ("REDIS_PASSWORD", password)]);
    assert_eq!(with("a").needs_restart(&with("b")), ["store.url"]);
}
