//! Events of followed keys. Replicas exchange them as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EARLIER_HALVINGS;

/// Hits of a key within this time, in milliseconds, are one event: the simulated TTLs are longer.
const RUN_MS: u64 = 250;

/// An event of a followed key. Times are those of the store's clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReuseEvent {
    /// Reads that the entry answered.
    #[serde(rename = "h")]
    Hit {
        /// The first read.
        at: u64,
        /// Number of reads.
        count: u64,
        /// The entry that the first read found.
        entry: FollowedEntry,
        /// Whether the entry was stale, so that it was refreshed.
        is_stale: bool,
    },
    /// A read that no entry answered.
    #[serde(rename = "m")]
    Miss {
        /// The read.
        at: u64,
    },
    /// A value was stored.
    #[serde(rename = "w")]
    Write {
        /// The entry.
        entry: FollowedEntry,
        /// Whether its TTL is that of the configuration.
        is_default_ttl: bool,
    },
    /// The TTL of a fresh entry begins again.
    #[serde(rename = "t")]
    Touch {
        /// When it began.
        at: u64,
        /// Its length.
        ttl: u64,
    },
    /// The entry was deleted.
    #[serde(rename = "r")]
    Removal {
        /// When it was deleted.
        at: u64,
    },
}

/// An entry of a followed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedEntry {
    /// When it was written.
    #[serde(rename = "a")]
    pub written_at: u64,
    /// Its TTL.
    #[serde(rename = "l")]
    pub ttl: u64,
    /// Time after the TTL in which it is served stale.
    #[serde(rename = "s")]
    pub window: u64,
    /// Bytes of its value.
    #[serde(rename = "b")]
    pub bytes: u64,
    /// Time after the TTL in which it takes memory. Earlier releases leave it out.
    #[serde(rename = "k", default)]
    pub kept: u64,
}

/// Invalidation of entries without their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReuseInvalidation {
    /// When it happened.
    pub at: u64,
    /// Whether it concerned the whole namespace.
    pub is_whole: bool,
}

/// Events of a namespace, those of each key in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEvents {
    /// Events by the hash of the key.
    pub keys: Vec<(u64, Vec<ReuseEvent>)>,
    /// Invalidations of many entries.
    pub invalidations: Vec<ReuseInvalidation>,
    /// Reads of followed keys that the cache was not asked for, or could not answer because of the
    /// store, of a release that follows one key in 128.
    #[serde(default)]
    pub skipped: u64,
    /// The same, each counted for the keys that a followed one stands for. Later releases send this
    /// one only.
    #[serde(default)]
    pub all_skipped: u64,
    /// How often the replica has halved its share of followed keys, because there were too many
    /// events; 0 if it follows the share of the fleet. Earlier releases follow one key in 128.
    #[serde(default = "earlier_halvings")]
    pub raised: u32,
}

fn earlier_halvings() -> u32 {
    EARLIER_HALVINGS
}

/// Events of one replica by namespace.
pub type ReuseBatch = BTreeMap<String, NamespaceEvents>;

/// Events that a replica leaves for the one that joins those of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentEvents {
    /// Random id, by which a batch that is sent again is found out.
    pub id: u64,
    /// The events.
    pub namespaces: ReuseBatch,
}

/// Answer of the store to a replica that leaves its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReuseAnswer {
    /// The events of all replicas; none if another one joins them.
    pub taken: Option<Vec<SentEvents>>,
    /// How often the share of followed keys is halved, by namespace.
    pub shares: BTreeMap<String, u32>,
}

impl FollowedEntry {
    /// Time after the TTL in which it takes memory: at least that in which it is served.
    pub fn kept(&self) -> u64 {
        self.kept.max(self.window)
    }
}

impl ReuseEvent {
    /// When it happened.
    pub fn at(&self) -> u64 {
        match *self {
            Self::Hit { at, .. }
            | Self::Miss { at }
            | Self::Touch { at, .. }
            | Self::Removal { at } => at,
            Self::Write { entry, .. } => entry.written_at,
        }
    }

    /// The number of reads of a hit.
    pub(super) fn hits(&mut self) -> Option<&mut u64> {
        match self {
            Self::Hit { count, .. } => Some(count),
            Self::Miss { .. } | Self::Write { .. } | Self::Touch { .. } | Self::Removal { .. } => {
                None
            }
        }
    }

    /// Adds a later event to this one, if both are hits of one run. Returns whether it did.
    pub fn absorb(&mut self, later: &Self) -> bool {
        match (self, later) {
            (
                Self::Hit { at, count, is_stale, .. },
                Self::Hit { at: next, count: more, is_stale: is_next_stale, .. },
            ) if is_stale == is_next_stale && next.saturating_sub(*at) < RUN_MS => {
                *count = count.saturating_add(*more);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn hit(at: u64, is_stale: bool) -> ReuseEvent {
        let entry = FollowedEntry { written_at: 1, ttl: 2, window: 3, bytes: 4, kept: 0 };
        ReuseEvent::Hit { at, count: 1, entry, is_stale }
    }

    #[test]
    fn hits_of_one_run_are_one_event() {
        let mut first = hit(1000, false);
        assert!(first.absorb(&hit(1249, false)));
        assert!(!first.absorb(&hit(1250, false)), "the run began at 1000");
        assert!(!first.absorb(&hit(1100, true)) && !first.absorb(&ReuseEvent::Miss { at: 1100 }));
        let ReuseEvent::Hit { at, count, .. } = first else { panic!("{first:?}") };
        assert_eq!((at, count), (1000, 2));
    }

    #[test]
    fn events_survive_their_text() {
        let entry = FollowedEntry { written_at: 7, ttl: 60_000, window: 0, bytes: 12, kept: 0 };
        let events = vec![
            hit(5, true),
            ReuseEvent::Miss { at: 6 },
            ReuseEvent::Write { entry, is_default_ttl: true },
            ReuseEvent::Touch { at: 8, ttl: 9 },
            ReuseEvent::Removal { at: 10 },
        ];
        let invalidations = vec![ReuseInvalidation { at: 11, is_whole: false }];
        let keys = vec![(u64::MAX, events)];
        let namespace = NamespaceEvents { keys, invalidations, skipped: 12, ..Default::default() };
        let batch = ReuseBatch::from([("ns".to_owned(), namespace)]);
        let text = serde_json::to_string(&batch).unwrap();
        assert_eq!(serde_json::from_str::<ReuseBatch>(&text).unwrap(), batch);
        assert!(text.len() < 400, "{text}");
    }
}
