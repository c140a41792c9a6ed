//! The use of a quota.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{QuotaFigure, lease_ledger::LeaseLedger, token_bucket::TokenBucket};

/// The use of the quota of one holder.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) requests: TokenBucket,
    pub(super) bytes: TokenBucket,
    in_flight: AtomicU64,
    waiting: AtomicU64,
    streams: AtomicU64,
    pub(super) leases: LeaseLedger,
}

/// One of a figure of concurrency, until it is dropped.
#[derive(Debug)]
pub(super) struct QuotaHold {
    usage: Arc<Usage>,
    figure: QuotaFigure,
}

impl Usage {
    /// Takes one of a figure of concurrency; none if `limit` are taken.
    pub(super) fn take(self: &Arc<Self>, figure: QuotaFigure, limit: u64) -> Option<QuotaHold> {
        let more = |held: u64| (held < limit).then_some(held + 1);
        self.count(figure)?.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(QuotaHold { usage: self.clone(), figure })
    }

    /// Present use of a figure of concurrency.
    pub(super) fn used(&self, figure: QuotaFigure) -> u64 {
        if figure == QuotaFigure::Leases {
            return self.leases.len() as u64;
        }
        self.count(figure).map_or(0, |count| count.load(Relaxed))
    }

    /// Whether it can be forgotten: nothing is held, and nothing was charged for so long.
    pub(super) fn is_idle_since(&self, time: Duration) -> bool {
        self.requests.idle() >= time && self.bytes.idle() >= time && self.leases.len() == 0
    }

    fn count(&self, figure: QuotaFigure) -> Option<&AtomicU64> {
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
}

impl Drop for QuotaHold {
    fn drop(&mut self) {
        if let Some(count) = self.usage.count(self.figure) {
            count.fetch_sub(1, Relaxed);
        }
    }
}
