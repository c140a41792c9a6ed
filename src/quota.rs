//! Quotas: how much of a replica one caller may use, and all callers together for one namespace.
//!
//! [`Quotas`] has the quotas of the configuration. [`CallQuota`] is the part that one call uses of
//! them: of its caller's, and of those of the namespaces that it touches. The size of an answer is
//! known only when it is made, so bytes are charged afterwards: a quota in debt refuses further
//! calls until its rate has paid it off.
//!
//! How much a namespace may hold is limited by the store, which counts it.

mod call_quota;
mod exceeded;
mod lease_ledger;
mod registry;
mod token_bucket;
mod usage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

pub use call_quota::CallQuota;
pub use exceeded::{QuotaExceeded, QuotaFigure};
pub use registry::Quotas;

use crate::{
    config::{PrincipalQuotaConfig, UseLimits},
    model::EntryKey,
};
use usage::{QuotaHold, Usage};

/// Pause after which a call over a limit of concurrency can be tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The limits of one holder, and its use. Credentials of one principal can have several limits, and
/// share the use.
#[derive(Debug)]
pub struct Quota {
    /// Its holder, for errors.
    subject: Arc<str>,
    limits: PrincipalQuotaConfig,
    usage: Arc<Usage>,
    refused: Arc<Refused>,
}

/// Refused calls by figure, of all quotas with one label in metrics.
type Refused = [AtomicU64; QuotaFigure::ALL.len()];

impl Quota {
    fn of_namespace(
        name: &str,
        limits: &UseLimits,
        usage: Arc<Usage>,
        refused: Arc<Refused>,
    ) -> Self {
        let limits = PrincipalQuotaConfig { limits: limits.clone(), ..Default::default() };
        Self { subject: format!("namespace {name}").into(), limits, usage, refused }
    }

    /// Begins a call, unless a rate is exceeded.
    fn begin(&self) -> Result<(), QuotaExceeded> {
        let UseLimits { requests_per_second, bytes_per_second, .. } = &self.limits.limits;
        // Only a debt refuses a call: its bytes are charged later.
        if let Some(Err(wait)) = bytes_per_second.map(|rate| self.usage.bytes.try_take(rate)) {
            return Err(self.exceeded(QuotaFigure::BytesPerSecond, Some(wait)));
        }
        let requests = requests_per_second.map(u64::from);
        if let Some(Err(wait)) = requests.map(|rate| self.usage.requests.try_take(rate)) {
            return Err(self.exceeded(QuotaFigure::RequestsPerSecond, Some(wait)));
        }
        Ok(())
    }

    /// Charges further keys of a call that has begun.
    fn charge_requests(&self, count: u64) {
        self.usage.requests.charge(count);
    }

    /// Charges bytes of a request or an answer.
    fn charge_bytes(&self, bytes: u64) {
        self.usage.bytes.charge(bytes);
    }

    /// Takes one of a figure of concurrency; `None` if the quota does not limit it.
    fn take(&self, figure: QuotaFigure) -> Result<Option<QuotaHold>, QuotaExceeded> {
        let Some(limit) = self.limit(figure) else { return Ok(None) };
        match self.usage.take(figure, limit) {
            Some(held) => Ok(Some(held)),
            None => Err(self.exceeded(figure, Some(RETRY))),
        }
    }

    fn check_value(&self, bytes: usize) -> Result<(), QuotaExceeded> {
        match self.limits.max_value_bytes {
            Some(limit) if bytes > limit => Err(self.exceeded(QuotaFigure::ValueBytes, None)),
            _ => Ok(()),
        }
    }

    fn hold_lease(
        &self,
        key: &EntryKey,
        token: [u8; 16],
        ttl: Duration,
    ) -> Result<(), QuotaExceeded> {
        let Some(limit) = self.limits.limits.leases else { return Ok(()) };
        let held = self.usage.leases.hold(key, token, ttl, limit);
        held.map_err(|wait| self.exceeded(QuotaFigure::Leases, Some(wait)))
    }

    /// Counts the refusal.
    #[cold]
    fn exceeded(&self, figure: QuotaFigure, retry_after: Option<Duration>) -> QuotaExceeded {
        self.refused[figure as usize].fetch_add(1, Relaxed);
        let limit = self.limit(figure).unwrap_or_default();
        QuotaExceeded { subject: self.subject.clone(), figure, limit, retry_after }
    }

    fn limit(&self, figure: QuotaFigure) -> Option<u64> {
        let PrincipalQuotaConfig { limits, waiting, max_value_bytes } = &self.limits;
        let count = |limit: Option<usize>| limit.map(|limit| limit as u64);
        match figure {
            QuotaFigure::RequestsPerSecond => limits.requests_per_second.map(u64::from),
            QuotaFigure::BytesPerSecond => limits.bytes_per_second,
            QuotaFigure::InFlight => count(limits.in_flight),
            QuotaFigure::Waiting => count(*waiting),
            QuotaFigure::Streams => count(limits.streams),
            QuotaFigure::Leases => count(limits.leases),
            QuotaFigure::ValueBytes => count(*max_value_bytes),
            QuotaFigure::Keys | QuotaFigure::Bytes => None,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
