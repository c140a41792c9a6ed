//! Findings from the estimates of reuse.

use std::time::Duration;

use super::{
    AnalyzedNamespace,
    estimate::{ReuseEstimate, Share, TtlEstimate},
    finding::{Figure, Finding, FindingKind, Severity},
    suggestion::{duration_setting, twice_the_memory},
};

/// Fewest misses of followed keys from which a TTL is judged to be too short, and fewest ended
/// entries from which it is judged to be too long: of 200 a share is known to 7 points.
const MIN_SEEN: u64 = 200;
/// Least share of the misses that a longer TTL must save.
const SAVED_MISSES: f64 = 0.2;
/// Least gain of the hit rate that is worth a longer TTL: values are older with it.
const HIT_RATE_GAIN: f64 = 0.01;
/// Part of the most that a TTL can save for which a shorter one is preferred.
const ENOUGH: f64 = 0.8;
/// Share of the misses with which a too short TTL is most of the problem.
const MOST: f64 = 0.5;
/// Largest share of the hits that a shorter TTL may lose.
const LOST_HITS: f64 = 0.01;
/// Least share of the memory that a shorter TTL must free.
const FREED_MEMORY: f64 = 0.5;
/// Least memory that is worth a finding, in bytes.
const MIN_BYTES: u64 = 1024 * 1024;
/// Least share of entries without a read.
const NEVER_READ: f64 = 0.5;
/// Least share of misses that are of evicted entries.
const EVICTED: f64 = 0.1;
/// Least share of the memory that large values take, and largest share of the reads.
const LARGE_MEMORY: f64 = 0.5;
const LARGE_READS: f64 = 0.1;
/// Fewest large values that must have ended: there are few of them.
const MIN_LARGE: u64 = 50;
/// Share of values with the TTL of the configuration from which it is the one to change.
const BY_DEFAULT: f64 = 0.5;

/// The findings about a namespace with estimates.
pub(super) fn of(namespace: &AnalyzedNamespace) -> Vec<Finding> {
    let Some(estimate) = &namespace.reuse else { return Vec::new() };
    let subject = Subject { namespace, estimate };
    [
        subject.ttl_too_short(),
        subject.evicted_too_soon(),
        subject.ttl_too_long(),
        subject.never_read(),
        subject.large_rarely_read(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

struct Subject<'a> {
    namespace: &'a AnalyzedNamespace,
    estimate: &'a ReuseEstimate,
}

impl Subject<'_> {
    fn ttl_too_short(&self) -> Option<Finding> {
        let counts = &self.estimate.counts;
        if counts.seen_misses < MIN_SEEN {
            return None;
        }
        // The mean TTL is shortened by the jitter.
        let shortest = self.estimate.mean_ttl.mul_f64(1.0 + self.namespace.config.ttl_jitter);
        let longer: Vec<(&TtlEstimate, Share)> = self
            .estimate
            .ttls
            .iter()
            .filter(|other| other.ttl > shortest && other.ttl <= self.namespace.config.max_ttl)
            .filter_map(|other| Some((other, other.saved?)))
            .collect();
        let most = longer.iter().map(|(_, saved)| saved.value).fold(0.0, f64::max);
        let (best, saved) = longer.into_iter().find(|(_, saved)| saved.value >= most * ENOUGH)?;
        let hit_rate = self.namespace.counters.hit_rate()?;
        let gain = (1.0 - hit_rate) * saved.value;
        if saved.lowest() < SAVED_MISSES || gain < HIT_RATE_GAIN {
            return None;
        }
        // The mean of all values can differ from the TTL of the configuration.
        let is_longer = best.ttl > self.namespace.config.ttl;
        let (suggestion, remark) = match (self.is_default(), is_longer) {
            (true, true) => (self.setting("ttl", best.ttl), ""),
            (true, false) => {
                (String::new(), "; some values have a shorter TTL of their callers or origins")
            }
            (false, _) => (String::new(), "; most values have a TTL of their callers or origins"),
        };
        let ttl = humantime::format_duration(best.ttl);
        Some(Finding {
            suggestion,
            ..self.finding(
                FindingKind::TtlTooShort,
                if saved.lowest() >= MOST { Severity::Warning } else { Severity::Notice },
                format!(
                    "{} of misses would have been hits with ttl = {ttl}{remark}",
                    percent(saved)
                ),
                vec![
                    Figure::share("saved_misses", saved.value),
                    Figure::share("error", saved.error),
                    Figure::share("hit_rate", hit_rate),
                    Figure::share("hit_rate_then", hit_rate + gain),
                    Figure::seconds("mean_ttl", self.estimate.mean_ttl),
                    Figure::seconds("ttl", best.ttl),
                    Figure::count("sampled_misses", counts.seen_misses, "reads"),
                ],
            )
        })
    }

    fn ttl_too_long(&self) -> Option<Finding> {
        let counts = &self.estimate.counts;
        if counts.seen_ended < MIN_SEEN || counts.seen_hits < MIN_SEEN {
            return None;
        }
        let (shorter, lost, freed) = self.estimate.ttls.iter().find_map(|other| {
            let (lost, freed) = (other.lost?, other.freed?);
            let is_enough = lost.highest() <= LOST_HITS && freed.lowest() >= FREED_MEMORY;
            is_enough.then_some((other, lost, freed))
        })?;
        let bytes = self.bytes(freed.value)?;
        let ttl = humantime::format_duration(shorter.ttl);
        let config = &self.namespace.config;
        let (key, suggestion) = if self.is_default() && shorter.ttl < config.ttl {
            ("ttl", self.setting("ttl", shorter.ttl))
        } else if shorter.ttl < config.max_ttl {
            // A TTL of callers is only bounded.
            ("max_ttl", self.longest_ttl(shorter.ttl))
        } else {
            ("max_ttl", String::new())
        };
        Some(Finding {
            suggestion,
            ..self.finding(
                FindingKind::TtlTooLong,
                Severity::Notice,
                format!(
                    "{key} = {ttl} would free {} of the memory, and lose {} of the hits",
                    percent(freed),
                    percent(lost)
                ),
                vec![
                    Figure::share("freed_memory", freed.value),
                    Figure::share("error", freed.error),
                    Figure::count("freed_bytes", bytes, "bytes"),
                    Figure::share("lost_hits", lost.value),
                    Figure::share("lost_hits_error", lost.error),
                    Figure::seconds("mean_ttl", self.estimate.mean_ttl),
                    Figure::seconds("ttl", shorter.ttl),
                    Figure::count("sampled_entries", counts.seen_ended, "entries"),
                ],
            )
        })
    }

    fn never_read(&self) -> Option<Finding> {
        let counts = &self.estimate.counts;
        if counts.seen_ended < MIN_SEEN {
            return None;
        }
        let unread = self
            .estimate
            .share(counts.seen_ended, |counts| (counts.unread as f64, counts.ended as f64))?;
        let memory = self
            .estimate
            .share(counts.seen_ended, |counts| (counts.unread_held as f64, counts.held as f64))?;
        if unread.lowest() < NEVER_READ {
            return None;
        }
        let bytes = self.bytes(memory.value)?;
        Some(self.finding(
            FindingKind::NeverRead,
            Severity::Notice,
            format!("{} of the entries end without a read", percent(unread)),
            vec![
                Figure::share("unread", unread.value),
                Figure::share("error", unread.error),
                Figure::share("memory", memory.value),
                Figure::count("bytes", bytes, "bytes"),
                Figure::count("sampled_entries", counts.seen_ended, "entries"),
            ],
        ))
    }

    fn large_rarely_read(&self) -> Option<Finding> {
        let counts = &self.estimate.counts;
        let memory = self
            .estimate
            .share(counts.seen_ended, |counts| (counts.large_held as f64, counts.held as f64))?;
        let reads = self
            .estimate
            .share(counts.seen_hits, |counts| (counts.large_hits as f64, counts.hits as f64))?;
        let seen = counts.large_ended / (counts.ended / counts.seen_ended.max(1)).max(1);
        let is_found = seen >= MIN_LARGE
            && counts.seen_hits >= MIN_SEEN
            && memory.lowest() >= LARGE_MEMORY
            && reads.highest() <= LARGE_READS;
        let bytes = self.bytes(memory.value).filter(|_| is_found)?;
        Some(self.finding(
            FindingKind::LargeRarelyRead,
            Severity::Notice,
            format!(
                "values of 64 KiB and more take {} of the memory, and get {} of the hits",
                percent(memory),
                percent(reads)
            ),
            vec![
                Figure::share("memory", memory.value),
                Figure::share("memory_error", memory.error),
                Figure::share("hits", reads.value),
                Figure::share("hits_error", reads.error),
                Figure::count("bytes", bytes, "bytes"),
                Figure::count("sampled_large_values", seen, "entries"),
            ],
        ))
    }

    fn evicted_too_soon(&self) -> Option<Finding> {
        let counts = &self.estimate.counts;
        let evicted = self
            .estimate
            .share(counts.seen_misses, |counts| (counts.evicted as f64, counts.misses as f64))?;
        // Without evictions the entries were lost in another way: by a failover, or a FLUSHALL.
        let is_likely = evicted.lowest() >= EVICTED && self.namespace.evictions > 0;
        if counts.seen_misses < MIN_SEEN || !is_likely {
            return None;
        }
        let memory = self.namespace.memory_bytes.filter(|bytes| *bytes > 0);
        Some(Finding {
            suggestion: memory.map(twice_the_memory).unwrap_or_default(),
            ..self.finding(
                FindingKind::EvictedTooSoon,
                Severity::Warning,
                format!(
                    "{} of misses are of entries that were gone before their TTL",
                    percent(evicted)
                ),
                vec![
                    Figure::share("evicted", evicted.value),
                    Figure::share("error", evicted.error),
                    Figure::count("evicted_by_the_store", self.namespace.evictions, "entries"),
                    Figure::count("sampled_misses", counts.seen_misses, "reads"),
                ],
            )
        })
    }

    fn finding(
        &self,
        kind: FindingKind,
        severity: Severity,
        summary: String,
        figures: Vec<Figure>,
    ) -> Finding {
        let (namespace, suggestion) = (self.namespace.name.clone(), String::new());
        Finding { namespace, kind, severity, summary, figures, suggestion }
    }

    /// Whether most values have the TTL of the configuration.
    fn is_default(&self) -> bool {
        let counts = &self.estimate.counts;
        counts.default_writes as f64 >= counts.writes as f64 * BY_DEFAULT
    }

    /// A bound of all TTLs, and so of that of the configuration.
    fn longest_ttl(&self, longest: Duration) -> String {
        let bound = self.setting("max_ttl", longest);
        match longest < self.namespace.config.ttl {
            true => format!("{bound}ttl = \"{}\"\n", humantime::format_duration(longest)),
            false => bound,
        }
    }

    fn setting(&self, key: &str, value: Duration) -> String {
        duration_setting(&self.namespace.name, key, value)
    }

    /// A share of the memory of the namespace; none if it is too little to matter.
    fn bytes(&self, share: f64) -> Option<u64> {
        let bytes = self.namespace.usage.as_ref()?.bytes as f64 * share;
        // Far below the largest number.
        Some(bytes as u64).filter(|bytes| *bytes >= MIN_BYTES)
    }
}

/// A share as a percentage with its error.
fn percent(share: Share) -> String {
    format!("{:.1} % (\u{b1} {:.1})", share.value * 100.0, share.error * 100.0)
}

#[cfg(test)]
mod tests;
