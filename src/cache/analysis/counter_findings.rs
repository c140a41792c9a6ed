//! Findings from the counters of the last day.

use std::time::Duration;

use super::{
    AnalyzedNamespace,
    finding::{Figure, Finding, FindingKind, Severity},
    judgement,
    suggestion::duration_setting,
};
use crate::{stats::counters::Counter, units};

/// Fewest invalidations from which a namespace is judged: fewer can be one deployment.
const MIN_INVALIDATIONS: u64 = 100;
/// Fewest fetches from which an origin is judged: of 100 a share is known to 10 points.
const MIN_FETCHES: u64 = 100;
/// Suggested window of stale values for an origin that fails: most outages are shorter.
const STALE_IF_ERROR: Duration = Duration::from_secs(3600);
/// Suggested wait of invalidations: short for callers, long enough to join those of one change.
const INVALIDATION_WINDOW: Duration = Duration::from_millis(100);

/// The findings about a namespace.
pub(super) fn of(namespace: &AnalyzedNamespace) -> Vec<Finding> {
    [low_hit_rate(namespace), invalidated_more_than_hit(namespace), origin_fails(namespace)]
        .into_iter()
        .flatten()
        .collect()
}

fn low_hit_rate(namespace: &AnalyzedNamespace) -> Option<Finding> {
    let reads = namespace.reads();
    let (rate, severity) = judgement::low_hit_rate(&namespace.counters)?;
    let uncacheable = namespace.counters.get(Counter::Uncacheable);
    Some(Finding {
        namespace: namespace.name.clone(),
        kind: FindingKind::LowHitRate,
        severity,
        summary: format!(
            "the cache answers {:.1} % of {} reads",
            rate * 100.0,
            units::count(reads)
        ),
        figures: vec![
            Figure::share("hit_rate", rate),
            Figure::count("reads", reads, "reads"),
            Figure::count("misses", namespace.counters.get(Counter::Misses), "reads"),
            Figure::count("sets", namespace.counters.get(Counter::Sets), "values"),
            Figure::count("uncacheable", uncacheable, "values"),
        ],
        suggestion: String::new(),
    })
}

fn invalidated_more_than_hit(namespace: &AnalyzedNamespace) -> Option<Finding> {
    let count = |counter| namespace.counters.get(counter);
    let deletes = count(Counter::Deletes);
    let bans = count(Counter::Bans).saturating_add(count(Counter::Invalidations));
    let all = deletes.saturating_add(bans);
    let hits = count(Counter::Hits) + count(Counter::Stale) + count(Counter::Negative);
    if all < MIN_INVALIDATIONS || all <= hits {
        return None;
    }
    let (name, config) = (&namespace.name, &namespace.config);
    // The window joins invalidations by tag, by pattern and of the namespace, and no deletes.
    let is_joined = bans > deletes && config.invalidation_window.is_none();
    Some(Finding {
        namespace: name.clone(),
        kind: FindingKind::InvalidatedMoreThanHit,
        severity: Severity::Warning,
        summary: format!(
            "{} deletes and invalidations, and {} reads that were hits",
            units::count(all),
            units::count(hits)
        ),
        figures: vec![
            Figure::count("deletes", deletes, "entries"),
            Figure::count("tags_and_patterns", count(Counter::Bans), "invalidations"),
            Figure::count("namespace", count(Counter::Invalidations), "invalidations"),
            Figure::count("hits", hits, "reads"),
        ],
        suggestion: match is_joined {
            true => duration_setting(name, "invalidation_window", INVALIDATION_WINDOW),
            false => String::new(),
        },
    })
}

fn origin_fails(namespace: &AnalyzedNamespace) -> Option<Finding> {
    let failed = namespace.counters.get(Counter::FetchesFailed);
    let fetches = namespace.counters.get(Counter::Fetches).saturating_add(failed);
    let share = failed as f64 / fetches.max(1) as f64;
    let severity = judgement::failed_share_severity(share).filter(|_| fetches >= MIN_FETCHES)?;
    let (name, config) = (&namespace.name, &namespace.config);
    let has_stale_values = !config.stale_if_error.is_zero() || config.origin.is_none();
    let stale = namespace.counters.get(Counter::StaleIfError);
    Some(Finding {
        namespace: name.clone(),
        kind: FindingKind::OriginFails,
        severity,
        summary: format!(
            "{:.1} % of {} fetches from the origin failed",
            share * 100.0,
            units::count(fetches)
        ),
        figures: vec![
            Figure::share("failed_share", share),
            Figure::count("failed", failed, "fetches"),
            Figure::count("fetches", fetches, "fetches"),
            Figure::count("stale_if_error", stale, "reads"),
        ],
        suggestion: match has_stale_values {
            true => String::new(),
            false => duration_setting(name, "stale_if_error", STALE_IF_ERROR),
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{cache::testing::origin_config, config::NamespaceConfig};

    fn found(counts: &[(Counter, u64)]) -> Vec<Finding> {
        found_with(counts, NamespaceConfig::default())
    }

    fn found_with(counts: &[(Counter, u64)], config: NamespaceConfig) -> Vec<Finding> {
        of(&AnalyzedNamespace::counted(counts, config))
    }

    fn kinds(counts: &[(Counter, u64)]) -> Vec<(FindingKind, Severity)> {
        found(counts).into_iter().map(|finding| (finding.kind, finding.severity)).collect()
    }

    #[test]
    fn hit_rate_is_judged_from_enough_reads() {
        let rate = |hits, misses| kinds(&[(Counter::Hits, hits), (Counter::Misses, misses)]);
        assert_eq!(rate(499, 501), [(FindingKind::LowHitRate, Severity::Notice)]);
        assert_eq!(rate(199, 801), [(FindingKind::LowHitRate, Severity::Warning)]);
        assert_eq!(rate(500, 500), []);
        assert_eq!(rate(100, 899), [], "999 reads");
        let finding = &found(&[(Counter::Stale, 300), (Counter::Misses, 900)])[0];
        assert_eq!(finding.summary, "the cache answers 25.0 % of 1.2 k reads");
        assert_eq!(finding.figures[1], Figure::count("reads", 1200, "reads"));
    }

    #[test]
    fn invalidations_are_compared_with_hits() {
        let counts = |deletes, bans, hits| {
            [(Counter::Deletes, deletes), (Counter::Bans, bans), (Counter::Hits, hits)]
        };
        assert_eq!(kinds(&counts(60, 60, 120)), []);
        assert_eq!(kinds(&counts(60, 39, 5)), [], "too few");
        let finding = &found(&counts(20, 100, 119))[0];
        assert_eq!(finding.kind, FindingKind::InvalidatedMoreThanHit);
        assert_eq!(finding.suggestion, "[namespaces.ns]\ninvalidation_window = \"100ms\"\n");
        assert_eq!(found(&counts(100, 20, 119))[0].suggestion, "", "deletes are not joined");
        let invalidation_window = Some(Duration::from_secs(1));
        let joined = NamespaceConfig { invalidation_window, ..NamespaceConfig::default() };
        assert_eq!(found_with(&counts(20, 100, 119), joined)[0].suggestion, "");
    }

    #[test]
    fn origin_that_fails_is_found() {
        let counts =
            |failed, fetches| [(Counter::FetchesFailed, failed), (Counter::Fetches, fetches)];
        assert_eq!(kinds(&counts(4, 96)), []);
        assert_eq!(kinds(&counts(50, 49)), [], "too few");
        assert_eq!(kinds(&counts(5, 95)), [(FindingKind::OriginFails, Severity::Warning)]);
        assert_eq!(kinds(&counts(50, 50)), [(FindingKind::OriginFails, Severity::Critical)]);
        let origin = Some(origin_config());
        let mut config = NamespaceConfig { origin, ..NamespaceConfig::default() };
        let suggestion = found_with(&counts(5, 95), config.clone())[0].suggestion.clone();
        assert_eq!(suggestion, "[namespaces.ns]\nstale_if_error = \"1h\"\n");
        config.stale_if_error = Duration::from_secs(1);
        assert_eq!(found_with(&counts(5, 95), config)[0].suggestion, "");
    }
}
