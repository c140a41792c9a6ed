//! Converts HotKeys.

use std::time::Duration;

use super::{Checked, directory::listed_key, non_negative};
use crate::{
    cache::HotKeyReport,
    model::{Namespace, SaturatingFrom as _, Violation},
    pb::{from_duration, v1 as pb},
};

/// The window of a request that sets none.
const DEFAULT_WINDOW: Duration = Duration::from_secs(300);
/// The longest window.
const MAX_WINDOW: Duration = Duration::from_secs(3600);
/// Keys of a request that sets no limit.
const DEFAULT_KEYS: usize = 20;
/// Most keys that a request can ask for.
const MAX_KEYS: usize = 100;

/// A checked HotKeys request.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) struct HotKeysQuery {
    pub(in crate::rpc) namespace: Namespace,
    pub(in crate::rpc) window: Duration,
    pub(in crate::rpc) limit: usize,
}

pub(in crate::rpc) fn hot_keys_query(request: &pb::HotKeysRequest) -> Checked<HotKeysQuery> {
    let namespace = Namespace::new(&request.namespace)?;
    let window = non_negative("window", request.window)?.unwrap_or(DEFAULT_WINDOW);
    if window.is_zero() {
        return Err(Violation::new("window", "must be positive when set"));
    }
    if window > MAX_WINDOW {
        let limit = MAX_WINDOW.as_secs();
        let description = format!("is {} s long, the limit is {limit} s", window.as_secs_f64());
        let limit = usize::saturating_from(limit);
        return Err(Violation::over_limit("window", description, limit));
    }
    let limit = match request.limit {
        0 => DEFAULT_KEYS,
        limit => usize::saturating_from(limit).min(MAX_KEYS),
    };
    Ok(HotKeysQuery { namespace, window, limit })
}

pub(in crate::rpc) fn hot_keys_response(report: &HotKeyReport) -> pb::HotKeysResponse {
    let keys = report.keys.iter().map(|hot| {
        let pb::ListedKey { key, params_digest } = listed_key(&hot.key);
        let share = hot.reads as f64 / report.reads.max(1) as f64;
        pb::HotKey { key, params_digest, reads: hot.reads, error: hot.error, share }
    });
    pb::HotKeysResponse {
        keys: keys.collect(),
        reads: report.reads,
        samples: report.samples,
        window: Some(from_duration(report.covered)),
        replicas: u32::saturating_from(report.replicas),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{cache::HotKey, rpc::convert::entry_key};

    fn request(seconds: Option<i64>, limit: u32) -> pb::HotKeysRequest {
        let window = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        pb::HotKeysRequest { namespace: "ns".to_owned(), window, limit }
    }

    #[test]
    fn window_and_limit_have_defaults_and_bounds() {
        let query = |seconds, limit| hot_keys_query(&request(seconds, limit)).unwrap();
        assert_eq!((query(None, 0).window, query(None, 0).limit), (DEFAULT_WINDOW, 20));
        assert_eq!((query(Some(3600), 7).window, query(None, 7).limit), (MAX_WINDOW, 7));
        assert_eq!(query(None, 101).limit, 100);
        for seconds in [-1, 0, 3601] {
            let violation = hot_keys_query(&request(Some(seconds), 0)).unwrap_err();
            assert_eq!(violation.field(), "window", "{seconds}");
        }
        let nameless = pb::HotKeysRequest::default();
        assert_eq!(hot_keys_query(&nameless).unwrap_err().field(), "namespace");
    }

    #[test]
    fn response_has_each_keys_share() {
        let key = entry_key("ns", "k", &Default::default()).unwrap();
        let keys = vec![HotKey { key, reads: 30, error: 5 }];
        let covered = Duration::from_secs(90);
        let report = HotKeyReport { keys, reads: 120, samples: 1, covered, replicas: 2 };
        let response = hot_keys_response(&report);
        let hot = &response.keys[0];
        assert_eq!((&*hot.key, &*hot.params_digest, hot.reads, hot.error), ("k", "", 30, 5));
        assert!((hot.share - 0.25).abs() < 1e-9);
        assert_eq!((response.window.unwrap().seconds, response.replicas), (90, 2));
        assert!(hot_keys_response(&HotKeyReport::default()).keys.is_empty());
    }
}
