//! Events, counts and tables of followed keys.

use std::collections::BTreeMap;

use crate::{
    model::Timestamp,
    stats::reuse::{
        REUSE_WINDOW,
        counts::ReuseFigures,
        event::{ReuseAnswer, SentEvents},
        table::{ReuseState, ReuseTable},
    },
};

/// Time for which a replica joins the events after it has last asked for them, in milliseconds.
const TURN_MS: u64 = 20_000;
/// Most batches that wait to be joined.
const MAX_BATCHES: usize = 64;
/// Time for which the keys of a namespace are kept, in milliseconds.
const TABLE_MS: u64 = 25 * 3_600_000;

/// Parts that replicas have put. Their size is bounded: there are few replicas and buckets, each of
/// their parts is bounded, and so is the time for which keys are kept.
#[derive(Debug, Default)]
pub(super) struct ReuseHistory {
    turn: Option<(u64, Timestamp)>,
    waiting: Vec<SentEvents>,
    figures: BTreeMap<u64, BTreeMap<String, ReuseFigures>>,
    /// With the time at which each was put.
    tables: BTreeMap<String, (ReuseTable, Timestamp)>,
    shares: BTreeMap<String, u32>,
}

impl ReuseHistory {
    /// Adds events. Returns the shares, and all that wait if the replica joins them.
    pub(super) fn exchange(
        &mut self,
        replica: u64,
        events: &SentEvents,
        now: Timestamp,
    ) -> ReuseAnswer {
        let shares = self.shares.clone();
        if !events.namespaces.is_empty() && self.waiting.len() < MAX_BATCHES {
            self.waiting.push(events.clone());
        }
        let is_held_by_other = self.turn.is_some_and(|(holder, asked_at)| {
            holder != replica && now.0 < asked_at.0.saturating_add(TURN_MS)
        });
        if is_held_by_other {
            return ReuseAnswer { taken: None, shares };
        }
        self.turn = Some((replica, now));
        ReuseAnswer { taken: Some(std::mem::take(&mut self.waiting)), shares }
    }

    /// The followed keys of a namespace.
    pub(super) fn table(&self, namespace: &str) -> Option<ReuseTable> {
        self.tables.get(namespace).map(|(table, _)| table.clone())
    }

    /// The counts of a bucket.
    pub(super) fn figures(&self, bucket: u64) -> BTreeMap<String, ReuseFigures> {
        self.figures.get(&bucket).cloned().unwrap_or_default()
    }

    /// Replaces counts and tables, and drops the buckets that have left the window, empty tables,
    /// and those that were put long ago.
    pub(super) fn put(&mut self, state: &ReuseState, now: Timestamp) {
        let ReuseState { bucket, figures, tables, shares } = state;
        if !shares.is_empty() {
            self.shares.clone_from(shares);
        }
        self.figures.entry(*bucket).or_default().extend(figures.clone());
        let tables = tables.iter().map(|(name, table)| (name.clone(), (table.clone(), now)));
        self.tables.extend(tables);
        self.tables.retain(|_, (table, put_at)| {
            table.keys() > 0 && now.0 < put_at.0.saturating_add(TABLE_MS)
        });
        let oldest = bucket.saturating_sub(REUSE_WINDOW.buckets - 1);
        self.figures = self.figures.split_off(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::reuse::event::{NamespaceEvents, ReuseBatch, ReuseEvent};

    #[test]
    fn one_replica_joins_the_events_of_all_until_it_stops_asking() {
        let mut history = ReuseHistory::default();
        let namespaces = ReuseBatch::from([("ns".to_owned(), NamespaceEvents::default())]);
        let events = SentEvents { id: 1, namespaces };
        let mut exchange = |replica, events: &SentEvents, at| {
            history.exchange(replica, events, Timestamp(at)).taken.map(|taken| taken.len())
        };
        assert_eq!(exchange(1, &SentEvents::default(), 0), Some(0));
        assert_eq!(exchange(2, &events, 5_000), None);
        assert_eq!(exchange(1, &events, 10_000), Some(2));
        assert_eq!(exchange(2, &events, 29_999), None);
        assert_eq!(exchange(2, &events, 30_000), Some(2));
        assert_eq!(exchange(1, &events, 30_001), None);
    }

    #[test]
    fn counts_are_replaced_by_namespace_and_leave_the_window() {
        let mut history = ReuseHistory::default();
        let mut put = |bucket, namespace: &str| {
            let figures = BTreeMap::from([(namespace.to_owned(), ReuseFigures::default())]);
            let tables = BTreeMap::from([(namespace.to_owned(), ReuseTable::default())]);
            let shares = BTreeMap::new();
            history.put(&ReuseState { bucket, figures, tables, shares }, Timestamp(0));
            (1..=bucket).map(|bucket| history.figures(bucket).len()).collect::<Vec<_>>()
        };
        assert_eq!(put(1, "a"), [1]);
        assert_eq!(put(1, "b"), [2]);
        assert_eq!(put(5, "a"), [2, 0, 0, 0, 1]);
        assert_eq!(put(6, "a"), [0, 0, 0, 0, 1, 1]);
        assert_eq!(history.table("a"), None, "it has no keys");
    }

    #[test]
    fn keys_that_are_not_put_again_are_dropped_after_a_day() {
        let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
        let keys = vec![(7, vec![ReuseEvent::Miss { at: 1 }])];
        table.apply(vec![NamespaceEvents { keys, ..Default::default() }], &mut figures);
        let mut history = ReuseHistory::default();
        let state = |name: &str| ReuseState {
            tables: BTreeMap::from([(name.to_owned(), table.clone())]),
            ..ReuseState::default()
        };
        history.put(&state("a"), Timestamp(0));
        history.put(&state("b"), Timestamp(TABLE_MS - 1));
        assert!(history.table("a").is_some());
        history.put(&ReuseState::default(), Timestamp(TABLE_MS));
        assert_eq!((history.table("a"), history.tables.len()), (None, 1));
    }
}
