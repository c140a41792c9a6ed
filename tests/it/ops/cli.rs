//! The command line: subcommands, exit codes and output.

use std::process::Output;

use crate::support::{
    client::{Fetched as _, fetch, get, increment},
    redis::RedisServer,
    server::{Larder, Serving, run, run_into_closed_pipe},
    wait::{SOON, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_reports_by_exit_code() {
    let mut redis = RedisServer::start().await;
    let mut larder = Larder::redis(&redis.url()).default_timeouts().start().await;
    let address = larder.address().to_string();
    let check = |service: Option<&str>| {
        let mut arguments = vec!["healthcheck", "--address", &address, "--timeout", "5s"];
        arguments.extend(service.iter().flat_map(|service| ["--service", service]));
        run(&arguments, &[]).status.code()
    };
    for service in [None, Some("larder.v1.CacheService"), Some("liveness"), Some("store")] {
        assert_eq!(check(service), Some(0), "{service:?}");
    }
    assert_eq!(check(Some("unknown")), Some(1));
    redis.kill();
    larder.client().await.get(get("k")).await.unwrap();
    eventually("the store is unhealthy", SOON, async || {
        (check(Some("store")) == Some(1)).then_some(())
    })
    .await;
    assert_eq!(check(None), Some(0));
    larder.kill();
    assert_eq!(check(None), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_uses_the_configured_address() {
    let larder = Larder::memory().start().await;
    // As in a container, where the server listens on all interfaces.
    let all_interfaces = format!("0.0.0.0:{}", larder.address().port());
    assert_eq!(run(&["healthcheck"], &[("LARDER_LISTEN", &all_interfaces)]).status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthcheck_times_out() {
    // A listener that accepts connections and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let start = std::time::Instant::now();
    assert_eq!(
        run(&["healthcheck", "--address", &address, "--timeout", "300ms"], &[]).status.code(),
        Some(1)
    );
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn check_config_names_invalid_keys() {
    let check = |toml: &str| {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), toml).unwrap();
        run(&["check-config"], &[("LARDER_CONFIG", file.path().to_str().unwrap())])
    };
    let valid =
        check("[namespaces.user]\nttl = \"1h\"\n[store]\nurl = \"redis://127.0.0.1:6379/0\"\n");
    assert_eq!(valid.status.code(), Some(0), "{}", text(&valid));
    let errors = [
        ("no_such_key = 1", "no_such_key"),
        ("[store]\ntimeuot = \"1s\"", "store.timeuot"),
        ("[store]\ntimeout = \"fast\"", "store.timeout"),
        ("[store]\nurl = \"http://localhost\"", "store.url"),
        ("[store]\nshards = 5000", "store.shards"),
        ("[namespaces.user]\ntlt = \"1h\"", "namespaces.user.tlt"),
        ("[namespaces.USER]\nttl = \"1h\"", "namespaces.USER"),
        ("[defaults]\nttl_jitter = 1.5", "defaults.ttl_jitter"),
        ("[defaults]\nttl = \"0s\"", "defaults.ttl"),
        (
            "[namespaces.user.origin]\ntimeout = \"1s\"",
            "namespaces.user.origin: expected either url or grpc",
        ),
        (
            "[namespaces.user.origin]\nurl = \"https://users/{key}\"\nca_file = \"/no/such.pem\"",
            "namespaces.user.origin cannot be used: cannot read ca_file /no/such.pem",
        ),
        ("[namespaces.user.origin]\nurl = \"http://u:p@h/{key}\"", "namespaces.user.origin.url"),
        ("[log]\nformat = \"xml\"", "log.format"),
        ("listen = \"nowhere\"", "listen"),
        ("listen = ", ""),
    ];
    for (toml, key) in errors {
        let invalid = check(toml);
        assert_eq!(invalid.status.code(), Some(78), "{toml}: {}", text(&invalid));
        assert!(text(&invalid).contains(key), "{toml}: {}", text(&invalid));
    }
}

#[test]
fn an_invalid_config_prevents_startup() {
    for variables in [
        [("LARDER_STORE__TIMEOUT", "fast")],
        [("LARDER_STORE__TIMEUOT", "1s")],
        [("LARDER_CONFIG", "/nonexistent/larder.toml")],
        [("LARDER_STORE", "ftp://example")],
    ] {
        let invalid = run(&["serve"], &variables);
        assert_eq!(invalid.status.code(), Some(78), "{variables:?}: {}", text(&invalid));
    }
}

#[test]
fn a_pipe_as_config_does_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("larder.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for command in ["serve", "check-config"] {
        let refused = run(&[command, "--config", pipe.to_str().unwrap()], &[]);
        assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
        assert!(text(&refused).contains("not a regular file"), "{}", text(&refused));
    }
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    assert_eq!(run(&["--no-such-flag"], &[]).status.code(), Some(2));
    assert_eq!(run(&["no-such-command"], &[]).status.code(), Some(2));
    let version = run(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(version.stdout).unwrap().trim(),
        concat!("larder ", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(run(&["--help"], &[]).status.code(), Some(0));
}

#[test]
fn a_port_in_use_is_not_a_config_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed =
        run(&["--listen", &address, "--admin-listen", "127.0.0.1:0", "--store", "memory"], &[]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
    assert!(text(&failed).contains(&address), "{}", text(&failed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_redacted() {
    let output = run(&["check-config"], &[("REDIS_URL", "redis://user:hunter2@127.0.0.1:1/0")]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    let urls = [
        ("LARDER_NAMESPACES__USER__ORIGIN__URL", "http://users/{key}?api_key=hunter2"),
        ("LARDER_TELEMETRY__OTLP_ENDPOINT", "http://user:hunter2@127.0.0.1:1/?token=hunter2"),
    ];
    let output = run(&["check-config"], &urls);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    let origin = [
        ("LARDER_NAMESPACES__USER__ORIGIN__URL", "http://users/{key}"),
        ("LARDER_NAMESPACES__USER__ORIGIN__HEADERS__AUTHORIZATION", "Bearer ${env:USERS_TOKEN}"),
        ("LARDER_NAMESPACES__USER__ORIGIN__HEADERS__X_API_KEY", "hunter2"),
        ("USERS_TOKEN", "hunter2"),
    ];
    let output = run(&["check-config"], &origin);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output)
            .contains("authorization = \"Bearer ${env:USERS_TOKEN}\"\nx-api-key = \"***\"\n")
    );
    assert!(!text(&output).contains("hunter2"), "{}", text(&output));
    let larder = Larder::redis("redis://user:hunter2@127.0.0.1:1/0")
        .env("LARDER_LOG__LEVEL", "trace")
        .start()
        .await;
    larder.client().await.get(get("k")).await.unwrap();
    assert!(!larder.logs().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_of_the_store_is_read_from_a_file() {
    let redis = RedisServer::start_tcp().await;
    let mut admin = redis.connection().await;
    let password = ["SET", "requirepass", "hunter2"];
    redis::cmd("CONFIG").arg(&password).exec_async(&mut admin).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("url");
    let url = redis.url().replace("redis://", "redis://:hunter2@");
    std::fs::write(&path, format!("{url}\n")).unwrap();
    let path = path.to_str().unwrap();

    let larder = Larder::redis("").env("LARDER_STORE__URL_FILE", path).start().await;
    let cache = larder.client().await;
    eventually("the store answers", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    assert!(!larder.logs().contains("hunter2"));

    let shown = run(&["check-config", "--store-url-file", path], &[]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown));
    let expected = format!("url_file = \"{path}\" # {}\n", url.replace("hunter2", "***"));
    assert!(text(&shown).contains(&expected), "{}", text(&shown));
    std::fs::write(path, "hunter2").unwrap();
    let invalid = run(&["check-config", "--store-url-file", path], &[]);
    assert_eq!(invalid.status.code(), Some(78), "{}", text(&invalid));
    assert!(text(&invalid).contains(&format!("store.url_file: the file {path} must contain")));
    assert!(!text(&invalid).contains("hunter2"), "{}", text(&invalid));
    let both = run(&["check-config", "--store-url-file", path, "--store", "memory"], &[]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_prints_a_table_or_json() {
    let larder = Larder::memory().env("LARDER_STATS__FLUSH_INTERVAL", "50ms").start().await;
    let cache = larder.client().await;
    cache.increment(increment("k", 1)).await.unwrap();
    for _ in 0..3 {
        cache.get(get("k")).await.unwrap();
    }
    let address = larder.address().to_string();
    let json = eventually("the statistics are flushed", SOON, async || {
        let output = run(&["stats", "--json", "--address", &address], &[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        text(&output)
            .contains("\"hits\"")
            .then_some(json)
            .filter(|json| json.to_string().contains(":3"))
    })
    .await;
    assert!(json.is_object(), "{json}");
    assert!(json.to_string().contains("\"ns\""), "{json}");

    assert_eq!(json["replicas"].as_array().map(Vec::len), Some(1), "{json}");
    assert_eq!(json["replicas"][0]["version"], env!("CARGO_PKG_VERSION"), "{json}");

    let table = run(&["stats", "--address", &address], &[]);
    assert_eq!(table.status.code(), Some(0), "{}", text(&table));
    assert!(text(&table).contains("replicas   1\n"), "{}", text(&table));
    assert!(text(&table).contains("ns") && text(&table).contains("memory"), "{}", text(&table));
    let chosen = run(&["stats", "--address", &address, "--namespace", "elsewhere", "--json"], &[]);
    assert!(!text(&chosen).contains("\"ns\""), "{}", text(&chosen));
    assert_eq!(chosen.status.code(), Some(1));
    assert!(
        text(&chosen).contains("no statistics of the namespace elsewhere"),
        "{}",
        text(&chosen)
    );
    drop(larder);
    assert_eq!(run(&["stats", "--address", &address], &[]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_shows_what_happens_and_why_redis_is_not_reachable() {
    let mut redis = RedisServer::start().await;
    let builder = || {
        Larder::redis(&redis.url()).default_timeouts().env("LARDER_STATS__FLUSH_INTERVAL", "50ms")
    };
    let (first, second) = (builder().start().await, builder().start().await);
    let cache = first.client().await;
    cache.lease("contended").await;
    cache.get_or_fetch(fetch("contended", 0)).await.unwrap().expect_contended();
    let address = first.address().to_string();
    let stats = || text(&run(&["stats", "--address", &address], &[]));
    let shown = eventually("both replicas have reported", SOON, async || {
        let shown = stats();
        (shown.contains("replicas   2\n") && shown.contains("contended")).then_some(shown)
    })
    .await;
    assert!(shown.contains("p50 compute") && shown.contains("lost fills"), "{shown}");
    drop(second);
    redis.kill();
    eventually("the cause is shown", SOON, async || {
        let line = "store      redis, not reachable: ";
        let shown = stats();
        let cause = shown.lines().find_map(|shown| shown.strip_prefix(line))?;
        (cause.contains("refused") || cause.contains("No such file")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_with_another_number_of_shards_refuses_to_start() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    let url = redis.url();
    let other = [("LARDER_STORE__SHARDS", "32"), ("LARDER_STORE", url.as_str())];
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let refused = eventually("the number of shards is known", SOON, async || {
        let mut connection = redis.connection().await;
        let known: bool = redis::cmd("HEXISTS")
            .arg("larder:{clock}")
            .arg("shards")
            .query_async(&mut connection)
            .await
            .unwrap();
        known.then(|| run(&serve, &other))
    })
    .await;
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    let words = "store.shards is 32, and the other replicas on this Redis and store.prefix use 64";
    assert!(text(&refused).contains(words), "{}", text(&refused));
    assert_eq!(cache.read("k").await.as_deref(), Some("v"), "the others are not affected");
    // With a prefix of its own it is another cache.
    let apart =
        Larder::redis(&url).envs(&other[..1]).env("LARDER_STORE__PREFIX", "p").start().await;
    apart.client().await.put("k", "other").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_numbers_of_shards_remains_when_redis_comes_up_later() {
    let mut redis = RedisServer::stopped();
    let start = |shards| {
        Larder::redis(&redis.url()).default_timeouts().env("LARDER_STORE__SHARDS", shards).start()
    };
    let (mut one, mut other) = (start(64).await, start(32).await);
    redis.restart().await;
    let (refused, status) = eventually("one of them ends", SOON, async || {
        let ended = [&mut one, &mut other].map(Larder::exited);
        ended.into_iter().enumerate().find_map(|(index, status)| Some((index, status?)))
    })
    .await;
    assert_eq!(status.code(), Some(78));
    let remaining = if refused == 0 { &mut other } else { &mut one };
    let cache = remaining.client().await;
    eventually("the other one serves", SOON, async || {
        cache.put("k", "v").await;
        cache.read("k").await
    })
    .await;
    assert!(remaining.exited().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_file_has_the_addresses_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports");
    let mut server = Serving::start(&["--port-file", path.to_str().unwrap()]);
    let written =
        eventually("the file is written", SOON, async || std::fs::read_to_string(&path).ok()).await;
    let lines: Vec<&str> = written.lines().collect();
    let [grpc, admin] = lines[..] else { panic!("{written}") };
    let grpc = grpc.strip_prefix("LARDER_LISTEN=").unwrap();
    assert!(admin.starts_with("LARDER_ADMIN_LISTEN=127.0.0.1:") && !admin.ends_with(":0"));
    eventually("the server is ready", SOON, async || {
        let check = run(&["healthcheck", "--address", grpc], &[]);
        (check.status.code() == Some(0)).then_some(())
    })
    .await;
    server.terminate();
    assert!(!path.exists(), "it is removed");

    let nowhere = directory.path().join("no/such/directory");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let arguments = [&arguments[..], &["--port-file", nowhere.to_str().unwrap()]].concat();
    let failed = run(&arguments, &[]);
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
    assert!(text(&failed).contains("--port-file: cannot write"), "{}", text(&failed));
}

#[test]
fn the_configuration_of_docker_compose_is_valid() {
    let output = run(&["check-config", "--config", "deploy/compose/larder.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    // The lines that are commented out are valid as well.
    let all = std::fs::read_to_string("deploy/compose/larder.toml").unwrap();
    let all = all.replace("# [namespaces", "[namespaces").replace("# url", "url");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("larder.toml");
    std::fs::write(&path, all).unwrap();
    let output = run(&["check-config", "--config", path.to_str().unwrap()], &[]);
    assert!(text(&output).contains("host.docker.internal"), "{}", text(&output));
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_error() {
    let output = run_into_closed_pipe(&["check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(!text(&output).contains("panic"), "{}", text(&output));
}

/// Standard output and standard error.
fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
