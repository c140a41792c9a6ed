//! Batches of events that are counted already: a replica sends one again if it has no answer.

use std::collections::HashSet;

/// Ids of batches of which at least the last so many are remembered: those of 256 replicas for
/// 20 s, as often as they send some.
const MIN_REMEMBERED: usize = 1024;

/// Remembers the ids of the last batches.
#[derive(Default)]
pub(super) struct TakenBatches {
    recent: HashSet<u64>,
    before: HashSet<u64>,
}

impl TakenBatches {
    /// Returns false if the batch was taken before.
    pub(super) fn insert(&mut self, id: u64) -> bool {
        if self.before.contains(&id) {
            return false;
        }
        if self.recent.len() >= MIN_REMEMBERED {
            self.before = std::mem::take(&mut self.recent);
        }
        !self.before.contains(&id) && self.recent.insert(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_batches_are_remembered() {
        let mut taken = TakenBatches::default();
        for id in 0..10_000 {
            assert!(taken.insert(id) && !taken.insert(id));
        }
        let last = 10_000 - MIN_REMEMBERED as u64;
        assert!((last..10_000).all(|id| !taken.insert(id)));
        assert!(taken.recent.len() + taken.before.len() <= 2 * MIN_REMEMBERED);
        assert!(taken.insert(0), "an old one is forgotten");
    }
}
