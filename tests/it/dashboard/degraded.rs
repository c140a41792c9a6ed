//! The store is slow or away, and bounds are reached.

use std::time::Duration;

use super::{Http, address, own_headers};
use crate::support::{
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const MAX_JOBS: usize = 8;
const MAX_LISTINGS: usize = 2;

async fn metric(http: &Http, name: &str) -> u64 {
    let metrics = http.get("/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn without_the_store_the_pages_state_what_is_not_known() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.upstream()).await;
    let builder = Larder::redis(&proxy.redis_url()).default_timeouts();
    let larder = builder.config("[namespaces.ns]\n").start().await;
    let http = Http::to(&larder);
    let notice = "the figures are of this replica alone";
    eventually("the store answers", SOON, async || {
        let body = http.get("/namespaces/ns").await.body;
        let is_known = body.contains("<b>0</b> entries") && !body.contains(notice);
        is_known.then_some(())
    })
    .await;
    proxy.blackhole();
    for path in ["/", "/namespaces", "/namespaces/ns", "/origins", "/replicas"] {
        let answer = http.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.body.contains(notice), "{path}: {answer:?}");
    }
    let namespace = http.get("/namespaces/ns").await.body;
    assert!(namespace.contains("number of entries not known"), "{namespace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_answered_while_the_store_is_slow() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.upstream()).await;
    let builder = Larder::redis(&proxy.redis_url()).env("LARDER_STORE__TIMEOUT", "60s");
    let larder = builder.start().await;
    let http = Http::to(&larder);
    let keys = address("/keys", &[("namespace", "ns")]);
    assert_eq!(http.get(&keys).await.status, 200);
    let delete = [("action", "delete"), ("namespace", "ns"), ("key", "k")];
    let csrf = http.get(&address("/confirm", &delete)).await.field("csrf");
    let mut fields = delete.to_vec();
    fields.push(("csrf", &csrf));
    proxy.blackhole();
    let overview = tokio::spawn({
        let http = http.clone();
        async move { http.get("/").await }
    });
    let headers = own_headers(&http);
    let begun = (0..MAX_JOBS).map(|_| http.form("/actions", &headers, &fields));
    for answer in futures_util::future::join_all(begun).await {
        assert_eq!(answer.status, 303, "{answer:?}");
    }
    let refused = http.form("/actions", &headers, &fields).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "5"), "{refused:?}");
    assert!(refused.body.contains("8 at most"), "{refused:?}");
    assert_eq!(metric(&http, "larder_dashboard_jobs").await, 8);
    assert_eq!(metric(&http, "larder_dashboard_jobs_refused_total").await, 1);
    let listings: Vec<_> = (0..MAX_LISTINGS)
        .map(|_| {
            let (http, keys) = (http.clone(), keys.clone());
            tokio::spawn(async move { http.get(&keys).await })
        })
        .collect();
    eventually("both lists are made", SOON, async || {
        (metric(&http, "larder_dashboard_listings").await == 2).then_some(())
    })
    .await;
    let refused = http.get(&keys).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("listings of keys at once: 2 at most"), "{refused:?}");
    assert_eq!(metric(&http, "larder_dashboard_listings_refused_total").await, 1);
    listings.iter().for_each(tokio::task::JoinHandle::abort);
    let late = tokio::time::timeout(Duration::from_secs(30), overview).await.unwrap().unwrap();
    assert_eq!((late.status, late.header("retry-after")), (503, "5"), "{late:?}");
    assert!(late.body.contains("not there after 10 s"), "{late:?}");
}
