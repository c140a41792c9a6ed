//! When a response that its peer does not read is given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    connection_share::ConnectionShare,
    fair_limit::{FairLimit, Taken},
};

/// When the stream of a response is reset that its peer does not read.
#[derive(Debug)]
pub struct StallPolicy {
    timeout: Duration,
    budget: Arc<FairLimit>,
    reset: AtomicU64,
}

impl StallPolicy {
    /// Streams are reset after `timeout` without progress, or when their connection exceeds its
    /// share of `budget`, in bytes.
    #[must_use]
    pub fn new(timeout: Duration, budget: Arc<FairLimit>) -> Arc<Self> {
        Arc::new(Self { timeout, budget, reset: AtomicU64::new(0) })
    }

    /// Streams reset so far.
    pub fn reset(&self) -> u64 {
        self.reset.load(Relaxed)
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes a part of the budget; `None` if that is too much.
    pub(crate) fn try_take(&self, of: &Arc<ConnectionShare>, bytes: usize) -> Option<Taken> {
        self.budget.try_take(of, bytes)
    }

    pub(crate) fn count_reset(&self) {
        self.reset.fetch_add(1, Relaxed);
    }
}
