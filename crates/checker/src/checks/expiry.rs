//! Nothing is served after its expiry.

use super::{KeyHistory, Write, moment};
use crate::{
    history::{Answer, Call, Micros, Violation},
    weakening::clock_may_go_back,
};

pub(crate) fn check(entry: &KeyHistory<'_>) -> Option<Violation> {
    let writes = entry.writes_by_id();
    for read in &entry.records {
        let Some(value) = read.answer.value() else { continue };
        let Some(write) = value.source.and_then(|(_, id)| writes.get(&id)) else { continue };
        let mut expires = latest_effect(entry, write).saturating_add(write.ttl);
        for other in &entry.records {
            if let Call::Touch { ttl, .. } = other.call
                && other.began <= read.ended
            {
                let touched = match other.answer {
                    Answer::Failed(_) => other.ended.max(other.began + entry.rules.deadline),
                    _ => other.ended,
                };
                expires = expires.max(touched.saturating_add(ttl));
            }
        }
        let window = if value.is_stale {
            entry.rules.stale_window[usize::from(entry.key.namespace)]
        } else {
            0
        };
        let limit = expires.saturating_add(window).saturating_add(entry.rules.margin);
        if read.began > limit && !clock_may_go_back(entry.faults, write.record.began, read.ended) {
            let text = format!(
                "write {} expires at {} at the latest, with its windows {}",
                write.id,
                moment(expires),
                moment(expires + window)
            );
            return entry.violation("nothing outlives its expiry", read, text);
        }
    }
    None
}

/// The last moment at which a write may have been applied.
fn latest_effect(entry: &KeyHistory<'_>, write: &Write<'_>) -> Micros {
    match write.record.answer {
        Answer::Failed(_) => write.record.ended.max(write.record.began + entry.rules.deadline),
        _ => write.record.ended,
    }
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::{
        checks::testing::*,
        history::{Answer, Call, Loss},
        names::STALE,
    };

    #[test]
    fn values_are_served_until_their_expiry() {
        good(check, &[write(0, 5, 1, stored()), read(1_010, 1_020, 1)]);
        bad(check, &[write(0, 5, 1, stored()), read(1_016, 1_020, 1)]);
    }

    #[test]
    fn a_touch_extends_the_lifetime() {
        let touch = |answer| call(500, 510, Call::Touch { key: KEY, ttl: TTL }, answer);
        good(check, &[write(0, 5, 1, stored()), touch(Answer::Done), read(1_500, 1_510, 1)]);
        bad(check, &[write(0, 5, 1, stored()), touch(Answer::Done), read(1_521, 1_530, 1)]);
    }

    #[test]
    fn stale_values_are_served_within_their_window_and_fresh_ones_are_not() {
        let with = |began, is_stale| {
            let mut read = read(began, began + 5, 1);
            if let Answer::Value(value) = &mut read.answer {
                value.is_stale = is_stale;
            }
            [in_namespace(STALE, write(0, 5, 1, stored())), in_namespace(STALE, read)]
        };
        good(check, &with(1_100, true));
        bad(check, &with(1_116, true));
        bad(check, &with(1_100, false));
    }

    #[test]
    fn a_clock_that_goes_back_lengthens_lifetimes() {
        let history = [write(0, 5, 1, stored()), read(1_500, 1_510, 1)];
        assert_eq!(violation(check, &history, &[fault(None, 8, 10, Loss::ClockBack)]), None);
        assert!(violation(check, &history, &[fault(None, 8, 10, Loss::Vanished)]).is_some());
    }
}
