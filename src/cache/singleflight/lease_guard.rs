//! A lease on its way to whoever will fill it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::singleflight::waiters::FlightGroup;
use crate::{
    model::EntryKey,
    store::{self, AcquireOutcome, AcquireRequest, LeaseStatus, LeaseToken},
};

/// Between two attempts to extend a lease when the store fails: a store in trouble is not asked all the time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// A lease that goes back to the store if it is dropped before it is handed over, so that a caller who has gone does not keep
/// others waiting until it expires.
pub struct LeaseGuard {
    /// The room, because a replica that shuts down waits for what it runs: the lease is given back before the process ends.
    held: Option<(Arc<FlightGroup>, EntryKey)>,
    token: LeaseToken,
}

impl LeaseGuard {
    /// To be made before the store is asked for the lease, because the caller may go while the store answers.
    pub(in crate::cache) fn new(room: &Arc<FlightGroup>, key: &EntryKey) -> Self {
        Self { held: Some((room.clone(), key.clone())), token: LeaseToken::random() }
    }

    /// A lease that no store knows.
    pub(in crate::cache) fn unshared() -> Self {
        Self { held: None, token: LeaseToken::random() }
    }

    /// By which the lease is known.
    pub fn token(&self) -> LeaseToken {
        self.token
    }

    /// Asks for the lease to the end, also when the caller goes away meanwhile: what is granted to nobody must go back, and
    /// that must not overtake the question on another connection.
    pub(in crate::cache) async fn acquire(
        room: &Arc<FlightGroup>,
        key: &EntryKey,
        ask: AcquireRequest,
    ) -> (Self, store::Result<AcquireOutcome>) {
        let mut grant = Self { held: Some((room.clone(), key.clone())), token: ask.token };
        let (store, key) = (room.store.clone(), key.clone());
        let asking = room.track(async move {
            let acquired = store.acquire(&key, &ask).await;
            // If nobody takes it, it is dropped with this task, and so given back.
            let acquired = acquired.inspect(|acquired| grant.settle(acquired));
            (grant, acquired)
        });
        let panicked = |_| (Self::unshared(), Err(store::ErrorKind::Refused.into()));
        asking.await.unwrap_or_else(panicked)
    }

    /// Takes note of what the store answered: what it did not grant need not go back.
    pub(in crate::cache) fn settle(&mut self, acquired: &AcquireOutcome) {
        if !matches!(acquired, AcquireOutcome::Granted { .. }) {
            self.held = None;
        }
    }

    /// Extends the lease again and again, so that it holds for at least `ttl` at any time: each time for twice as long as before,
    /// up to `longest`, because what takes long will not be over soon. Returns when it is lost; what was computed under it
    /// will not be stored then.
    pub async fn keep_alive(&self, ttl: Duration, longest: Duration) -> LeaseStatus {
        let Some((room, key)) = &self.held else { return std::future::pending().await };
        extend_again_and_again(ttl, longest, |ttl| room.store.extend(key, self.token, ttl)).await
    }

    /// Gives the lease back, and lets nobody have another for `backoff`.
    pub(in crate::cache) async fn give_back(mut self, backoff: Duration, cause: &str) {
        if let Some((room, key)) = self.held.take() {
            // If this fails, the lease expires.
            let _ = room.store.abandon(&key, self.token, backoff, cause).await;
        }
    }

    /// The caller has it from now on.
    pub fn hand_over(mut self) -> LeaseToken {
        self.held = None;
        self.token
    }
}

/// See [`LeaseGuard::keep_alive`].
async fn extend_again_and_again<F: Future<Output = store::Result<LeaseStatus>>>(
    mut ttl: Duration,
    longest: Duration,
    extend: impl Fn(Duration) -> F,
) -> LeaseStatus {
    let mut known_until = Instant::now() + ttl;
    let mut pause = ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        let asked = Instant::now();
        let next = (ttl * 2).min(longest).max(ttl);
        match extend(next).await {
            Ok(LeaseStatus::Held) => {
                ttl = next;
                known_until = asked + ttl;
                pause = ttl / 3;
            }
            Ok(lost) => return lost,
            // As long as it may still hold, the store may come back in time. One answer that is late must not cost the lease.
            Err(_) if Instant::now() < known_until => pause = (ttl / 12).max(SHORTEST_PAUSE),
            Err(_) => return LeaseStatus::Lost,
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if let (Some((room, key)), Ok(_runtime)) =
            (self.held.take(), tokio::runtime::Handle::try_current())
        {
            let (store, token) = (room.store.clone(), self.token);
            room.spawn(async move {
                // If this fails too, the lease expires.
                let _ = store.abandon(&key, token, Duration::ZERO, "").await;
            });
        }
    }
}

impl std::fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseGrant(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::store::ErrorKind;

    const LEASE: Duration = Duration::from_millis(1200);
    const LATE: Duration = Duration::from_millis(250);

    /// Answers the attempts in order, late if they fail, and then that the lease is lost. Returns when they were made, in
    /// milliseconds.
    async fn attempts(outcomes: &[store::Result<LeaseStatus>]) -> (LeaseStatus, Vec<u128>) {
        let (began, made) = (Instant::now(), RefCell::new(Vec::new()));
        let extend = |_| {
            let outcome = outcomes.get(made.borrow().len());
            made.borrow_mut().push(began.elapsed().as_millis());
            async move {
                match outcome {
                    Some(Ok(hold)) => Ok(*hold),
                    Some(Err(error)) => {
                        tokio::time::sleep(LATE).await;
                        Err(error.kind.into())
                    }
                    None => Ok(LeaseStatus::Lost),
                }
            }
        };
        let hold = extend_again_and_again(LEASE, LEASE, extend).await;
        (hold, made.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn an_extension_that_failed_is_tried_again_soon() {
        let late = || Err(ErrorKind::Timeout.into());
        let (hold, made) = attempts(&[late(), Ok(LeaseStatus::Held)]).await;
        assert_eq!((hold, made), (LeaseStatus::Lost, vec![400, 750, 1150]));
        let (hold, made) = attempts(&[late(), late(), late(), late()]).await;
        assert_eq!((hold, made), (LeaseStatus::Lost, vec![400, 750, 1100]), "it has run out");
    }
}
