//! The latest changes of one kind in a namespace, with their numbers.

use std::{collections::VecDeque, sync::Arc};

use super::batch::ChangeBatch;

/// Most batches of a lane.
const MAX_BATCHES: usize = 16 * 1024;

/// The latest batches, in order. Older ones are dropped.
pub(super) struct Lane {
    /// Number of the first batch.
    first: u64,
    batches: VecDeque<Arc<ChangeBatch>>,
    memory: usize,
}

/// The batch at a position was dropped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dropped;

impl Lane {
    /// An empty lane that begins with the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Self { first, batches: VecDeque::new(), memory: 0 }
    }

    /// Number of the next batch.
    pub(super) fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// Memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Adds a batch. Drops old ones until the lane takes at most `limit` bytes, or has one batch.
    pub(super) fn push(&mut self, batch: ChangeBatch, limit: usize) {
        self.memory += batch.memory();
        self.batches.push_back(Arc::new(batch));
        self.trim(limit);
    }

    /// Drops old batches until the lane takes at most `limit` bytes, or has one batch.
    pub(super) fn trim(&mut self, limit: usize) {
        while self.batches.len() > 1 && (self.memory > limit || self.batches.len() > MAX_BATCHES) {
            self.drop_first();
        }
    }

    /// Drops all batches, and lets no position continue.
    pub(super) fn interrupt(&mut self) {
        while !self.batches.is_empty() {
            self.drop_first();
        }
        self.first += 1;
    }

    /// The batch with this number; `None` if it is not there yet.
    pub(super) fn at(&self, number: u64) -> Result<Option<&Arc<ChangeBatch>>, Dropped> {
        let index = number.checked_sub(self.first).ok_or(Dropped)?;
        // A position beyond the end is not one of this lane.
        if number > self.end() {
            return Err(Dropped);
        }
        Ok(usize::try_from(index).ok().and_then(|index| self.batches.get(index)))
    }

    fn drop_first(&mut self) {
        if let Some(dropped) = self.batches.pop_front() {
            self.memory -= dropped.memory();
            self.first += 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::{changes::PublishedChange, model::Namespace};

    fn batch(tag: &str) -> ChangeBatch {
        let change = PublishedChange::Tags(vec![tag.to_owned()]);
        ChangeBatch::new(Namespace::new("ns").unwrap(), change, Instant::now())
    }

    #[test]
    fn positions_are_kept_until_their_batch_is_dropped() {
        let mut lane = Lane::new(10);
        assert_eq!((lane.at(10).unwrap().is_none(), lane.at(11).err()), (true, Some(Dropped)));
        lane.push(batch("a"), usize::MAX);
        let one = lane.memory();
        lane.push(batch("b"), usize::MAX);
        assert!(lane.at(10).unwrap().is_some() && lane.at(11).unwrap().is_some());
        lane.push(batch("c"), 2 * one);
        assert_eq!((lane.at(10).err(), lane.memory()), (Some(Dropped), 2 * one));
        assert_eq!(lane.end(), 13);
        lane.push(batch(&"x".repeat(1000)), one);
        assert!(lane.at(13).unwrap().is_some(), "the newest batch stays");
    }

    #[test]
    fn an_interruption_ends_every_position() {
        let mut lane = Lane::new(10);
        lane.push(batch("a"), usize::MAX);
        lane.interrupt();
        assert_eq!((lane.at(11).err(), lane.end(), lane.memory()), (Some(Dropped), 12, 0));
        lane.interrupt();
        assert_eq!((lane.at(12).err(), lane.end()), (Some(Dropped), 13));
    }

    #[test]
    fn the_number_of_batches_is_bounded() {
        let mut lane = Lane::new(0);
        for _ in 0..=MAX_BATCHES {
            lane.push(batch("a"), usize::MAX);
        }
        assert_eq!(lane.at(0).err(), Some(Dropped));
        assert!(lane.at(1).unwrap().is_some());
    }
}
