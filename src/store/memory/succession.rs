//! The generations of a namespace that bans have separated.

use std::sync::{Arc, Weak};

/// The current one of several generations, and those before it that are still in use: by an entry,
/// a lease or a write.
pub(super) struct Succession<G> {
    current: Weak<G>,
    /// With their sequence numbers, in order.
    elders: Vec<(u64, Weak<G>)>,
}

impl<G> Default for Succession<G> {
    fn default() -> Self {
        Self { current: Weak::new(), elders: Vec::new() }
    }
}

impl<G> Succession<G> {
    pub(super) fn current(&self) -> Option<Arc<G>> {
        self.current.upgrade()
    }

    /// The generation `elder` is followed by `current`. No call may begin to use `elder` meanwhile.
    pub(super) fn supersede(&mut self, elder: &Arc<G>, sequence: u64, current: &Arc<G>) {
        self.current = Arc::downgrade(current);
        // Otherwise only its namespace uses it.
        if Arc::strong_count(elder) > 1 {
            if self.elders.len() == self.elders.capacity() {
                self.forget_unused();
                self.elders.reserve(self.elders.len().max(4));
            }
            self.elders.push((sequence, Arc::downgrade(elder)));
        }
    }

    /// Sequence number of the oldest generation before the current one.
    pub(super) fn oldest(&mut self) -> Option<u64> {
        self.forget_unused();
        self.elders.first().map(|(sequence, _)| *sequence)
    }

    fn forget_unused(&mut self) {
        self.elders.retain(|(_, generation)| generation.strong_count() > 0);
        if self.elders.capacity() > 4 * self.elders.len().max(4) {
            self.elders.shrink_to(2 * self.elders.len());
        }
    }

    /// Memory of the list and of the generations, each of `generation` bytes.
    pub(super) fn memory(&self, generation: u64) -> u64 {
        let list = self.elders.capacity() * size_of::<(u64, Weak<G>)>();
        list as u64 + self.elders.len() as u64 * generation
    }
}
