//! Items that need attention: the cause, the figures that show it, and where to act.

use std::{collections::BTreeMap, time::Duration};

use super::{
    figures::{Figures, reads},
    findings::{self, Examined},
    numbers,
    query::link,
    text::visible,
};
use crate::{
    cache::{
        Finding, FindingKind, Severity, failed_share_severity, fleet_stats::Overview, low_hit_rate,
    },
    stats::{
        counters::{Counter, Counters},
        replica_report::{OriginReport, ReplicaReport, ReportedBreaker},
    },
};

/// Most items that are shown.
const MAX_ITEMS: usize = 8;
/// Share of the store's memory from which it is nearly full.
const NEARLY_FULL: f64 = 0.9;
/// Fewest fetches for a judgement. It is a small number, so that an outage is seen soon.
const ENOUGH_FETCHES: u64 = 10;

/// States of a breaker that needs attention.
const OPEN: [ReportedBreaker; 2] = [ReportedBreaker::Open, ReportedBreaker::HalfOpen];

/// Something that needs attention.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) severity: Severity,
    /// The namespace that it is about.
    pub(super) namespace: Option<String>,
    pub(super) cause: String,
    pub(super) evidence: String,
    /// Where to act: the address and the text of a link.
    pub(super) act: (String, &'static str),
}

/// The items that need attention.
#[derive(Debug)]
pub(super) struct Attention {
    /// The gravest items, the gravest first.
    pub(super) items: Vec<Item>,
    /// Number of the others.
    pub(super) left_out: usize,
    /// Whether each namespace could be judged.
    pub(super) is_complete: bool,
    /// Whether there was a read.
    pub(super) has_reads: bool,
}

/// The items of a fleet. `shows_keys`: whether keys may be named.
pub(super) fn attention(figures: &Figures, examined: &Examined, shows_keys: bool) -> Attention {
    let mut items = of_store(&figures.overview, figures.is_degraded);
    if !figures.is_ready {
        items.push(Item {
            severity: Severity::Critical,
            namespace: None,
            cause: "This replica is not ready".to_owned(),
            evidence: "Load balancers send it no requests.".to_owned(),
            act: ("/readyz".to_owned(), "Readiness"),
        });
    }
    items.extend(of_breakers(&figures.replicas, shows_keys));
    let shown = figures.namespaces.iter().map(|namespace| {
        let ttl = namespace.config.as_ref().map(|config| config.ttl);
        (namespace.name.as_str(), &namespace.counters, ttl)
    });
    let others = figures.others().map(|(name, counters)| (name, counters, None));
    let counted = shown.chain(others);
    items.extend(of_namespaces(counted, examined));
    items.sort_by_key(|item| std::cmp::Reverse(item.severity));
    let left_out = items.len().saturating_sub(MAX_ITEMS);
    items.truncate(MAX_ITEMS);
    let has_reads = reads(&figures.sum) > 0;
    Attention { items, left_out, is_complete: !figures.has_uncounted(), has_reads }
}

/// The findings of the analysis, and what the counts of the page have beyond them.
fn of_namespaces<'a>(
    counted: impl Iterator<Item = (&'a str, &'a Counters, Option<Duration>)>,
    examined: &Examined,
) -> Vec<Item> {
    let (mut origins, mut items) = (BTreeMap::new(), Vec::new());
    for (name, counters, ttl) in counted {
        if let Some(item) = of_origin(name, counters) {
            origins.insert(name, item);
        }
        if !examined.has(name) {
            items.extend(of_hit_rate(name, counters, ttl));
        }
    }
    for finding in examined.findings() {
        match origins.get_mut(finding.namespace.as_str()) {
            // The counts of the page are newer than those of the day.
            Some(item) if finding.kind == FindingKind::OriginFails => {
                item.severity = item.severity.max(finding.severity);
            }
            _ => items.push(of_finding(finding)),
        }
    }
    // Of the equally grave ones, origins are first.
    origins.into_values().chain(items).collect()
}

fn of_finding(finding: &Finding) -> Item {
    let act = if finding.suggestion.is_empty() { "Analysis" } else { "Suggestion" };
    Item {
        severity: finding.severity,
        namespace: Some(finding.namespace.to_string()),
        cause: findings::name(finding.kind),
        evidence: findings::evidence(finding),
        act: (findings::address(finding), act),
    }
}

fn of_store(overview: &Overview, is_degraded: bool) -> Vec<Item> {
    let mut items = Vec::new();
    let mut add = |severity, cause: &str, evidence: String| {
        let act = ("/replicas".to_owned(), "Replicas and store");
        items.push(Item { severity, namespace: None, cause: cause.to_owned(), evidence, act });
    };
    if let Some(cause) = &overview.trouble {
        let what = match overview.facts {
            Some(_) => "The store has trouble",
            None => "The store is not available",
        };
        // In the words of the store.
        add(Severity::Critical, what, visible(cause).into_owned());
    }
    if is_degraded && overview.trouble.is_none() {
        let evidence = "The figures are those of this replica alone.".to_owned();
        add(Severity::Critical, "The counts of the fleet cannot be read", evidence);
    }
    let Some(store) = &overview.facts else { return items };
    let share = store.used_bytes as f64 / store.max_bytes.max(1) as f64;
    if store.max_bytes > 0 && share >= NEARLY_FULL {
        let evidence = format!(
            "{} of {}, {} keys were evicted. Shorten TTLs, or give it more memory.",
            numbers::bytes(store.used_bytes),
            numbers::bytes(store.max_bytes),
            numbers::count(store.evicted_keys)
        );
        add(Severity::Warning, "The store is nearly full", evidence);
    }
    if overview.store_kind == "redis"
        && let Some(unsuitable) = store.unsuitable()
    {
        let evidence = format!("{}: {}.", unsuitable.problem, unsuitable.remedy);
        add(Severity::Warning, "A setting of the store does not suit a cache", evidence);
    }
    items
}

/// How grave it is that fetches fail; none if few of them do, or there are too few to judge.
pub(super) fn failing(counters: &Counters) -> Option<Severity> {
    let failed = counters.get(Counter::FetchesFailed);
    let all = counters.get(Counter::Fetches).saturating_add(failed);
    let share = failed as f64 / all.max(1) as f64;
    failed_share_severity(share).filter(|_| all >= ENOUGH_FETCHES)
}

fn of_origin(name: &str, counters: &Counters) -> Option<Item> {
    let severity = failing(counters)?;
    let failed = counters.get(Counter::FetchesFailed);
    let all = counters.get(Counter::Fetches).saturating_add(failed);
    let stale = counters.get(Counter::StaleIfError);
    let evidence = format!(
        "{} of {} fetches failed; {} reads were answered with a stale value instead.",
        numbers::count(failed),
        numbers::count(all),
        numbers::count(stale)
    );
    Some(Item {
        severity,
        namespace: Some(name.to_owned()),
        cause: "its origin fails".to_owned(),
        evidence,
        act: ("/origins".to_owned(), "Origins"),
    })
}

/// Origins whose breaker is not closed in some replica.
fn of_breakers(replicas: &[ReplicaReport], shows_keys: bool) -> Vec<Item> {
    let mut open: BTreeMap<&str, Vec<&OriginReport>> = BTreeMap::new();
    let origins = replicas.iter().flat_map(|report| &report.state.origins);
    for origin in origins.filter(|origin| OPEN.contains(&origin.breaker)) {
        open.entry(&origin.namespace).or_default().push(origin);
    }
    let items = open.into_iter().map(|(namespace, origins)| {
        let since = origins.iter().map(|origin| origin.since_ms).min().unwrap_or_default();
        // An error of a fetch can name the address of a key.
        let errors = origins.iter().filter(|_| shows_keys).map(|origin| &*origin.last_error);
        let error = errors.max().unwrap_or_default();
        Item {
            severity: Severity::Critical,
            namespace: Some(namespace.to_owned()),
            cause: "the breaker of its origin is open".to_owned(),
            evidence: format!(
                "In {} of {} replicas, since {}. {}",
                origins.len(),
                replicas.len(),
                numbers::date_time(since),
                visible(error)
            ),
            act: ("/origins".to_owned(), "Origins"),
        }
    });
    items.collect()
}

fn of_hit_rate(name: &str, counters: &Counters, ttl: Option<Duration>) -> Option<Item> {
    let (rate, severity) = low_hit_rate(counters)?;
    let ttl = ttl.map(|ttl| format!("; its TTL is {}", numbers::span(ttl)));
    let evidence = format!(
        "{} of {} reads were answered from the cache{}.",
        numbers::percent(rate),
        numbers::count(reads(counters)),
        ttl.unwrap_or_default()
    );
    Some(Item {
        severity,
        namespace: Some(name.to_owned()),
        cause: findings::name(FindingKind::LowHitRate),
        evidence,
        act: (link("/analysis", &[("namespace", name)]), "Analysis"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        model::Namespace,
        stats::delta::StatsReport,
        store::{StoreInfo, Topology},
    };

    fn counters(counts: &[(Counter, u64)]) -> Counters {
        let mut counters = Counters::default();
        counts.iter().for_each(|(counter, count)| counters.0[*counter as usize] = *count);
        counters
    }

    #[test]
    fn the_state_of_the_store_is_shown_once() {
        let facts =
            |used_bytes| Some(StoreInfo { used_bytes, max_bytes: 100, ..StoreInfo::default() });
        let shown = |facts: Option<StoreInfo>, trouble: Option<&str>, is_degraded| -> Vec<String> {
            let overview = Overview {
                report: StatsReport::default(),
                store_kind: "memory",
                topology: Topology::default(),
                facts,
                sizes: Vec::new(),
                degraded: is_degraded,
                trouble: trouble.map(str::to_owned),
            };
            let items = of_store(&overview, is_degraded).into_iter();
            items.map(|item| format!("{:?} {}", item.severity, item.cause)).collect()
        };
        let none: [&str; 0] = [];
        assert_eq!(shown(facts(1), None, false), none);
        let alone = ["Critical The counts of the fleet cannot be read"];
        assert_eq!(shown(facts(1), None, true), alone);
        let trouble = Some("refused");
        assert_eq!(shown(facts(1), trouble, true), ["Critical The store has trouble"]);
        assert_eq!(shown(None, trouble, true), ["Critical The store is not available"]);
        assert_eq!(shown(facts(90), None, false), ["Warning The store is nearly full"]);
    }

    #[test]
    fn the_analysis_decides_on_the_namespaces_that_it_examined() {
        let found = |namespace: &str, kind, severity| Finding {
            namespace: Namespace::new(namespace).unwrap(),
            kind,
            severity,
            summary: "62.1 % of misses would have been hits".to_owned(),
            figures: Vec::new(),
            suggestion: "[namespaces.a]\n".to_owned(),
        };
        let misses = counters(&[(Counter::Misses, 2000)]);
        let mut failing = misses.clone();
        failing.0[Counter::FetchesFailed as usize] = 10;
        failing.0[Counter::Fetches as usize] = 90;
        let counted = [("a", &misses, None), ("b", &failing, None), ("c", &misses, None)];
        let shown = |examined: &Examined| -> Vec<(Severity, String)> {
            let items = of_namespaces(counted.into_iter(), examined).into_iter();
            let name = |item: &Item| item.namespace.clone().unwrap();
            items.map(|it| (it.severity, format!("{}: {}", name(&it), it.cause))).collect()
        };
        let item = |severity, text: &str| (severity, text.to_owned());
        let (notice, warning) = (Severity::Notice, Severity::Warning);
        let alone =
            ["b: its origin fails", "a: low hit rate", "b: low hit rate", "c: low hit rate"];
        assert_eq!(shown(&Examined::default()), alone.map(|text| item(warning, text)));
        let findings = vec![
            found("b", FindingKind::OriginFails, Severity::Critical),
            found("a", FindingKind::LowHitRate, notice),
            found("d", FindingKind::TtlTooShort, warning),
        ];
        let names = ["a", "b", "d"].map(|name| Namespace::new(name).unwrap());
        let expected = [
            item(Severity::Critical, "b: its origin fails"),
            item(warning, "c: low hit rate"),
            item(notice, "a: low hit rate"),
            item(warning, "d: TTL too short"),
        ];
        let examined = Examined::new(names, findings);
        assert_eq!(shown(&examined), expected);
        let items = of_namespaces(std::iter::empty(), &examined);
        let act = &items[2].act;
        assert_eq!((&*act.0, act.1), ("/analysis?namespace=d#d.ttl_too_short", "Suggestion"));
        assert!(items[2].evidence.starts_with("62.1 % of misses"), "{}", items[2].evidence);
    }

    #[test]
    fn an_origin_that_fails_is_as_grave_as_its_share() {
        let item = |fetched, failed| {
            let counts = [(Counter::Fetches, fetched), (Counter::FetchesFailed, failed)];
            of_origin("ns", &counters(&counts)).map(|item| item.severity)
        };
        assert_eq!(item(1000, 10), None);
        assert_eq!(item(0, 5), None, "too few to judge");
        assert_eq!(item(1899, 1), None, "one of many");
        assert_eq!(item(90, 10), Some(Severity::Warning));
        assert_eq!(item(5, 10), Some(Severity::Critical));
    }
}
