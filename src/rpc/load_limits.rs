//! Limits on what calls hold besides the permits of the admission, and the log of rejected calls.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderMap;
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};
use tokio::time::Instant;
use transport::{
    Admission, ConnectionShare, FairLimit, Held, Permit, Resource, StallPolicy, Taken,
};

use super::{
    deadline::DefaultDeadline,
    method::Method,
    overload::Overload,
    slow_refusals::{RefusalPause, SlowRefusals},
};
use crate::{config::LimitsConfig, quota::CallQuota};

/// Calls that stay open or wait which a connection may hold while a reserve is free.
const CALLS_FLOOR: usize = 64;
/// Bytes that a connection may hold while a reserve is free.
const BYTES_FLOOR: usize = 1024 * 1024;
/// How often it is checked whether calls are no longer rejected.
const END_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The limits of a server, apart from the permits.
#[derive(Debug)]
pub struct LoadLimits {
    /// Bytes of incomplete requests and of unread responses.
    pub(super) buffered: Arc<FairLimit>,
    /// Resets streams whose responses are not read.
    pub stall_policy: Arc<StallPolicy>,
    /// Open FetchStreams.
    pub(super) fetch_streams: Arc<FairLimit>,
    /// Open health watches and reflection streams.
    pub(super) watches: Arc<FairLimit>,
    /// Open streams of changes.
    pub(super) watch_streams: Arc<FairLimit>,
    /// Calls that may wait for a value.
    pub(super) waiting: Arc<FairLimit>,
    refusals: SlowRefusals,
    /// Largest header list of a request, in bytes.
    pub(super) max_header_bytes: usize,
    /// Time in which a request message must arrive.
    pub(super) body_timeout: Duration,
    /// Longest request message, in bytes.
    pub(super) max_message_bytes: usize,
    default_deadline: DefaultDeadline,
    admission: Arc<Admission>,
    rejected: [AtomicU64; Overload::ALL.len()],
    log: [Mutex<RepeatedEvent>; Overload::ALL.len()],
}

/// Permit and limits that a call holds until its response ends.
#[derive(Default)]
pub(super) struct Holds {
    /// `None` for services without admission, and for calls that stay open.
    pub(super) permit: Option<Permit>,
    /// Its use of quotas; none if none applies to it.
    pub(super) quota: Option<Arc<CallQuota>>,
    /// Its part of the limits on open and on waiting calls.
    pub(super) _taken: Option<Taken>,
}

/// The call must be answered without waiting: its connection waits for many values already. It is
/// rejected only if it would have waited. An extension of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct MustNotWait;

impl LoadLimits {
    /// The limits of the configuration.
    pub fn new(limits: &LimitsConfig, admission: Arc<Admission>) -> Self {
        // A quarter of a connection's streams is left for calls that end a wait, such as the Set
        // that fills the value.
        let streams = limits.max_streams_per_connection as usize;
        let (half, quarter) = ((streams / 2).max(1), (streams / 4).max(1));
        let all = (streams - quarter.min(streams)).max(1);
        let max_waiting = limits.max_waiting.max(CALLS_FLOOR);
        let calls = |resource, limit, ceiling| {
            FairLimit::with_ceilings(resource, limit, CALLS_FLOOR, ceiling, all)
        };
        let buffered = FairLimit::new(Resource::Bytes, limits.max_buffered_bytes, BYTES_FLOOR);
        Self {
            stall_policy: StallPolicy::new(limits.response_stall_timeout, buffered.clone()),
            buffered,
            fetch_streams: calls(Resource::Streams, limits.max_fetch_streams, quarter),
            watches: calls(Resource::Watches, limits.max_watches, quarter),
            watch_streams: calls(Resource::WatchStreams, limits.max_watch_streams, quarter),
            waiting: calls(Resource::Waiting, max_waiting, half),
            refusals: SlowRefusals::new(),
            max_header_bytes: limits.max_header_bytes as usize,
            body_timeout: limits.request_body_timeout,
            max_message_bytes: limits.max_request_bytes,
            default_deadline: DefaultDeadline::new(limits),
            admission,
            rejected: Default::default(),
            log: Default::default(),
        }
    }

    /// Bytes of incomplete requests and of unread responses, in all.
    #[cfg(test)]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffered.used()
    }

    /// The default deadline of a call that has none and can take long. The other calls only wait
    /// for the store, for which `store.timeout` is the limit.
    pub(super) fn default_deadline(&self, method: Method, headers: &HeaderMap) -> Option<Instant> {
        if method.may_take_long() { self.default_deadline.of(headers) } else { None }
    }

    /// The pause before a call is refused, if there is one.
    pub(super) fn refusal_pause(
        &self,
        connection: &Arc<ConnectionShare>,
        deadline: Option<Instant>,
    ) -> Option<RefusalPause> {
        self.refusals.pause(connection, deadline)
    }

    /// Refused calls whose answer is held back.
    pub(super) fn held_refusals(&self) -> usize {
        self.refusals.held()
    }

    /// Counts the bytes of a large response against those of its connection, until all of it is
    /// sent.
    pub(super) fn hold(
        &self,
        connection: &Arc<ConnectionShare>,
        bytes: usize,
        permit: &mut Option<Permit>,
    ) -> Result<Held, Overload> {
        match self.buffered.try_take(connection, bytes) {
            Some(bytes) => Ok(Held { bytes: Some(bytes), permit: permit.take() }),
            None => Err(Overload::UnreadResponses),
        }
    }

    /// The limit that a call exceeds; `None` if it is not one of these limits.
    pub(super) fn limit(&self, overload: Overload) -> Option<usize> {
        match overload {
            Overload::Requests => Some(self.admission.limit()),
            Overload::FetchStreams => Some(self.fetch_streams.limit()),
            Overload::Watches => Some(self.watches.limit()),
            Overload::WatchStreams => Some(self.watch_streams.limit()),
            Overload::Waiting => Some(self.waiting.limit()),
            Overload::IncompleteRequests | Overload::UnreadResponses => Some(self.buffered.limit()),
            Overload::Listings
            | Overload::WarmCalls
            | Overload::WatchedNamespaces
            | Overload::RequestTimeout
            | Overload::UnreadStream => None,
        }
    }

    /// Logs streams that were reset, and the end of rejections. Runs until it is dropped.
    pub async fn log_ends(&self) {
        loop {
            tokio::time::sleep(END_CHECK_INTERVAL).await;
            let reset = self.stall_policy.reset();
            if self.rejected[Overload::UnreadStream as usize].swap(reset, Relaxed) != reset {
                self.log_rejection(Overload::UnreadStream);
            }
            for (overload, log) in Overload::ALL.iter().zip(&self.log) {
                let ended = log.lock().ended();
                if let Some(Summary { count: rejected, seconds }) = ended {
                    let reason = overload.name();
                    tracing::info!(reason, rejected, seconds, "calls are no longer rejected");
                }
            }
        }
    }

    /// Counts a rejected call. Logs the first of each reason at once, and then their number once
    /// per minute.
    #[cold]
    pub(super) fn record_rejection(&self, overload: Overload) {
        self.rejected[overload as usize].fetch_add(1, Relaxed);
        self.log_rejection(overload);
    }

    fn log_rejection(&self, overload: Overload) {
        let due = self.log[overload as usize].lock().occurred();
        let Some(Summary { count: rejected, seconds }) = due else { return };
        tracing::warn!(
            reason = overload.name(),
            rejected,
            seconds,
            requests = self.admission.in_flight(),
            max_concurrent_requests = self.admission.limit(),
            fetch_streams = self.fetch_streams.used(),
            watches = self.watches.used(),
            watch_streams = self.watch_streams.used(),
            buffered_bytes = self.buffered.used(),
            max_buffered_bytes = self.buffered.limit(),
            remedy = overload.remedy(),
            "calls are rejected because of overload"
        );
    }

    /// Calls rejected so far for this reason.
    pub(super) fn rejected(&self, overload: Overload) -> u64 {
        if overload == Overload::UnreadStream {
            return self.stall_policy.reset();
        }
        self.rejected[overload as usize].load(Relaxed)
    }
}
