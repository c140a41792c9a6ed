//! Items that need attention: the cause, the figures that show it, and where to act.

use std::{collections::BTreeMap, time::Duration};

use super::{
    figures::{Figures, reads},
    numbers,
    query::link,
    text::visible,
};
use crate::stats::{
    counters::{Counter, Counters},
    replica_report::{OriginReport, ReplicaReport, ReportedBreaker},
};

/// Most items that are shown.
const MAX_ITEMS: usize = 8;
/// Share of the store's memory from which it is nearly full.
const NEARLY_FULL: f64 = 0.9;
/// Share of fetches that fail from which an origin needs attention.
const FAILING: f64 = 0.05;
/// Share of reads that must be answered from the cache.
const LOW_HIT_RATE: f64 = 0.5;
/// Fewest reads or fetches for a judgement.
const ENOUGH: u64 = 100;

/// States of a breaker that needs attention.
const OPEN: [ReportedBreaker; 2] = [ReportedBreaker::Open, ReportedBreaker::HalfOpen];

/// How grave an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Notice,
    Warning,
    Critical,
}

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

impl Severity {
    /// The word for it, which stands next to its colour.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Notice => "Notice",
            Self::Warning => "Warning",
            Self::Critical => "Critical",
        }
    }

    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Notice => "dot plain",
            Self::Warning => "dot mid",
            Self::Critical => "dot bad",
        }
    }
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
}

/// The items of a fleet. `shows_keys`: whether keys may be named.
pub(super) fn attention(figures: &Figures, shows_keys: bool) -> Attention {
    let mut items = of_store(figures);
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
    for namespace in &figures.namespaces {
        let (name, counters) = (namespace.name.as_str(), &namespace.counters);
        let ttl = namespace.config.as_ref().map(|config| config.ttl);
        items.extend(of_origin(name, counters));
        items.extend(of_hit_rate(name, counters, ttl));
    }
    for (name, counters) in figures.others() {
        items.extend(of_origin(name, counters));
        items.extend(of_hit_rate(name, counters, None));
    }
    items.sort_by_key(|item| std::cmp::Reverse(item.severity));
    let left_out = items.len().saturating_sub(MAX_ITEMS);
    items.truncate(MAX_ITEMS);
    Attention { items, left_out, is_complete: !figures.has_uncounted() }
}

fn of_store(figures: &Figures) -> Vec<Item> {
    let overview = &figures.overview;
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

fn of_origin(name: &str, counters: &Counters) -> Option<Item> {
    let (fetched, failed) = (counters.get(Counter::Fetches), counters.get(Counter::FetchesFailed));
    let all = fetched + failed;
    let share = failed as f64 / all.max(1) as f64;
    if all < ENOUGH / 10 || share < FAILING {
        return None;
    }
    let stale = counters.get(Counter::StaleIfError);
    let evidence = format!(
        "{} of {} fetches failed; {} reads were answered with a stale value instead.",
        numbers::count(failed),
        numbers::count(all),
        numbers::count(stale)
    );
    let severity = if share >= 0.5 { Severity::Critical } else { Severity::Warning };
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
    let rate = low_hit_rate(counters)?;
    let ttl = ttl.map(|ttl| format!("; its TTL is {}", numbers::span(ttl)));
    let evidence = format!(
        "{} of {} reads were answered from the cache{}.",
        numbers::percent(rate),
        numbers::count(reads(counters)),
        ttl.unwrap_or_default()
    );
    Some(Item {
        severity: Severity::Notice,
        namespace: Some(name.to_owned()),
        cause: "low hit rate".to_owned(),
        evidence,
        act: (link("/analysis", &[("namespace", name)]), "Analysis"),
    })
}

/// The hit rate if there are enough reads, and it is low.
pub(super) fn low_hit_rate(counters: &Counters) -> Option<f64> {
    let rate = counters.hit_rate()?;
    (reads(counters) >= ENOUGH && rate < LOW_HIT_RATE).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(counts: &[(Counter, u64)]) -> Counters {
        let mut counters = Counters::default();
        counts.iter().for_each(|(counter, count)| counters.0[*counter as usize] = *count);
        counters
    }

    #[test]
    fn a_few_reads_are_no_low_hit_rate() {
        assert_eq!(low_hit_rate(&counters(&[(Counter::Misses, 99)])), None);
        assert_eq!(low_hit_rate(&counters(&[(Counter::Misses, 100)])), Some(0.0));
        let half = [(Counter::Hits, 50), (Counter::Misses, 50)];
        assert_eq!(low_hit_rate(&counters(&half)), None);
    }

    #[test]
    fn an_origin_that_fails_is_as_grave_as_its_share() {
        let item = |fetched, failed| {
            let counts = [(Counter::Fetches, fetched), (Counter::FetchesFailed, failed)];
            of_origin("ns", &counters(&counts)).map(|item| item.severity)
        };
        assert_eq!(item(1000, 10), None);
        assert_eq!(item(0, 5), None, "too few to judge");
        assert_eq!(item(90, 10), Some(Severity::Warning));
        assert_eq!(item(5, 10), Some(Severity::Critical));
    }
}
