//! The use of quotas by one call.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{Quota, QuotaExceeded, QuotaFigure, registry::NamespaceQuotas, usage::QuotaHold};
use crate::model::{EntryKey, Namespace};

/// The use of quotas by one call, until it is dropped.
#[derive(Debug)]
pub struct CallQuota {
    caller: Option<Arc<Quota>>,
    namespaces: Arc<NamespaceQuotas>,
    /// The figure that the call counts for while it runs.
    concurrency: QuotaFigure,
    uses: Mutex<Uses>,
}

#[derive(Debug)]
struct Uses {
    /// Parts of the caller's quota.
    held: Vec<QuotaHold>,
    /// Keys of the call that count for the caller.
    keys: u64,
    namespaces: Vec<NamespaceUse>,
    /// Bytes that arrived before it was known which namespaces they are for.
    uncharged: u64,
}

/// The use of the quota of one namespace by one call.
#[derive(Debug)]
struct NamespaceUse {
    quota: Arc<Quota>,
    /// Keys of the call in the namespace.
    keys: u64,
    _held: Option<QuotaHold>,
}

impl CallQuota {
    /// Begins a call of this caller.
    pub(super) fn begin(
        caller: Option<Arc<Quota>>,
        namespaces: Arc<NamespaceQuotas>,
        stays_open: bool,
    ) -> Result<Self, QuotaExceeded> {
        let concurrency = if stays_open { QuotaFigure::Streams } else { QuotaFigure::InFlight };
        let mut held = Vec::new();
        if let Some(quota) = &caller {
            quota.begin()?;
            held.extend(quota.take(concurrency)?);
        }
        let uses = Uses { held, keys: 0, namespaces: Vec::new(), uncharged: 0 };
        let uses = Mutex::new(uses);
        Ok(Self { caller, namespaces, concurrency, uses })
    }

    /// Counts a key of the call, or all of a namespace.
    ///
    /// # Errors
    /// The quota of the namespace is used up. That of the caller is charged: its call has begun.
    pub fn touch(&self, namespace: &Namespace) -> Result<(), QuotaExceeded> {
        let mut uses = self.uses.lock();
        uses.keys += 1;
        if uses.keys > 1
            && let Some(caller) = &self.caller
        {
            caller.charge_requests(1);
        }
        let Some(quota) = self.namespaces.get(namespace) else { return Ok(()) };
        // Keys of one namespace mostly come together.
        let known = uses.namespaces.iter_mut().rev().find(|known| Arc::ptr_eq(&known.quota, quota));
        if let Some(known) = known {
            known.keys += 1;
            quota.charge_requests(1);
            return Ok(());
        }
        quota.begin()?;
        let held = quota.take(self.concurrency)?;
        uses.namespaces.push(NamespaceUse { quota: quota.clone(), keys: 1, _held: held });
        Ok(())
    }

    /// Counts further keys of a namespace that the call has touched.
    pub fn charge_keys(&self, namespace: &Namespace, count: u64) {
        if let Some(caller) = &self.caller {
            caller.charge_requests(count);
        }
        if let Some(quota) = self.namespaces.get(namespace) {
            quota.charge_requests(count);
        }
    }

    /// Checks the size of a value that the caller writes, in bytes.
    ///
    /// # Errors
    /// It is larger than the quota of the caller allows.
    pub fn check_value(&self, bytes: usize) -> Result<(), QuotaExceeded> {
        self.caller.as_ref().map_or(Ok(()), |caller| caller.check_value(bytes))
    }

    /// Largest value that the caller may write, in bytes.
    pub fn max_value_bytes(&self) -> Option<usize> {
        self.caller.as_ref()?.limits.max_value_bytes
    }

    /// Counts the call among those that wait for a value, until its end.
    ///
    /// # Errors
    /// Too many calls of the caller wait.
    pub fn wait(&self) -> Result<(), QuotaExceeded> {
        let Some(caller) = &self.caller else { return Ok(()) };
        let held = caller.take(QuotaFigure::Waiting)?;
        self.uses.lock().held.extend(held);
        Ok(())
    }

    /// Charges bytes of the request or of an answer: all of them to the caller, and to each
    /// namespace the part of its keys.
    pub fn charge_bytes(&self, bytes: usize) {
        let bytes = bytes as u64;
        if let Some(caller) = &self.caller {
            caller.charge_bytes(bytes);
        }
        let mut uses = self.uses.lock();
        uses.uncharged += bytes;
        if !uses.namespaces.is_empty() {
            uses.charge_namespaces();
        }
    }

    /// Counts a lease that the caller is granted, until it ends or expires.
    ///
    /// # Errors
    /// The caller or the namespace holds too many: the lease must not be granted.
    pub fn hold_lease(
        &self,
        key: &EntryKey,
        token: [u8; 16],
        ttl: Duration,
    ) -> Result<(), QuotaExceeded> {
        if let Some(caller) = &self.caller {
            caller.hold_lease(key, token, ttl)?;
        }
        let Some(quota) = self.namespaces.get(key.namespace()) else { return Ok(()) };
        quota.hold_lease(key, token, ttl).inspect_err(|_| {
            if let Some(caller) = &self.caller {
                caller.usage.leases.end(key, token);
            }
        })
    }

    /// Counts the lease of a key for longer. Nothing happens if it is not counted here.
    pub fn extend_lease(&self, key: &EntryKey, token: [u8; 16], ttl: Duration) {
        for quota in self.quotas_of(key) {
            quota.usage.leases.extend(key, token, ttl);
        }
    }

    /// Ends the lease of a key. Nothing happens if it is not counted here.
    pub fn end_lease(&self, key: &EntryKey, token: [u8; 16]) {
        for quota in self.quotas_of(key) {
            quota.usage.leases.end(key, token);
        }
    }

    fn quotas_of(&self, key: &EntryKey) -> impl Iterator<Item = &Arc<Quota>> {
        self.caller.iter().chain(self.namespaces.get(key.namespace()))
    }
}

impl Uses {
    fn charge_namespaces(&mut self) {
        let bytes = std::mem::take(&mut self.uncharged);
        for namespace in &self.namespaces {
            let part = bytes.saturating_mul(namespace.keys) / self.keys.max(1);
            namespace.quota.charge_bytes(part);
        }
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        self.charge_namespaces();
    }
}
