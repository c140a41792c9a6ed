//! Reading one entry, or being told to compute it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Cache, Error, Found, Outcome, Scope, grant::LeaseGrant, is_degraded, policy, policy::Verdict, waiting::Turn,
};
use crate::{
    entry::{Entry, Kind},
    key::EntryKey,
    stats::counts::{Counter, Timed},
    store::{self, Acquired, LeaseToken},
};

/// The longest that a call may wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The least and the most that is kept back of the time until a call's deadline, so that the answer still arrives before it;
/// a fifth of it in between.
const DEADLINE_MARGIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// The shortest and the longest advice on when to ask again for a key that somebody computes.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What is to be read.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The entry.
    pub key: EntryKey,
    /// How stale a value the caller accepts, if less than the namespace.
    pub max_stale: Option<Duration>,
    /// How long the caller is ready to wait; the namespace's `lease_wait` if it does not say.
    pub wait: Option<Duration>,
    /// When the call's deadline is.
    pub deadline: Option<Instant>,
}

/// The answer.
#[derive(Debug)]
pub struct GetOrFetch {
    /// What the caller gets.
    pub answer: Answer,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

/// What the caller gets.
#[derive(Debug)]
pub enum Answer {
    /// A value, or the knowledge that there is none.
    Found(Found),
    /// The permission to compute it.
    Lease(Offer),
    /// The advice to come back later.
    Contended {
        /// When.
        retry_after: Duration,
    },
}

/// A permission to compute a value.
#[derive(Debug)]
pub struct Offer {
    /// To be handed over with the answer.
    pub grant: LeaseGrant,
    /// How long it holds.
    pub expires_in: Duration,
    /// The previous value, if it may be used when computing fails.
    pub stale: Option<Found>,
}

impl Cache {
    /// Reads one entry. If it is missing, exactly one caller of all replicas is offered the lease; the others wait for the value,
    /// bounded by `wait`. If it is stale, one caller is offered the lease together with it, and the others get it at once.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn get_or_fetch(&self, request: &FetchRequest) -> Result<GetOrFetch, Error> {
        let scope = self.scope(request.key.namespace())?;
        let started = Instant::now();
        let fetched = match self.store.get(&request.key).await {
            Ok(entry) => self.serve_or_compute(&scope, request, entry, started).await,
            Err(error) => self.without_store(&scope, None, &error),
        };
        let outcome = match &fetched.answer {
            Answer::Found(found) => Some(found.outcome),
            Answer::Lease(_) => {
                scope.counts.count(Counter::LeasesGranted);
                None
            }
            Answer::Contended { .. } => None,
        };
        scope.count_outcome(outcome);
        scope.count_degraded(fetched.degraded);
        Ok(fetched)
    }

    async fn serve_or_compute(
        &self,
        scope: &Scope,
        request: &FetchRequest,
        entry: Option<Entry>,
        started: Instant,
    ) -> GetOrFetch {
        let verdict =
            entry.as_ref().map_or(Verdict::Gone, |entry| policy::judge(entry, self.store.now(), request.max_stale));
        let hit_or_miss = if verdict == Verdict::Gone { Timed::Miss } else { Timed::Hit };
        scope.counts.time(hit_or_miss, started.elapsed());
        match (verdict, entry) {
            (Verdict::Fresh, Some(entry)) => Answer::Found(self.found(entry, Outcome::Hit)).into(),
            (Verdict::Negative, Some(entry)) => Answer::Found(self.found(entry, Outcome::Negative)).into(),
            (Verdict::Stale, Some(entry)) => self.refresh(scope, request, entry).await,
            (_, entry) => match self.compute(scope, request).await {
                Ok(answer) => answer.into(),
                Err(error) => self.without_store(scope, self.usable(entry, request.max_stale), &error),
            },
        }
    }

    /// The caller computes for itself, with what is already in hand in case that fails.
    fn without_store(&self, scope: &Scope, stale: Option<Entry>, error: &store::Error) -> GetOrFetch {
        let offer = Offer {
            grant: LeaseGrant::unshared(),
            expires_in: scope.rules.lease_ttl,
            stale: stale.map(|entry| self.found(entry, Outcome::Stale)),
        };
        GetOrFetch { answer: Answer::Lease(offer), degraded: is_degraded(error) }
    }

    /// Somebody should compute a new value, but nobody needs to wait for it.
    async fn refresh(&self, scope: &Scope, request: &FetchRequest, stale: Entry) -> GetOrFetch {
        let mut degraded = false;
        // Whoever waits for the key in this replica has seen to it that it is computed.
        if !self.waiting.is_open(&request.key) {
            match self.ask_for_lease(scope, request).await {
                Ok(Asked::Answered(answer)) => return answer.into(),
                Ok(Asked::Refused { .. }) => {}
                Err(error) => degraded = is_degraded(&error),
            }
        }
        if !degraded {
            scope.counts.count(Counter::LeasesRefused);
        }
        GetOrFetch { answer: Answer::Found(self.found(stale, Outcome::Stale)), degraded }
    }

    /// Somebody must compute the value, and the others wait for it.
    async fn compute(&self, scope: &Scope, request: &FetchRequest) -> store::Result<Answer> {
        let wait = bounded_wait(scope, request);
        let mut available_in = RETRY_AFTER.0;
        if wait.is_zero() || !self.waiting.is_open(&request.key) {
            match self.ask_for_lease(scope, request).await? {
                Asked::Answered(answer) => return Ok(answer),
                Asked::Refused { stale_on_error: Some(stale), .. } => {
                    scope.counts.count(Counter::LeasesRefused);
                    return Ok(Answer::Found(self.found(stale, Outcome::Stale)));
                }
                Asked::Refused { available_in: later, .. } => available_in = later,
            }
        }
        scope.counts.count(Counter::LeasesRefused);
        if wait.is_zero() {
            return Ok(contended(available_in));
        }
        let Some(mut place) = self.waiting.enter(&request.key, request.max_stale, scope.rules.lease_ttl) else {
            return Ok(contended(available_in));
        };
        let turn = self.closing.run_until_cancelled(tokio::time::timeout(wait, place.turn())).await;
        match turn {
            Some(Ok(Turn::Found(entry))) => Ok(Answer::Found(self.landed(entry))),
            Some(Ok(Turn::Lease { grant, expires_in, stale })) => Ok(self.offer(request, grant, expires_in, stale)),
            Some(Ok(Turn::StaleOnError(entry))) => Ok(Answer::Found(self.found(entry, Outcome::Stale))),
            Some(Ok(Turn::Failed(error))) => Err(error),
            Some(Err(_)) | None => Ok(contended(place.available_in())),
        }
    }

    async fn ask_for_lease(&self, scope: &Scope, request: &FetchRequest) -> store::Result<Asked> {
        let (grant, acquired) = self.acquire(request.key.clone(), scope.rules.lease_ttl).await;
        Ok(match acquired? {
            Acquired::Found(entry) => Asked::Answered(Answer::Found(self.landed(entry))),
            Acquired::Granted { stale } => Asked::Answered(self.offer(request, grant, scope.rules.lease_ttl, stale)),
            Acquired::Held { expires_in, .. } => Asked::Refused { available_in: expires_in, stale_on_error: None },
            Acquired::BackedOff { remaining, stale } => {
                Asked::Refused { available_in: remaining, stale_on_error: self.usable(stale, request.max_stale) }
            }
        })
    }

    /// An entry that the store says is fresh.
    fn landed(&self, entry: Entry) -> Found {
        let outcome = if entry.kind == Kind::Negative { Outcome::Negative } else { Outcome::Hit };
        self.found(entry, outcome)
    }

    /// Asks for the lease to the end, also when the caller goes away meanwhile: what is granted to nobody must go back, and
    /// that must not overtake the question on another connection.
    async fn acquire(&self, key: EntryKey, ttl: Duration) -> (LeaseGrant, store::Result<Acquired>) {
        let mut grant = LeaseGrant::new(&self.store, &key);
        let store = self.store.clone();
        let asking = tokio::spawn(async move {
            let acquired = store.acquire(&key, grant.token(), ttl).await;
            // If nobody takes it, it is dropped with this task, and so given back.
            let acquired = acquired.inspect(|acquired| grant.settle(acquired));
            (grant, acquired)
        });
        let panicked = |_| (LeaseGrant::unshared(), Err(store::ErrorKind::Refused.into()));
        asking.await.unwrap_or_else(panicked)
    }

    fn offer(&self, request: &FetchRequest, grant: LeaseGrant, expires_in: Duration, stale: Option<Entry>) -> Answer {
        let stale = self.usable(stale, request.max_stale).map(|entry| self.found(entry, Outcome::Stale));
        Answer::Lease(Offer { grant, expires_in, stale })
    }

    /// The entry, if it may be served because computing a new one failed.
    fn usable(&self, stale: Option<Entry>, max_stale: Option<Duration>) -> Option<Entry> {
        stale.filter(|entry| match policy::judge(entry, self.store.now(), max_stale) {
            Verdict::Stale | Verdict::StaleIfError => true,
            Verdict::Fresh | Verdict::Negative | Verdict::Gone => false,
        })
    }

    /// Gives a lease back without a value. Nobody is granted another for the namespace's `abandon_backoff`.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn abandon(&self, key: &EntryKey, token: LeaseToken) -> Result<(), Error> {
        let scope = self.scope(key.namespace())?;
        match self.store.abandon(key, token, scope.rules.abandon_backoff).await {
            Ok(true) => scope.counts.count(Counter::LeasesAbandoned),
            Ok(false) => {}
            // The lease will expire.
            Err(error) => scope.count_degraded(is_degraded(&error)),
        }
        Ok(())
    }
}

/// What became of the question for a lease.
enum Asked {
    Answered(Answer),
    Refused { available_in: Duration, stale_on_error: Option<Entry> },
}

impl From<Answer> for GetOrFetch {
    fn from(answer: Answer) -> Self {
        Self { answer, degraded: false }
    }
}

fn contended(available_in: Duration) -> Answer {
    Answer::Contended { retry_after: available_in.clamp(RETRY_AFTER.0, RETRY_AFTER.1) }
}

fn bounded_wait(scope: &Scope, request: &FetchRequest) -> Duration {
    let wait = request.wait.unwrap_or(scope.rules.lease_wait).min(MAX_WAIT);
    let Some(deadline) = request.deadline else { return wait };
    let left = deadline.saturating_duration_since(Instant::now());
    wait.min(left.saturating_sub((left / 5).clamp(DEADLINE_MARGIN.0, DEADLINE_MARGIN.1)))
}
