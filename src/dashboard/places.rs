//! A limited number of places for costly work. Visitors that are no operators can take a part of
//! them only, so that there is always one for an operator.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The places for one kind of work. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    limit: usize,
    /// Those of visitors that are no operators, among all.
    open: Arc<Semaphore>,
    open_limit: usize,
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _one: OwnedSemaphorePermit,
    _open: Option<OwnedSemaphorePermit>,
}

/// No place is free for this visitor: all of its kind, which are this many, are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AllTaken(pub(super) usize);

impl Places {
    /// `limit` places, `open_limit` of them at most for visitors that are no operators.
    pub(super) fn new(limit: usize, open_limit: usize) -> Self {
        let semaphore = |limit| Arc::new(Semaphore::new(limit));
        Self { all: semaphore(limit), limit, open: semaphore(open_limit), open_limit }
    }

    /// Places that are taken.
    pub(super) fn taken(&self) -> usize {
        self.limit.saturating_sub(self.all.available_permits())
    }

    /// A place for a visitor, for which it waits for this time at most.
    ///
    /// # Errors
    /// [`AllTaken`] if none is free in time.
    pub(super) async fn take(&self, is_operator: bool, limit: Duration) -> Result<Place, AllTaken> {
        let taken = async {
            // An open place comes first: a visitor that waits for one must hold no other.
            let open = if is_operator {
                None
            } else {
                Some(self.open.clone().acquire_owned().await.ok()?)
            };
            let one = self.all.clone().acquire_owned().await.ok()?;
            Some(Place { _one: one, _open: open })
        };
        let of_visitor = if is_operator { self.limit } else { self.open_limit };
        timeout(limit, taken).await.ok().flatten().ok_or(AllTaken(of_visitor))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn others_leave_a_place_for_an_operator() {
        let places = Places::new(3, 2);
        let take = async |is_operator| places.take(is_operator, Duration::ZERO).await;
        let first = take(false).await.unwrap();
        let _second = take(false).await.unwrap();
        assert_eq!(take(false).await.unwrap_err(), AllTaken(2));
        let third = take(true).await.unwrap();
        assert_eq!(places.taken(), 3);
        assert_eq!(take(true).await.unwrap_err(), AllTaken(3));
        drop(first);
        let fourth = take(true).await.unwrap();
        assert_eq!(take(false).await.unwrap_err(), AllTaken(2));
        drop((third, fourth));
        assert_eq!(places.taken(), 1);
        assert!(take(false).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn place_that_becomes_free_in_time_is_taken() {
        let places = Places::new(1, 1);
        let held = places.take(false, Duration::ZERO).await.unwrap();
        let (taken, ()) = tokio::join!(places.take(true, Duration::from_secs(2)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        });
        assert!(taken.is_ok());
        assert!(places.take(true, Duration::from_secs(2)).await.is_err());
    }
}
