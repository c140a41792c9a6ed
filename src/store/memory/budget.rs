//! The byte budget.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{ErrorKind, Result};

/// Bytes in use and their limit, with counters of removed entries.
pub(super) struct Budget {
    pub(super) max: u64,
    used: AtomicU64,
    pub(super) peak: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) expired: AtomicU64,
}

impl Budget {
    pub(super) fn new(max: u64) -> Self {
        let zero = AtomicU64::default;
        Self { max, used: zero(), peak: zero(), evicted: zero(), expired: zero() }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves bytes, even if that exceeds the limit. Fails if they exceed the limit alone.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        if bytes > self.max {
            return Err(ErrorKind::Full.into());
        }
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used.min(self.max), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.max
    }
}
