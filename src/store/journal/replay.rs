//! The replay: applies what is in the journal when the store is back, reports that to the other
//! replicas, and ends the quarantine.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Journal, JournalError, Queued,
    metrics::JournalLog,
    quarantine::{JournalRegistry, Quarantine},
};
use crate::{
    model::Timestamp,
    planted::{self, Bug},
    store::{Backend, Error, Result},
};

/// Entries that are read and applied together.
const BATCH: usize = 64;
/// Time between two reports of an empty journal.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two attempts to apply what failed, and between two looks at the other journals.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Time without an answer after which the store counts as away at the start of the process.
const START_LIMIT: Duration = Duration::from_secs(1);
/// A journal that was empty last so long ago is removed from the registry.
const PRUNED_AFTER: Duration = Duration::from_secs(86_400);
/// Time limit of the withdrawal at shutdown.
const WITHDRAW_TIMEOUT: Duration = Duration::from_millis(250);

/// Replays a journal, from the start of the process to its end.
pub struct Replay {
    /// The journal.
    pub journal: Arc<Journal>,
    /// The store, with its circuit breaker.
    pub store: Arc<dyn Backend>,
    /// Where the journals of the fleet report.
    pub registry: Arc<dyn JournalRegistry>,
    /// The quarantine of this replica.
    pub quarantine: Arc<Quarantine>,
    /// Ends the lines about an outage.
    pub log: Arc<JournalLog>,
    /// Whether the store answers.
    pub answers: watch::Receiver<bool>,
}

/// Result of one pass over the journal.
#[derive(Default)]
struct Pass {
    applied: usize,
    /// Why some were not applied.
    failure: Option<Error>,
}

impl Replay {
    /// Runs until `stop` is cancelled. A journal that is empty then is withdrawn.
    pub async fn run(self, stop: CancellationToken) {
        let registry = self.registry.clone();
        let journal = self.journal.clone();
        stop.run_until_cancelled(self.follow()).await;
        if journal.pending().is_empty() {
            let withdrawal = registry.withdraw_journal(journal.id());
            // A journal that stays registered delays the end of quarantines, and no more.
            let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawal).await;
        }
    }

    async fn follow(mut self) {
        let started_at = self.store.now();
        let first = self.answers.wait_for(|answers| *answers);
        let is_late = tokio::time::timeout(START_LIMIT, first).await.is_err();
        if is_late {
            self.quarantine.begin(started_at);
        }
        let mut is_pruned = false;
        loop {
            if self.answers.wait_for(|answers| *answers).await.is_err() {
                return;
            }
            if !is_pruned {
                is_pruned = self.prune().await.is_ok();
            }
            self.follow_answering_store().await;
        }
    }

    /// Replays, reports, and ends quarantines, until the store is away again.
    async fn follow_answering_store(&mut self) {
        self.quarantine.store_returned(self.store.now());
        self.report(None).await;
        while *self.answers.borrow_and_update() {
            let empty_at = self.store.now();
            let is_replayed = self.replay().await;
            if is_replayed {
                self.log.replayed();
                self.report(Some(empty_at)).await;
            }
            if self.quarantine.is_active() {
                let reports = self.registry.journals().await.ok();
                self.quarantine.check(reports.as_deref(), self.store.now());
            }
            let is_waiting = !is_replayed || self.quarantine.is_active();
            let pause = if is_waiting { RETRY_INTERVAL } else { REPORT_INTERVAL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.journal.appended(), if is_replayed => {}
                () = self.quarantine.begun() => {}
                Ok(()) = self.answers.changed() => {}
            }
        }
    }

    /// Applies all entries. Returns whether the journal is empty.
    async fn replay(&self) -> bool {
        if self.journal.pending().is_empty() {
            return true;
        }
        match self.pass().await {
            Ok(Pass { applied, failure }) => {
                let left = self.journal.pending().size().entries;
                if applied > 0 {
                    tracing::info!(applied, left, "the journal is replayed");
                }
                if let Some(error) = failure {
                    tracing::debug!(left, %error, "the store did not take entries of the journal");
                }
                left == 0
            }
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be replayed");
                false
            }
        }
    }

    async fn pass(&self) -> std::result::Result<Pass, JournalError> {
        let mut pass = Pass::default();
        let mut after = None;
        loop {
            let batch = self.journal.page(after, BATCH).await?;
            let Some(last) = batch.last() else { return Ok(pass) };
            after = Some(last.sequence);
            let applied = futures_util::future::join_all(batch.iter().map(|pending| async {
                if planted::is(Bug::JournalEntryDropped) && pending.sequence % 4 == 0 {
                    return Ok(pending.sequence);
                }
                let outcome = self.apply(&pending.entry).await;
                outcome.map(|()| pending.sequence)
            }));
            let mut sequences = Vec::new();
            for outcome in applied.await {
                match outcome {
                    Ok(sequence) => sequences.push(sequence),
                    Err(error) => pass.failure = Some(error),
                }
            }
            pass.applied += sequences.len();
            if !sequences.is_empty() {
                self.journal.remove(sequences).await?;
            }
            if !*self.answers.borrow() {
                return Ok(pass);
            }
        }
    }

    async fn apply(&self, queued: &Queued) -> Result<()> {
        let hold_off = queued.held_until.since(self.store.now());
        queued.invalidation.apply(&*self.store, hold_off).await
    }

    /// Removes the journals of replicas that are long gone.
    async fn prune(&self) -> Result<()> {
        let now = self.store.now();
        for report in self.registry.journals().await? {
            if report.empty_at.0 > 0 && now.since(report.empty_at) > PRUNED_AFTER {
                self.registry.withdraw_journal(&report.id).await?;
            }
        }
        Ok(())
    }

    async fn report(&self, empty_at: Option<Timestamp>) {
        // The next report makes up for one that fails.
        let _ = self.registry.report_journal(self.journal.id(), empty_at).await;
    }
}
