//! Runs of hits: a hit of a key soon after another one is counted without a lock.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

/// Keys whose runs are counted at once. Others that share the place of a run end it.
pub(super) const PLACES: usize = 128;
/// Length of the steps of time in which a run goes on without a lock, in milliseconds.
const STEP_MS: u64 = 125;
/// The lower bits of a place are the number of hits, the others distinguish its run.
const COUNT: u64 = (1 << 24) - 1;

/// The runs that go on. A hit that belongs to one costs a load and an addition.
#[derive(Debug)]
pub(super) struct Runs(Box<[AtomicU64; PLACES]>);

/// The run that a hit belongs to.
#[derive(Clone, Copy)]
pub(super) struct Run(u64);

impl Run {
    /// The run of a hit of the key with this hash.
    #[inline]
    pub(super) fn of(hash: u64, at: u64, is_stale: bool) -> Self {
        let step = (at / STEP_MS) << 1 | u64::from(is_stale);
        Self((hash ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15) & !COUNT)
    }
}

impl Default for Runs {
    fn default() -> Self {
        Self(Box::new(array::from_fn(|_| AtomicU64::new(0))))
    }
}

impl Runs {
    /// The place of the key with this hash.
    #[inline]
    pub(super) fn place(hash: u64) -> usize {
        hash as usize % PLACES
    }

    /// Counts a hit if its run goes on. Returns whether it does.
    #[inline]
    pub(super) fn count(&self, hash: u64, run: Run) -> bool {
        let place = &self.0[Self::place(hash)];
        let value = place.load(Ordering::Relaxed);
        if value & !COUNT != run.0 {
            return false;
        }
        // Far from the largest number, so that threads at the same time do not exceed it.
        if value & COUNT < COUNT / 2 {
            place.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Ends the run of a place, and begins another one, if there is one. Returns the number of hits
    /// that were counted.
    pub(super) fn replace(&self, place: usize, run: Option<Run>) -> u64 {
        let value = run.map_or(0, |run| run.0);
        self.0[place].swap(value, Ordering::Relaxed) & COUNT
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn hits_of_a_run_are_counted_by_all_threads() {
        let (runs, run) = (Runs::default(), Run::of(7, 1000, false));
        assert!(!runs.count(7, run), "none has begun");
        assert_eq!(runs.replace(Runs::place(7), Some(run)), 0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..1000)
                        .for_each(|at| assert!(runs.count(7, Run::of(7, 1000 + at % 125, false))))
                });
            }
        });
        for other in [Run::of(7, 1125, false), Run::of(7, 1000, true)] {
            assert!(!runs.count(7, other));
        }
        let neighbour = 7 + PLACES as u64;
        assert!(!runs.count(neighbour, Run::of(neighbour, 1000, false)));
        assert_eq!(runs.replace(Runs::place(7), None), 4000);
        assert!(!runs.count(7, run), "it has ended");
    }
}
