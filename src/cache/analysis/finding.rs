//! Findings of an analysis.

use std::time::Duration;

use crate::model::Namespace;

/// A fact about a namespace that costs hits, memory or work.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The namespace.
    pub namespace: Namespace,
    /// Kind of the finding.
    pub kind: FindingKind,
    /// How grave it is.
    pub severity: Severity,
    /// One sentence.
    pub summary: String,
    /// The figures that it follows from.
    pub figures: Vec<Figure>,
    /// Lines of the configuration file; empty if no setting helps.
    pub suggestion: String,
}

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// More is deleted and invalidated than the cache answers.
    InvalidatedMoreThanHit,
    /// The cache answers few of the reads.
    LowHitRate,
    /// Many fetches from the origin fail.
    OriginFails,
    /// Many misses would have been hits with a longer TTL.
    TtlTooShort,
    /// A shorter TTL would lose few hits, and free memory.
    TtlTooLong,
    /// Many entries end without a read.
    NeverRead,
    /// Large values take much of the memory and few of the reads.
    LargeRarelyRead,
    /// Many misses are of entries that were evicted before the end of their TTL.
    EvictedTooSoon,
}

impl FindingKind {
    /// Its name, such as `low_hit_rate`.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidatedMoreThanHit => "invalidated_more_than_hit",
            Self::LowHitRate => "low_hit_rate",
            Self::OriginFails => "origin_fails",
            Self::TtlTooShort => "ttl_too_short",
            Self::TtlTooLong => "ttl_too_long",
            Self::NeverRead => "never_read",
            Self::LargeRarelyRead => "large_rarely_read",
            Self::EvictedTooSoon => "evicted_too_soon",
        }
    }
}

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something could be better.
    Notice,
    /// The cache does much less than it could.
    Warning,
    /// The cache hardly works, or an origin does not.
    Critical,
}

/// A number with its name and its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// The number.
    pub value: f64,
    /// `1` for a share of 1, `s` for seconds, `bytes`, or what is counted.
    pub unit: &'static str,
}

impl Figure {
    /// A number of `unit`.
    pub(super) fn count(name: &'static str, count: u64, unit: &'static str) -> Self {
        Self { name, value: count as f64, unit }
    }

    /// A time.
    pub(super) fn seconds(name: &'static str, time: Duration) -> Self {
        Self { name, value: time.as_secs_f64(), unit: "s" }
    }

    /// A share of 1.
    pub(super) fn share(name: &'static str, share: f64) -> Self {
        Self { name, value: share, unit: "1" }
    }
}
