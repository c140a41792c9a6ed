//! The flight of one key: the task that acquires the lease, fetches the value where the namespace
//! has an origin, and notifies the waiters. `acquire` decides by the answer of the store.

mod acquire;

use std::{sync::Arc, time::Duration};

use tracing::{Instrument as _, Span};

use super::{
    fetch_job::FetchJob,
    fill::{self, FetchedEntry, FillOutcome, FillPermit},
    flight_result::FlightResult,
    group::{FlightGroup, FlightHandle, FlightState, RefreshOutcome, Waiters},
    span::FlightSpan,
    waiters::Requirement,
};
use crate::{
    cache::policy,
    origin::{self, OriginErrorKind, client::TimedResponse},
    stats::counters::{Counter, LatencyKind},
    store::key_watch::KeyWatch,
};

/// Pause between polls of the store without a notification: doubled from the first to the last.
const FIRST_POLL_INTERVAL: Duration = Duration::from_millis(50);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(400);
/// Upper bound of a cool-down: a flight that cools down occupies waiter slots.
const MAX_COOL_DOWN: Duration = Duration::from_secs(10);

/// The flight of one key.
pub(in crate::cache) struct Flight {
    group: Arc<FlightGroup>,
    job: FetchJob,
    /// Duration of the lease that was acquired last. The expected fetch time may have changed.
    lease_ttl: Duration,
    lease_ended: KeyWatch,
    waiters: Waiters,
    state: Arc<FlightState>,
    poll_interval: Duration,
    failed_polls: u32,
    /// The current span, and the waiter it belongs to.
    span: Option<(FlightSpan, Span)>,
    is_done: bool,
}

/// Next step of a flight.
pub(super) enum NextStep {
    /// Admits waiters and polls again.
    Continue,
    /// Waits for the lease's end, for at most this long.
    Wait(Duration),
    /// Suppresses background refreshes for this long: the last fetch failed.
    CoolDown(Duration),
    /// Fetches the value.
    Fetch(FillPermit),
}

impl FlightGroup {
    /// Joins the flight of the job's key, and starts it if there is none. `None` if too many
    /// callers wait.
    pub(in crate::cache) fn join(
        self: &Arc<Self>,
        job: FetchJob,
        requirement: Requirement,
    ) -> Option<FlightHandle> {
        let (handle, flight) = self.join_unstarted(job, requirement)?;
        if let Some(flight) = flight {
            self.start(flight);
        }
        Some(handle)
    }

    /// Starts a flight.
    pub(in crate::cache) fn start(&self, flight: Flight) {
        self.spawn(flight.run());
    }

    /// As [`FlightGroup::join`], but a new flight is returned, for the caller to start.
    pub(in crate::cache) fn join_unstarted(
        self: &Arc<Self>,
        job: FetchJob,
        requirement: Requirement,
    ) -> Option<(FlightHandle, Option<Flight>)> {
        let (handle, is_first) = self.add_caller(&job, requirement)?;
        Some((handle, is_first.then(|| Flight::new(self.clone(), job))))
    }

    /// Computes the key in the background, unless it is being computed; returns whether a
    /// computation was started.
    pub(in crate::cache) fn refresh(
        self: &Arc<Self>,
        job: FetchJob,
        requirement: Requirement,
    ) -> bool {
        let outcome = self.add_refresh(&job, requirement);
        if outcome == RefreshOutcome::Opened {
            self.start(Flight::new(self.clone(), job));
        }
        outcome != RefreshOutcome::Refused
    }
}

impl Flight {
    fn new(group: Arc<FlightGroup>, job: FetchJob) -> Self {
        Self {
            // Before the store is asked, so that no notification falls in between.
            lease_ended: group.keeper.store.watch_lease(&job.key),
            group,
            lease_ttl: job.lease_ttl(),
            job,
            waiters: Waiters::default(),
            state: Arc::default(),
            poll_interval: FIRST_POLL_INTERVAL,
            failed_polls: 0,
            span: None,
            is_done: false,
        }
    }

    /// Runs until no waiter is left.
    pub(super) async fn run(mut self) {
        while !self.is_done && self.admit_waiters() && !self.group.keeper.abort.is_cancelled() {
            let step = self.poll().await;
            self.take(step).await;
        }
    }

    /// Takes a step that was decided already, and runs on from there.
    pub(super) async fn run_from(mut self, step: NextStep) {
        self.take(step).await;
        self.run().await;
    }

    async fn take(&mut self, step: NextStep) {
        match step {
            NextStep::Continue => {}
            NextStep::Wait(time) => self.wait(time).await,
            NextStep::CoolDown(time) => self.cool_down(time).await,
            NextStep::Fetch(permit) => {
                let span = self.span();
                let fetched = self.fetch(&permit).instrument(span).await;
                self.complete(permit, fetched).await;
            }
        }
    }

    /// Admits callers that have joined. False if no waiter is left: then the flight is over.
    pub(super) fn admit_waiters(&mut self) -> bool {
        match self.group.admit(&self.job.key, &mut self.waiters) {
            Some((state, job)) => {
                self.state = state;
                // The last caller has the newest rules of the namespace.
                self.job = job.unwrap_or_else(|| self.job.clone());
            }
            None => self.is_done = true,
        }
        !self.is_done
    }

    pub(super) fn job(&self) -> &FetchJob {
        &self.job
    }

    /// The span for the current step. It belongs to the first waiter.
    pub(super) fn span(&mut self) -> Span {
        let (owner, is_awaited) = match self.waiters.first() {
            Some(first) => (first.span.clone(), first.is_caller()),
            None => (FlightSpan::default(), false),
        };
        match &self.span {
            Some((same, span)) if *same == owner => span.clone(),
            _ => {
                let span = owner.start(self.job.key.namespace(), is_awaited);
                self.span = Some((owner, span.clone()));
                span
            }
        }
    }

    /// Asks the store for the lease, and notifies the waiters that can be answered.
    pub(super) async fn poll(&mut self) -> NextStep {
        let span = self.span();
        let step = self.acquire().instrument(span).await;
        if matches!(step, NextStep::Continue | NextStep::CoolDown(_)) {
            self.span = None;
        }
        step
    }

    /// Fetches the value, even if all waiters leave: the next caller will need it too.
    async fn fetch(&self, permit: &FillPermit) -> origin::Result<TimedResponse> {
        let Some(origin) = self.job.origin() else { return Err(aborted()) };
        let request = self.job.request(origin, permit.validators());
        tokio::select! {
            fetched = origin.client.fetch(&request) => fetched,
            () = self.keep_lease(permit) => Err(aborted()),
            () = self.group.keeper.abort.cancelled() => Err(aborted()),
        }
    }

    /// Extends the lease for as long as this is polled; never returns.
    pub(super) async fn keep_lease(&self, permit: &FillPermit) {
        permit.keep_lease(self.lease_ttl, self.job.max_lease_ttl()).await;
    }

    /// Fills the cache with the fetched value, and notifies the waiters.
    pub(super) async fn complete(
        &mut self,
        permit: FillPermit,
        fetched: origin::Result<TimedResponse>,
    ) {
        let span = self.span();
        self.fill(permit, fetched).instrument(span).await;
        self.span = None;
    }

    async fn fill(&mut self, mut permit: FillPermit, mut fetched: origin::Result<TimedResponse>) {
        let admitted_before = self.waiters.len();
        loop {
            let fetch = match fetched {
                Ok(fetched) => fetched,
                Err(error) => return self.fail(permit, error, admitted_before).await,
            };
            self.job.context.counters.count(Counter::Fetches);
            self.job.context.counters.time(LatencyKind::Fetch, fetch.elapsed);
            // A fill that is accepted proves that nothing was invalidated until now, so callers
            // that arrived during the fetch may have the value.
            self.group.admit_late(&self.job.key, &mut self.waiters);
            let Some(origin) = self.job.origin() else { return };
            let store = &*self.group.keeper.store;
            match fill::fill(store, &self.job, origin, &mut permit, fetch).await {
                Some(fetched) => {
                    self.group.predictor.record(&self.job.key, fetched.is_cacheable);
                    return self.notify_fetched(&fetched, admitted_before);
                }
                None => fetched = self.fetch(&permit).await,
            }
        }
    }

    async fn fail(&mut self, permit: FillPermit, mut error: origin::Error, admitted_before: usize) {
        if self.group.keeper.abort.is_cancelled() {
            permit.release(Duration::ZERO, "").await;
            return;
        }
        self.job.context.counters.count(Counter::FetchesFailed);
        // Only under a lease can the failure be shared with other replicas.
        self.group.predictor.record(&self.job.key, true);
        if let (true, Some(origin)) = (permit.is_leased(), self.job.origin()) {
            let backoff = policy::backoff(&origin.config, &error);
            let store = &*self.group.keeper.store;
            permit.fail(store, &self.job.key, &error, backoff).await;
            if !backoff.is_zero() {
                error.retry_after = Some(backoff);
            }
        }
        self.waiters
            .notify_up_to(admitted_before, |_, _| Some(FlightResult::OriginFailed(error.clone())));
        // A background refresh that failed is not repeated: the next caller starts another.
        self.waiters.remove_background();
    }

    fn notify_fetched(&mut self, fetched: &FetchedEntry, admitted_before: usize) {
        let is_stored = fetched.fill == FillOutcome::Stored;
        let count = if is_stored { self.waiters.len() } else { admitted_before };
        self.waiters.notify_up_to(count, |index, wanted| {
            // Callers that forced a refresh and joined late need a newer fetch.
            let is_accepted = !wanted.force_refresh || index < admitted_before;
            is_accepted
                .then(|| FlightResult::Fetched { fetched: fetched.clone(), is_first: index == 0 })
        });
    }

    /// Waits until the lease ends, or until it is time to poll.
    async fn wait(&mut self, time: Duration) {
        if self.waiters.is_empty() {
            return;
        }
        self.state.set_available_in(time);
        let interval = self.poll_interval.mul_f64(rand::random_range(0.8..1.2));
        let pause = time.min(interval) + Duration::from_millis(1);
        tokio::select! {
            () = self.lease_ended.notified() => {}
            () = self.state.joined.notified(), if !self.waiters.has_caller() => {}
            () = self.group.keeper.abort.cancelled() => {}
            () = tokio::time::sleep(pause) => {
                self.poll_interval = (self.poll_interval * 2).min(MAX_POLL_INTERVAL);
            }
        }
    }

    /// Suppresses background refreshes until the back-off ends. A caller that joins ends it.
    async fn cool_down(&mut self, time: Duration) {
        if self.waiters.is_empty() {
            return;
        }
        tokio::select! {
            () = self.state.joined.notified() => {}
            () = self.group.keeper.abort.cancelled() => {}
            () = tokio::time::sleep(time.min(MAX_COOL_DOWN)) => self.waiters.clear(),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // After a panic, or at shutdown.
        if !self.is_done {
            self.group.close_key(&self.job.key);
        }
    }
}

/// The failure of a fetch that was aborted.
pub(super) fn aborted() -> origin::Error {
    origin::Error::new(OriginErrorKind::Unreachable, "the server is shutting down")
}
