//! The handle by which records are made.

use std::{
    io,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use repeated_events::{LogInterval, RepeatedEvent};
use tokio::sync::watch;

use super::{
    counts::{self, Counts},
    key_names::KeyNames,
    record::Record,
    ring::Ring,
    sink::Sink,
    tail::Tail,
    writer::{Message, Signals, Writer},
};
use crate::{
    config::AuditConfig,
    model::{AuditEvent, AuditEvents, SaturatingFrom as _},
};

/// Records per second of refused calls whose callers are not identified, and how many at once:
/// every peer can cause them, and must not fill the disk or the queue.
const REFUSALS: NonZeroU32 = NonZeroU32::new(100).unwrap();
const REFUSALS_AT_ONCE: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// Time between two log lines about records that are lost.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The audit log. Clones share it. Without a target it records nothing.
#[derive(Clone, Default)]
pub struct AuditLog(Option<Arc<Shared>>);

struct Shared {
    events: AuditEvents,
    queue: SyncSender<Message>,
    signals: Arc<Signals>,
    counts: Arc<Counts>,
    refusals: DefaultDirectRateLimiter,
    lost_log: Mutex<LogInterval>,
    ring: Arc<Ring>,
    ended: watch::Receiver<bool>,
}

impl AuditLog {
    /// Starts the thread that writes records, and registers the metrics.
    ///
    /// # Errors
    /// The thread cannot be started. A target that cannot be written is logged, and tried again.
    pub fn open(config: &AuditConfig, meter: &Meter) -> io::Result<Self> {
        let Some(target) = &config.to else { return Ok(Self(None)) };
        let (sender, queue) = sync_channel(config.queue);
        let (ended_sender, ended) = watch::channel(false);
        let signals = Arc::new(Signals::default());
        let counts = Arc::new(Counts::default());
        counts::register(meter, &counts);
        let ring = Arc::new(Ring::new(usize::saturating_from(config.tail_bytes)));
        let writer = Writer {
            queue,
            signals: signals.clone(),
            counts: counts.clone(),
            ring: ring.clone(),
            names: KeyNames::new(config),
            sink: Sink::new(target.clone()),
            pending: Vec::new(),
            lost: 0,
            retry_at: None,
            failure: RepeatedEvent::default(),
            ended: ended_sender,
        };
        std::thread::Builder::new().name("larder-audit".to_owned()).spawn(|| writer.run())?;
        let lost_log = Mutex::new(LogInterval::new(LOG_INTERVAL));
        let events = config.recorded();
        let quota = Quota::per_second(REFUSALS).allow_burst(REFUSALS_AT_ONCE);
        let refusals = RateLimiter::direct(quota);
        Ok(Self(Some(Arc::new(Shared {
            events,
            queue: sender,
            signals,
            counts,
            refusals,
            lost_log,
            ring,
            ended,
        }))))
    }

    /// Whether records of this kind are written. Others need not be made.
    #[inline]
    pub fn records(&self, event: AuditEvent) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.events.contains(event))
    }

    /// Queues a record, and never waits. A record that finds the queue full is lost, and counted,
    /// and so are records over the limit of refused calls.
    pub fn record(&self, record: Record) {
        let Some(shared) = self.0.as_ref().filter(|shared| shared.events.contains(record.event()))
        else {
            return;
        };
        if record.is_of_unidentified_caller() && shared.refusals.check().is_err() {
            shared.counts.suppressed.fetch_add(1, Relaxed);
            return;
        }
        shared.counts.queued.fetch_add(1, Relaxed);
        if let Err(error) = shared.queue.try_send(Message::Record(Box::new(record))) {
            shared.lose(&error);
        }
    }

    /// Opens the file again, after it was renamed.
    pub fn reopen(&self) {
        let Some(shared) = &self.0 else { return };
        shared.signals.reopen.store(true, Relaxed);
        shared.wake();
    }

    /// Reads the last `count` records, and those that follow if `follows`. None without an audit
    /// log.
    pub fn tail(&self, count: u64, follows: bool) -> Option<Tail> {
        self.0.as_ref().map(|shared| Tail::new(shared.ring.clone(), count, follows))
    }

    /// Reads the last `count` records before the position `before`, and no others. None without an
    /// audit log.
    pub fn before(&self, before: u64, count: u64) -> Option<Tail> {
        self.0.as_ref().map(|shared| Tail::before(shared.ring.clone(), before, count))
    }

    /// Ends the tails that wait for records.
    pub fn end_tails(&self) {
        if let Some(shared) = &self.0 {
            shared.ring.close();
        }
    }

    /// Writes the records that are queued, and ends. Waits for at most `limit`.
    pub async fn close(&self, limit: Duration) {
        let Some(shared) = &self.0 else { return };
        shared.signals.close.store(true, Relaxed);
        shared.wake();
        let mut ended = shared.ended.clone();
        let waited = tokio::time::timeout(limit, ended.wait_for(|ended| *ended)).await;
        if waited.is_err() {
            let records = shared.counts.queued.load(Relaxed);
            tracing::error!(
                target: "larder::audit",
                records,
                "the audit log did not end in time, and its last records are lost"
            );
        }
    }
}

impl Shared {
    /// Lets the thread look at the signals. A full queue keeps it awake.
    fn wake(&self) {
        let _ = self.queue.try_send(Message::Wake);
    }

    #[cold]
    fn lose(&self, error: &TrySendError<Message>) {
        self.counts.queued.fetch_sub(1, Relaxed);
        // After the end, nothing is recorded.
        if matches!(error, TrySendError::Disconnected(_)) {
            return;
        }
        self.counts.queue_full.fetch_add(1, Relaxed);
        if let Some(count) = self.lost_log.lock().occurred() {
            tracing::error!(
                target: "larder::audit",
                count,
                remedy = "find out why audit.to is slow, record fewer kinds of events, or enlarge \
                          audit.queue",
                "records of the audit log are lost: its queue is full"
            );
        }
    }
}
