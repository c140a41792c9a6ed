//! The journals of the replicas.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{Fleet, builder};
use crate::{
    clock,
    faults::FaultLog,
    support::{
        server::{self, Larder},
        wait::eventually,
    },
};

/// Time in which a replica applies the entries of a journal.
const REPLAYED: Duration = Duration::from_secs(40);

/// A file for each replica, on a disk that outlives its process.
pub(super) struct Journals {
    directory: TempDir,
    /// Number of the file of each replica.
    turns: Vec<u32>,
}

// === impl Journals ===

impl Journals {
    pub(super) fn new(replicas: u8) -> Self {
        let turns = vec![0; usize::from(replicas)];
        Self { directory: tempfile::tempdir().unwrap(), turns }
    }

    pub(super) fn path(&self, replica: u8) -> PathBuf {
        let turn = self.turns[usize::from(replica)];
        self.directory.path().join(format!("journal-{replica}-{turn}"))
    }

    /// Gives a replica another file. Returns the former one.
    pub(super) fn turn(&mut self, replica: u8) -> PathBuf {
        let former = self.path(replica);
        self.turns[usize::from(replica)] += 1;
        former
    }
}

// === impl Fleet ===

impl Fleet {
    /// Applies what a former replica has left in its journal, as an operator does for one that is
    /// gone: by a process that gets no calls.
    pub(super) async fn apply_left(
        &self,
        number: u8,
        path: &Path,
        log: &FaultLog,
    ) -> Result<(), String> {
        let sent = clock::now();
        let text = path.display().to_string();
        let shown = server::run(&["journal", "show", "--path", &text, "--json"], &[]);
        if !shown.status.success() {
            let error = String::from_utf8_lossy(&shown.stderr);
            return Err(format!("larder journal show failed: {error}"));
        }
        if !shown.stdout.trim_ascii().is_empty() {
            let bug = self.bug.as_deref();
            let mut process =
                builder(&self.store, bug, number, Some(path.to_owned())).start().await;
            eventually("the journal of a former replica is applied", REPLAYED, async || {
                journal_is_empty(&process).await.then_some(())
            })
            .await;
            process.signal(Signal::SIGTERM);
            process.wait_exit(Duration::from_secs(30)).await;
        }
        log.journal_was_empty(number, sent);
        Ok(())
    }

    pub(crate) fn has_journals(&self) -> bool {
        self.journals.is_some()
    }

    /// Whether the journal of a replica is empty, and others are not waited for. Notes the time.
    pub(crate) async fn is_replayed(&self, number: u8, log: &FaultLog) -> bool {
        if self.journals.is_none() {
            return true;
        }
        let replica = &self.replicas[usize::from(number)];
        let sent = clock::now();
        let is_empty = journal_is_empty(replica).await;
        if is_empty {
            log.journal_was_empty(number, sent);
        }
        is_empty && metric(replica, "larder_journal_quarantine_active").await == Some(0.0)
    }

    /// Number of entries in the journal of a replica.
    pub(crate) async fn queued(&self, number: u8) -> u64 {
        let replica = &self.replicas[usize::from(number)];
        metric(replica, "larder_journal_entries").await.unwrap_or_default() as u64
    }

    /// Whether no replica asks its store, because it is away.
    pub(crate) async fn all_breakers_are_open(&self) -> bool {
        for replica in &self.replicas {
            if metric(replica, "larder_store_breaker_open").await != Some(1.0) {
                return false;
            }
        }
        true
    }
}

async fn journal_is_empty(replica: &Larder) -> bool {
    metric(replica, "larder_journal_entries").await == Some(0.0)
}

/// The value of a metric without labels.
async fn metric(replica: &Larder, name: &str) -> Option<f64> {
    let body = replica.admin("/metrics").await.body;
    let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok();
    body.lines().find_map(of_line)
}
