//! AdminService: how well namespaces are cached, and what to change.

use std::{fs, time::Duration};

use larder::pb::v1::{
    AnalyzeRequest, AnalyzeResponse, BatchGetOrFetchRequest, BatchGetRequest, BatchSetRequest,
    Finding, KeyRef, NamespaceAnalysis, SetRequest,
    finding::{Kind, Severity},
};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, data, delete, fetch, key_ref, set, set_for},
    env::Env,
    fleet::Fleet,
    redis::RedisServer,
    server::{Larder, run},
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

/// Followed keys of each namespace: enough for each kind of finding.
const KEYS: usize = 400;
/// Large values: enough for a finding.
const LARGE: usize = 60;
/// Time for the events of all replicas to be joined.
const JOINED: Duration = Duration::from_secs(60);

/// Keys, which are all followed.
fn followed(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("k{number}")).collect()
}

async fn write(cache: &Cache, namespace: &str, keys: &[String], bytes: usize) {
    let item = |key: &String| SetRequest {
        namespace: namespace.to_owned(),
        ..set(key, data(vec![b'v'; bytes]))
    };
    for keys in keys.chunks(((1 << 20) / bytes).min(1000)) {
        let items = keys.iter().map(item).collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
}

/// Writes 2 MiB of values that last.
async fn hold(cache: &Cache, namespace: &str) {
    let item = |number| {
        let key = format!("lasting {number}");
        SetRequest {
            namespace: namespace.to_owned(),
            ..set_for(&key, data(vec![0; 65_536]), 3_600_000)
        }
    };
    for number in 0..2 {
        let items = (16 * number..16 * (number + 1)).map(item).collect();
        cache.batch_set(BatchSetRequest { items }).await.unwrap();
    }
}

/// Reads keys. Returns the number of those that are found.
async fn read(cache: &Cache, namespace: &str, keys: &[String]) -> usize {
    let key = |key: &String| KeyRef { namespace: namespace.to_owned(), ..key_ref(key) };
    let mut found = 0;
    for keys in keys.chunks(100) {
        let keys = keys.iter().map(key).collect();
        let request = BatchGetRequest { keys, ..BatchGetRequest::default() };
        let responses = cache.batch_get(request).await.unwrap();
        let results = responses.iter().flat_map(|response| &response.results);
        found += results.filter(|result| result.value.is_some()).count();
    }
    found
}

/// Waits until entries have ended, by one more key.
async fn until_ended(cache: &Cache, namespace: &str) {
    let last = vec!["last".to_owned()];
    write(cache, namespace, &last, 1).await;
    eventually("the entries have ended", JOINED, async || {
        (read(cache, namespace, &last).await == 0).then_some(())
    })
    .await;
}

async fn analyze(cache: &Cache, namespaces: &[&str]) -> Result<AnalyzeResponse, Status> {
    let namespaces = namespaces.iter().map(ToString::to_string).collect();
    let response = cache.admin().analyze(AnalyzeRequest { namespaces }).await?;
    Ok(response.into_inner())
}

/// Waits for a finding.
async fn finding(cache: &Cache, namespace: &str, kind: Kind) -> Finding {
    let mut last = None;
    let what = format!("{kind:?} of {namespace}");
    let found = eventually(&what, JOINED, async || {
        let response = analyze(cache, &[namespace]).await.unwrap();
        let found = response.findings.iter().find(|finding| finding.kind() == kind).cloned();
        last = Some(response);
        found
    });
    let found = found.await;
    assert_eq!(found.namespace, namespace, "{last:?}");
    assert!(!found.summary.is_empty() && !found.figures.is_empty(), "{found:?}");
    found
}

/// The server accepts the lines that the findings suggest.
fn check_suggestions(findings: &[Finding]) {
    let lines: String = findings.iter().map(|finding| finding.suggestion.as_str()).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &lines).unwrap();
    let checked = run(&["check-config"], &[("LARDER_CONFIG", file.path().to_str().unwrap())]);
    assert!(checked.status.success(), "{lines}: {checked:?}");
}

const TTLS: &str = "[namespaces.short]\nttl = '1s'\n[namespaces.long]\nttl = '25s'\n\
                    [namespaces.unread]\nttl = '2s'\n[namespaces.large]\nttl = '2s'\n\
                    [namespaces.healthy]\nttl = '1h'\n";

on_both_stores!(each_kind_of_reuse_is_found, config: TTLS, |env| {
    let (cache, keys) = (&env.cache, followed(KEYS));
    // Each key is read again after the end of its TTL.
    for _ in 0..3 {
        assert_eq!(read(cache, "short", &keys).await, 0);
        write(cache, "short", &keys, 10).await;
        until_ended(cache, "short").await;
    }
    for _ in 0..2 {
        write(cache, "unread", &keys, 100).await;
        write(cache, "large", &keys[LARGE..], 10).await;
        assert_eq!(read(cache, "large", &keys[LARGE..]).await, KEYS - LARGE);
        write(cache, "large", &keys[..LARGE], 70_000).await;
        until_ended(cache, "unread").await;
        until_ended(cache, "large").await;
    }
    // Each key is read once, soon after it is written.
    write(cache, "long", &keys, 100).await;
    assert_eq!(read(cache, "long", &keys).await, KEYS);
    write(cache, "healthy", &keys, 100).await;
    for _ in 0..4 {
        assert_eq!(read(cache, "healthy", &keys).await, KEYS);
    }
    until_ended(cache, "long").await;
    let mut findings = vec![finding(cache, "short", Kind::TtlTooShort).await];
    for (namespace, kind) in [
        ("long", Kind::TtlTooLong),
        ("unread", Kind::NeverRead),
        ("large", Kind::LargeRarelyRead),
    ] {
        // A finding about memory is one about the present entries.
        hold(cache, namespace).await;
        findings.push(finding(cache, namespace, kind).await);
    }
    let [short, long, ..] = &findings[..] else { panic!("{findings:?}") };
    assert!(short.suggestion.starts_with("[namespaces.short]\nttl = \""), "{short:?}");
    assert!(long.suggestion.starts_with("[namespaces.long]\nttl = \""), "{long:?}");
    check_suggestions(&findings);

    let healthy = analyze(cache, &["healthy"]).await.unwrap();
    assert_eq!(healthy.findings, []);
    let [NamespaceAnalysis { counters: Some(counters), reuse: Some(reuse), .. }] =
        &healthy.namespaces[..]
    else {
        panic!("{healthy:?}")
    };
    assert_eq!(counters.hits, 4 * KEYS as u64);
    assert!(reuse.sampled_hits == 4 * KEYS as u64 && reuse.ttls.len() == 16, "{reuse:?}");
    assert!(env.larder.admin("/metrics").await.body.contains("larder_reuse_dropped_total"));
});

/// Each key is read again after the end of its TTL.
async fn check_small(cache: &Cache, keys: usize, rounds: usize) {
    let keys = followed(keys);
    for _ in 0..rounds {
        assert_eq!(read(cache, "short", &keys).await, 0);
        write(cache, "short", &keys, 10).await;
        until_ended(cache, "short").await;
    }
    let found = finding(cache, "short", Kind::TtlTooShort).await;
    assert!(found.suggestion.starts_with("[namespaces.short]\nttl = \""), "{found:?}");
}

on_both_stores!(ttl_of_a_hundred_keys_is_judged, config: TTLS, |env| {
    check_small(&env.cache, 100, 4).await;
});

on_both_stores!(ttl_of_two_thousand_keys_is_judged, config: TTLS, |env| {
    check_small(&env.cache, 2_000, 3).await;
});

const READS_THROUGH: &str = "ttl = '1s'\nlease_wait = '30s'";
const PATIENT: &str = "timeout = '30s'\n";

with_origin!(longer_ttl_saves_fetches, namespace: READS_THROUGH, origin: PATIENT, |env, origin| {
    let (cache, keys) = (&env.cache, followed(KEYS / 2));
    for _ in 0..3 {
        for keys in keys.chunks(50) {
            let keys = keys.iter().map(|key| key_ref(key)).collect();
            let request = BatchGetOrFetchRequest { keys, ..Default::default() };
            // The second call waits for the fetches of the first one.
            let both = tokio::join!(
                cache.batch_get_or_fetch(request.clone()),
                cache.batch_get_or_fetch(request)
            );
            assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        }
        until_ended(cache, "ns").await;
    }
    assert!(origin.calls() >= KEYS / 2 * 3);
    // Without the fetches of the first round, none is needed.
    finding(cache, "ns", Kind::TtlTooShort).await;
});

/// A store that has no room for all entries evicts some before their TTL.
async fn check_evictions(cache: &Cache) -> Finding {
    let keys = followed(2 * KEYS);
    write(cache, "ns", &keys, 16 * 1024).await;
    assert!(read(cache, "ns", &keys).await < KEYS);
    finding(cache, "ns", Kind::EvictedTooSoon).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_of_the_embedded_store_are_found() {
    let env = Env::memory(&[], "[memory]\nmax_bytes = '2MiB'\n").await;
    let found = check_evictions(&env.cache).await;
    assert_eq!(found.suggestion, "[memory]\nmax_bytes = \"4MiB\"\n");
    check_suggestions(&[found]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_of_redis_are_found() {
    let limits = ["--maxmemory", "5mb", "--maxmemory-policy", "volatile-lru"];
    let redis = RedisServer::start_with(&limits).await;
    let larder = Larder::redis(&redis.url()).start().await;
    let found = check_evictions(&larder.client().await).await;
    assert_eq!(found.suggestion, "", "its memory is not Larder's");
}

const ORIGIN: &str = "[namespaces.failing.origin]\nurl = 'http://127.0.0.1:1/{key}'\n\
                      retries = 0\n";

on_both_stores!(counters_are_judged, config: ORIGIN, |env| {
    let (cache, keys) = (&env.cache, followed(KEYS));
    assert_eq!(analyze(cache, &[]).await.unwrap(), AnalyzeResponse::default());
    for _ in 0..4 {
        assert_eq!(read(cache, "missing", &keys).await, 0);
    }
    for number in 0..101 {
        cache.delete(delete(&format!("k{number}"))).await.unwrap();
        let mut failing = fetch(&format!("k{number}"), 1000);
        failing.namespace = "failing".to_owned();
        cache.get_or_fetch(failing).await.unwrap_err();
    }
    let response = analyze(cache, &[]).await.unwrap();
    let found: Vec<_> = response
        .findings
        .iter()
        .map(|finding| (&*finding.namespace, finding.kind(), finding.severity()))
        .collect();
    let expected = [
        ("failing", Kind::OriginFails, Severity::Critical),
        ("missing", Kind::LowHitRate, Severity::Warning),
        ("ns", Kind::InvalidatedMoreThanHit, Severity::Warning),
    ];
    assert!(expected.iter().all(|one| found.contains(one)), "{found:?}");
    assert_eq!((found[0], found.len()), (expected[0], 3));
    assert_eq!(response.findings[0].suggestion, "[namespaces.failing]\nstale_if_error = \"1h\"\n");
    check_suggestions(&response.findings);
    assert_eq!(response.namespaces[0].namespace, "missing", "most reads first");

    expect_violation(analyze(cache, &["a", "B"]).await, "namespaces[1]");
    let many = vec!["a"; 101];
    expect_error(analyze(cache, &many).await, Code::InvalidArgument, "BATCH_TOO_LARGE");
});

const STRICT: &str = "strict_namespaces = true\n[namespaces.ns]\n";

on_both_stores!(unknown_namespace_is_not_analyzed, config: STRICT, |env| {
    let other = analyze(&env.cache, &["other"]).await;
    expect_error(other, Code::NotFound, "UNKNOWN_NAMESPACE");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_on_different_replicas_are_joined() {
    let mut fleet = Fleet::start(2, "[namespaces.short]\nttl = '1s'\n").await;
    let keys = followed(KEYS);
    let [one, two] = &fleet.caches[..] else { panic!("two replicas") };
    for _ in 0..3 {
        assert_eq!(read(one, "short", &keys).await, 0);
        write(two, "short", &keys, 10).await;
        until_ended(two, "short").await;
    }
    for cache in &fleet.caches {
        let found = finding(cache, "short", Kind::TtlTooShort).await;
        let sampled = found.figures.iter().find(|figure| figure.name == "sampled_misses");
        assert!(sampled.is_some_and(|figure| figure.value > 0.0), "{found:?}");
    }
    // The counts that one replica has joined remain if it stops.
    fleet.servers[0].kill();
    eventually("the other replica reports all", SOON, async || {
        let response = analyze(&fleet.caches[1], &["short"]).await.unwrap();
        response.findings.iter().any(|one| one.kind() == Kind::TtlTooShort).then_some(())
    })
    .await;
}
