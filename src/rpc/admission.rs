//! How much the server does at once. What is over the limit is turned away at once, because a queue would only make everybody
//! late.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts requests in flight against a limit.
#[derive(Debug)]
pub struct Admission {
    in_flight: AtomicUsize,
    limit: usize,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Admission>);

impl Admission {
    /// Admits `limit` requests at a time.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { in_flight: AtomicUsize::new(0), limit })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn admit(self: &Arc<Self>) -> Option<Permit> {
        // The permit is made first, so that it gives back what was taken.
        let permit = Permit(self.clone());
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < self.limit).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_limit_is_turned_away_and_leaves_no_trace() {
        let admission = Admission::new(2);
        let (one, two) = (admission.admit(), admission.admit());
        assert!(one.is_some() && two.is_some());
        assert!(admission.admit().is_none());
        assert_eq!(admission.in_flight(), 2);
        drop(one);
        assert!(admission.admit().is_some());
    }
}
