//! Analysis: how well namespaces are cached, and what to change.
//!
//! The policy is pure: findings follow from figures alone. Each has the figures that it follows
//! from, and the lines of the configuration that it suggests.

mod counter_findings;
mod estimate;
mod finding;
mod judgement;
mod reuse_findings;
mod suggestion;

use crate::{
    config::NamespaceConfig,
    model::Namespace,
    stats::counters::{Counter, Counters},
    store::NamespaceUsage,
};

pub use estimate::{ReuseEstimate, Share, TtlEstimate};
pub use finding::{Figure, Finding, FindingKind, Severity};
pub use judgement::{failed_share_severity, low_hit_rate};

/// An examined namespace.
#[derive(Debug)]
pub struct AnalyzedNamespace {
    /// Its name.
    pub name: Namespace,
    /// Its counts of the last 24 hours.
    pub counters: Counters,
    /// Its usage of the store; none if it has no entry or the store was unavailable.
    pub usage: Option<NamespaceUsage>,
    /// Its rules in this replica.
    pub config: NamespaceConfig,
    /// Estimates from its followed keys; none without samples.
    pub reuse: Option<ReuseEstimate>,
    /// Entries that the store has evicted since its start, of any namespace.
    pub evictions: u64,
    /// Largest memory of the embedded store, in bytes; none for Redis.
    pub memory_bytes: Option<u64>,
}

/// Examined namespaces, and what to change.
#[derive(Debug)]
pub struct Analysis {
    /// The namespaces, that with the most reads first.
    pub namespaces: Vec<AnalyzedNamespace>,
    /// The findings, the gravest first.
    pub findings: Vec<Finding>,
    /// Whether the store was unavailable: the counts are those of this replica alone.
    pub degraded: bool,
}

impl AnalyzedNamespace {
    /// Number of its reads.
    pub fn reads(&self) -> u64 {
        Counter::READS.into_iter().map(|outcome| self.counters.get(outcome)).sum()
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = counter_findings::of(self);
        findings.extend(reuse_findings::of(self));
        findings
    }

    #[cfg(test)]
    fn counted(counts: &[(Counter, u64)], config: NamespaceConfig) -> Self {
        let mut counters = Counters::default();
        counts.iter().for_each(|(counter, count)| counters.0[*counter as usize] = *count);
        let name = crate::cache::testing::namespace();
        let (evictions, memory_bytes) = (0, None);
        Self { name, counters, usage: None, config, reuse: None, evictions, memory_bytes }
    }
}

impl Analysis {
    /// Most namespaces that a request can name.
    pub const MAX_NAMED: usize = 100;
    /// Most namespaces of an analysis of all.
    pub const MAX_NAMESPACES: usize = 200;

    /// Finds what to change. Of the namespaces, those with the most reads are examined.
    pub(super) fn of(mut namespaces: Vec<AnalyzedNamespace>, degraded: bool) -> Self {
        namespaces.sort_by(|one, two| {
            two.reads().cmp(&one.reads()).then_with(|| one.name.cmp(&two.name))
        });
        namespaces.truncate(Self::MAX_NAMESPACES);
        let mut findings: Vec<Finding> =
            namespaces.iter().flat_map(AnalyzedNamespace::findings).collect();
        // The sort is stable: findings of equal severity are in the order of the reads.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { namespaces, findings, degraded }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn namespace(name: &str, counts: &[(Counter, u64)]) -> AnalyzedNamespace {
        let name = Namespace::new(name).unwrap();
        AnalyzedNamespace { name, ..AnalyzedNamespace::counted(counts, NamespaceConfig::default()) }
    }

    #[test]
    fn namespaces_are_sorted_by_reads_and_findings_by_severity() {
        let poor = [(Counter::Hits, 400), (Counter::Misses, 600)];
        let bad = [(Counter::Misses, 2000)];
        let good = [(Counter::Hits, 9000), (Counter::Misses, 1000)];
        let few = [(Counter::Misses, 10)];
        let cases = [("poor", &poor[..]), ("bad", &bad), ("good", &good), ("few", &few)];
        let namespaces = cases.map(|(name, counts)| namespace(name, counts)).into();
        let analysis = Analysis::of(namespaces, false);
        let names: Vec<&str> = analysis.namespaces.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["good", "bad", "poor", "few"]);
        let found: Vec<(&str, Severity)> =
            analysis.findings.iter().map(|it| (it.namespace.as_str(), it.severity)).collect();
        assert_eq!(found, [("bad", Severity::Warning), ("poor", Severity::Notice)]);
    }

    #[test]
    fn analysis_of_all_is_bounded() {
        let many = (0..201).map(|number| namespace(&format!("n{number}"), &[]));
        assert_eq!(Analysis::of(many.collect(), false).namespaces.len(), 200);
    }
}
