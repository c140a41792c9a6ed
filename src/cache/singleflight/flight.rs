//! Acts for all calls of this replica that wait for one key: asks the store when it says that the lease has ended, when it must
//! have expired, and now and then in case the store said nothing. Granted the lease, it hands it to the first who waits,
//! or fetches the value itself if the namespace has an origin.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tracing::{Instrument as _, Span};

use super::super::{
    is_degraded, policy,
    policy::Verdict,
    singleflight::cacheability::Prediction,
    singleflight::fetch_job::FetchJob,
    singleflight::fill::{self, FetchedEntry, FillOutcome, FillPermit},
    singleflight::lease_guard::LeaseGuard,
    singleflight::span::FlightSpan,
    singleflight::waiters::{FlightGroup, FlightResult, FlightState, Requirement, Waiter},
};
use crate::{
    model::{Entry, Timestamp, millis_ceil},
    origin::{self, ErrorKind, client::TimedResponse},
    stats::counters::{Counter, LatencyKind},
    store::{self, AcquireOutcome, AcquireRequest, key_watch::KeyWatch},
};

/// Between two looks when there is no news: doubled from the first to the second.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LATER_LOOKS: Duration = Duration::from_millis(400);
/// Looks in a row that may fail before the store counts as gone for those who wait.
const MAX_FAILED_LOOKS: u32 = 3;
/// An usher who rests keeps a place.
const LONGEST_REST: Duration = Duration::from_secs(10);
/// No entry is fresh for longer.
const END_OF_TIME: Timestamp = Timestamp(u64::MAX);

/// See the module.
pub(in crate::cache) struct Flight {
    room: Arc<FlightGroup>,
    errand: FetchJob,
    /// How long the lease holds that was last asked for. What fetches take may have changed since.
    lease_ttl: Duration,
    news: KeyWatch,
    seated: VecDeque<Waiter>,
    desk: Arc<FlightState>,
    look: Duration,
    failed_looks: u32,
    /// What is done, in whose trace.
    span: Option<(FlightSpan, Span)>,
    is_done: bool,
}

/// What is to be done next.
pub(in crate::cache) enum NextStep {
    /// Nothing.
    Done,
    /// To look again after news, or after that long at the latest.
    Wait(Duration),
    /// To do nothing for so long unless somebody comes: the origin was asked in vain a moment ago.
    Rest(Duration),
    /// To fetch the value.
    Fetch(FillPermit),
}

impl Flight {
    pub(in crate::cache) fn new(room: Arc<FlightGroup>, errand: FetchJob) -> Self {
        Self {
            // Before the store is asked, so that no news falls in between.
            news: room.store.wait_for(&errand.key),
            room,
            lease_ttl: errand.lease_ttl(),
            errand,
            seated: VecDeque::new(),
            desk: Arc::default(),
            look: FIRST_LOOK,
            failed_looks: 0,
            span: None,
            is_done: false,
        }
    }

    /// Acts until nobody is there any more.
    pub(in crate::cache) async fn run(mut self) {
        while !self.is_done && self.seat() && !self.room.abort.is_cancelled() {
            let step = self.look().await;
            self.take(step).await;
        }
    }

    /// Takes a step and goes on from there.
    pub(in crate::cache) async fn go_on(mut self, step: NextStep) {
        self.take(step).await;
        self.run().await;
    }

    async fn take(&mut self, step: NextStep) {
        match step {
            NextStep::Done => {}
            NextStep::Wait(left) => self.wait(left).await,
            NextStep::Rest(left) => self.rest(left).await,
            NextStep::Fetch(mandate) => {
                let span = self.span();
                let fetched = self.fetch(&mandate).instrument(span).await;
                self.land(mandate, fetched).await;
            }
        }
    }

    /// Lets in those who wait outside. False if there is nobody, and the queue is closed.
    pub(in crate::cache) fn seat(&mut self) -> bool {
        match self.room.seat(&self.errand.key, &mut self.seated) {
            Some((desk, errand)) => {
                self.desk = desk;
                // The last who came knows the rules of now.
                self.errand = errand.unwrap_or_else(|| self.errand.clone());
            }
            None => self.is_done = true,
        }
        !self.is_done
    }

    pub(in crate::cache) fn errand(&self) -> &FetchJob {
        &self.errand
    }

    /// The span of what is done now. It is for whoever has been waiting longest.
    pub(in crate::cache) fn span(&mut self) -> Span {
        let (trace, listens) = self
            .seated
            .front()
            .map(|first| (first.trace.clone(), first.listens()))
            .unwrap_or_default();
        match &self.span {
            Some((same, span)) if *same == trace => span.clone(),
            _ => {
                let span = trace.span(self.errand.key.namespace(), listens);
                self.span = Some((trace, span.clone()));
                span
            }
        }
    }

    /// Asks the store on behalf of all who are seated, and tells them what can be told.
    pub(in crate::cache) async fn look(&mut self) -> NextStep {
        let span = self.span();
        let step = self.ask().instrument(span).await;
        if matches!(step, NextStep::Done | NextStep::Rest(_)) {
            self.span = None;
        }
        step
    }

    async fn ask(&mut self) -> NextStep {
        let has_source = self.errand.source().is_some();
        if has_source && self.seated.iter().all(|waiter| waiter.wish.without_store) {
            return NextStep::Fetch(FillPermit::without_lease(FillOutcome::NotStored {
                degraded: true,
            }));
        }
        if let Some(left) = self.errand.source().and_then(|source| source.gate.open_for()) {
            return self.leave_alone(left);
        }
        let uncacheable = if has_source {
            self.room.uncacheable.recall(&self.errand.key)
        } else {
            Prediction::None
        };
        if uncacheable == Prediction::Fresh {
            return NextStep::Fetch(FillPermit::without_lease(FillOutcome::Uncacheable));
        }
        let ttl = self.errand.lease_ttl();
        self.lease_ttl = ttl;
        let mut grant = LeaseGuard::new(&self.room, &self.errand.key);
        let ask = AcquireRequest { token: grant.token(), ttl, fresher_than: self.fresher_than() };
        let acquired = self.room.store.acquire(&self.errand.key, &ask).await;
        if acquired.is_ok() {
            self.failed_looks = 0;
        }
        match acquired.inspect(|acquired| grant.settle(acquired)) {
            Ok(AcquireOutcome::Found(entry)) => {
                let good_enough =
                    |wish: &Requirement| !wish.anew && wish.fresher_than < entry.fresh_until;
                self.call_all(|wish| good_enough(wish).then(|| FlightResult::Found(entry.clone())));
                NextStep::Done
            }
            Ok(AcquireOutcome::Granted { previous }) if has_source => {
                NextStep::Fetch(FillPermit { lease: Ok(grant), previous })
            }
            Ok(AcquireOutcome::Granted { previous }) => {
                self.call_first(FlightResult::Lease { grant, expires_in: ttl, previous });
                NextStep::Wait(ttl)
            }
            Ok(AcquireOutcome::Held { .. }) if uncacheable == Prediction::Faded => {
                NextStep::Fetch(FillPermit::without_lease(FillOutcome::Uncacheable))
            }
            Ok(AcquireOutcome::Held { expires_in }) => NextStep::Wait(expires_in),
            Ok(AcquireOutcome::BackedOff { remaining, previous, cause }) => {
                self.back_off(remaining, previous, &cause)
            }
            Ok(AcquireOutcome::HeldOff { .. }) if has_source => {
                NextStep::Fetch(FillPermit::without_lease(FillOutcome::Invalidated))
            }
            Ok(AcquireOutcome::HeldOff { .. }) => {
                let lease = |_: &Requirement| FlightResult::Lease {
                    grant: LeaseGuard::unshared(),
                    expires_in: ttl,
                    previous: None,
                };
                self.call_all(|wish| Some(lease(wish)));
                NextStep::Done
            }
            Err(error) if has_source => {
                NextStep::Fetch(FillPermit::without_lease(FillOutcome::NotStored {
                    degraded: is_degraded(&error),
                }))
            }
            // One answer that was lost says little: somebody may well be at work.
            Err(error) if is_passing(error.kind) && self.failed_looks < MAX_FAILED_LOOKS => {
                self.failed_looks += 1;
                NextStep::Wait(self.look)
            }
            Err(error) => {
                self.call_all(|_| Some(FlightResult::Failed(error.kind.into())));
                NextStep::Done
            }
        }
    }

    /// Says that the origin is not asked, without asking the store who might.
    fn leave_alone(&mut self, left: Duration) -> NextStep {
        self.errand.scope.counts.count(Counter::FetchesFailed);
        let error = origin::Error::breaker_open(left);
        self.call_all(|_| Some(FlightResult::OriginFailed(error.clone())));
        NextStep::Done
    }

    /// Fetches the value. Whoever wants it may have left meanwhile: the next will want it too.
    async fn fetch(&self, mandate: &FillPermit) -> origin::Result<TimedResponse> {
        let Some(source) = self.errand.source() else { return Err(aborted()) };
        let order = self.errand.order(source, mandate.validators());
        tokio::select! {
            fetched = source.gate.fetch(&order) => fetched,
            () = self.keep_alive(mandate) => Err(aborted()),
            () = self.room.abort.cancelled() => Err(aborted()),
        }
    }

    /// See [`FillPermit::keep_alive`].
    pub(in crate::cache) async fn keep_alive(&self, mandate: &FillPermit) {
        mandate.keep_alive(self.lease_ttl, self.errand.scope.rules.lease_ttl).await;
    }

    /// Stores what was fetched, and tells it to those who may know it.
    pub(in crate::cache) async fn land(
        &mut self,
        mandate: FillPermit,
        fetched: origin::Result<TimedResponse>,
    ) {
        let span = self.span();
        self.store(mandate, fetched).instrument(span).await;
        self.span = None;
    }

    async fn store(&mut self, mut mandate: FillPermit, mut fetched: origin::Result<TimedResponse>) {
        let were_there = self.seated.len();
        loop {
            match fetched {
                Ok(TimedResponse { response: answer, elapsed: took }) => {
                    self.errand.scope.counts.count(Counter::Fetches);
                    self.errand.scope.counts.time(LatencyKind::Fetch, took);
                    // Those who come before the value is stored may have it if it is accepted: then nothing was
                    // invalidated until now, and they were here before that.
                    self.room.seat_late(&self.errand.key, &mut self.seated);
                    let Some(source) = self.errand.source() else { return };
                    let (store, errand) = (&*self.room.store, &self.errand);
                    if let Some(landing) =
                        fill::land(store, errand, source, &mut mandate, answer, took).await
                    {
                        self.room.uncacheable.note(&self.errand.key, landing.is_cacheable);
                        return self.tell(&landing, were_there);
                    }
                    fetched = self.fetch(&mandate).await;
                }
                Err(error) => return self.fail(mandate, error, were_there).await,
            }
        }
    }

    async fn fail(&mut self, mandate: FillPermit, mut error: origin::Error, were_there: usize) {
        if self.room.abort.is_cancelled() {
            if let Ok(lease) = mandate.lease {
                lease.give_back(Duration::ZERO, "").await;
            }
            return;
        }
        self.errand.scope.counts.count(Counter::FetchesFailed);
        // Only under a lease can the others be told to leave the key alone.
        self.room.uncacheable.note(&self.errand.key, true);
        if let (Ok(lease), Some(source)) = (mandate.lease, self.errand.source()) {
            let backoff = policy::backoff(&source.config, &error);
            lease.give_back(backoff, &error.to_string()).await;
            if !backoff.is_zero() {
                error.retry_after = Some(backoff);
            }
        }
        self.call_some(were_there, |_| Some(FlightResult::OriginFailed(error.clone())));
        // Nobody insists on a refresh that failed: the next who needs it will ask.
        self.seated.retain(Waiter::listens);
    }

    fn tell(&mut self, landing: &FetchedEntry, were_there: usize) {
        let told = if landing.fill == FillOutcome::Stored { self.seated.len() } else { were_there };
        let mut place = 0;
        self.call_some(told, |wish| {
            place += 1;
            // What began before he came is not what somebody wants who wants it anew.
            (!wish.anew || place <= were_there)
                .then(|| FlightResult::Landed { landing: landing.clone(), is_first: place == 1 })
        });
    }

    fn back_off(&mut self, remaining: Duration, previous: Option<Entry>, cause: &str) -> NextStep {
        if self.errand.source().is_some() {
            let error = origin::Error {
                kind: ErrorKind::BackedOff,
                cause: cause.to_owned(),
                retry_after: Some(remaining.max(Duration::from_millis(1))),
            };
            self.call_listeners(|_| Some(FlightResult::OriginFailed(error.clone())));
        } else {
            let now = self.room.store.now();
            self.call_all(|wish| stale_on_error(previous.as_ref()?, now, wish));
            return NextStep::Wait(remaining);
        }
        NextStep::Rest(remaining)
    }

    /// Waits for news.
    async fn wait(&mut self, left: Duration) {
        if self.seated.is_empty() {
            return;
        }
        self.desk.available_in.store(millis_ceil(left), Ordering::Relaxed);
        let pause =
            left.min(self.look.mul_f64(rand::random_range(0.8..1.2))) + Duration::from_millis(1);
        tokio::select! {
            () = self.news.woken() => {}
            () = self.desk.bell.notified(), if !self.seated.iter().any(Waiter::listens) => {}
            () = self.room.abort.cancelled() => {}
            () = tokio::time::sleep(pause) => self.look = (self.look * 2).min(LATER_LOOKS),
        }
    }

    /// Keeps those at bay who want a refresh that nobody waits for, until the back-off is over. Then they may ask again.
    async fn rest(&mut self, left: Duration) {
        if self.seated.is_empty() {
            return;
        }
        tokio::select! {
            () = self.desk.bell.notified() => {}
            () = self.room.abort.cancelled() => {}
            () = tokio::time::sleep(left.min(LONGEST_REST)) => self.seated.clear(),
        }
    }

    /// Until when an entry must be fresh to be good enough for at least one who is seated.
    fn fresher_than(&self) -> Timestamp {
        let wanted =
            |waiter: &Waiter| if waiter.wish.anew { END_OF_TIME } else { waiter.wish.fresher_than };
        self.seated.iter().map(wanted).min().unwrap_or_default()
    }

    /// Tells the first who is still there.
    fn call_first(&mut self, mut turn: FlightResult) {
        while let Some(waiter) = self.seated.pop_front() {
            match waiter.call(turn) {
                None => return,
                Some(refused) => turn = refused,
            }
        }
    }

    /// Tells everybody for whom there is a turn.
    fn call_all(&mut self, turn: impl FnMut(&Requirement) -> Option<FlightResult>) {
        self.call_some(self.seated.len(), turn);
    }

    fn call_listeners(&mut self, turn: impl FnMut(&Requirement) -> Option<FlightResult>) {
        let (listeners, others) =
            std::mem::take(&mut self.seated).into_iter().partition(Waiter::listens);
        self.seated = listeners;
        self.call_all(turn);
        self.seated.extend::<VecDeque<Waiter>>(others);
    }

    /// Tells everybody for whom there is a turn among the first `count`.
    fn call_some(
        &mut self,
        count: usize,
        mut turn: impl FnMut(&Requirement) -> Option<FlightResult>,
    ) {
        for (place, waiter) in std::mem::take(&mut self.seated).into_iter().enumerate() {
            match if place < count { turn(&waiter.wish) } else { None } {
                // Whoever left does not need to know.
                Some(turn) => drop(waiter.call(turn)),
                None => self.seated.push_back(waiter),
            }
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // After a panic, or when the replica shuts down.
        if !self.is_done {
            self.room.close_queue(&self.errand.key);
        }
    }
}

fn stale_on_error(previous: &Entry, now: Timestamp, wish: &Requirement) -> Option<FlightResult> {
    if wish.anew {
        return None;
    }
    match policy::judge(previous, now, wish.max_stale) {
        Verdict::Stale | Verdict::StaleIfError => {
            Some(FlightResult::StaleOnError(previous.clone()))
        }
        Verdict::Fresh | Verdict::Negative | Verdict::Gone => None,
    }
}

pub(in crate::cache) fn aborted() -> origin::Error {
    origin::Error::new(ErrorKind::Unreachable, "the server is shutting down")
}

/// Whether it makes sense to ask the store once more.
fn is_passing(kind: store::ErrorKind) -> bool {
    use store::ErrorKind::{BreakerOpen, Full, Late, Refused, Timeout, Unreachable};
    match kind {
        Timeout | Unreachable | Late => true,
        BreakerOpen | Full | Refused => false,
    }
}
