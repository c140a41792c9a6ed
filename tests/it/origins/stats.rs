//! Counters of fetches, in Stats for the fleet and in the metrics of a replica.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, Outcome};

use crate::support::{
    client::{delete, duration, fetch},
    observe::{becomes, becomes_text, counted, metric, metric_becomes, waiting},
    origin::{after, ok, status},
    wait::{SOON, eventually},
};

/// Makes counters visible in Stats soon.
const FAST_FLUSH: &str = "\n[stats]\nflush_interval = '50ms'";

with_origin!(
    every_outcome_is_counted,
    origin: &format!(
        "retries = 0\nearly_refresh = 0\nerror_backoff = '1ms'\nsoft_timeout = '1s'\n\
         timeout = '1m'{FAST_FLUSH}"
    ),
    |env, origin| {
        // A slow fetch that two more calls join, and two fast ones.
        origin.hold();
        let call = |key: &'static str| {
            let cache = env.cache.clone();
            tokio::spawn(async move { cache.fetched(key).await.1.fetch_status() })
        };
        origin.always(after(
            Duration::from_millis(30),
            ok("v", &[("cache-control", "max-age=1, stale-if-error=60")]),
        ));
        let calls = [call("k"), call("k"), call("k")];
        waiting(&env.larder, 3).await;
        eventually("one call fetches from the origin", SOON, async || {
            (origin.calls() == 1).then_some(())
        })
        .await;
        origin.release();
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(
            statuses,
            [FetchStatus::Fetched, FetchStatus::Coalesced, FetchStatus::Coalesced]
        );
        origin.always(ok("v", &[("cache-control", "max-age=1, stale-while-revalidate=60")]));
        env.cache.fetched("swr").await;
        origin.always(ok("v", &[("cache-control", "no-store")]));
        env.cache.fetched("unstored").await;

        // One stale answer of each kind: two of the fetches fail, and one is still running.
        becomes(&env.cache, "k", Outcome::Miss).await;
        becomes(&env.cache, "swr", Outcome::Stale).await;
        origin.always(status(500));
        assert_eq!(env.cache.fetched("k").await.1.fetch_status(), FetchStatus::Failed);
        assert_eq!(env.cache.fetched("swr").await.1.fetch_status(), FetchStatus::Refreshing);
        metric_becomes(&env.larder, "larder_fetches_failed_total", 2.0).await;
        origin.hold();
        eventually("the back-off is over", SOON, async || {
            (env.cache.fetched("k").await.1.fetch_status() == FetchStatus::SoftTimeout)
                .then_some(())
        })
        .await;
        metric_becomes(&env.larder, "larder_origin_in_flight", 1.0).await;

        let counters = counted(&env.cache, "all fetches are counted", |counters| {
            counters.fetches == 3
                && counters.fetches_failed >= 2
                && counters.stale_soft_timeout == 1
        })
        .await;
        assert_eq!(
            (counters.fetches_failed, counters.fetches_coalesced, counters.uncacheable),
            (2, 2, 1),
            "{counters:?}"
        );
        assert_eq!(
            (counters.stale_while_revalidate, counters.early_refreshes),
            (1, 0),
            "{counters:?}"
        );
        assert!(counters.stale_if_error >= 1, "{counters:?}");
        assert_eq!((counters.sets, counters.leases_granted), (2, 0), "{counters:?}");
        let refused = [counters.fills_lost, counters.fills_invalidated, counters.fills_superseded];
        assert_eq!((refused, counters.fills_not_stored), ([0; 3], 0), "{counters:?}");
        let latency = counters.fetch_latency.expect("latency of the fetches");
        assert!(duration(latency.p99) >= Duration::from_millis(30), "{latency:?}");

        for (name, value) in [
            ("larder_fetches_total", counters.fetches),
            ("larder_fetches_failed_total", counters.fetches_failed),
            ("larder_fetches_coalesced_total", counters.fetches_coalesced),
            ("larder_stale_while_revalidate_total", counters.stale_while_revalidate),
            ("larder_stale_if_error_total", counters.stale_if_error),
            ("larder_stale_soft_timeout_total", counters.stale_soft_timeout),
            ("larder_fills_uncacheable_total", counters.uncacheable),
            ("larder_origin_fetch_duration_seconds_count", 5),
        ] {
            assert_eq!(metric(&env.larder, name).await, value as f64, "{name}");
        }
        let metrics = env.larder.admin("/metrics").await.body;
        let failed = metrics.lines().any(|line| {
            line.starts_with("larder_origin_fetch_duration_seconds_count")
                && line.contains("error_type=\"failed\"")
        });
        assert!(failed, "{metrics}");
        origin.release();
    }
);

with_origin!(
    early_refreshes_are_counted,
    origin: &format!("early_refresh = 100\ntimeout = '1m'{FAST_FLUSH}"),
    |env, origin| {
        // So slow that the next call almost certainly refreshes early.
        origin.answer(|request| {
            let cache_control = if request.before == 0 { "max-age=5" } else { "max-age=100" };
            after(
                Duration::from_millis(500),
                ok(format!("#{}", request.before + 1), &[("cache-control", cache_control)]),
            )
        });
        env.cache.fetched("k").await;
        eventually("the value is refreshed early", SOON, async || {
            (env.cache.fetched("k").await.1.fetch_status() == FetchStatus::RefreshingEarly)
                .then_some(())
        })
        .await;
        becomes_text(&env.cache, "k", "#2").await;
        counted(&env.cache, "an early refresh is counted", |counters| {
            (counters.early_refreshes, counters.fetches) == (1, 2)
        })
        .await;
        assert_eq!(metric(&env.larder, "larder_refreshes_early_total").await, 1.0);
    }
);

with_origin!(
    refused_fills_are_counted,
    origin: &format!("timeout = '1m'{FAST_FLUSH}"),
    |env, origin| {
        for cause in ["invalidated", "superseded"] {
            origin.hold();
            let cache = env.cache.clone();
            let call = tokio::spawn(async move { cache.fetched(cause).await });
            eventually("the value is fetched", SOON, async || {
                (origin.in_flight() == 1).then_some(())
            })
            .await;
            if cause == "superseded" {
                env.cache.put(cause, "mine").await;
            } else {
                env.cache.delete(delete(cause)).await.unwrap();
            }
            origin.release();
            call.await.unwrap();
            eventually("the origin has answered", SOON, async || {
                (origin.in_flight() == 0).then_some(())
            })
            .await;
        }
        counted(&env.cache, "both refusals are counted", |counters| {
            (counters.fills_invalidated, counters.fills_superseded) == (1, 1)
        })
        .await;
        assert_eq!(env.cache.read("superseded").await.as_deref(), Some("mine"));
    }
);

with_origin!(
    fetches_rejected_by_the_breaker_count_as_failed,
    origin: &format!("retries = 0\nbreaker_threshold = 1\nbreaker_cooldown = '1h'{FAST_FLUSH}"),
    |env, origin| {
        origin.always(status(500));
        for key in ["a", "b", "c"] {
            env.cache.get_or_fetch(fetch(key, 20_000)).await.unwrap_err();
        }
        counted(&env.cache, "all fetches have failed", |counters| {
            (counters.fetches, counters.fetches_failed) == (0, 3)
        })
        .await;
        metric_becomes(&env.larder, "larder_origin_breaker_open", 1.0).await;
    }
);
