//! Conversions between protobuf messages and the cache's types.
//!
//! Requests are validated here: behind this module no input is invalid.

mod delete;
mod directory;
mod distributions;
mod durability;
mod event;
mod get;
mod get_or_fetch;
mod history;
mod hot_keys;
mod invalidate;
mod key;
mod lease;
mod mint;
mod patch;
mod projection;
mod replicas;
mod set;
mod stats;
mod value;
mod watch;

use std::time::Duration;

use prost_types::Duration as PbDuration;

use crate::{
    cache::IncrementResult,
    model::Violation,
    pb::{from_duration, v1 as pb},
};
pub(super) use delete::{delete_response, delete_result_name, deletion, deletions};
pub(super) use directory::{
    InspectedKey, inspect_response, inspected_key, key_page_size, key_page_token, key_query,
    listed_key, namespace_page, namespaces_response,
};
pub(super) use distributions::{distributions_response, sample_size};
pub(super) use durability::{durability, required_durability};
pub(super) use event::{event, event_page, event_target_results, events_response};
pub(super) use get::{XCache, batch_get_result, consistency, get_response};
pub(super) use get_or_fetch::{
    FetchReplyStatus, GrantedLease, batch_get_or_fetch_result, get_or_fetch_reply,
    get_or_fetch_request, get_or_fetch_template, projected_reply, projected_result,
};
pub(super) use history::{history_response, history_span};
pub(super) use hot_keys::{HotKeysQuery, hot_keys_query, hot_keys_response};
pub(super) use invalidate::{RequestedTarget, invalidate_targets, target_result};
pub(super) use key::{entry_key, entry_keys};
pub(super) use lease::{abandon_reason, hold_off, lease_loss, renew_response, required_token};
pub(super) use mint::mint_request;
pub(super) use patch::{patch_command, patch_response, patch_result_name};
pub(super) use projection::{
    BatchReadOptions, batch_fetch_options, batch_read_options, fetch_options, has_read_options,
    projected_get_response, projection,
};
pub(super) use replicas::replicas_response;
pub(super) use set::{fill_command, set_command, set_response, set_result_name};
pub(super) use stats::{stats_page, stats_response};
pub(super) use value::value_bytes;
pub(super) use watch::{WatchCommand, watch_command, watch_event};

type Checked<T> = Result<T, Violation>;

/// A duration that may be zero.
pub(super) fn non_negative(
    field: &'static str,
    duration: Option<PbDuration>,
) -> Checked<Option<Duration>> {
    match duration.map(crate::pb::duration) {
        Some(None) => Err(Violation::new(field, "must not be negative")),
        other => Ok(other.flatten()),
    }
}

/// The sliding expiration of a read, which must be positive.
pub(super) fn touch(duration: Option<PbDuration>) -> Checked<Option<Duration>> {
    match duration.map(crate::pb::duration) {
        None => Ok(None),
        Some(Some(touch)) if !touch.is_zero() => Ok(Some(touch)),
        Some(_) => Err(Violation::new("touch", "must be positive when set")),
    }
}

/// A TTL, which must be positive. `None` stands for the namespace's default.
pub(super) fn ttl(duration: Option<PbDuration>) -> Checked<Option<Duration>> {
    match duration.map(crate::pb::duration) {
        None => Ok(None),
        Some(Some(ttl)) if !ttl.is_zero() => Ok(Some(ttl)),
        Some(_) => Err(Violation::new(
            "ttl",
            "must be positive; leave it unset for the namespace's default",
        )),
    }
}

/// The response to an Increment; `None` if there is no counter.
pub(super) fn increment_response(sum: Option<IncrementResult>) -> pb::IncrementResponse {
    match sum {
        Some(IncrementResult { value, version, ttl_remaining }) => pb::IncrementResponse {
            value,
            version: version.to_text(),
            ttl_remaining: Some(from_duration(ttl_remaining)),
            missing: false,
        },
        None => pb::IncrementResponse { missing: true, ..pb::IncrementResponse::default() },
    }
}

/// Checks the number of elements of a batch. The limit may have a setting, which the error names.
pub(super) fn check_batch_size(
    field: &'static str,
    size: usize,
    limit: usize,
    setting: Option<&'static str>,
) -> Checked<()> {
    if size == 0 {
        return Err(Violation::new(field, "must not be empty"));
    }
    if size > limit {
        let setting = setting.map_or_else(String::new, |setting| format!(" ({setting})"));
        let description = format!("has {size} elements, the limit is {limit}{setting}");
        return Err(Violation::over_limit(field, description, limit));
    }
    Ok(())
}

/// The globs and events of a request stand for too many targets, which are not counted.
pub(super) fn too_many_targets(limit: usize) -> Violation {
    let description = format!(
        "has globs or events that stand for more elements than {limit}, which is the limit \
         (limits.max_batch_keys)"
    );
    Violation::over_limit("targets", description, limit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn pb_duration(seconds: i64, nanos: i32) -> Option<PbDuration> {
        Some(PbDuration { seconds, nanos })
    }

    #[test]
    fn ttl_is_positive_or_unset() {
        assert_eq!(ttl(None).unwrap(), None);
        assert_eq!(ttl(pb_duration(0, 1)).unwrap(), Some(Duration::from_nanos(1)));
        for (seconds, nanos) in [(0, 0), (-1, 0), (0, -1), (i64::MIN, i32::MIN)] {
            assert_eq!(ttl(pb_duration(seconds, nanos)).unwrap_err().field(), "ttl");
        }
        assert!(ttl(pb_duration(i64::MAX, 999_999_999)).is_ok());
        assert!(ttl(pb_duration(1, i32::MAX)).is_err());
    }

    #[test]
    fn touch_is_positive_or_unset() {
        assert_eq!(touch(None).unwrap(), None);
        assert_eq!(touch(pb_duration(1, 0)).unwrap(), Some(Duration::from_secs(1)));
        for (seconds, nanos) in [(0, 0), (-1, 0), (1, i32::MAX)] {
            assert_eq!(touch(pb_duration(seconds, nanos)).unwrap_err().field(), "touch");
        }
    }

    #[test]
    fn wait_may_be_zero_but_not_negative() {
        assert_eq!(non_negative("wait", None).unwrap(), None);
        assert_eq!(non_negative("wait", pb_duration(0, 0)).unwrap(), Some(Duration::ZERO));
        assert_eq!(non_negative("wait", pb_duration(0, -5)).unwrap_err().field(), "wait");
    }

    #[test]
    fn batch_has_at_least_one_element_and_at_most_the_limit() {
        assert!(check_batch_size("keys", 1, 2, None).is_ok());
        assert!(check_batch_size("keys", 2, 2, None).is_ok());
        let empty = check_batch_size("keys", 0, 2, None).unwrap_err();
        assert_eq!((empty.to_string(), empty.limit()), ("keys must not be empty".into(), None));
        let large = check_batch_size("keys", 3, 2, None).unwrap_err();
        assert_eq!(large.to_string(), "keys has 3 elements, the limit is 2");
        assert_eq!(large.limit(), Some(2));
    }
}
