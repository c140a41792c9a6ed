//! The memory of known bans. If it exceeds its limit, the bans of the namespaces that were read
//! longest ago are forgotten, and read again when they are needed. A log that exceeds the limit
//! alone invalidates its namespace.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{BanLogs, NamespaceBans};

/// The memory of all known bans.
pub(super) struct MemoryAccount {
    used: Arc<AtomicU64>,
    /// Limit of the memory, in bytes.
    pub(super) max_bytes: u64,
    /// Number of logs that were forgotten because of the limit.
    pub(super) forgotten: AtomicU64,
}

/// The part of it that one log takes. Given back when it is dropped.
pub(super) struct AccountedBytes {
    used: Arc<AtomicU64>,
    bytes: u64,
}

// === impl MemoryAccount ===

impl MemoryAccount {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { used: Arc::default(), max_bytes, forgotten: AtomicU64::new(0) }
    }

    /// The part of a log that is about to be read.
    pub(super) fn accounted(&self) -> AccountedBytes {
        AccountedBytes { used: self.used.clone(), bytes: 0 }
    }

    /// Memory in use, in bytes.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

// === impl AccountedBytes ===

impl AccountedBytes {
    pub(super) fn set(&mut self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for AccountedBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

// === impl NamespaceBans ===

impl NamespaceBans {
    /// Forgets the bans. They are read again when they are needed.
    pub(in crate::store::redis) fn forget(&self) {
        let mut known = self.known.write();
        self.without_bans_in.store(0, Ordering::Release);
        known.forget();
    }
}

// === impl BanLogs ===

impl BanLogs {
    /// Whether a log takes more memory than all may.
    pub(in crate::store::redis) fn is_too_large(&self, bans: &NamespaceBans) -> bool {
        bans.known.read().memory.bytes > self.0.memory.max_bytes
    }

    /// Forgets the bans of other namespaces until the limit is kept.
    pub(super) fn forget_others(&self, kept: &NamespaceBans) {
        if self.0.memory.used() > self.0.memory.max_bytes {
            self.forget_oldest(kept);
        }
    }

    #[cold]
    fn forget_oldest(&self, kept: &NamespaceBans) {
        let account = &self.0.memory;
        let mut others: Vec<_> = self
            .0
            .namespaces
            .iter()
            .filter(|(namespace, _)| *namespace != kept.namespace)
            .filter_map(|(_, bans)| {
                let (asked_at, bytes) = {
                    let known = bans.known.read();
                    (known.asked_at, known.memory.bytes)
                };
                (bytes > 0).then_some((asked_at, bans))
            })
            .collect();
        others.sort_unstable_by_key(|(asked_at, _)| *asked_at);
        for (_, bans) in others {
            if account.used() <= account.max_bytes {
                return;
            }
            bans.forget();
            account.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }
}
