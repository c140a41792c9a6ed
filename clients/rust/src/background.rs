//! Work without a caller that waits: bounded, and listed so that `close` can end it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
};

/// Work in the background.
#[derive(Debug)]
pub(crate) struct Background {
    room: Arc<Semaphore>,
    tasks: Mutex<Vec<AbortHandle>>,
    running: AtomicUsize,
    changed: Notify,
}

/// Lets `close` wait for the end of something.
#[derive(Debug)]
pub(crate) struct Tracked(Arc<Background>);

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
        self.0.changed.notify_waiters();
    }
}

impl Background {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            tasks: Mutex::default(),
            running: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    /// Room for one computation; `None` if as many as are allowed run.
    pub(crate) fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).try_acquire_owned().ok()
    }

    pub(crate) fn track(self: &Arc<Self>) -> Tracked {
        self.running.fetch_add(1, SeqCst);
        Tracked(Arc::clone(self))
    }

    /// Runs a computation, which `close` aborts.
    pub(crate) fn start(
        self: &Arc<Self>,
        room: OwnedSemaphorePermit,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let tracked = self.track();
        let task = tokio::spawn(async move {
            let _tracked = tracked;
            let _room = room;
            work.await;
        });
        let mut tasks = self.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task.abort_handle());
    }

    /// Aborts the computations.
    pub(crate) fn close(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Waits for the end of all that is tracked.
    pub(crate) async fn parted(&self) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.running.load(SeqCst) == 0 {
                return;
            }
            changed.await;
        }
    }
}
