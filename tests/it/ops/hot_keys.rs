//! AdminService: the keys that are read most.

use std::time::{Duration, SystemTime};

use larder::pb::v1::{
    HotKeysRequest, HotKeysResponse, SetRequest, StatsRequest,
    admin_service_client::AdminServiceClient,
};
use tonic::{Code, Status};

use crate::support::{
    batch::{answers, batch},
    client::{Cache, NS, batch_get, duration, get, key_ref, ms, params, set, text},
    fleet::Fleet,
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

/// Most keys of a batch.
const BATCH: usize = 1000;

fn hot_keys_request() -> HotKeysRequest {
    HotKeysRequest { namespace: NS.to_owned(), window: ms(60_000), limit: 0 }
}

async fn hot_keys(cache: &Cache, request: HotKeysRequest) -> Result<HotKeysResponse, Status> {
    AdminServiceClient::new(cache.channel()).hot_keys(request).await.map(|hot| hot.into_inner())
}

/// Reads a key many thousand times.
async fn read(cache: &Cache, key: &str, thousands: usize) {
    for _ in 0..thousands {
        cache.batch_get(batch_get(vec![key_ref(key); BATCH])).await.unwrap();
    }
}

on_both_stores!(the_most_read_keys_come_first, |env| {
    let cache = &env.cache;
    assert!(hot_keys(cache, hot_keys_request()).await.unwrap().keys.is_empty());
    cache.put("hot", "v").await;
    read(cache, "hot", 40).await;
    read(cache, "warm", 10).await;
    let rare = (0..10 * BATCH).map(|number| key_ref(&format!("rare {number}"))).collect::<Vec<_>>();
    for keys in rare.chunks(BATCH) {
        cache.batch_get(batch_get(keys.to_vec())).await.unwrap();
    }
    let report = hot_keys(cache, hot_keys_request()).await.unwrap();
    assert_eq!((report.reads, report.replicas), (report.samples * 128, 1));
    let names: Vec<_> = report.keys.iter().take(2).map(|hot| &*hot.key).collect();
    assert_eq!((names, report.keys.len()), (vec!["hot", "warm"], 20));
    for (hot, reads) in report.keys.iter().zip([40_000_u64, 10_000]) {
        // Far more than the error of 95 %, so that the test never fails by chance.
        assert!(hot.reads.abs_diff(reads) <= 3 * hot.error, "{hot:?}");
        assert!(hot.error < reads / 2, "{hot:?}");
        assert!((hot.share - hot.reads as f64 / report.reads as f64).abs() < 1e-9);
    }
    // The server is younger than the window.
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    let since = SystemTime::try_from(stats.counting_since.unwrap()).unwrap();
    let (covered, age) = (duration(report.window), since.elapsed().unwrap());
    assert!(covered > Duration::ZERO && covered <= age, "{covered:?} of {age:?}");

    let one = HotKeysRequest { limit: 1, window: ms(3_600_000), ..hot_keys_request() };
    let hour = hot_keys(cache, one).await.unwrap();
    assert_eq!((hour.keys.len(), &*hour.keys[0].key), (1, "hot"));
    assert!(env.larder.admin("/metrics").await.body.contains("larder_hot_keys_dropped_total"));
    let other = HotKeysRequest { namespace: "other".to_owned(), ..hot_keys_request() };
    assert!(hot_keys(cache, other).await.unwrap().keys.is_empty());
    let long = HotKeysRequest { window: ms(3_600_001), ..hot_keys_request() };
    expect_violation(hot_keys(cache, long).await, "window");
});

on_both_stores!(every_kind_of_read_counts, |env| {
    let cache = &env.cache;
    let params = params(&[("view", "full")]);
    cache.set(SetRequest { params: params.clone(), ..set("k", text("v")) }).await.unwrap();
    for _ in 0..3000 {
        cache.get(get("single")).await.unwrap();
    }
    let mut fetched = batch(&[]);
    fetched.only_if_cached = true;
    fetched.keys = vec![larder::pb::v1::KeyRef { params, ..key_ref("k") }; BATCH];
    for _ in 0..20 {
        answers(cache, fetched.clone()).await;
    }
    let report = hot_keys(cache, hot_keys_request()).await.unwrap();
    let [first, second] = &report.keys[..] else { panic!("{report:?}") };
    assert_eq!((&*first.key, first.params_digest.len()), ("k", 43));
    assert_eq!((&*second.key, &*second.params_digest), ("single", ""));
});

const STRICT: &str = "strict_namespaces = true\n[namespaces.ns]\n";

on_both_stores!(unknown_namespace_has_no_hot_keys, config: STRICT, |env| {
    let other = HotKeysRequest { namespace: "other".to_owned(), ..hot_keys_request() };
    expect_error(hot_keys(&env.cache, other).await, Code::NotFound, "UNKNOWN_NAMESPACE");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_find_the_hot_keys_of_the_fleet() {
    let mut fleet = Fleet::start(2, "").await;
    read(&fleet.caches[0], "one", 10).await;
    read(&fleet.caches[0], "both", 10).await;
    read(&fleet.caches[1], "two", 10).await;
    read(&fleet.caches[1], "both", 10).await;
    for cache in &fleet.caches {
        let report = eventually("both replicas have sent their samples", SOON, async || {
            let report = hot_keys(cache, hot_keys_request()).await.unwrap();
            // Most of the 40,000 reads.
            (report.replicas == 2 && report.reads > 30_000).then_some(report)
        })
        .await;
        let mut names: Vec<_> = report.keys.iter().map(|hot| &*hot.key).collect();
        assert_eq!(names[0], "both", "{report:?}");
        names.sort_unstable();
        assert_eq!(names, ["both", "one", "two"]);
    }
    // Samples remain after their replica has stopped.
    fleet.servers[0].kill();
    let report = hot_keys(&fleet.caches[1], hot_keys_request()).await.unwrap();
    assert!(report.keys.iter().any(|hot| hot.key == "one"), "{report:?}");
}
