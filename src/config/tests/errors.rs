use super::*;

#[test]
fn unknown_key_is_reported_with_its_origin() {
    let (sources, written) = sources("[store]\ntimeoutt = '1s'", &[("LARDER_STORE__SHARD", "4")]);
    let message = load(sources).unwrap_err().to_string();
    let known = "url, url_file, tls_ca, tls_cert, tls_key, prefix, timeout, connect_timeout, \
        connections, wait_replicas, wait_timeout, failover_window, shards, breaker_threshold, \
        probe_interval, max_ban_bytes, sweep_interval, sweep_rate, quota_interval";
    let expected = format!(
        "store.shard: unknown key, expected one of {known}; the most similar is shards \
         (LARDER_STORE__SHARD)\n\
         store.timeoutt: unknown key, expected one of {known}; the most similar is timeout ({})",
        written.path().display(),
    );
    assert_eq!(message, expected);
}

#[test]
fn unknown_key_is_reported_with_a_remedy() {
    let problem = |file, env: &[(&str, &str)]| problems(file, env).join("\n");
    let dotted = problem("[namespaces.shop.prices]\nttl = '1m'", &[]);
    let quoted = "a namespace with a dot is quoted: [namespaces.\"shop.prices\"]";
    assert!(dotted.contains(quoted), "{dotted}");
    let underscore = problem("", &[("LARDER_STORE_TIMEOUT", "1s")]);
    let variable = "the variable of store.timeout has two underscores: LARDER_STORE__TIMEOUT";
    assert!(underscore.contains(variable), "{underscore}");
    let nothing = problem("[store]\nxyz = 1", &[]);
    assert!(nothing.contains("unknown key") && !nothing.contains("similar"), "{nothing}");
}

#[test]
fn unknown_keys_are_reported_in_every_section() {
    let keys = |file, env: &[(&str, &str)]| -> Vec<String> {
        problems(file, env).iter().map(|p| p.split_once(": unknown").unwrap().0.into()).collect()
    };
    assert_eq!(keys("lissten = 'x'", &[]), ["lissten"]);
    assert_eq!(keys("[Store]\nurl = 'memory'", &[]), ["Store.url"]);
    assert_eq!(keys("[stoer]", &[]), ["stoer"]);
    assert_eq!(keys("[namespaces.'a.b']\ntl = '1s'", &[]), ["namespaces.\"a.b\".tl"]);
    assert_eq!(
        keys("[namespaces.a.near_cache]\nmax_byte = 1", &[]),
        ["namespaces.a.near_cache.max_byte"]
    );
    assert_eq!(
        keys("[defaults.near_cache]\nmax_bytes = 1", &[]),
        ["defaults.near_cache.max_bytes"]
    );
    assert_eq!(keys("[defaults.origin]\nurl = 'http://h'", &[]), ["defaults.origin.url"]);
    let near_cache = [("LARDER_NAMESPACES__A__B__NEAR_CACHE__MAX_BYTE", "1")];
    assert_eq!(keys("", &near_cache), ["namespaces.a__b.near_cache.max_byte"]);
    assert_eq!(keys("", &[("LARDER_TTL", "1s")]), ["ttl"]);
    assert_eq!(keys("", &[("LARDER_STOER__TIMEOUT", "1s")]), ["stoer.timeout"]);
    assert_eq!(keys("", &[("LARDER_NAMESPACES__USER__TL", "1s")]), ["namespaces.user.tl"]);
}

#[test]
fn wrong_values_are_reported_with_the_expected_form() {
    for (file, expected) in [
        (
            "listen = 'localhost'",
            "listen: expected an IP address and port such as 127.0.0.1:50051 or [::]:50051, \
             got \"localhost\"",
        ),
        (
            "listen = 'localhost:50051'",
            "listen: expected an IP address and port such as 127.0.0.1:50051 or [::]:50051, \
             got \"localhost:50051\"; write 127.0.0.1:50051",
        ),
        (
            "listen = ':80'",
            "listen: expected an IP address and port such as 127.0.0.1:50051 or [::]:50051, \
             got \":80\"; write [::]:80 for all interfaces, 127.0.0.1:80 for this host",
        ),
        (
            "admin_listen = 'larder:80'",
            "admin_listen: expected an IP address and port such as 127.0.0.1:50051 or \
             [::]:50051, got \"larder:80\"; write the IP address: names are not resolved",
        ),
        ("reflection = 'maybe'", "reflection: expected true or false, got \"maybe\""),
        ("busy_poll = '2ms'", "busy_poll: expected 0s or a duration from 1us to 1ms, got \"2ms\""),
        (
            "store.timeout = 'fast'",
            "store.timeout: expected a duration such as 250ms, 30s or 7d, got \"fast\"",
        ),
        ("store.timeout = 5", "store.timeout: expected a duration such as 250ms, 30s or 7d, got 5"),
        ("store.timeout = '0s'", "store.timeout: expected a duration from 1ms to 1m, got \"0s\""),
        ("store.shards = 0", "store.shards: expected an integer from 1 to 4096, got 0"),
        ("store.shards = -3", "store.shards: expected an integer from 1 to 4096, got -3"),
        ("store.shards = 1.5", "store.shards: expected an integer from 1 to 4096, got 1.5"),
        ("store.shards = true", "store.shards: expected an integer from 1 to 4096, got true"),
        ("store.shards = [1]", "store.shards: expected an integer from 1 to 4096, got a list"),
        ("store.connections = 65", "store.connections: expected an integer from 1 to 64, got 65"),
        (
            "store.probe_interval = '31s'",
            "store.probe_interval: expected a duration from 10ms to 30s, got \"31s\"",
        ),
        (
            "store.prefix = 'a{b}'",
            "store.prefix: expected 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', \
             got \"a{b}\"",
        ),
        (
            "memory.max_bytes = 'lots'",
            "memory.max_bytes: expected a size such as 64KiB, 1MiB or 1048576, got \"lots\"",
        ),
        (
            "namespaces.a.near_cache.max_bytes = '1KiB'",
            "namespaces.a.near_cache.max_bytes: expected a size from 64KiB to 1TiB, got \"1KiB\", \
             which is 1024 bytes",
        ),
        (
            "namespaces.a.near_cache.max_staleness = '0s'",
            "namespaces.a.near_cache.max_staleness: expected a duration from 50ms to 1h, \
             got \"0s\"",
        ),
        (
            "memory.max_bytes = '64k'",
            "memory.max_bytes: expected a size from 1MiB to 1024TiB, got \"64k\", which is \
             64000 bytes",
        ),
        ("memory.max_bytes = 1", "memory.max_bytes: expected a size from 1MiB to 1024TiB, got 1"),
        (
            "defaults.ttl_jitter = 1",
            "defaults.ttl_jitter: expected a number from 0 to below 1, got 1",
        ),
        (
            "defaults.ttl_jitter = nan",
            "defaults.ttl_jitter: expected a number from 0 to below 1, got NaN",
        ),
        (
            "telemetry.sample_ratio = 1.1",
            "telemetry.sample_ratio: expected a number from 0 to 1, got 1.1",
        ),
        (
            "defaults.lease_wait = '61s'",
            "defaults.lease_wait: expected a duration from 0s to 1m, got \"61s\"",
        ),
        (
            "defaults.lease_ttl = '9ms'",
            "defaults.lease_ttl: expected a duration from 10ms to 1h, got \"9ms\"",
        ),
        (
            "limits.max_connection_age = '1ms'",
            "limits.max_connection_age: expected 0s or a duration from 100ms to 365d, got \"1ms\"",
        ),
        ("log.format = 'xml'", "log.format: expected \"text\" or \"json\", got \"xml\""),
        ("store = 'memory'", "store: expected a table of keys, got a single value"),
    ] {
        assert_eq!(problems(file, &[]), [expected], "{file}");
    }
}

#[test]
fn unknown_log_level_is_refused() {
    for level in ["verbose", "", "larder=loud"] {
        let found = problems(&format!("log.level = '{level}'"), &[]);
        assert!(found[0].starts_with("log.level: expected a level"), "{level}: {found:?}");
    }
}

#[test]
fn conflicting_values_are_refused() {
    assert_eq!(
        problems("[defaults]\nttl = '8d'", &[]),
        ["defaults.ttl: expected at most 7d (defaults.max_ttl), got 8d"],
        "namespaces that inherit the conflict are not reported",
    );
    assert_eq!(
        problems("[namespaces.a]\nmax_ttl = '5m'", &[]),
        ["namespaces.a.ttl: expected at most 5m (namespaces.a.max_ttl), got 30m"],
    );
    assert_eq!(
        problems("[namespaces.a]\nmax_value_bytes = '4MiB'", &[]),
        ["namespaces.a.max_value_bytes: expected at most 4032KiB \
          (limits.max_request_bytes less 64KiB), got 4MiB"],
    );
    loaded("[namespaces.a]\nmax_value_bytes = '4032KiB'", &[]);
    assert_eq!(
        problems("admin_listen = '127.0.0.1:50051'", &[]),
        ["admin_listen: expected an address other than listen, got 127.0.0.1:50051 twice"],
    );
    loaded("listen = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'", &[]);
}

#[test]
fn conflict_is_reported_with_its_origin() {
    let error = try_load("", &[("LARDER_NAMESPACES__A__MAX_TTL", "5m")]).unwrap_err().to_string();
    assert!(error.ends_with("got 30m (LARDER_NAMESPACES__A__MAX_TTL)"), "{error}");
}

#[test]
fn namespace_names_are_validated() {
    for name in ["user", "0", "a.b-c_d", &"a".repeat(64)] {
        loaded(&format!("[namespaces.'{name}']"), &[]);
    }
    for name in ["User", "", "-a", ".a", "a b", "é", &"a".repeat(65)] {
        let found = problems(&format!("[namespaces.'{name}']"), &[]);
        assert!(found[0].contains("expected a name of 1 to 64 characters"), "{name}: {found:?}");
    }
}

#[test]
fn all_problems_are_reported_in_a_stable_order() {
    let file = "
        z = 1
        a = 2
        listen = 'nowhere'
        [store]
        shards = 0
        timeout = 'soon'
        [defaults]
        ttl = 'abc'
        max_ttl = '1m'
        [namespaces.X]
        ttl_jitter = 2
    ";
    let found = problems(file, &[("LARDER_LIMITS__MAX_WAITING", "-1"), ("REDIS_ENABLED", "maybe")]);
    let keys: Vec<_> = found.iter().map(|p| p.split_once(": ").unwrap().0).collect();
    let expected = [
        "store.url",
        "listen",
        "store.timeout",
        "store.shards",
        "defaults.ttl",
        "namespaces.X.ttl_jitter",
        "limits.max_waiting",
        "a",
        "z",
        "namespaces.X",
    ];
    assert_eq!(keys, expected, "{found:#?}");
}

#[test]
fn missing_and_malformed_files_are_reported() {
    let sources = Sources { file: Some("/nowhere/larder.toml".into()), ..Sources::default() };
    let error = load(sources).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration file /nowhere/larder.toml");

    let error = try_load("[store]\nurl = 'redis://:secret@h\n", &[]).unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
