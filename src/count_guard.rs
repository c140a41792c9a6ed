//! A guard that counts what is in progress.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One of the operations counted by an atomic counter, until the guard is dropped.
#[derive(Debug)]
pub struct CountGuard<'a>(&'a AtomicUsize);

impl<'a> CountGuard<'a> {
    /// Counts an operation.
    pub fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// Counts an operation, unless there are `limit` already.
    pub fn try_new(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        // A rejected operation only reads in the common case, so that cores do not contend for the
        // cache line.
        if count.load(Ordering::Relaxed) >= limit {
            return None;
        }
        let before = count.fetch_add(1, Ordering::Relaxed);
        let guard = Self(count);
        (before < limit).then_some(guard)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guard_counts_until_it_is_dropped() {
        let count = AtomicUsize::new(0);
        let (one, two) = (CountGuard::new(&count), CountGuard::new(&count));
        assert_eq!(count.load(Ordering::Relaxed), 2);
        drop(one);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        drop(two);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn limit_is_not_exceeded() {
        let count = AtomicUsize::new(0);
        let one = CountGuard::try_new(&count, 2);
        let two = CountGuard::try_new(&count, 2);
        assert!(one.is_some() && two.is_some() && CountGuard::try_new(&count, 2).is_none());
        assert_eq!(count.load(Ordering::Relaxed), 2);
        drop(one);
        assert!(CountGuard::try_new(&count, 2).is_some());
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }
}
