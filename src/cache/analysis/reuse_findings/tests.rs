use super::*;
use crate::{
    cache::analysis::AnalyzedNamespace,
    config::NamespaceConfig,
    stats::{
        counters::Counter,
        reuse::{
            TTLS_MS,
            counts::{ReuseCounts, ReuseFigures},
        },
    },
    store::NamespaceUsage,
};

const MINUTE: u64 = 60;
const MIB: u64 = 1024 * 1024;

/// The place of a TTL of so many minutes.
fn ttl(minutes: u64) -> usize {
    TTLS_MS.iter().position(|ttl| *ttl == minutes * 60_000).unwrap_or_default()
}

/// A namespace with a TTL of 30 minutes, whose groups all have the same counts.
fn namespace(counts: ReuseCounts) -> AnalyzedNamespace {
    let reads = [(Counter::Hits, 6000), (Counter::Misses, 4000)];
    let config = NamespaceConfig { ttl: Duration::from_secs(30 * MINUTE), ..Default::default() };
    let mut figures = ReuseFigures::default();
    figures.groups.fill(counts);
    let usage = NamespaceUsage { keys: 1000, bytes: 100 * MIB, ..NamespaceUsage::default() };
    AnalyzedNamespace {
        usage: Some(usage),
        reuse: ReuseEstimate::of(figures, Some(0.4)),
        ..AnalyzedNamespace::counted(&reads, config)
    }
}

/// Counts of a group from which nothing follows.
fn healthy() -> ReuseCounts {
    ReuseCounts {
        hits: 128 * 150,
        misses: 128 * 100,
        missed: [128 * 100; TTLS_MS.len()],
        writes: 128 * 100,
        default_writes: 128 * 100,
        ttl_millis: 128 * 100 * 30 * MINUTE * 1000,
        ended: 128 * 100,
        unread: 128 * 10,
        held: 1_000_000,
        unread_held: 100_000,
        would_hold: [1_000_000; TTLS_MS.len()],
        large_hits: 0,
        large_ended: 0,
        large_held: 0,
        seen_misses: 100,
        seen_hits: 150,
        seen_ended: 100,
        ..ReuseCounts::default()
    }
}

fn found(counts: ReuseCounts) -> Vec<Finding> {
    of(&namespace(counts))
}

fn figure(finding: &Finding, name: &str) -> f64 {
    let found = finding.figures.iter().find(|figure| figure.name == name);
    found.map_or(f64::NAN, |figure| figure.value)
}

#[track_caller]
fn only(counts: ReuseCounts, kind: FindingKind) -> Finding {
    let mut findings = found(counts);
    assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [kind]);
    findings.remove(0)
}

#[test]
fn healthy_namespace_has_no_findings() {
    assert_eq!(found(healthy()), []);
}

#[test]
fn ttl_is_too_short_if_a_longer_one_saves_misses() {
    let mut counts = healthy();
    counts.missed[ttl(60)] = 128 * 90;
    counts.missed[ttl(120)..].fill(128 * 40);
    let finding = only(counts.clone(), FindingKind::TtlTooShort);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.summary.starts_with("60.0 % (\u{b1} "), "{}", finding.summary);
    assert!(finding.summary.ends_with("of misses would have been hits with ttl = 2h"));
    assert_eq!(finding.suggestion, "[namespaces.ns]\nttl = \"2h\"\n");
    assert!((figure(&finding, "hit_rate_then") - 0.84).abs() < 1e-9);

    let few = ReuseCounts { seen_misses: 10, ..counts.clone() };
    assert_eq!(found(few), [], "160 misses");
    // A TTL of callers is not that of the configuration.
    let by_callers = ReuseCounts { default_writes: 0, ..counts.clone() };
    let finding = only(by_callers, FindingKind::TtlTooShort);
    assert_eq!(finding.suggestion, "");
    let mut short = namespace(counts);
    short.config.max_ttl = Duration::from_secs(90 * MINUTE);
    assert_eq!(of(&short), [], "the longest TTL allowed saves 10 %");
}

#[test]
fn ttl_is_too_long_if_a_shorter_one_frees_memory_and_loses_nothing() {
    let mut counts = healthy();
    counts.seen_misses = 1000;
    counts.missed[..=ttl(1)].fill(128 * 110);
    counts.would_hold[..=ttl(5)].fill(200_000);
    let finding = only(counts.clone(), FindingKind::TtlTooLong);
    assert_eq!(finding.suggestion, "[namespaces.ns]\nttl = \"2m\"\n", "1m loses hits");
    assert!((figure(&finding, "freed_bytes") - 80.0 * MIB as f64).abs() < 1.0);
    let by_callers = ReuseCounts { default_writes: 0, ..counts.clone() };
    let finding = only(by_callers, FindingKind::TtlTooLong);
    // The configuration refuses a TTL above the longest.
    assert_eq!(finding.suggestion, "[namespaces.ns]\nmax_ttl = \"2m\"\nttl = \"2m\"\n");
    let few = ReuseCounts { seen_ended: 12, ..counts.clone() };
    assert_eq!(found(few), []);
    let mut small = namespace(counts);
    small.usage = Some(NamespaceUsage { bytes: MIB, ..NamespaceUsage::default() });
    assert_eq!(of(&small), [], "0.8 MiB");
}

/// Some values have a TTL of their callers: the mean is not that of the configuration.
#[test]
fn suggestions_go_from_the_ttl_of_the_configuration() {
    let mut short = healthy();
    short.missed[ttl(60)..].fill(128 * 40);
    let mut long = healthy();
    long.would_hold[..=ttl(5)].fill(200_000);
    let suggestion = |counts: &ReuseCounts, minutes, longest| {
        let mut namespace = namespace(counts.clone());
        namespace.config.ttl = Duration::from_secs(minutes * MINUTE);
        namespace.config.max_ttl = Duration::from_secs(longest * MINUTE);
        let findings = of(&namespace);
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].suggestion.clone()
    };
    let ttl = |ttl: &str| format!("[namespaces.ns]\nttl = \"{ttl}\"\n");
    assert_eq!(suggestion(&short, 59, 600), ttl("1h"));
    assert_eq!(suggestion(&short, 60, 600), "", "it has this TTL");
    assert_eq!(suggestion(&short, 90, 600), "", "it has a longer one");
    let longest = "[namespaces.ns]\nmax_ttl = \"1s\"\n";
    assert_eq!(suggestion(&long, 30, 600), ttl("1s"));
    let second = |longest| {
        let mut namespace = namespace(long.clone());
        namespace.config.ttl = Duration::from_secs(1);
        namespace.config.max_ttl = longest;
        of(&namespace)[0].suggestion.clone()
    };
    assert_eq!(second(Duration::from_secs(600 * MINUTE)), longest, "only of callers");
    assert_eq!(second(Duration::from_secs(1)), "", "all values will have it");
}

#[test]
fn entries_without_a_read_are_found() {
    let counts = ReuseCounts { unread: 128 * 60, unread_held: 700_000, ..healthy() };
    let finding = only(counts, FindingKind::NeverRead);
    assert!(finding.summary.ends_with("of the entries end without a read"));
    assert!((figure(&finding, "bytes") - 70.0 * MIB as f64).abs() < 1.0);
    assert_eq!(found(ReuseCounts { unread: 128 * 50, ..healthy() }), [], "half, with an error");
}

#[test]
fn large_values_are_found_if_they_are_rarely_read() {
    let large = ReuseCounts { large_ended: 128 * 10, large_held: 800_000, ..healthy() };
    let finding = only(large.clone(), FindingKind::LargeRarelyRead);
    assert!((figure(&finding, "memory") - 0.8).abs() < 1e-9, "{finding:?}");
    let read = ReuseCounts { large_hits: 128 * 20, ..large.clone() };
    assert_eq!(found(read), []);
    assert_eq!(found(ReuseCounts { large_ended: 128 * 2, ..large }), [], "32 values");
}

#[test]
fn evictions_are_found_if_the_store_has_evicted() {
    let counts = ReuseCounts { evicted: 128 * 30, ..healthy() };
    assert_eq!(found(counts.clone()), []);
    let mut evicting = namespace(counts);
    evicting.evictions = 7;
    let findings = of(&evicting);
    assert_eq!((findings.len(), findings[0].kind), (1, FindingKind::EvictedTooSoon));
    assert_eq!(findings[0].suggestion, "", "the memory of Redis is not Larder's");
    evicting.memory_bytes = Some(64 * MIB);
    assert_eq!(of(&evicting)[0].suggestion, "[memory]\nmax_bytes = \"128MiB\"\n");
}
