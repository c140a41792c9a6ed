use super::*;

#[test]
fn variables_set_any_key() {
    let config = loaded(
        "[store]\ntimeout = '1s'\nshards = 8\n[namespaces.user]\nttl = '2h'\nmax_ttl = '3h'",
        &[
            ("LARDER_STORE__TIMEOUT", "100ms"),
            ("LARDER_BUSY_POLL", "50us"),
            ("LARDER_STRICT_NAMESPACES", "Yes"),
            ("LARDER_DEFAULTS__TTL", "5m"),
            ("LARDER_DEFAULTS__TTL_JITTER", "0"),
            ("LARDER_MEMORY__MAX_BYTES", "1048576"),
            ("LARDER_LIMITS__MAX_BATCH_KEYS", "7"),
            ("LARDER_LIMITS__MAX_CONNECTION_AGE", "0s"),
            ("LARDER_LOG__FORMAT", "json"),
            ("LARDER_TELEMETRY__SAMPLE_RATIO", "1"),
            ("LARDER_NAMESPACES__USER__TTL", "1h"),
            ("LARDER_NAMESPACES__A__B__TTL", "1s"),
            ("LARDER_NAMESPACES__SHOP.PRICES__TTL", "2s"),
        ],
    );
    assert_eq!(config.store.timeout, Duration::from_millis(100));
    assert_eq!(config.store.shards, 8, "the other keys of the table are unchanged");
    assert_eq!(config.busy_poll, Duration::from_micros(50));
    assert!(config.strict_namespaces);
    assert_eq!(config.defaults.ttl, Duration::from_secs(300));
    assert_eq!(config.defaults.ttl_jitter, 0.0);
    assert_eq!(config.memory.max_bytes, 1 << 20);
    assert_eq!(config.limits.max_batch_keys, 7);
    assert_eq!(config.limits.max_connection_age, Duration::ZERO);
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.telemetry.sample_ratio, 1.0);
    assert_eq!(config.namespaces["user"].ttl, Duration::from_secs(3600));
    assert_eq!(config.namespaces["user"].max_ttl, Duration::from_secs(3 * 3600));
    assert_eq!(config.namespaces["a__b"].ttl, Duration::from_secs(1));
    assert_eq!(config.namespaces["shop.prices"].ttl, Duration::from_secs(2));
}

#[test]
fn namespaces_inherit_the_defaults_of_every_source() {
    let file = "[namespaces.a]\nttl = '1s'\n[namespaces.'b.c']\nlease_wait = '1s'\n\
        [defaults]\nstale_if_error = '1h'";
    let config = loaded(file, &[("LARDER_DEFAULTS__TTL", "5m")]);
    let a = &config.namespaces["a"];
    assert_eq!(a.ttl, Duration::from_secs(1));
    assert_eq!(a.stale_if_error, Duration::from_secs(3600));
    let b = &config.namespaces["b.c"];
    assert_eq!(b.ttl, Duration::from_secs(300));
    assert_eq!(b.lease_wait, Duration::from_secs(1));
}

#[test]
fn foreign_and_empty_variables_are_ignored() {
    let config = loaded(
        "",
        &[
            ("PATH", "/bin"),
            ("LARDER_CONFIG", "larder.toml"),
            ("LARDER_ADDRESS", "larder:50051"),
            ("LARDER_ENDPOINT", "larder:50051"),
            ("LARDER_CA_FILE", "/ca.pem"),
            ("LARDER_LISTEN", ""),
            ("LARDER_STORE", " "),
            ("LARDER_UNKNOWN", ""),
            ("LARDER_SERVICE_HOST", "10.0.0.1"),
            ("LARDER_SERVICE_PORT", "50051"),
            ("LARDER_SERVICE_PORT_GRPC", "50051"),
            ("LARDER_PORT", "tcp://10.0.0.1:50051"),
            ("LARDER_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("LARDER_PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("LARDER_REDIS_SERVICE_HOST", "10.0.0.2"),
            ("LARDER_REDIS_SERVICE_PORT_TCP", "6379"),
            ("LARDER_REDIS_PORT", "tcp://10.0.0.2:6379"),
            ("LARDER_REDIS_PORT_6379_TCP", "tcp://10.0.0.2:6379"),
            ("LARDER_REDIS_PORT_6379_TCP_PROTO", "tcp"),
        ],
    );
    assert_eq!(config, Config::default());
}

#[test]
fn open_telemetry_variables_have_the_lowest_precedence() {
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4317"), ("OTEL_SERVICE_NAME", "otel")];
    let telemetry = loaded("", &env).telemetry;
    assert_eq!(telemetry.otlp_endpoint, "http://otel:4317");
    assert_eq!(telemetry.service_name, "otel");

    let file = "[telemetry]\notlp_endpoint = ''\nservice_name = 'file'";
    let telemetry = loaded(file, &env).telemetry;
    assert_eq!(telemetry.otlp_endpoint, "");
    assert_eq!(telemetry.service_name, "file");

    let own = [env[0], ("LARDER_TELEMETRY__OTLP_ENDPOINT", "http://own:4317")];
    assert_eq!(loaded("", &own).telemetry.otlp_endpoint, "http://own:4317");
}

#[test]
fn sizes_and_durations_use_the_largest_exact_unit() {
    use value::{format_duration, format_size};
    for (millis, expected) in [(0, "0s"), (1500, "1500ms"), (90_000, "90s"), (604_800_000, "7d")] {
        assert_eq!(format_duration(Duration::from_millis(millis)), expected);
    }
    for (bytes, expected) in [(0, "0B"), (1000, "1000B"), (1536, "1536B"), (65_536, "64KiB")] {
        assert_eq!(format_size(bytes), expected);
    }
    let sized = |value: &str| loaded(&format!("memory.max_bytes = {value}"), &[]).memory.max_bytes;
    assert_eq!(sized("'1.5 MiB'"), 3 << 19);
    assert_eq!(sized("'2MB'"), 2_000_000);
    assert_eq!(sized("3000000"), 3_000_000);
    assert_eq!(sized("'3000000'"), 3_000_000);
}

/// An empty list is the default, and rendered.
#[test]
fn a_rendered_principal_without_tokens_is_read_again() {
    let file = "[auth.roles.r]\n[auth.principals.p]\nroles = ['r']\ncertificates = ['a.b']";
    let config = loaded(file, &[]);
    assert_eq!(loaded(&config.render(), &[]), config);
}

#[test]
fn names_of_callers_without_a_table_are_reserved() {
    let role = "[auth.roles.r]\nallow = [{ verbs = ['read'], namespaces = ['*'] }]\n";
    for (table, is_reserved) in [
        ("[auth.principals.anonymous]", true),
        ("[auth.principals.minted]", true),
        ("[auth.principals.other]", false),
        ("[auth.jwt.minted]\nissuer = 'i'\naudience = 'a'\nkeys = 'k'", true),
        ("[auth.jwt.other]\nissuer = 'i'\naudience = 'a'\nkeys = 'k'", false),
    ] {
        let found = super::try_load(&format!("{role}{table}\n"), &[]);
        let found = found.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(found.contains("expected another name"), is_reserved, "{table}: {found}");
    }
}
