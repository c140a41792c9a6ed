//! When bans were made: the number of the newest ban at some times.

use std::{collections::VecDeque, time::Duration};

use crate::model::Timestamp;

/// Time between two of the times. `scripts/append_ban.lua` has the same.
const STEP: Duration = Duration::from_secs(60);

/// The last times, the oldest first, with the number of the newest ban at each.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct BanTimes(VecDeque<(Timestamp, u64)>);

impl BanTimes {
    /// Most times that are kept. Those of a namespace with a ban in each minute cover 16 hours.
    pub(in crate::store) const MAX: usize = 1000;

    /// Those of Redis, in any order.
    pub(in crate::store) fn of(mut times: Vec<(Timestamp, u64)>) -> Self {
        times.sort_unstable();
        Self(times.into())
    }

    /// A ban with the next number is made.
    pub(in crate::store) fn add(&mut self, now: Timestamp, sequence: u64) {
        if self.0.back().is_some_and(|(last, _)| now.since(*last) < STEP) {
            return;
        }
        if self.0.len() >= Self::MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, sequence));
    }

    /// The bans up to the number `sequence` were dropped.
    pub(in crate::store) fn drop_until(&mut self, sequence: u64) {
        while self.0.get(1).is_some_and(|(_, number)| *number <= sequence) {
            self.0.pop_front();
        }
    }

    /// When a ban was made, or up to a minute before; none if that is not known any more.
    pub(in crate::store) fn time_of(&self, sequence: u64) -> Option<Timestamp> {
        let newer = self.0.partition_point(|(_, number)| *number <= sequence);
        newer.checked_sub(1).and_then(|index| self.0.get(index)).map(|(time, _)| *time)
    }

    /// Memory, in bytes.
    pub(in crate::store) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<(Timestamp, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    #[test]
    fn the_time_of_a_ban_is_known_to_a_minute() {
        let mut times = BanTimes::default();
        for (time, sequence) in [(0, 1), (MINUTE - 1, 2), (MINUTE, 3), (5 * MINUTE, 4)] {
            times.add(Timestamp(time), sequence);
        }
        let found = [0, 1, 2, 3, 4, 9].map(|sequence| times.time_of(sequence).map(|time| time.0));
        let last = Some(5 * MINUTE);
        assert_eq!(found, [None, Some(0), Some(0), Some(MINUTE), last, last]);
        times.drop_until(2);
        assert_eq!(times.time_of(2), Some(Timestamp(0)), "it may have a hold-off");
        times.drop_until(3);
        assert_eq!((times.time_of(2), times.time_of(3)), (None, Some(Timestamp(MINUTE))));
    }

    #[test]
    fn there_are_not_more_times_than_the_limit() {
        let mut times = BanTimes::default();
        (0..2500).for_each(|number| times.add(Timestamp(number * MINUTE), number));
        assert_eq!(times.0.len(), BanTimes::MAX);
        assert_eq!(times.time_of(1499), None);
        assert_eq!(times.time_of(2499), Some(Timestamp(2499 * MINUTE)));
        let times = BanTimes::of(vec![(Timestamp(9), 3), (Timestamp(4), 1)]);
        assert_eq!(
            [1, 3].map(|number| times.time_of(number)),
            [4, 9].map(|at| Some(Timestamp(at)))
        );
    }
}
