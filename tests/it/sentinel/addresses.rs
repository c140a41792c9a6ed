//! How the primary is found: credentials, TLS, sentinels that are away, and the error if none
//! names it.

use std::time::Duration;

use larder::pb::v1::StatsRequest;

use crate::support::{
    client::{Cache, delete, get, set, text},
    fleet::metric,
    sentinel::{FAILOVER, Passwords, SERVICE, SentinelServer, Service},
    server::Larder,
    tls::TlsRedisServer,
    wait::{SOON, eventually, throughout},
};

async fn works(cache: &Cache) {
    eventually("a value is stored", SOON, async || {
        (!cache.set(set("k", text("v"))).await.unwrap().degraded).then_some(())
    })
    .await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
    assert!(cache.delete(delete("k")).await.unwrap().existed);
}

/// The metric of the sentinels that answer.
async fn answering(larder: &Larder) -> f64 {
    assert_eq!(metric(larder, "larder_store_sentinels").await, 2.0, "with the silent ones");
    let text = larder.admin("/metrics").await.body;
    let mut lines = text.lines().filter(|line| line.starts_with("larder_store_sentinels{"));
    let line = lines.find(|line| line.contains("answering")).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

/// Waits until the statistics have a cause of the outage with these words.
async fn has_cause(cache: &Cache, words: &str) {
    eventually(words, FAILOVER, async || {
        let stats = cache.stats(StatsRequest::default()).await.unwrap();
        stats.store.unwrap().cause.contains(words).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sentinel_names_the_primary() {
    let mut service = Service::start_with(0, 2, None).await;
    service.sentinels[0].kill();
    let larder = service.larder().start().await;
    let cache = larder.client().await;
    works(&cache).await;
    let stats = cache.stats(StatsRequest::default()).await.unwrap().store.unwrap();
    assert_eq!((stats.kind.as_str(), stats.topology.as_str()), ("redis", "sentinel"));
    assert_eq!(stats.sentinel_service, SERVICE);
    assert_eq!(stats.primary, format!("127.0.0.1:{}", service.servers[0].port()));
    assert_eq!((stats.sentinels, stats.sentinels_reachable), (2, 1));
    assert_eq!(answering(&larder).await, 1.0);
    let log = larder.logs();
    let serving = log.lines().find(|line| line.contains("\"serving\"")).unwrap();
    assert!(serving.contains("redis-sentinel://127.0.0.1:"), "{serving}");
    // A paused sentinel accepts connections, and does not answer.
    assert!(service.sentinels[0].restart().await);
    service.sentinels[0].pause();
    let other = service.larder().start().await;
    works(&other.client().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_stays_in_use_while_no_sentinel_answers() {
    let mut service = Service::start_with(0, 2, None).await;
    let larder = service.larder().start().await;
    let cache = larder.client().await;
    works(&cache).await;
    service.sentinels.iter_mut().for_each(SentinelServer::kill);
    eventually("the sentinels are missed", SOON, async || {
        larder.logs().contains("no sentinel names the primary").then_some(())
    })
    .await;
    throughout(Duration::from_secs(1), async || works(&cache).await).await;
    // New connections lead to it as well.
    let mut primary = service.server_connection(0).await;
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal").exec_async(&mut primary).await.unwrap();
    works(&cache).await;
    assert_eq!(answering(&larder).await, 0.0);
    assert!(service.sentinels[0].restart().await);
    eventually("a sentinel is back", FAILOVER, async || {
        larder.logs().contains("the sentinels name the primary again").then_some(())
    })
    .await;
    works(&cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_service_and_missing_sentinels_are_named() {
    let mut service = Service::start_with(0, 1, None).await;
    let wrong = service.url().replace(&format!("/{SERVICE}"), "/other");
    let larder = Larder::redis(&wrong).default_timeouts().start().await;
    let cache = larder.client().await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    has_cause(&cache, "the sentinels have no service of the name \"other\"").await;
    let log = larder.logs();
    assert!(log.contains("\"unknown_service\"") && log.contains("SENTINEL MASTERS"), "{log}");
    // A server is no sentinel.
    let port = service.servers[0].port();
    let server = Larder::redis(&format!("redis-sentinel://127.0.0.1:{port}/main"))
        .default_timeouts()
        .start()
        .await;
    has_cause(&server.client().await, "unknown command").await;
    // The primary is away, and nothing can take its place.
    let larder = service.larder().start().await;
    let cache = larder.client().await;
    works(&cache).await;
    service.servers[0].kill();
    has_cause(&cache, "is down for the sentinels (s_down)").await;
    service.servers[0].restart().await;
    works(&cache).await;
    // No sentinel, from the start.
    let port = service.sentinels[0].port();
    service.sentinels[0].kill();
    let larder = service.larder().start().await;
    let cache = larder.client().await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    has_cause(&cache, &format!("no sentinel of store.url names the primary: 127.0.0.1:{port}"))
        .await;
    assert!(larder.logs().contains("\"no_sentinel\""), "{}", larder.logs());
}

/// A sentinel that has missed a demotion names a replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_not_used_though_a_sentinel_names_it() {
    let service = Service::start_with(1, 0, None).await;
    let port = service.servers[1].port();
    let lines = [format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 1")];
    let sentinel =
        SentinelServer::start_by(&lines, None, |port| vec![format!("port {port}")]).await;
    let url = format!("redis-sentinel://127.0.0.1:{}/{SERVICE}", sentinel.port());
    let larder = Larder::redis(&url).default_timeouts().start().await;
    let cache = larder.client().await;
    has_cause(&cache, &format!("the sentinels name 127.0.0.1:{port}, which is a replica")).await;
    assert!(cache.get(get("k")).await.unwrap().degraded);
    let mut replica = service.server_connection(1).await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut replica).await.unwrap();
    works(&cache).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_sentinels_have_passwords_of_their_own() {
    let passwords = Passwords { server: "server-S3CRET", sentinel: "sentinel-S3CRET" };
    let service = Service::start_with(0, 1, Some(passwords)).await;
    let larder = service.larder().start().await;
    works(&larder.client().await).await;
    assert!(!larder.logs().contains("S3CRET"), "{}", larder.logs());

    // The URL without passwords, which come from variables.
    let port = service.sentinels[0].port();
    let bare = format!("redis-sentinel://127.0.0.1:{port}/{SERVICE}");
    let variables =
        [("REDIS_PASSWORD", passwords.server), ("REDIS_SENTINEL_PASSWORD", passwords.sentinel)];
    let completed = Larder::redis(&bare).default_timeouts().envs(&variables).start().await;
    works(&completed.client().await).await;

    // The password of the servers is not sent to the sentinels.
    let without = Larder::redis(&bare).default_timeouts().envs(&variables[..1]).start().await;
    has_cause(&without.client().await, "NOAUTH").await;
    let wrong = service.url().replace("sentinel-S3CRET", "wrong-S3CRET");
    let wrong = Larder::redis(&wrong).default_timeouts().start().await;
    has_cause(&wrong.client().await, "no sentinel of store.url names the primary").await;
    let wrong_log = wrong.logs();
    assert!(
        wrong_log.contains("sentinel_password") && !wrong_log.contains("S3CRET"),
        "{wrong_log}"
    );
    let wrong = service.url().replace("server-S3CRET", "wrong-S3CRET");
    let wrong = Larder::redis(&wrong).default_timeouts().start().await;
    has_cause(&wrong.client().await, "WRONGPASS").await;
}

/// The ACL of a sentinel that SECURITY.md has suffices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_user_of_a_sentinel_suffices() {
    let service = Service::start_with(0, 1, None).await;
    let document = include_str!("../../../SECURITY.md");
    let mut lines = document.lines();
    let line = lines.find(|line| line.contains("+sentinel|master")).expect("a line for sentinels");
    let sentinel = &service.sentinels[0];
    sentinel.command(&line.split(' ').collect::<Vec<_>>()).await;
    let url = service.url() + "?sentinel_username=larder&sentinel_password=CHANGE-ME";
    let larder =
        Larder::redis(&url).default_timeouts().env("LARDER_LOG__LEVEL", "debug").start().await;
    works(&larder.client().await).await;
    let log = larder.logs();
    assert!(!log.contains("the sentinel announces nothing") && !log.contains("CHANGE-ME"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_used_for_servers_and_sentinels() {
    let primary = TlsRedisServer::start(&[]).await;
    let lines = [format!("sentinel monitor {SERVICE} 127.0.0.1 {} 1", primary.port())];
    let sentinel = SentinelServer::start_by(&lines, None, |port| {
        let mut lines = vec!["port 0".to_owned(), "tls-replication yes".to_owned()];
        lines.extend(primary.tls_lines(port));
        lines
    })
    .await;
    let url = |scheme: &str| format!("{scheme}://127.0.0.1:{}/{SERVICE}", sentinel.port());
    let authority = primary.authority();
    let larder = Larder::redis(&url("rediss-sentinel"))
        .default_timeouts()
        .env("SSL_CERT_FILE", &authority)
        .start()
        .await;
    works(&larder.client().await).await;
    let untrusting = Larder::redis(&url("rediss-sentinel"))
        .default_timeouts()
        .env("SSL_CERT_FILE", "/dev/null")
        .start()
        .await;
    has_cause(&untrusting.client().await, "certificate").await;
    let plain = Larder::redis(&url("redis-sentinel")).default_timeouts().start().await;
    has_cause(&plain.client().await, "no sentinel").await;
}
