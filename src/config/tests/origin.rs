use secrecy::ExposeSecret;

use super::headers::{header, headers};
use super::*;
use crate::url_template::UrlTemplate;

/// A namespace `a` with an HTTP origin and these further lines.
pub(super) fn http(lines: &str) -> String {
    format!("[namespaces.a.origin]\nurl = 'http://h/{{key}}'\n{lines}")
}

pub(super) fn grpc(lines: &str) -> String {
    format!("[namespaces.a.origin]\ngrpc = 'http://h:1'\n{lines}")
}

pub(super) fn origin(file: &str, env: &[(&str, &str)]) -> OriginConfig {
    loaded(file, env).namespaces["a"].origin.clone().unwrap()
}

#[test]
fn origin_exists_only_if_its_table_does() {
    let config = loaded("[namespaces.a]\nttl = '1s'", &[]);
    assert_eq!(config.namespaces["a"].origin, None);
    let target = to_url("http://h/{key}");
    assert_eq!(origin(&http(""), &[]), OriginConfig::new(target));
    let target = Target::Grpc(url::Url::parse("http://h:1").unwrap());
    assert_eq!(origin(&grpc(""), &[]), OriginConfig::new(target));
}

#[test]
fn origin_has_exactly_one_target() {
    assert_eq!(
        problems("[namespaces.a.origin]\nretries = 2\nmax_batch = 2\ncache_headers = false", &[]),
        ["namespaces.a.origin: expected either url or grpc, got neither"],
    );
    assert_eq!(
        problems(&http("grpc = 'http://h:1'"), &[]),
        ["namespaces.a.origin: expected either url or grpc, got both"],
    );
    for (file, env) in [
        ("", [("LARDER_NAMESPACES__A__ORIGIN__RETRIES", "1")]),
        ("[namespaces.b]", [("LARDER_NAMESPACES__A__ORIGIN__RETRIES", "1")]),
        (&http(""), [("LARDER_NAMESPACES__A__ORIGIN__GRPC", "http://h")]),
    ] {
        let error = try_load(file, &env).unwrap_err().to_string();
        assert!(error.ends_with(&format!(" ({})", env[0].0)), "{error}");
    }
    assert_eq!(
        problems(
            &grpc(
                "http_version = '2'\nmax_redirects = 1\nstale_if_error_statuses = []\n\
             cache_headers = true"
            ),
            &[]
        ),
        [
            "namespaces.a.origin.http_version: only for an origin with `url`",
            "namespaces.a.origin.max_redirects: only for an origin with `url`",
            "namespaces.a.origin.stale_if_error_statuses: only for an origin with `url`",
            "namespaces.a.origin.cache_headers: only for an origin with `url`",
        ],
    );
    assert_eq!(
        problems(&http("max_batch = 1\nresolve_interval = '1s'"), &[]),
        [
            "namespaces.a.origin.max_batch: only for an origin with `grpc`",
            "namespaces.a.origin.resolve_interval: only for an origin with `grpc`",
        ],
    );
    assert_eq!(
        problems("[namespaces]\na.origin = 'http://h'", &[]),
        ["namespaces.a.origin: expected a table of keys, got a single value"],
    );
}

#[test]
fn target_urls_are_validated() {
    let url = "expected a URL such as http://users.internal/api/users/{key}";
    let grpc = "expected a URL such as http://users.internal:50051";
    let credentials = "it must not hold a user or password: write them into the table `headers`";
    for (key, value, expected) in [
        ("url", "'ftp://h/{key}'", format!("{url}, but it must begin with http:// or https://")),
        ("url", "''", format!("{url}, but it must begin with http:// or https://")),
        (
            "url",
            "'http:///{key}'",
            format!("{url}, but its host or port cannot be read: empty host"),
        ),
        (
            "url",
            "'http://h:x/'",
            format!("{url}, but its host or port cannot be read: invalid port number"),
        ),
        ("url", "'http://user:secret@h/{key}'", format!("{url}, but {credentials}")),
        ("url", "'https://secret@h?k={key}'", format!("{url}, but {credentials}")),
        (
            "url",
            "'http://h/{namespace}?a=b'",
            format!(
                "{url}, but it has neither {{key}} nor params: all keys would have the same value"
            ),
        ),
        ("url", "5", format!("{url}, got 5")),
        ("grpc", "'users:50051'", format!("{grpc}, but it must begin with http:// or https://")),
        (
            "grpc",
            "'nothing'",
            format!("{grpc}, but it cannot be read: relative URL without a base"),
        ),
        ("grpc", "'http://h/path'", format!("{grpc}, but it must end after host and port")),
        ("grpc", "'http://h?secret'", format!("{grpc}, but it must end after host and port")),
        ("grpc", "'http://user:secret@h'", format!("{grpc}, but {credentials}")),
        ("grpc", "true", format!("{grpc}, got true")),
    ] {
        let found = problems(&format!("[namespaces.a.origin]\n{key} = {value}"), &[]);
        assert_eq!(found, [format!("namespaces.a.origin.{key}: {expected}")]);
    }
    for url in
        ["https://h?{params}", "http://[::1]:8080/a/{key}?{params}&at=@", "http://h/{params.lang}"]
    {
        let file = format!("[namespaces.a.origin]\nurl = '{url}'");
        assert_eq!(origin(&file, &[]).target, to_url(url));
    }
}

#[test]
fn stale_if_error_statuses_are_error_statuses() {
    let statuses = |value: &str| {
        let line = format!("stale_if_error_statuses = {value}");
        origin(&http(&line), &[]).stale_if_error_statuses
    };
    assert_eq!(origin(&http(""), &[]).stale_if_error_statuses, [500, 502, 503, 504]);
    assert_eq!(statuses("[400, 599]"), [400, 599]);
    assert_eq!(statuses("[]"), [0; 0]);
    for (value, got) in [("[399]", "399"), ("[600]", "600"), ("['x']", "\"x\"")] {
        let problems = problems(&http(&format!("stale_if_error_statuses = {value}")), &[]);
        let problem = format!(
            "namespaces.a.origin.stale_if_error_statuses: expected a list of error statuses from \
             400 to 599, got {got} in it"
        );
        assert_eq!(problems, [problem]);
    }
}

#[test]
fn every_origin_key_is_read() {
    let lines = "
        timeout = '5s'
        connect_timeout = '1s'
        soft_timeout = '150ms'
        negative_ttl = '1m'
        keep = '1h'
        max_concurrency = 8
        max_queue = 9
        retries = 3
        retry_backoff = '10ms'
        error_backoff = '2s'
        breaker_threshold = 0
        breaker_cooldown = '7s'
        early_refresh = 2
        min_lease = '3s'
        http_version = '1.1'
        max_redirects = 3
        stale_if_error_statuses = [429, 503]
        cache_headers = false
        ca_file = '/etc/ca.pem'
        [namespaces.a.origin.headers]
        'X-Odd!' = 'v'
        [namespaces.a.origin.warm]
        keys = ['a', 'b,c', '\"']
        file = 'keys.txt'
        interval = '1h'
        rate = 7
    ";
    let expected = OriginConfig {
        target: to_url("http://h/{key}"),
        headers: BTreeMap::from([(
            "X-Odd!".to_owned(),
            SecretTemplate::new("v", &BTreeMap::new()).unwrap(),
        )]),
        timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        soft_timeout: Some(Duration::from_millis(150)),
        negative_ttl: Duration::from_secs(60),
        keep: HOUR,
        max_concurrency: 8,
        max_queue: 9,
        retries: 3,
        retry_backoff: Duration::from_millis(10),
        error_backoff: Duration::from_secs(2),
        breaker_threshold: 0,
        breaker_cooldown: Duration::from_secs(7),
        early_refresh: 2.0,
        min_lease: Duration::from_secs(3),
        http_version: HttpVersionSetting::Http1,
        max_redirects: 3,
        stale_if_error_statuses: vec![429, 503],
        cache_headers: false,
        ca_file: Some("/etc/ca.pem".into()),
        max_batch: 100,
        resolve_interval: Duration::from_secs(10),
        warm: WarmConfig {
            keys: vec!["a".to_owned(), "b,c".to_owned(), "\"".to_owned()],
            file: Some("keys.txt".into()),
            interval: Some(HOUR),
            rate: 7,
        },
    };
    assert_eq!(origin(&http(lines), &[]), expected);
    let written = Config {
        namespaces: BTreeMap::from([(
            "a".to_owned(),
            NamespaceConfig { origin: Some(expected), ..NamespaceConfig::default() },
        )]),
        ..Config::default()
    };
    let again = loaded(&written.render(), &[]);
    let secret = again.namespaces["a"].origin.as_ref().unwrap().headers["X-Odd!"].value();
    assert_eq!(
        secret.expose_secret(),
        "***",
        "a literal is rendered as asterisks and cannot be loaded again"
    );
    assert_eq!(again.render(), written.render());
}

#[test]
fn rendered_origin_can_be_loaded() {
    let env = [("TOKEN", "t")];
    let headers = "[namespaces.a.origin.headers]\nAuthorization = 'Bearer ${env:TOKEN}'";
    for file in
        [http(headers), grpc(&format!("max_batch = 7\n{headers}")), http("soft_timeout = '0s'")]
    {
        let config = loaded(&file, &env);
        assert_eq!(loaded(&config.render(), &env), config);
    }
}

#[test]
fn variables_set_origin_keys() {
    let env = [
        ("LARDER_NAMESPACES__A__ORIGIN__URL", "http://h/{key}"),
        ("LARDER_NAMESPACES__A__ORIGIN__EARLY_REFRESH", "0.5"),
        ("LARDER_NAMESPACES__A__ORIGIN__CA_FILE", "/ca.pem"),
        ("LARDER_NAMESPACES__A__ORIGIN__HEADERS__AUTHORIZATION", "Bearer ${env:TOKEN}"),
        ("LARDER_NAMESPACES__A__ORIGIN__HEADERS__X_API_KEY", "k"),
        ("LARDER_NAMESPACES__A__ORIGIN__WARM__KEYS", "1, 2,3"),
        ("LARDER_NAMESPACES__A__ORIGIN__WARM__RATE", "5"),
        ("LARDER_NAMESPACES__A__TTL", "1m"),
        ("LARDER_NAMESPACES__B__C__ORIGIN__GRPC", "https://h"),
        ("LARDER_NAMESPACES__B__C__LEASE_MAX", "1m"),
        ("TOKEN", "t"),
    ];
    let origin = origin("", &env);
    assert_eq!(origin.target, to_url("http://h/{key}"));
    assert_eq!(origin.early_refresh, 0.5);
    assert_eq!(origin.ca_file, Some("/ca.pem".into()));
    assert_eq!(origin.warm.keys, ["1", "2", "3"]);
    assert_eq!(origin.warm.rate, 5);
    let expected = [("authorization", "Bearer t"), ("x-api-key", "k")]
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(headers("", &env), expected);
    let namespaces = loaded("", &env).namespaces;
    assert_eq!(namespaces["a"].ttl, Duration::from_secs(60));
    assert_eq!(namespaces["b__c"].lease_max, Duration::from_secs(60));
    let origin = namespaces["b__c"].origin.as_ref().unwrap();
    assert_eq!(origin.target, Target::Grpc(url::Url::parse("https://h").unwrap()));

    let error = try_load("", &[("LARDER_NAMESPACES__A__ORIGIN__TIMEOTU", "1s"), env[0]])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("namespaces.a.origin.timeotu: unknown key, expected one of url, grpc, "),
        "{error}"
    );
    assert!(error.ends_with("(LARDER_NAMESPACES__A__ORIGIN__TIMEOTU)"), "{error}");
}

#[test]
fn origin_limits_are_enforced() {
    for (lines, expected) in [
        ("timeout = '0s'", "timeout: expected a duration from 1ms to 10m, got \"0s\""),
        (
            "soft_timeout = '11m'",
            "soft_timeout: expected 0s or a duration from 1ms to 10m, got \"11m\"",
        ),
        ("max_concurrency = 0", "max_concurrency: expected an integer from 1 to 10000, got 0"),
        ("retries = 11", "retries: expected an integer from 0 to 10, got 11"),
        ("early_refresh = -0.5", "early_refresh: expected a number from 0 to 100, got -0.5"),
        ("early_refresh = 100.5", "early_refresh: expected a number from 0 to 100, got 100.5"),
        ("early_refresh = nan", "early_refresh: expected a number from 0 to 100, got NaN"),
        ("http_version = '3'", "http_version: expected \"auto\" or \"1.1\" or \"2\", got \"3\""),
        ("ca_file = 1", "ca_file: expected the path of a file, got 1"),
        ("headers = 'X: secret'", "headers: expected a table of keys, got a single value"),
        ("warm.keys = 5", "warm.keys: expected a list of keys of 1 to 1024 bytes, got 5"),
        (
            "warm.keys = ['a', '']",
            "warm.keys: expected a list of keys of 1 to 1024 bytes, got \"\" in it",
        ),
        (
            "warm.keys = ['a', 5]",
            "warm.keys: expected a list of keys of 1 to 1024 bytes, got 5 in it",
        ),
        (
            "warm.keys = 'a,,b'",
            "warm.keys: expected a list of keys of 1 to 1024 bytes, got \"\" in it",
        ),
        (
            "warm.interval = '1ms'",
            "warm.interval: expected 0s or a duration from 1s to 365d, got \"1ms\"",
        ),
        (
            "warm.key = 'a'",
            "warm.key: unknown key, expected one of keys, file, interval, rate; the most similar \
             is keys",
        ),
        (
            "soft_timeout = '2s'",
            "soft_timeout: expected less than 2s (namespaces.a.origin.timeout), got 2s",
        ),
        (
            "timeout = '300ms'",
            "connect_timeout: expected at most 300ms (namespaces.a.origin.timeout), got 500ms",
        ),
        ("min_lease = '11s'", "min_lease: expected at most 10s (namespaces.a.lease_ttl), got 11s"),
    ] {
        assert_eq!(
            problems(&http(lines), &[]),
            [format!("namespaces.a.origin.{expected}")],
            "{lines}"
        );
    }
    let found = problems("[defaults]\nlease_max = '999ms'", &[]);
    assert_eq!(found, ["defaults.lease_max: expected a duration from 1s to 1h, got \"999ms\""]);
}

#[test]
fn default_min_lease_may_exceed_a_short_lease_ttl() {
    assert_eq!(origin(&http(""), &[]).min_lease, Duration::from_secs(1));
    let file = format!("[namespaces.a]\nlease_ttl = '500ms'\n{}", http(""));
    assert_eq!(loaded(&file, &[]).namespaces["a"].lease_ttl, Duration::from_millis(500));
}

#[test]
fn origin_changes_need_no_restart() {
    let with = |token| loaded(&header("X = '${env:TOKEN}'"), &[("TOKEN", token)]);
    assert_eq!(Config::default().needs_restart(&with("a")), [""; 0]);
    assert_eq!(with("a").needs_restart(&with("b")), [""; 0]);
    assert_ne!(with("a").namespaces, with("b").namespaces);
}

/// The keys of all origins with their defaults, without the targets, which have none.
fn defaults() -> BTreeMap<String, String> {
    let grpc = Target::Grpc(url::Url::parse("http://h").unwrap());
    let targets = [to_url("http://h"), grpc];
    let listed = targets
        .into_iter()
        .flat_map(|target| TomlRenderer::of(&OriginConfig::new(target)).into_values());
    listed.filter(|(key, _)| !["url", "grpc"].contains(&key.as_str())).collect()
}

#[test]
fn example_file_lists_every_origin_key_with_its_default() {
    let config = loaded(&uncommented(), &EXAMPLE_ENV);
    let origins = config.namespaces.values().filter_map(|namespace| namespace.origin.clone());
    let mut kinds = Vec::new();
    for origin in origins {
        kinds.push(matches!(origin.target, Target::Http(_)));
        assert_eq!(
            OriginConfig { headers: BTreeMap::new(), ..origin.clone() },
            OriginConfig::new(origin.target)
        );
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [false, true]);

    let mut path = "";
    let mut found = Vec::new();
    let example = uncommented();
    for line in example.lines().filter(|line| !line.starts_with('#')) {
        if let Some(table) = line.strip_prefix('[') {
            path = table.trim_end_matches(']');
        } else if let Some((name, _)) = line.split_once(" = ")
            && let Some((_, below)) = path.split_once(".origin")
        {
            found.push(format!("{below}.{name}").trim_start_matches('.').to_owned());
        }
    }
    found.sort();
    let mut keys: Vec<_> = defaults().into_keys().collect();
    keys.extend(["grpc", "headers.Authorization", "url"].map(str::to_owned));
    keys.sort();
    assert_eq!(found, keys);
}

fn to_url(url: &str) -> Target {
    Target::Http(UrlTemplate::parse(url).unwrap())
}
