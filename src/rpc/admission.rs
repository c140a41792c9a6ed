//! How much the server does at once. What is over the limit stands in line for a moment, and is turned away if nothing has become free
//! by then: a longer line would only make everybody late, and without any the callers who come back at once would cost more than
//! those who are served.
//!
//! Whoever stands in line is one entry of a queue. They all have the same patience, so one timer for the first of them does for all;
//! with a timer and a wait list's node for each, an overload would mostly move memory in and out of the processor.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::transport::Backpressure;

/// How long a request stands in line.
const PATIENCE: Duration = Duration::from_millis(20);
/// How many stand in line for each that is in work, at most.
const IN_LINE: usize = 4;

/// Counts requests in flight against a limit.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    in_flight: AtomicUsize,
    /// How many of the line wait, so that nobody else has to lock it.
    waiting: AtomicUsize,
    line: Mutex<Line>,
    /// On while somebody waits, and a little longer.
    backpressure: Arc<Backpressure>,
}

/// Those who wait and those who were told, in the order of their coming.
#[derive(Debug, Default)]
struct Line {
    places: VecDeque<Place>,
    /// The number of the first place there is.
    first: usize,
    /// The number of the first place that may be waiting.
    next: usize,
    is_watched: bool,
}

#[derive(Debug)]
enum Place {
    Waiting {
        until: Instant,
        waker: Waker,
    },
    Admitted,
    TurnedAway,
    /// It was told, or did not wait for that.
    Left,
}

/// A request in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit(Arc<Admission>);

/// The right to a place in line, until it is dropped.
struct Ticket {
    admission: Arc<Admission>,
    /// None when it has been used.
    number: Option<usize>,
}

impl Admission {
    /// Admits `limit` requests at a time, with `backpressure` while more stand in line.
    pub fn new(limit: usize, backpressure: Arc<Backpressure>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
            backpressure,
        })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Admits a request at once; none if it has to stand in line.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Permit> {
        (self.waiting.load(SeqCst) == 0 && self.take_one()).then(|| Permit(self.clone()))
    }

    /// Admits a request that came at `since` when it is its turn, if that is before `deadline`; none if it is turned away.
    pub(super) async fn stand_in_line(
        self: &Arc<Self>,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Option<Permit> {
        let end = since + PATIENCE;
        let ticket = self.join(end)?;
        match deadline.filter(|deadline| *deadline < end) {
            None => ticket.await,
            Some(deadline) => Box::pin(timeout_at(deadline, ticket)).await.ok().flatten(),
        }
    }

    fn take_one(&self) -> bool {
        self.in_flight
            .fetch_update(SeqCst, SeqCst, |taken| (taken < self.limit).then_some(taken + 1))
            .is_ok()
    }

    fn release(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
        self.call_next();
        self.end_backpressure();
    }

    fn end_backpressure(&self) {
        if self.in_flight() <= self.limit / 2 {
            self.backpressure.end();
        }
    }

    /// The last place in line; none if there are enough.
    fn join(self: &Arc<Self>, until: Instant) -> Option<Ticket> {
        let number = {
            let mut line = self.line.lock();
            if self.waiting.load(SeqCst) >= self.limit.saturating_mul(IN_LINE) {
                return None;
            }
            if self.waiting.fetch_add(1, SeqCst) == 0 {
                self.backpressure.begin();
            }
            if !std::mem::replace(&mut line.is_watched, true) {
                tokio::spawn(self.clone().watch(until));
            }
            line.join(until)
        };
        let ticket = Ticket { admission: self.clone(), number: Some(number) };
        // A permit that was given back before `waiting` was raised has been offered to nobody.
        self.call_next();
        Some(ticket)
    }

    /// Admits those who wait, while there is room.
    fn call_next(&self) {
        while self.waiting.load(SeqCst) > 0 {
            let called = self.tell_next(|_| self.take_one().then_some(Place::Admitted));
            let Some(waker) = called else { return };
            waker.wake();
        }
    }

    /// Tells the next of those who wait what `answer` makes of the end of their patience, and returns how they are woken; none if
    /// nobody waits, or there is no answer yet.
    fn tell_next(&self, answer: impl FnOnce(Instant) -> Option<Place>) -> Option<Waker> {
        let mut line = self.line.lock();
        let place = line.next_waiting()?;
        let Place::Waiting { until, .. } = place else { return None };
        let told = answer(*until)?;
        let Place::Waiting { waker, .. } = std::mem::replace(place, told) else { return None };
        self.one_less_waits();
        Some(waker)
    }

    /// Called under the lock of the line, as whether somebody waits is told in the order in which it happens.
    fn one_less_waits(&self) {
        if self.waiting.fetch_sub(1, SeqCst) == 1 {
            self.backpressure.ease();
            self.end_backpressure();
        }
    }

    /// Turns away who has waited for too long, as long as anybody waits.
    async fn watch(self: Arc<Self>, mut first_ends: Instant) {
        loop {
            sleep_until(first_ends).await;
            let now = Instant::now();
            while let Some(waker) =
                self.tell_next(|until| (until <= now).then_some(Place::TurnedAway))
            {
                waker.wake();
            }
            let mut line = self.line.lock();
            match line.next_waiting() {
                Some(Place::Waiting { until, .. }) => first_ends = *until,
                _ => {
                    line.is_watched = false;
                    return;
                }
            }
        }
    }
}

// === impl Line ===

impl Line {
    /// Adds a place and returns its number.
    fn join(&mut self, until: Instant) -> usize {
        self.places.push_back(Place::Waiting { until, waker: Waker::noop().clone() });
        self.first + self.places.len() - 1
    }

    fn at(&mut self, number: usize) -> Option<&mut Place> {
        self.places.get_mut(number.checked_sub(self.first)?)
    }

    fn next_waiting(&mut self) -> Option<&mut Place> {
        let from = self.next - self.first;
        let passed = self
            .places
            .range(from..)
            .take_while(|place| !matches!(place, Place::Waiting { .. }))
            .count();
        self.next += passed;
        self.places.get_mut(from + passed)
    }

    /// What `number` was told last; nobody asks for it again.
    fn leave(&mut self, number: usize) -> Option<Place> {
        let last = std::mem::replace(self.at(number)?, Place::Left);
        while matches!(self.places.front(), Some(Place::Left)) {
            self.places.pop_front();
            self.first += 1;
        }
        self.next = self.next.max(self.first);
        Some(last)
    }
}

// === impl Ticket ===

impl Future for Ticket {
    type Output = Option<Permit>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { admission, number } = self.get_mut();
        let Some(place) = *number else { return Poll::Ready(None) };
        let mut line = admission.line.lock();
        if let Some(Place::Waiting { waker, .. }) = line.at(place) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        *number = None;
        let is_admitted = matches!(line.leave(place), Some(Place::Admitted));
        Poll::Ready(is_admitted.then(|| Permit(admission.clone())))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let last = {
            let mut line = self.admission.line.lock();
            let last = line.leave(number);
            if let Some(Place::Waiting { .. }) = last {
                self.admission.one_less_waits();
            }
            last
        };
        if let Some(Place::Admitted) = last {
            self.admission.release();
        }
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Admission {
        async fn ask(self: &Arc<Self>, deadline: Option<Instant>) -> Option<Permit> {
            match self.admit() {
                Some(permit) => Some(permit),
                None => self.stand_in_line(Instant::now(), deadline).await,
            }
        }

        /// Nobody is in work, nobody waits, and nothing is left of those who did.
        fn assert_empty(&self) {
            assert_eq!((self.in_flight(), self.waiting.load(SeqCst)), (0, 0));
            assert!(self.line.lock().places.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_the_limit_is_turned_away_and_leaves_no_trace() {
        let admission = Admission::new(2, Arc::default());
        let (one, two) = (admission.ask(None).await, admission.ask(None).await);
        assert!(one.is_some() && two.is_some());
        let asked = Instant::now();
        assert!(admission.ask(None).await.is_none());
        assert!(
            (PATIENCE..PATIENCE + Duration::from_millis(2)).contains(&asked.elapsed()),
            "{:?}",
            asked.elapsed()
        );
        let asked = Instant::now();
        assert!(admission.ask(Some(asked)).await.is_none());
        assert_eq!(asked.elapsed(), Duration::ZERO, "a deadline that has passed is not waited for");
        assert_eq!(admission.in_flight(), 2);
        drop(one);
        assert!(admission.ask(None).await.is_some());
        drop(two);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn a_near_deadline_ends_the_waiting() {
        let admission = Admission::new(1, Arc::default());
        let one = admission.ask(None).await;
        let asked = Instant::now();
        let caller = async |deadline| (admission.ask(deadline).await.is_some(), asked.elapsed());
        let (hasty, patient) = tokio::join!(caller(Some(asked + PATIENCE / 4)), caller(None));
        let about = |time| time..time + Duration::from_millis(2);
        assert!(!hasty.0 && about(PATIENCE / 4).contains(&hasty.1), "{hasty:?}");
        assert!(!patient.0 && about(PATIENCE).contains(&patient.1), "{patient:?}");
        drop(one);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_in_line_comes_next() {
        let admission = Admission::new(1, Arc::default());
        let one = admission.ask(None).await;
        let come = Mutex::new(Vec::new());
        let caller = async |name| {
            let permit = admission.ask(None).await;
            come.lock().push((name, permit.is_some()));
        };
        let leaves = async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(one);
            // Nobody comes before those who were there.
            assert_eq!(admission.in_flight(), 1);
            caller("d").await;
        };
        tokio::join!(caller("a"), caller("b"), caller("c"), leaves);
        assert_eq!(*come.lock(), [("a", true), ("b", true), ("c", true), ("d", true)]);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_backpressure_from_the_first_in_line_until_half_of_the_limit_is_free() {
        let backpressure = Arc::<Backpressure>::default();
        let admission = Admission::new(4, backpressure.clone());
        let mut work: Vec<_> = std::iter::repeat_with(|| admission.admit()).take(4).collect();
        assert!(work.iter().all(Option::is_some) && backpressure.is_off());
        let waits = tokio::spawn({
            let admission = admission.clone();
            async move { admission.stand_in_line(Instant::now(), None).await }
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!backpressure.is_off());
        work.truncate(3);
        assert!(matches!(waits.await, Ok(Some(_))));
        assert!(!backpressure.is_off(), "all that has become free is taken");
        work.truncate(1);
        assert!(backpressure.is_off());
        // Who is turned away stands in line no more, either.
        work.extend(std::iter::repeat_with(|| admission.admit()).take(3));
        assert!(admission.ask(None).await.is_none());
        assert!(!backpressure.is_off());
        work.truncate(2);
        assert!(backpressure.is_off());
        drop(work);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded() {
        let admission = Admission::new(1, Arc::default());
        let one = admission.ask(None).await;
        let asked = Instant::now();
        let in_line: Vec<_> = (0..IN_LINE).map(|_| admission.ask(None)).collect();
        let turned_away = async {
            tokio::task::yield_now().await;
            assert!(admission.ask(None).await.is_none());
            assert_eq!(asked.elapsed(), Duration::ZERO);
        };
        let (waited, ()) = tokio::join!(futures_util::future::join_all(in_line), turned_away);
        assert!(waited.iter().all(Option::is_none));
        drop(one);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_gives_the_place_to_the_next() {
        let admission = Admission::new(1, Arc::default());
        let one = admission.ask(None).await;
        let mut leaves = Box::pin(admission.ask(None));
        let mut stays = Box::pin(admission.ask(None));
        assert!(futures_util::poll!(&mut leaves).is_pending());
        assert!(futures_util::poll!(&mut stays).is_pending());
        drop(one);
        assert!(futures_util::poll!(&mut stays).is_pending(), "the first one is called first");
        // It was called, but does not come.
        drop(leaves);
        let permit = stays.await;
        assert!(permit.is_some());
        drop(permit);
        admission.assert_empty();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_crowd_is_never_over_the_limit() {
        const LIMIT: usize = 3;
        let admission = Admission::new(LIMIT, Arc::default());
        let crowd = (0..64_u32).map(|caller| {
            let admission = admission.clone();
            tokio::spawn(async move {
                let mut admitted = 0;
                for round in 0..500 {
                    // Some leave at once, some soon, some are patient.
                    let soon =
                        Instant::now() + Duration::from_micros(u64::from(caller * round % 300));
                    let deadline = (!(caller + round).is_multiple_of(3)).then_some(soon);
                    let permit = admission.ask(deadline).await;
                    assert!(admission.in_flight() <= LIMIT);
                    admitted += u32::from(permit.is_some());
                    tokio::task::yield_now().await;
                }
                admitted
            })
        });
        let admitted = futures_util::future::join_all(crowd).await.into_iter().map(Result::unwrap);
        assert!(admitted.sum::<u32>() > 0);
        admission.assert_empty();
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_free_while_somebody_joins_the_line_is_not_forgotten() {
        let admission = Admission::new(1, Arc::default());
        let one = admission.admit();
        assert!(admission.admit().is_none());
        // Nobody is in line yet.
        drop(one);
        let joined = Instant::now();
        assert!(admission.stand_in_line(joined, None).await.is_some());
        assert_eq!(joined.elapsed(), Duration::ZERO);
        admission.assert_empty();
    }
}
