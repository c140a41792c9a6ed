//! Applies the remembered invalidations to another primary.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;

use super::FailoverWindow;
use crate::{
    model::Timestamp,
    planted::{self, Bug},
    store::{Backend, ErrorKind, Invalidation, Result},
};

/// Invalidations that are applied together.
const BATCH: usize = 64;
/// Time between two checks for another primary without calls, and for old invalidations.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Follows the primary, until the future is dropped. `store` is the store that calls use, so that
/// a journal takes what cannot be applied.
pub async fn follow(
    window: Arc<FailoverWindow>,
    store: Arc<dyn Backend>,
    mut answers: watch::Receiver<bool>,
) {
    loop {
        if answers.wait_for(|answers| *answers).await.is_err() {
            return;
        }
        if window.is_trusted() {
            window.forget_old();
            tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
                () = window.changed.notified() => {}
            }
        } else if let Err(error) = reapply(&window, &*store).await {
            tracing::debug!(%error, "invalidations cannot be applied again yet");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }
}

/// Applies the invalidations that the current primary may lack. If it changes meanwhile, the next
/// call does it again.
async fn reapply(window: &FailoverWindow, store: &dyn Backend) -> Result<()> {
    let epoch = window.epoch();
    let mut all = window.lacking(epoch);
    if planted::is(Bug::WindowNotReapplied) {
        all.clear();
    }
    for batch in all.chunks(BATCH) {
        let applied = join_all(
            batch.iter().map(|(invalidation, held_until)| apply(store, invalidation, *held_until)),
        );
        applied.await.into_iter().collect::<Result<()>>()?;
    }
    window.trust(epoch, all.len());
    if !all.is_empty() {
        tracing::info!(
            count = all.len(),
            window = ?window.length,
            "another primary answers: the last invalidations are applied again"
        );
    }
    Ok(())
}

async fn apply(
    store: &dyn Backend,
    invalidation: &Invalidation,
    held_until: Timestamp,
) -> Result<()> {
    let hold_off = held_until.since(store.now());
    match invalidation.apply(store, hold_off).await {
        // From now on the journal keeps the entry from being read.
        Err(error) if error.kind == ErrorKind::Queued => Ok(()),
        outcome => outcome,
    }
}
