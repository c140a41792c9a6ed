//! Counts of followed keys, in groups.

use serde::{Deserialize, Serialize};

use super::{GROUPS, TTLS_MS};

/// Counts of some followed keys. Each event counts as many times as there are keys for one that is
/// followed, so that the sums stand for all keys. Fields that are missing are zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReuseCounts {
    /// Reads that an entry answered.
    pub hits: u64,
    /// Reads that no entry answered.
    pub misses: u64,
    /// Of the misses, those of an entry that was gone before its end and was not invalidated.
    pub evicted: u64,
    /// Of the misses, those of an entry that was deleted or invalidated.
    pub invalidated: u64,
    /// Reads that no entry would have answered, by the simulated TTL.
    pub missed: [u64; TTLS_MS.len()],
    /// Values stored.
    pub writes: u64,
    /// Of these, those with the TTL of the configuration.
    pub default_writes: u64,
    /// Sum of the TTLs of the values stored, in milliseconds.
    pub ttl_millis: u64,
    /// Entries that have ended, in any way.
    pub ended: u64,
    /// Of these, those without a read.
    pub unread: u64,
    /// Memory that the ended entries took, in byte-seconds.
    pub held: u64,
    /// Of it, that of the entries without a read.
    pub unread_held: u64,
    /// Memory that the same keys would have taken, by the simulated TTL; that of the real entries
    /// if it is not shorter than theirs.
    pub would_hold: [u64; TTLS_MS.len()],
    /// Reads that a large value answered.
    pub large_hits: u64,
    /// Of the ended entries, the large ones.
    pub large_ended: u64,
    /// Of the memory, that of large values.
    pub large_held: u64,
    /// Reads that count as misses and are none of the cache: that did not want its answer, or
    /// for which the store could not be asked.
    pub skipped: u64,
    /// Misses that were seen, and not scaled.
    pub seen_misses: u64,
    /// Hits that were seen, and not scaled.
    pub seen_hits: u64,
    /// Ended entries that were seen, and not scaled.
    pub seen_ended: u64,
}

/// Counts of a namespace, by the group of the key. Replicas exchange them as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseFigures {
    /// The counts.
    pub groups: [ReuseCounts; GROUPS],
}

impl ReuseCounts {
    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        let add = |sum: &mut u64, count: u64| *sum = sum.saturating_add(count);
        add(&mut self.hits, other.hits);
        add(&mut self.misses, other.misses);
        add(&mut self.evicted, other.evicted);
        add(&mut self.invalidated, other.invalidated);
        add(&mut self.writes, other.writes);
        add(&mut self.default_writes, other.default_writes);
        add(&mut self.ttl_millis, other.ttl_millis);
        add(&mut self.ended, other.ended);
        add(&mut self.unread, other.unread);
        add(&mut self.held, other.held);
        add(&mut self.unread_held, other.unread_held);
        add(&mut self.large_hits, other.large_hits);
        add(&mut self.large_ended, other.large_ended);
        add(&mut self.large_held, other.large_held);
        add(&mut self.skipped, other.skipped);
        add(&mut self.seen_misses, other.seen_misses);
        add(&mut self.seen_hits, other.seen_hits);
        add(&mut self.seen_ended, other.seen_ended);
        self.missed.iter_mut().zip(other.missed).for_each(|(sum, count)| add(sum, count));
        self.would_hold.iter_mut().zip(other.would_hold).for_each(|(sum, count)| add(sum, count));
    }
}

impl ReuseFigures {
    /// Adds other counts, group by group.
    pub fn add(&mut self, other: &Self) {
        self.groups.iter_mut().zip(&other.groups).for_each(|(sum, counts)| sum.add(counts));
    }

    /// Adds reads that the cache was not asked for.
    pub fn skip(&mut self, reads: u64) {
        let skipped = &mut self.groups[0].skipped;
        *skipped = skipped.saturating_add(reads);
    }

    /// The counts of all groups.
    pub fn sum(&self) -> ReuseCounts {
        let mut sum = ReuseCounts::default();
        self.groups.iter().for_each(|counts| sum.add(counts));
        sum
    }

    /// The counts of a key with this hash.
    pub fn of_key(&mut self, hash: u64) -> &mut ReuseCounts {
        // The upper bits of followed keys can all be zero.
        &mut self.groups[hash as usize % GROUPS]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn counts_survive_their_text_and_those_of_other_releases_are_read() {
        let mut figures = ReuseFigures::default();
        figures.of_key(3).missed[15] = 7;
        figures.of_key(19).hits = 5;
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<ReuseFigures>(&text).unwrap(), figures);
        assert_eq!((figures.groups[3].hits, figures.sum().missed[15]), (5, 7));
        let later: ReuseCounts = serde_json::from_str(r#"{"hits":1,"later":2}"#).unwrap();
        assert_eq!((later.hits, later.misses), (1, 0));
    }

    #[test]
    fn every_count_is_added() {
        let numbers = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
        let text = serde_json::to_string(&ReuseCounts::default()).unwrap().replace('0', "1");
        let ones: ReuseCounts = serde_json::from_str(&text).unwrap();
        let mut sum = ones.clone();
        sum.add(&ones);
        let sum = numbers(&serde_json::to_string(&sum).unwrap());
        assert!(sum.chars().all(|digit| digit == '2'), "{sum}");
    }
}
