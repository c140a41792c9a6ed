//! Quotas: how much of a replica one caller may use, and all callers together for one namespace.
//!
//! [`Quotas`] has the quotas of the configuration. [`CallQuota`] is what one call uses of them: of
//! its caller's, and of those of the namespaces that it touches. The size of an answer is known
//! only when it is made, so bytes are charged afterwards: a quota in debt refuses further calls
//! until its rate has paid it off.
//!
//! How much a namespace may hold is limited by the store, which counts it.

mod call_quota;
mod exceeded;
mod lease_ledger;
mod registry;
mod token_bucket;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

pub use call_quota::CallQuota;
pub use exceeded::{QuotaExceeded, QuotaFigure};
pub use registry::Quotas;

use crate::config::{PrincipalQuotaConfig, UseLimits};
use lease_ledger::LeaseLedger;
use token_bucket::TokenBucket;

/// Pause after which a call over a limit of concurrency can be tried again.
const RETRY: Duration = Duration::from_millis(100);

/// The quota of one holder, and what is used of it.
#[derive(Debug)]
pub struct Quota {
    /// Its holder, for errors.
    subject: Arc<str>,
    limits: PrincipalQuotaConfig,
    requests: Option<TokenBucket>,
    bytes: Option<TokenBucket>,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    streams: AtomicUsize,
    leases: Option<LeaseLedger>,
    refused: Arc<Refused>,
}

/// Refused calls by figure, of all quotas with one label in metrics.
type Refused = [AtomicU64; QuotaFigure::ALL.len()];

/// One of a figure of concurrency, until it is dropped.
#[derive(Debug)]
pub struct QuotaHold {
    quota: Arc<Quota>,
    figure: QuotaFigure,
}

impl Quota {
    /// Nothing is used at first.
    fn new(subject: Arc<str>, limits: PrincipalQuotaConfig, refused: Arc<Refused>) -> Self {
        let PrincipalQuotaConfig { limits: rates, .. } = &limits;
        Self {
            subject,
            requests: rates.requests_per_second.map(|rate| TokenBucket::new(rate.into())),
            bytes: rates.bytes_per_second.map(TokenBucket::new),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            leases: rates.leases.map(LeaseLedger::new),
            refused,
            limits,
        }
    }

    fn of_namespace(name: &str, limits: &UseLimits, refused: Arc<Refused>) -> Self {
        let limits = PrincipalQuotaConfig { limits: limits.clone(), ..Default::default() };
        Self::new(format!("namespace {name}").into(), limits, refused)
    }

    /// Begins a call, unless a rate is exceeded.
    fn begin(&self) -> Result<(), QuotaExceeded> {
        // Only a debt refuses a call: its bytes are charged later.
        if let Some(Err(wait)) = self.bytes.as_ref().map(|bytes| bytes.try_take(1)) {
            return Err(self.exceeded(QuotaFigure::BytesPerSecond, Some(wait)));
        }
        if let Some(Err(wait)) = self.requests.as_ref().map(|requests| requests.try_take(1)) {
            return Err(self.exceeded(QuotaFigure::RequestsPerSecond, Some(wait)));
        }
        Ok(())
    }

    /// Charges further keys of a call that has begun.
    fn charge_requests(&self, count: u64) {
        if let Some(requests) = &self.requests {
            requests.charge(count);
        }
    }

    /// Charges bytes of a request or an answer.
    fn charge_bytes(&self, bytes: u64) {
        if let Some(rate) = &self.bytes {
            rate.charge(bytes);
        }
    }

    /// Takes one of a figure of concurrency; `None` if the quota does not limit it.
    fn take(self: &Arc<Self>, figure: QuotaFigure) -> Result<Option<QuotaHold>, QuotaExceeded> {
        let (Some(count), Some(limit)) = (self.count(figure), self.limit(figure)) else {
            return Ok(None);
        };
        let more = |held: usize| ((held as u64) < limit).then_some(held + 1);
        match count.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(Some(QuotaHold { quota: self.clone(), figure })),
            Err(_) => Err(self.exceeded(figure, Some(RETRY))),
        }
    }

    fn check_value(&self, bytes: usize) -> Result<(), QuotaExceeded> {
        match self.limits.max_value_bytes {
            Some(limit) if bytes > limit => Err(self.exceeded(QuotaFigure::ValueBytes, None)),
            _ => Ok(()),
        }
    }

    fn hold_lease(&self, token: [u8; 16], ttl: Duration) -> Result<(), QuotaExceeded> {
        let Some(leases) = &self.leases else { return Ok(()) };
        leases.hold(token, ttl).map_err(|wait| self.exceeded(QuotaFigure::Leases, Some(wait)))
    }

    fn extend_lease(&self, token: [u8; 16], ttl: Duration) {
        if let Some(leases) = &self.leases {
            leases.extend(token, ttl);
        }
    }

    fn give_back_lease(&self, token: [u8; 16]) {
        if let Some(leases) = &self.leases {
            leases.give_back(token);
        }
    }

    /// Counts the refusal.
    #[cold]
    fn exceeded(&self, figure: QuotaFigure, retry_after: Option<Duration>) -> QuotaExceeded {
        self.refused[figure as usize].fetch_add(1, Relaxed);
        let limit = self.limit(figure).unwrap_or_default();
        QuotaExceeded { subject: self.subject.clone(), figure, limit, retry_after }
    }

    fn count(&self, figure: QuotaFigure) -> Option<&AtomicUsize> {
        match figure {
            QuotaFigure::InFlight => Some(&self.in_flight),
            QuotaFigure::Waiting => Some(&self.waiting),
            QuotaFigure::Streams => Some(&self.streams),
            QuotaFigure::RequestsPerSecond
            | QuotaFigure::BytesPerSecond
            | QuotaFigure::Leases
            | QuotaFigure::ValueBytes
            | QuotaFigure::Keys
            | QuotaFigure::Bytes => None,
        }
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

    /// Present use of a figure of concurrency that the quota limits.
    fn used(&self, figure: QuotaFigure) -> Option<u64> {
        self.limit(figure)?;
        if figure == QuotaFigure::Leases {
            return Some(self.leases.as_ref()?.len() as u64);
        }
        Some(self.count(figure)?.load(Relaxed) as u64)
    }
}

impl Drop for QuotaHold {
    fn drop(&mut self) {
        if let Some(count) = self.quota.count(self.figure) {
            count.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
