//! AdminService: the counters of the fleet over time.

use std::{collections::BTreeSet, time::SystemTime};

use larder::pb::v1::{
    Counters, GetHistoryRequest, GetHistoryResponse, GetRequest, HistorySpan, StatsRequest,
    WindowStats,
};
use tonic::{Code, Status};

use crate::support::{
    client::{Cache, NS, duration, get, key_ref},
    fleet::Fleet,
    redis::RedisServer,
    server::Larder,
    status::{expect_error, expect_violation},
    wait::{SOON, eventually},
};

const HOUR: i64 = 3600;

async fn history(
    cache: &Cache,
    span: HistorySpan,
    namespaces: &[&str],
) -> Result<GetHistoryResponse, Status> {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    let request = GetHistoryRequest { namespaces, span: span.into() };
    cache.admin().get_history(request).await.map(tonic::Response::into_inner)
}

async fn windows(cache: &Cache) -> WindowStats {
    cache.stats(StatsRequest::default()).await.unwrap().totals.unwrap()
}

/// Hits, misses and sets.
fn counts(counters: &Counters) -> [u64; 3] {
    [counters.hits, counters.misses, counters.sets]
}

fn sum<'a>(steps: impl Iterator<Item = &'a Counters>) -> [u64; 3] {
    steps.map(counts).fold([0; 3], |sum, step| [0, 1, 2].map(|i| sum[i] + step[i]))
}

fn totals(history: &GetHistoryResponse) -> impl Iterator<Item = &Counters> {
    history.totals.iter().map(|step| step.counters.as_ref().unwrap())
}

/// Begin and misses of the steps with misses.
fn misses(history: &GetHistoryResponse) -> Vec<(i64, u64)> {
    let steps = history.totals.iter().map(|step| {
        let misses = step.counters.as_ref().unwrap().misses;
        (step.start.unwrap().seconds, misses)
    });
    steps.filter(|(_, misses)| *misses > 0).collect()
}

on_both_stores!(the_steps_of_each_span_sum_up_to_the_statistics, |env| {
    let cache = &env.cache;
    for number in 0..20 {
        cache.put(&format!("k{number}"), "v").await;
        cache.read(&format!("k{number}")).await.unwrap();
    }
    for _ in 0..7 {
        let other = GetRequest { namespace: "other".to_owned(), ..get("missing") };
        cache.get(other).await.unwrap();
    }
    for (span, steps, seconds) in [
        (HistorySpan::Unspecified, 60, 60),
        (HistorySpan::Hour, 60, 60),
        (HistorySpan::Day, 144, 600),
        (HistorySpan::Week, 168, HOUR),
    ] {
        let history = history(cache, span, &["other", "none", NS]).await.unwrap();
        assert_eq!((history.totals.len(), history.degraded), (steps, false), "{span:?}");
        assert_eq!(duration(history.step).as_secs().cast_signed(), seconds);
        let starts = history.totals.iter().map(|step| step.start.unwrap().seconds);
        let starts: Vec<_> = starts.collect();
        let distances: BTreeSet<i64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(distances == BTreeSet::from([seconds]) && starts[0] % seconds == 0, "{starts:?}");
        assert_eq!(sum(totals(&history)), [20, 7, 20], "{span:?}");
        let windows = windows(cache).await;
        for window in [windows.last_hour, windows.last_day] {
            assert_eq!(counts(&window.unwrap()), [20, 7, 20]);
        }
        let names = history.namespaces.iter().map(|one| one.namespace.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["other", "none", NS]);
        let sums = history.namespaces.iter().map(|one| {
            assert_eq!(one.steps.len(), steps);
            sum(one.steps.iter())
        });
        assert_eq!(sums.collect::<Vec<_>>(), [[0, 7, 0], [0; 3], [20, 0, 20]]);
        let busy = totals(&history).find(|counters| counters.hits > 0).unwrap();
        assert!(busy.hit_rate.is_some() && busy.hit_latency.is_some(), "{busy:?}");
    }
});

on_both_stores!(a_request_for_too_much_is_refused, |env| {
    let refused = |span, names: &'static [&str]| history(&env.cache, span, names);
    expect_error(
        refused(HistorySpan::Hour, &["a"; 101]).await,
        Code::InvalidArgument,
        "BATCH_TOO_LARGE",
    );
    refused(HistorySpan::Hour, &["a"; 100]).await.unwrap();
    expect_violation(refused(HistorySpan::Hour, &["a", "b c"]).await, "namespaces[1]");
    let request = GetHistoryRequest { span: 4, ..GetHistoryRequest::default() };
    expect_violation(env.cache.admin().get_history(request).await, "span");
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_reports_the_history_of_the_fleet() {
    let fleet = Fleet::start(3, "[stats]\nflush_interval = '100ms'\n").await;
    for (number, cache) in fleet.caches.iter().enumerate() {
        for _ in 0..=number {
            cache.put("k", "v").await;
            cache.read("k").await.unwrap();
            cache.read("missing").await;
        }
    }
    for cache in &fleet.caches {
        eventually("all replicas have flushed", SOON, async || {
            let history = history(cache, HistorySpan::Week, &[NS]).await.unwrap();
            let of_namespace = sum(history.namespaces[0].steps.iter());
            (sum(totals(&history)) == [6; 3] && of_namespace == [6; 3]).then_some(())
        })
        .await;
        let day = windows(cache).await.last_day.unwrap();
        assert_eq!(counts(&day), [6; 3]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_has_the_hours_of_the_past_and_older_ones_leave_it() {
    let redis = RedisServer::start_with_settable_clock().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    let week = async || history(&cache, HistorySpan::Week, &[]).await.unwrap();
    let last_start =
        |history: &GetHistoryResponse| history.totals.last().unwrap().start.unwrap().seconds;
    let advance = async |hours: i64, from: i64| {
        redis.set_clock(hours * HOUR);
        eventually("the replica follows the clock of Redis", SOON, async || {
            (last_start(&week().await) >= from + hours * HOUR).then_some(())
        })
        .await;
    };
    let begin = last_start(&week().await);
    for _ in 0..3 {
        cache.read("missing").await;
    }
    assert_eq!(misses(&week().await).iter().map(|(_, misses)| misses).sum::<u64>(), 3);
    advance(5, begin).await;
    for _ in 0..2 {
        cache.read("missing").await;
    }
    let steps = misses(&week().await);
    let [(first, 3), (second, 2)] = steps[..] else { panic!("{steps:?}") };
    // One more if an hour ends during the test.
    assert!([5 * HOUR, 6 * HOUR].contains(&(second - first)), "{steps:?}");
    let hour = history(&cache, HistorySpan::Hour, &[]).await.unwrap();
    assert_eq!(sum(totals(&hour)), [0, 2, 0]);
    // The first hour leaves the window, and then the second.
    advance(6 * 24 + 24 + 2, begin).await;
    assert_eq!(misses(&week().await), [(second, 2)]);
    advance(8 * 24, begin).await;
    assert_eq!(misses(&week().await), []);
    assert_eq!(windows(&cache).await.total.unwrap().misses, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_that_of_one_replica_while_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let server = async || Larder::redis(&redis.url()).default_timeouts().start().await;
    let (here, there) = (server().await, server().await);
    let (cache, other) = (here.client().await, there.client().await);
    other.read("missing").await;
    history(&other, HistorySpan::Hour, &[]).await.unwrap();
    cache.batch_get(crate::support::client::batch_get(vec![key_ref("missing"); 4])).await.unwrap();
    let both = history(&cache, HistorySpan::Week, &[]).await.unwrap();
    assert_eq!((sum(totals(&both)), both.degraded), ([0, 5, 0], false));
    redis.kill();
    for span in [HistorySpan::Hour, HistorySpan::Day, HistorySpan::Week] {
        let own = history(&cache, span, &[NS]).await.unwrap();
        assert_eq!((sum(totals(&own)), own.degraded), ([0, 4, 0], true), "{span:?}");
        assert_eq!(sum(own.namespaces[0].steps.iter()), [0, 4, 0]);
    }
    redis.restart().await;
    eventually("the history of the store is back", SOON, async || {
        let history = history(&cache, HistorySpan::Week, &[]).await.unwrap();
        (!history.degraded).then_some(())
    })
    .await;
}

/// Replicas of an earlier release do not add to the hours of the week.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_of_an_earlier_release_are_in_the_hour_and_in_the_day() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.read("missing").await;
    history(&cache, HistorySpan::Week, &[]).await.unwrap();
    let mut keys = redis.connection().await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for (seconds, field) in [(60, "ns|misses"), (600, "ns|misses"), (60, "ns|of_a_later_release")] {
        let bucket = format!("larder:{{stats}}:{seconds}s:{}", now / seconds);
        let mut add = redis::cmd("HINCRBY");
        add.arg(bucket).arg(field).arg(7).exec_async(&mut keys).await.unwrap();
    }
    for (span, expected) in [(HistorySpan::Hour, 8), (HistorySpan::Day, 8), (HistorySpan::Week, 1)]
    {
        let history = history(&cache, span, &[NS]).await.unwrap();
        assert_eq!(sum(totals(&history)), [0, expected, 0], "{span:?}");
        assert_eq!(sum(history.namespaces[0].steps.iter()), [0, expected, 0]);
    }
}
