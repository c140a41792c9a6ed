//! A lease that is given back when it is dropped.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::lease_keeper::LeaseKeeper;
use crate::{
    model::EntryKey,
    store::{self, AcquireOutcome, AcquireRequest, LeaseLoss, LeaseStatus, LeaseToken},
};

/// Shortest pause between attempts to extend a lease while the store fails.
const MIN_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A lease that goes back to the store when it is dropped, unless it was handed over: a caller
/// that left must not keep others waiting until the lease expires.
pub struct LeaseGuard {
    /// The lease, while it must be given back.
    held: Option<(Arc<LeaseKeeper>, EntryKey)>,
    token: LeaseToken,
}

impl LeaseGuard {
    /// A guard for a lease that is about to be acquired. It must exist before the store is asked:
    /// the caller may be dropped while the store answers.
    pub(super) fn new(keeper: &Arc<LeaseKeeper>, key: &EntryKey) -> Self {
        let token = LeaseToken::asked_at(keeper.store.now());
        Self { held: Some((keeper.clone(), key.clone())), token }
    }

    /// A token without a lease in the store: permission to compute a value that is not stored.
    pub(in crate::cache) fn detached() -> Self {
        Self { held: None, token: LeaseToken::random() }
    }

    /// Whether there is no lease in the store.
    pub fn is_detached(&self) -> bool {
        self.held.is_none()
    }

    /// Identifies the lease.
    pub fn token(&self) -> LeaseToken {
        self.token
    }

    /// Acquires a lease in a task of its own, which runs to its end even if the caller leaves: a
    /// lease that was granted must go back, and the release must not overtake the request on
    /// another connection.
    pub(super) async fn acquire(
        keeper: &Arc<LeaseKeeper>,
        key: &EntryKey,
        request: AcquireRequest,
    ) -> (Self, store::Result<AcquireOutcome>) {
        let mut guard = Self { held: Some((keeper.clone(), key.clone())), token: request.token };
        let (store, key) = (keeper.store.clone(), key.clone());
        let acquiring = keeper.spawn_in_span(async move {
            let acquired = store.acquire(&key, &request).await;
            let acquired = acquired.inspect(|outcome| guard.disarm_unless_granted(outcome));
            (guard, acquired)
        });
        let panicked = |_| (Self::detached(), Err(store::ErrorKind::Refused.into()));
        acquiring.await.unwrap_or_else(panicked)
    }

    /// Forgets a lease that the store did not grant. After an error the lease may exist, and goes
    /// back.
    pub(super) fn disarm_unless_granted(&mut self, outcome: &AcquireOutcome) {
        if !matches!(outcome, AcquireOutcome::Granted { .. }) {
            self.held = None;
        }
    }

    /// Extends the lease until it is lost, and returns why. The lease lasts for at least `ttl` at
    /// any time. Each extension lasts twice as long as the one before, up to `longest`: work that
    /// has taken long will not end soon.
    pub async fn keep_alive(&self, ttl: Duration, longest: Duration) -> LeaseLoss {
        let Some((keeper, key)) = &self.held else { return std::future::pending().await };
        extend_until_lost(ttl, longest, |ttl| keeper.store.extend(key, self.token, ttl)).await
    }

    /// Gives the lease back; no other is granted for `backoff`.
    pub(super) async fn release(mut self, backoff: Duration, cause: &str) {
        if let Some((keeper, key)) = self.held.take() {
            // If this fails, the lease expires.
            let _ = keeper.store.abandon(&key, self.token, backoff, cause).await;
        }
    }

    /// Passes the lease on: the guard no longer gives it back.
    pub fn into_token(mut self) -> LeaseToken {
        self.held = None;
        self.token
    }

    /// Forgets a lease that has ended.
    pub fn disarm(mut self) {
        self.held = None;
    }
}

/// The loop of [`LeaseGuard::keep_alive`].
async fn extend_until_lost<F: Future<Output = store::Result<LeaseStatus>>>(
    mut ttl: Duration,
    longest: Duration,
    extend: impl Fn(Duration) -> F,
) -> LeaseLoss {
    let mut expires_at = Instant::now() + ttl;
    let mut pause = ttl / 3;
    loop {
        tokio::time::sleep(pause).await;
        let asked_at = Instant::now();
        let next = (ttl * 2).min(longest).max(ttl);
        match extend(next).await {
            Ok(Ok(())) => {
                ttl = next;
                expires_at = asked_at + ttl;
                pause = ttl / 3;
            }
            Ok(Err(loss)) => return loss,
            // While the lease may still be held, one late answer must not cost it.
            Err(_) if Instant::now() < expires_at => pause = (ttl / 12).max(MIN_RETRY_PAUSE),
            Err(_) => return LeaseLoss::Expired,
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        // Without a runtime there is no way to reach the store, and the lease expires.
        let Ok(_runtime) = tokio::runtime::Handle::try_current() else { return };
        if let Some((keeper, key)) = self.held.take() {
            let (store, token) = (keeper.store.clone(), self.token);
            keeper.spawn(async move {
                // If this fails, the lease expires.
                let _ = store.abandon(&key, token, Duration::ZERO, "").await;
            });
        }
    }
}

impl std::fmt::Debug for LeaseGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseGuard(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        cache::testing::{TestCache, config, key},
        model::Timestamp,
        store::ErrorKind,
    };

    const LEASE: Duration = Duration::from_millis(1200);
    const LATE: Duration = Duration::from_millis(250);

    type Extension = store::Result<LeaseStatus>;

    /// Answers the attempts in order, late if they fail, and then that the lease is lost. Returns
    /// when the attempts were made and for how long they asked, in milliseconds.
    async fn attempts(longest: Duration, outcomes: &[Extension]) -> (LeaseLoss, Vec<(u128, u128)>) {
        let (began, made) = (Instant::now(), RefCell::new(Vec::new()));
        let extend = |ttl: Duration| {
            let outcome = outcomes.get(made.borrow().len());
            made.borrow_mut().push((began.elapsed().as_millis(), ttl.as_millis()));
            async move {
                match outcome {
                    Some(Ok(status)) => Ok(*status),
                    Some(Err(error)) => {
                        tokio::time::sleep(LATE).await;
                        Err(error.kind.into())
                    }
                    None => Ok(Err(LeaseLoss::Superseded)),
                }
            }
        };
        let loss = extend_until_lost(LEASE, longest, extend).await;
        (loss, made.into_inner())
    }

    fn late() -> Extension {
        Err(ErrorKind::Timeout.into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_extension_is_retried_soon() {
        let (loss, made) = attempts(LEASE, &[late(), Ok(Ok(()))]).await;
        assert_eq!(loss, LeaseLoss::Superseded);
        assert_eq!(made, [(400, 1200), (750, 1200), (1150, 1200)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_cannot_be_extended_in_time_is_expired() {
        let (loss, made) = attempts(LEASE, &[late(), late(), late(), late()]).await;
        assert_eq!(loss, LeaseLoss::Expired);
        assert_eq!(made, [(400, 1200), (750, 1200), (1100, 1200)]);
    }

    #[tokio::test(start_paused = true)]
    async fn extensions_double_up_to_the_longest() {
        let held = || Ok(Ok(()));
        let (_, made) = attempts(4 * LEASE, &[held(), held(), held()]).await;
        assert_eq!(made, [(400, 2400), (1200, 4800), (2800, 4800), (4400, 4800)]);
    }

    // === leases of a store ===

    async fn granted(test: &TestCache, keeper: &Arc<LeaseKeeper>) -> LeaseGuard {
        let fresher_than = Timestamp(u64::MAX);
        let request = AcquireRequest { token: LeaseToken::random(), ttl: LEASE, fresher_than };
        let (guard, outcome) = LeaseGuard::acquire(keeper, &key("k"), request).await;
        assert!(matches!(outcome, Ok(AcquireOutcome::Granted { .. })), "{outcome:?}");
        assert!(guard.token() == request.token && test.is_held("k").await);
        guard
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_kept_until_it_is_void() {
        let test = TestCache::of_callers(config());
        let keeper = LeaseKeeper::new(test.memory.clone());
        let guard = granted(&test, &keeper).await;
        let (keep, began) = (guard.keep_alive(LEASE, LEASE), Instant::now());
        let deleting = async {
            tokio::time::sleep(10 * LEASE).await;
            assert!(test.is_held("k").await);
            test.memory.delete(&key("k"), Duration::ZERO).await.unwrap();
        };
        let (loss, ()) = tokio::join!(keep, deleting);
        assert_eq!(loss, LeaseLoss::Invalidated);
        assert!(began.elapsed() <= 11 * LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guard_without_a_lease_loses_none() {
        let guard = LeaseGuard::detached();
        let kept = tokio::time::timeout(10 * LEASE, guard.keep_alive(LEASE, LEASE)).await;
        assert!(kept.is_err());
        assert_ne!(guard.token(), LeaseGuard::detached().token());
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_dropped_or_released_guard_gives_its_lease_back() {
        let test = TestCache::of_callers(config());
        let keeper = LeaseKeeper::new(test.memory.clone());
        let after = async |end: &dyn Fn(LeaseGuard)| {
            end(granted(&test, &keeper).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
            let is_held = test.is_held("k").await;
            tokio::time::sleep(LEASE).await;
            is_held
        };
        assert!(after(&|guard| assert_ne!(guard.into_token(), LeaseToken::random())).await);
        assert!(after(&|guard| guard.disarm()).await);
        assert!(!after(&drop).await);
        granted(&test, &keeper).await.release(Duration::ZERO, "").await;
        assert!(!test.is_held("k").await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_tasks_is_awaited() {
        let test = TestCache::of_callers(config());
        let keeper = LeaseKeeper::new(test.memory.clone());
        let guard = granted(&test, &keeper).await;
        let abort = keeper.abort.clone();
        keeper.spawn(async move {
            abort.cancelled().await;
            tokio::time::sleep(LEASE / 2).await;
            drop(guard);
        });
        let began = Instant::now();
        keeper.close().await;
        assert_eq!(began.elapsed(), LEASE / 2);
        assert!(!test.is_held("k").await, "given back before the end");
    }
}
