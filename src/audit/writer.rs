//! The thread that writes records.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use repeated_events::RepeatedEvent;
use tokio::{sync::watch, time::Instant};

use super::{
    counts::Counts,
    key_names::KeyNames,
    record::{Record, lost_line},
    ring::Ring,
    sink::Sink,
};
use crate::model::SaturatingFrom as _;

/// Time between two attempts to write.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes that are collected for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Records that are taken from the queue before the next write.
const MAX_BATCH: usize = 1024;
/// Bytes that wait while the target cannot be written. Records beyond them are lost.
const MAX_PENDING_BYTES: usize = 1024 * 1024;

/// A record, or a reason to look at the signals.
pub(super) enum Message {
    Record(Box<Record>),
    Wake,
}

/// Requests to the thread, besides records.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) reopen: AtomicBool,
    /// The thread ends when the queue is empty.
    pub(super) close: AtomicBool,
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) queue: Receiver<Message>,
    pub(super) signals: Arc<Signals>,
    pub(super) counts: Arc<Counts>,
    pub(super) ring: Arc<Ring>,
    pub(super) names: KeyNames,
    pub(super) sink: Sink,
    /// Lines that are not written.
    pub(super) pending: Vec<u8>,
    /// Lost records that are reported in the file.
    pub(super) lost: u64,
    pub(super) retry_at: Option<Instant>,
    pub(super) failure: RepeatedEvent,
    /// Set at the end.
    pub(super) ended: watch::Sender<bool>,
}

impl Writer {
    /// Runs until it is closed, and every record is written or lost.
    pub(super) fn run(mut self) {
        // Before the first record, so that a wrong path is reported at the start.
        let opened = self.sink.open().map(|_| ());
        self.report(opened);
        loop {
            let received = match self.retry_at {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(_) => self.queue.recv_timeout(RETRY_INTERVAL),
            };
            let is_gone = matches!(received, Err(RecvTimeoutError::Disconnected));
            self.take(received.ok());
            if self.signals.reopen.swap(false, Relaxed) {
                self.sink.reopen();
                self.retry_at = None;
            }
            self.write();
            if is_gone || self.signals.close.load(Relaxed) {
                break;
            }
        }
        self.finish();
    }

    /// Takes this message and some that follow.
    fn take(&mut self, first: Option<Message>) {
        let mut next = first;
        for _ in 0..MAX_BATCH {
            let Some(message) = next.take().or_else(|| self.queue.try_recv().ok()) else { return };
            if let Message::Record(record) = message {
                self.counts.queued.fetch_sub(1, Relaxed);
                self.add(*record);
            }
            if self.pending.len() >= WRITE_BYTES && self.retry_at.is_none() {
                return;
            }
        }
    }

    fn add(&mut self, record: Record) {
        self.add_lost();
        let line = record.line(&self.names);
        self.ring.push(&line);
        if !self.append(&line) {
            self.counts.not_written.fetch_add(1, Relaxed);
        }
    }

    /// Adds a line about the records that were lost since the last one.
    fn add_lost(&mut self) {
        let lost = self.counts.lost();
        if lost == self.lost {
            return;
        }
        // Without room for it, its number grows until there is.
        let line = lost_line(lost - self.lost);
        if self.append(&line) {
            self.ring.push(&line);
            self.lost = lost;
        }
    }

    /// Adds a line to those that wait, if there is room.
    fn append(&mut self, line: &str) -> bool {
        let has_room = self.pending.len() + line.len() < MAX_PENDING_BYTES;
        if has_room {
            self.pending.extend_from_slice(line.as_bytes());
            self.pending.push(b'\n');
        }
        has_room
    }

    /// Writes what waits, unless the last attempt has just failed.
    fn write(&mut self) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let mut written = 0;
        let outcome = self.sink.write(&mut self.pending, &mut written);
        self.counts.written.fetch_add(written, Relaxed);
        self.report(outcome);
    }

    /// Logs the begin and the end of a failure.
    fn report(&mut self, outcome: io::Result<()>) {
        let is_failing = outcome.is_err();
        self.counts.is_failing.store(is_failing, Relaxed);
        self.retry_at = is_failing.then(|| Instant::now() + RETRY_INTERVAL);
        let lost = self.counts.not_written.load(Relaxed);
        match outcome {
            Err(error) => {
                if let Some(summary) = self.failure.occurred() {
                    tracing::error!(
                        target: "larder::audit",
                        %error,
                        count = summary.count,
                        lost,
                        remedy = "make audit.to writable; it is tried again every second",
                        "the audit log cannot be written"
                    );
                }
            }
            Ok(()) => {
                if let Some(summary) = self.failure.ended_if(|_| true) {
                    let seconds = summary.seconds;
                    tracing::info!(
                        target: "larder::audit",
                        seconds,
                        lost,
                        "the audit log is written again"
                    );
                }
            }
        }
    }

    /// Writes what is left, with one attempt.
    fn finish(mut self) {
        loop {
            let Ok(message) = self.queue.try_recv() else { break };
            self.take(Some(message));
            self.write();
        }
        self.add_lost();
        self.retry_at = None;
        self.write();
        if !self.pending.is_empty() {
            let lines = self.pending.iter().filter(|byte| **byte == b'\n').count();
            let records = u64::saturating_from(lines);
            self.counts.not_written.fetch_add(records, Relaxed);
            tracing::error!(
                target: "larder::audit",
                records,
                "records of the audit log are lost at the end"
            );
        }
        self.ring.close();
        self.ended.send_replace(true);
    }
}
