//! The tasks that may hold leases.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::store::Backend;

/// Runs tasks that may hold leases, so that every lease is given back before the process ends.
pub(in crate::cache) struct LeaseKeeper {
    pub(super) store: Arc<dyn Backend>,
    /// Cancelled when the replica has no more time for its fetches.
    pub(super) abort: CancellationToken,
    tasks: TaskTracker,
}

impl LeaseKeeper {
    pub(super) fn new(store: Arc<dyn Backend>) -> Arc<Self> {
        let (abort, tasks) = (CancellationToken::new(), TaskTracker::new());
        Arc::new(Self { store, abort, tasks })
    }

    /// Runs a task that outlives the call that started it. It is not part of that call's span.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs a task to its end, even if the caller that waits for its result leaves.
    pub(super) fn spawn_in_span<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(task.in_current_span())
    }

    /// Aborts fetches, and waits until all tasks have ended and every lease is given back.
    pub(super) async fn close(&self) {
        self.abort.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
