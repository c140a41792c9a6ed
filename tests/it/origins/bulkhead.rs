//! Bulkhead: concurrency limit and queue of an origin.

use std::time::Duration;

use larder::pb::v1::{FetchStatus, GetOrFetchResponse};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;

use super::circuit_breaker::health_becomes;
use crate::support::{
    client::{Cache, fetch},
    observe::metric_becomes,
    origin::{after, numbered},
    status::reason,
};

pub(super) type Call = JoinHandle<Result<GetOrFetchResponse, Status>>;

pub(super) fn call(cache: &Cache, key: impl ToString) -> Call {
    let (cache, key) = (cache.clone(), key.to_string());
    tokio::spawn(async move { cache.get_or_fetch(fetch(&key, 60_000)).await })
}

with_origin!(
    max_concurrency_limits_fetches,
    origin: "max_concurrency = 5\ntimeout = '1m'",
    |env, origin| {
        origin.answer(|request| after(Duration::from_millis(5), numbered(request)));
        let calls: Vec<Call> = (0..300).map(|key| call(&env.cache, key)).collect();
        for call in calls {
            let answer = call.await.unwrap().unwrap();
            assert_eq!(answer.fetch_status(), FetchStatus::Fetched);
        }
        assert_eq!((origin.max_in_flight(), origin.calls()), (5, 300));
    }
);

with_origin!(
    full_queue_rejects_at_once,
    origin: "max_concurrency = 2\nmax_queue = 3\ntimeout = '1m'\nerror_backoff = '1m'",
    |env, origin| {
        origin.hold();
        let calls: Vec<Call> = (0..5).map(|key| call(&env.cache, key)).collect();
        metric_becomes(&env.larder, "larder_origin_in_flight", 2.0).await;
        metric_becomes(&env.larder, "larder_origin_queued", 3.0).await;
        for _ in 0..3 {
            let error = call(&env.cache, "more").await.unwrap().unwrap_err();
            assert_eq!(reason(&error), "ORIGIN_OVERLOADED", "{error:?}");
            assert!(error.get_details_retry_info().unwrap().retry_delay.is_some());
        }
        assert_eq!(origin.calls(), 2);
        origin.release();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // The rejections count against neither the key nor the origin.
        call(&env.cache, "more").await.unwrap().unwrap();
        metric_becomes(&env.larder, "larder_origin_in_flight", 0.0).await;
        metric_becomes(&env.larder, "larder_origin_queued", 0.0).await;
        health_becomes(&env, ServingStatus::Serving).await;
    }
);

with_origin!(
    queue_time_counts_toward_the_timeout,
    origin: "max_concurrency = 1\ntimeout = '1s'\nretries = 0",
    |env, origin| {
        origin.hold();
        let calls: Vec<Call> = (0..3).map(|key| call(&env.cache, key)).collect();
        let mut reasons = Vec::new();
        for call in calls {
            reasons.push(reason(&call.await.unwrap().unwrap_err()));
        }
        // Calls that time out in the queue are reported as overload, not as timeouts of the origin.
        reasons.sort();
        assert!(
            reasons
                .iter()
                .all(|reason| ["ORIGIN_TIMEOUT", "ORIGIN_OVERLOADED"].contains(&&**reason)),
            "{reasons:?}"
        );
        assert!(reasons.contains(&"ORIGIN_TIMEOUT".to_owned()), "{reasons:?}");
    }
);
