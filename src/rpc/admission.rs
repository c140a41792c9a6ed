//! How much the server does at once. What is over the limit stands in line for a moment, and is turned away if nothing has become free
//! by then: a longer line would only make everybody late, and without any the callers who come back at once would cost more than
//! those who are served.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// How long a request stands in line.
const PATIENCE: Duration = Duration::from_millis(20);
/// How many stand in line for each that is in work, at most.
const IN_LINE: usize = 4;

/// Counts requests in flight against a limit.
#[derive(Debug)]
pub struct Admission {
    free: Arc<Semaphore>,
    in_line: AtomicUsize,
    limit: usize,
}

/// A request in flight, until it is dropped.
pub(super) type Permit = OwnedSemaphorePermit;

/// A place in line, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Admission {
    /// Admits `limit` requests at a time.
    pub fn new(limit: usize) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, in_line: AtomicUsize::new(0), limit })
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Admits a request, which does not wait for longer than until `deadline`; none if it is turned away.
    pub(super) async fn admit(&self, deadline: Option<Instant>) -> Option<Permit> {
        match self.free.clone().try_acquire_owned() {
            Ok(permit) => Some(permit),
            // In a box, which costs nothing to those who need not wait.
            Err(_) => Box::pin(self.stand_in_line(deadline)).await,
        }
    }

    async fn stand_in_line(&self, deadline: Option<Instant>) -> Option<Permit> {
        let _place = self.place()?;
        let end = Instant::now() + PATIENCE;
        let end = deadline.map_or(end, |deadline| end.min(deadline));
        // The semaphore is never closed.
        tokio::time::timeout_at(end, self.free.clone().acquire_owned()).await.ok()?.ok()
    }

    fn place(&self) -> Option<Place<'_>> {
        // The place is made first, so that it gives back what was taken.
        let place = Place(&self.in_line);
        (self.in_line.fetch_add(1, Ordering::Relaxed) < self.limit.saturating_mul(IN_LINE)).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_over_the_limit_is_turned_away_and_leaves_no_trace() {
        let admission = Admission::new(2);
        let (one, two) = (admission.admit(None).await, admission.admit(None).await);
        assert!(one.is_some() && two.is_some());
        let asked = Instant::now();
        assert!(admission.admit(None).await.is_none());
        assert_eq!(asked.elapsed(), PATIENCE);
        assert!(admission.admit(Some(asked)).await.is_none());
        assert_eq!(asked.elapsed(), PATIENCE, "a deadline that has passed is not waited for");
        assert_eq!((admission.in_flight(), admission.in_line.load(Ordering::Relaxed)), (2, 0));
        drop(one);
        assert!(admission.admit(None).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_stands_in_line_comes_next() {
        let admission = Admission::new(1);
        let one = admission.admit(None).await;
        let (two, ()) = tokio::join!(admission.admit(None), async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(one);
        });
        assert!(two.is_some());
        assert_eq!(admission.in_line.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_line_is_bounded() {
        let admission = Admission::new(1);
        let _one = admission.admit(None).await;
        let asked = Instant::now();
        let in_line: Vec<_> = (0..IN_LINE).map(|_| admission.admit(None)).collect();
        let turned_away = async {
            tokio::task::yield_now().await;
            assert!(admission.admit(None).await.is_none());
            assert_eq!(asked.elapsed(), Duration::ZERO);
        };
        tokio::join!(futures_util::future::join_all(in_line), turned_away);
    }
}
