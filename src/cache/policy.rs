//! Policy: freshness, lifetimes, back-off and early refresh, as pure functions.

use std::time::Duration;

use crate::{
    config::{NamespaceConfig, OriginConfig},
    model::{Entry, Kind, Lifetime, Timestamp, millis_ceil},
    origin::{self, CacheDirectives, OriginErrorKind},
    planted::{self, Bug},
    store::BanLimits,
};

/// State of an entry, by which it may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Fresh: it is served.
    Fresh,
    /// A fresh negative entry: the answer is that there is no value.
    Negative,
    /// Within `stale_while_revalidate`: it is served and refreshed.
    Stale,
    /// Within `stale_if_error`: it is served only if no new value can be computed.
    StaleIfError,
    /// Past all windows: it counts as missing.
    Expired,
}

/// Tolerance, in milliseconds, for entries that were written later than now. Replicas estimate the
/// store's clock, and one that has taken over from another may show an earlier time.
const MAX_AHEAD_MS: u64 = 5000;

/// Evaluates an entry by the clock, by the windows stored with it, and by the staleness that the
/// caller accepts. The caller can only tighten the windows. An entry from the future is expired:
/// the clock was set back, and the age of the entry is unknown.
pub(super) fn evaluate(entry: &Entry, now: Timestamp, max_stale: Option<Duration>) -> Verdict {
    if entry.created_at.0 > now.0.saturating_add(MAX_AHEAD_MS) {
        return Verdict::Expired;
    }
    let late = if planted::is(Bug::LateExpiry) { 1000 } else { 0 };
    if now.0 < entry.fresh_until.0.saturating_add(late) {
        return if entry.kind == Kind::Negative { Verdict::Negative } else { Verdict::Fresh };
    }
    let stale_for = now.since(entry.fresh_until);
    let accepted = max_stale.is_none_or(|accepted| stale_for < accepted);
    if entry.kind == Kind::Negative || !accepted {
        Verdict::Expired
    } else if stale_for < entry.stale_while_revalidate {
        Verdict::Stale
    } else if now < entry.stale_until() {
        Verdict::StaleIfError
    } else {
        Verdict::Expired
    }
}

/// Lifetime of a value that a caller stores: the caller's TTL or the namespace's, at most the
/// namespace's maximum, shortened by a random part. `dice` is between 0 and 1.
pub(super) fn lifetime(rules: &NamespaceConfig, ttl: Option<Duration>, dice: f64) -> Lifetime {
    let ttl = ttl.unwrap_or(rules.ttl).min(rules.max_ttl);
    let jittered = ttl.mul_f64(1.0 - rules.ttl_jitter * dice);
    // Stores keep milliseconds: the answer must report exactly what is stored.
    let ttl = Duration::from_millis(millis_ceil(jittered).max(1));
    Lifetime {
        ttl,
        stale_while_revalidate: rules.stale_while_revalidate,
        stale_if_error: rules.stale_if_error,
        revalidation_window: Duration::ZERO,
    }
}

/// New lifetime of a fresh value that was read with sliding expiration; `None` if it stays as it
/// is. The value is fresh for `touch` from now, and never for longer than the namespace's maximum
/// after it was written. It keeps its windows. An extension by less than a hundredth of `touch` is
/// left out, so that not every read is a write.
pub(super) fn slide(
    rules: &NamespaceConfig,
    entry: &Entry,
    touch: Duration,
    now: Timestamp,
) -> Option<Lifetime> {
    let touch = touch.min(rules.max_ttl);
    let end = now.after(touch).min(entry.created_at.after(rules.max_ttl));
    let extension = end.since(entry.fresh_until);
    if extension.is_zero() || extension < touch / 100 {
        return None;
    }
    Some(Lifetime {
        ttl: end.since(now),
        stale_while_revalidate: entry.stale_while_revalidate,
        stale_if_error: entry.stale_if_error,
        revalidation_window: entry.revalidation_window,
    })
}

/// Lifetime of a fetched value: the origin's directives, otherwise the namespace's rules, and no
/// part of it longer than the namespace's maximum. `None` if the value must not be stored, or could
/// never be used. `dice` is between 0 and 1.
pub(super) fn fetched_lifetime(
    rules: &NamespaceConfig,
    origin: &OriginConfig,
    directives: &CacheDirectives,
    kind: Kind,
    dice: f64,
) -> Option<Lifetime> {
    let is_negative = kind == Kind::Negative;
    let ttl = directives
        .ttl
        .unwrap_or(if is_negative { origin.negative_ttl } else { rules.ttl })
        .min(rules.max_ttl);
    let window = |directive: Option<Duration>, rule| {
        if is_negative { Duration::ZERO } else { directive.unwrap_or(rule).min(rules.max_ttl) }
    };
    let can_be_revalidated = !is_negative && !directives.validators.is_empty();
    let lifetime = Lifetime {
        ttl: Duration::from_millis(millis_ceil(ttl.mul_f64(1.0 - rules.ttl_jitter * dice))),
        stale_while_revalidate: window(
            directives.stale_while_revalidate,
            rules.stale_while_revalidate,
        ),
        stale_if_error: window(directives.stale_if_error, rules.stale_if_error),
        revalidation_window: if can_be_revalidated { origin.keep } else { Duration::ZERO },
    };
    (!directives.no_store && !lifetime.total().is_zero()).then_some(lifetime)
}

/// The bans that a namespace keeps.
pub(super) fn ban_limits(rules: &NamespaceConfig) -> BanLimits {
    let keep = rules.origin.as_ref().map_or(Duration::ZERO, |origin| origin.keep);
    let window = |rule: Duration| rule.max(rules.max_ttl);
    let windows = window(rules.stale_while_revalidate) + window(rules.stale_if_error);
    BanLimits {
        max_tags: rules.max_banned_tags,
        max_globs: rules.max_banned_patterns,
        longest_lifetime: rules.max_ttl + windows + keep,
    }
}

/// Back-off of the whole fleet after a failed fetch.
pub(super) fn backoff(config: &OriginConfig, error: &origin::Error) -> Duration {
    match error.kind {
        // This replica did not ask the origin, and another one may.
        OriginErrorKind::BreakerOpen
        | OriginErrorKind::Overloaded
        | OriginErrorKind::BackedOff
        | OriginErrorKind::BadKey(_) => Duration::ZERO,
        OriginErrorKind::Unreachable
        | OriginErrorKind::Timeout
        | OriginErrorKind::Failed
        | OriginErrorKind::Refused
        | OriginErrorKind::Invalid
        | OriginErrorKind::TooLarge => {
            config.error_backoff.max(error.retry_after.unwrap_or_default())
        }
    }
}

/// Whether a failed fetch ends the stored value: the origin's final answer is no value, and a stale
/// value would be served before the origin is asked again, which is `backoff` from now. A value
/// that stays fresh for longer is kept, as the origin promised (RFC 9111, section 4.2).
pub(super) fn ends_stale(
    entry: &Entry,
    now: Timestamp,
    error: &origin::Error,
    backoff: Duration,
) -> bool {
    !error.allows_stale
        && error.kind.is_final_answer()
        && entry.kind != Kind::Negative
        && entry.fresh_until <= now.after(backoff)
        && now < entry.stale_until()
}

/// Whether a fresh entry is refreshed before it becomes stale. The nearer its end and the longer a
/// fetch takes, the more likely, so that one caller refreshes it before all of them miss it. `dice`
/// is between 0 and 1.
///
/// XFetch, from Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
/// Prevention", VLDB 2015.
pub(super) fn is_due_early(entry: &Entry, now: Timestamp, beta: f64, dice: f64) -> bool {
    let Some(fetch_metadata) = &entry.fetch_metadata else { return false };
    let ahead = fetch_metadata.fetch_time.as_secs_f64() * beta * -dice.max(f64::MIN_POSITIVE).ln();
    beta > 0.0 && ahead >= entry.fresh_until.since(now).as_secs_f64()
}

#[cfg(test)]
mod tests;
