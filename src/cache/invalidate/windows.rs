//! Windows: invalidations of a namespace that arrive shortly one after the other are applied
//! together, and each caller is answered when that is done.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::LogInterval;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::plan::{LOG_INTERVAL, NamespacePlan};
use crate::{
    cache::singleflight::FlightGroup,
    model::Namespace,
    stats::counters::Counter,
    store::{self, Backend, BanOutcome, ErrorKind},
};

/// Tags and patterns with which a window ends early.
const MAX_TARGETS: usize = 10_000;

/// The open windows.
pub(in crate::cache) struct InvalidationWindows(Arc<Inner>);

struct Inner {
    store: Arc<dyn Backend>,
    /// Runs the tasks that apply a window, even if all of its callers leave.
    flights: Arc<FlightGroup>,
    closing: CancellationToken,
    open: Mutex<Open>,
    /// Bounds the warnings of bans that invalidate their namespace.
    log: Mutex<LogInterval>,
}

#[derive(Default)]
struct Open {
    /// By namespace and hold-off.
    windows: HashMap<(Namespace, Duration), Window>,
    /// Number of the last window.
    number: u64,
}

struct Window {
    number: u64,
    plan: NamespacePlan,
    callers: Vec<oneshot::Sender<store::Result<Option<BanOutcome>>>>,
}

impl InvalidationWindows {
    pub(in crate::cache) fn new(
        store: Arc<dyn Backend>,
        flights: Arc<FlightGroup>,
        closing: CancellationToken,
    ) -> Self {
        let log = Mutex::new(LogInterval::new(LOG_INTERVAL));
        Self(Arc::new(Inner { store, flights, closing, open: Mutex::default(), log }))
    }

    /// Applies a plan, together with others of the namespace if that has a window. Returns when it
    /// is applied, or none if it is queued.
    pub(super) async fn apply(
        &self,
        namespace: &Namespace,
        plan: NamespacePlan,
    ) -> store::Result<Option<BanOutcome>> {
        let Some(time) = plan.context.config().invalidation_window else {
            return plan.apply(namespace, &*self.0.store, &self.0.log).await;
        };
        let outcome = self.0.join(namespace, plan, time);
        // The sender is dropped only if the task panicked or was never run.
        outcome.await.unwrap_or_else(|_| Err(ErrorKind::Refused.into()))
    }
}

impl Inner {
    /// Joins the window of a namespace and a hold-off, and opens it if there is none.
    fn join(
        self: &Arc<Self>,
        namespace: &Namespace,
        plan: NamespacePlan,
        time: Duration,
    ) -> oneshot::Receiver<store::Result<Option<BanOutcome>>> {
        let (sender, outcome) = oneshot::channel();
        let mut open = self.open.lock();
        let key = (namespace.clone(), plan.ban.hold_off);
        let number = open.number + 1;
        match open.windows.entry(key.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Window { number, plan, callers: vec![sender] });
                open.number = number;
                self.flights.spawn(self.clone().end(key, number, time));
            }
            Entry::Occupied(mut joined) => {
                plan.context.counters.count(Counter::InvalidationsCoalesced);
                let window = joined.get_mut();
                window.plan.merge(&plan);
                window.callers.push(sender);
                if window.plan.len() >= MAX_TARGETS {
                    let window = joined.remove();
                    self.flights.spawn(self.clone().close(key.0, window));
                }
            }
        }
        outcome
    }

    /// Closes a window when its time is over. At shutdown it is over at once.
    async fn end(self: Arc<Self>, key: (Namespace, Duration), number: u64, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.closing.cancelled() => {}
        }
        let window = match self.open.lock().windows.entry(key.clone()) {
            Entry::Occupied(window) if window.get().number == number => window.remove(),
            // It ended early.
            Entry::Occupied(_) | Entry::Vacant(_) => return,
        };
        self.close(key.0, window).await;
    }

    async fn close(self: Arc<Self>, namespace: Namespace, window: Window) {
        let outcome = window.plan.apply(&namespace, &*self.store, &self.log).await;
        for caller in window.callers {
            // A caller that has left needs no answer.
            let _ = caller.send(outcome.clone());
        }
    }
}
