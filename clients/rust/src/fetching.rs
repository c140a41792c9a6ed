//! `get_or_fetch`: reads a value, and computes one that is missing.

use std::{
    any::{Any, TypeId},
    convert::Infallible,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    Error, Failure, FetchError, FetchOptions, Key, Loaded, Outcome, Read, Reason, Tier, Write,
    error::LoaderError,
    filling::fill_one,
    flights::{Computation, Ended, FlightId, Landed, Passenger},
    key::Address,
    lease::{Fill, Lease, unfilled},
    options::positive,
    pb::{self, get_or_fetch_response::Outcome as Answer},
    reads::fields,
    ttl::{FOREVER, from_wire, to_wire},
    typed::{Typed, kept, value_bytes},
};

const MIN_RETRY: Duration = Duration::from_millis(10);

/// A loader with its types hidden.
pub(crate) type Loader<V, E> = Box<dyn FnOnce() -> BoxFuture<'static, Result<Loaded<V>, E>> + Send>;

/// How long a contended call waits before it asks again.
pub(crate) fn retry_delay(contended: &pb::Contended) -> Duration {
    let retry_after = from_wire(contended.retry_after).unwrap_or_default();
    MIN_RETRY.max(retry_after.mul_f64(0.5 + 0.5 * rand::random::<f64>()))
}

/// One computation, with what it needs from its first caller.
pub(crate) struct Fetch<V, E> {
    typed: Typed<V>,
    address: Address,
    has_loader: bool,
    /// In a mutex, so that the computation can be shared between threads.
    loader: Mutex<Option<Loader<V, E>>>,
    options: Arc<FetchOptions>,
    budget: Duration,
}

impl<V: Send + Sync + 'static, E: LoaderError> Computation<V, E> for Fetch<V, E> {
    async fn run(mut self) -> Ended<V, E> {
        let started = Instant::now();
        let wait = self.typed.scope.core.limits.wait;
        let mut refresh = self.options.refresh;
        let mut is_first = true;
        loop {
            let left = self.budget.saturating_sub(started.elapsed());
            let pending = self.typed.begin(&self.options.read, &self.address.key);
            let asked = self.ask(left.min(wait), refresh, pending.is_some()).await;
            let answer = match asked {
                Ok(answer) => answer,
                Err(error) => return self.away(error).await,
            };
            let degraded = answer.degraded;
            let failed = (!answer.cause.is_empty()).then_some(Failure::Server(answer.cause));
            if !matches!(answer.outcome, Some(Answer::Found(_))) && is_first {
                self.typed.scope.count.misses.add();
            }
            is_first = false;
            let delay = match answer.outcome {
                Some(Answer::Found(mut found)) => {
                    let bytes = value_bytes(found.value.as_ref());
                    found.value = kept(found.value, pending.is_some());
                    let read = self.typed.found(found, degraded);
                    if let Some(pending) = pending {
                        pending.keep(self.address.entry_id(), &read, bytes);
                    }
                    if read.outcome != Outcome::Miss || !self.has_loader {
                        return Ok(read);
                    }
                    if refresh {
                        // Another caller has stored what cannot be decoded again.
                        let (reason, error) = (Reason::NotStored, read.error);
                        let why = Write::NotStored { reason, degraded, error };
                        return self.unstored(why, None, None).await;
                    }
                    // A value that cannot be decoded is replaced by one that can.
                    refresh = true;
                    continue;
                }
                Some(Answer::Lease(lease)) => return self.leased(lease, degraded).await,
                Some(Answer::Contended(contended)) => Some(retry_delay(&contended)),
                // An outcome that this release does not have is no reason to ask again.
                Some(Answer::NotCached(_)) | None => None,
            };
            if !self.has_loader {
                return Ok(Read::miss(degraded, failed));
            }
            match delay.filter(|delay| started.elapsed() + *delay < self.budget) {
                Some(delay) => tokio::time::sleep(delay).await,
                None => {
                    let reason = Reason::NotStored;
                    let why = Write::NotStored { reason, degraded, error: failed };
                    return self.unstored(why, None, None).await;
                }
            }
        }
    }
}

impl<V: Send + Sync + 'static, E: LoaderError> Fetch<V, E> {
    async fn ask(
        &self,
        wait: Duration,
        refresh: bool,
        consistent: bool,
    ) -> Result<pb::GetOrFetchResponse, Error> {
        let scope = &self.typed.scope;
        let fields = fields(&self.options.read, consistent)?;
        let request = pb::GetOrFetchRequest {
            namespace: scope.namespace.to_string(),
            key: self.address.key.clone(),
            params: self.address.params.clone(),
            max_stale: fields.max_stale,
            wait: Some(to_wire(wait)),
            no_cache: refresh,
            consistency: fields.consistency,
            touch: fields.touch,
            ..Default::default()
        };
        let timeout = wait + scope.core.limits.wait_margin;
        scope.call(request, scope.open_spec(Some(timeout), true)?).await
    }

    /// Goes on without the cache after an outage.
    async fn away(mut self, error: Error) -> Ended<V, E> {
        if !self.has_loader {
            return Ok(self.typed.miss_at_outage(error)?);
        }
        let failure = self.typed.scope.fail_open(error)?;
        let why = Write::away(Reason::Unavailable, Some(failure.clone()));
        self.unstored(why, Some(failure), None).await
    }

    async fn leased(mut self, lease: pb::Lease, degraded: bool) -> Ended<V, E> {
        let mut lease = lease;
        let may_answer = lease.stale_while_revalidate;
        let stale = lease.stale.take().map(|stale| self.typed.found(stale, degraded));
        let stale = stale.filter(Read::found);
        if degraded {
            if !self.has_loader {
                return Ok(stale.unwrap_or_else(|| Read::miss(true, None)));
            }
            return self.unstored(Write::away(Reason::Degraded, None), None, stale).await;
        }
        let held = Lease::new(self.typed.scope.clone(), self.address.clone(), &lease);
        if !self.has_loader {
            // Nothing computes the value here: a caller with a loader gets the lease.
            drop(held);
            return Ok(stale.unwrap_or_else(|| Read::miss(false, None)));
        }
        let background = &self.typed.scope.core.background;
        // Another stale value is only a substitute if the loader fails.
        let answer = stale.as_ref().filter(|_| may_answer).cloned();
        if let Some(answer) = answer
            && let Some(room) = background.room()
        {
            let background = Arc::clone(background);
            let namespace = Arc::clone(&self.typed.scope.namespace);
            background.start(
                room,
                crate::telemetry::in_trace(async move {
                    if let Err(error) = self.compute(held, None).await {
                        tracing::warn!(%namespace, "a stale value is not refreshed: {error}");
                    }
                }),
            );
            return Ok(answer);
        }
        self.compute(held, stale).await
    }

    async fn load(&mut self) -> Result<Loaded<V>, NotLoaded<E>> {
        let scope = &self.typed.scope;
        scope.count.loads.add();
        let Some(loader) = self.loader.get_mut().take() else { unreachable!("the loader has run") };
        let loaded = AssertUnwindSafe(async { loader().await }).catch_unwind().await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => {
                let all = self.options.tags.iter().chain(&loaded.tags).cloned();
                scope.tags(all).map(|_| loaded).map_err(NotLoaded::Mistake)
            }
            Ok(Err(error)) => Err(NotLoaded::Loader(error)),
            Err(panic) => Err(NotLoaded::Panic(panic)),
        };
        if loaded.is_err() {
            scope.count.load_errors.add();
        }
        loaded
    }

    async fn compute(mut self, held: Lease, stale: Option<Read<V>>) -> Ended<V, E> {
        let loaded = match self.load().await {
            Ok(loaded) => loaded,
            Err(error) => {
                held.abandon(error.name());
                return error.ended(stale);
            }
        };
        let stored = self.store(held, &loaded).await?;
        Ok(Read::loaded(loaded.value, stored, loaded.tags))
    }

    async fn store(&self, held: Lease, loaded: &Loaded<V>) -> Result<Write, Error> {
        let scope = &self.typed.scope;
        let FetchOptions { ttl, tags, .. } = &*self.options;
        let fill = held.fill(loaded, &*self.typed.codec, *ttl, tags);
        if let Fill::Done(write) = fill {
            scope.count.fills_refused.add();
            return Ok(write);
        }
        let own = scope.clone();
        let tracked = scope.core.background.track();
        // The work is done, so that the value is stored although its callers may leave.
        let filling = tokio::spawn(crate::telemetry::in_trace(async move {
            let _tracked = tracked;
            fill_one(&own, fill).await
        }));
        match filling.await {
            Ok(Ok(write)) => Ok(write),
            Ok(Err(error)) => Ok(unfilled(scope, error)),
            // The runtime of the call has ended before it.
            Err(_) => Ok(unfilled(scope, Error::closed())),
        }
    }

    /// Computes without the cache.
    async fn unstored(
        &mut self,
        why: Write,
        error: Option<Failure>,
        stale: Option<Read<V>>,
    ) -> Ended<V, E> {
        match self.load().await {
            Ok(loaded) => {
                let degraded = why.degraded();
                Ok(Read { degraded, error, ..Read::loaded(loaded.value, why, loaded.tags) })
            }
            Err(error) => error.ended(stale),
        }
    }
}

/// Why a loader has made no value.
pub(crate) enum NotLoaded<E> {
    Loader(E),
    /// Its tags are wrong.
    Mistake(Error),
    Panic(Box<dyn Any + Send>),
}

impl<E: LoaderError> NotLoaded<E> {
    /// The reason of an abandoned lease: the name of the error's type.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Loader(_) => std::any::type_name::<E>(),
            Self::Mistake(_) => std::any::type_name::<Error>(),
            Self::Panic(_) => "panic",
        }
    }

    /// The error of the callers, and the same in the result of one with a stale value. A panic goes
    /// on.
    pub(crate) fn errors(self) -> (FetchError<E>, Failure) {
        match self {
            Self::Loader(error) => {
                let error = Arc::new(error);
                (FetchError::Loader(Arc::clone(&error)), Failure::Loader(error))
            }
            Self::Mistake(error) => (FetchError::Cache(error.clone()), Failure::Call(error)),
            Self::Panic(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// The answer: the stale value with the error, or the error.
    fn ended<V>(self, stale: Option<Read<V>>) -> Ended<V, E> {
        let (error, failure) = self.errors();
        stale.map_or(Err(error), |stale| Ok(Read { error: Some(failure), ..stale }))
    }
}

static UNIQUE: AtomicU64 = AtomicU64::new(1);

impl<V: Send + Sync + 'static> Typed<V> {
    /// Reads a value; one that is missing is computed once by all processes.
    pub(crate) async fn get_or_fetch<E: LoaderError>(
        &self,
        key: Key<'_>,
        loader: Option<Loader<V, E>>,
        options: FetchOptions,
    ) -> Ended<V, E> {
        let scope = &self.scope;
        scope.core.check_open()?;
        if let Some(error) = &scope.wrong {
            return Err(error.clone().into());
        }
        let address = Address::of(key)?;
        let budget = options.timeout.unwrap_or(scope.core.limits.wait).min(FOREVER);
        positive("touch", options.read.touch)?;
        scope.tags(options.tags.iter().cloned())?;
        let id = FlightId {
            namespace: Arc::clone(&scope.namespace),
            entry: address.entry_id(),
            has_loader: loader.is_some(),
            consistent: options.read.consistent,
            max_stale: options.read.max_stale,
            raise: scope.raise,
            types: (TypeId::of::<V>(), TypeId::of::<E>()),
            codec: self.codec_id,
            // Its value must not be one whose computation began before it.
            unique: if options.refresh { UNIQUE.fetch_add(1, Relaxed) } else { 0 },
        };
        let key = address.key.clone();
        let timeout = options.timeout;
        let fetch = Fetch {
            typed: self.clone(),
            address,
            has_loader: loader.is_some(),
            loader: Mutex::new(loader),
            options: Arc::new(options),
            budget,
        };
        let passenger = Passenger { id, key: &key, timeout };
        let tracked = || scope.core.background.track();
        match scope.core.flights.run(passenger, tracked, fetch).await {
            Landed::Own(ended) => ended,
            Landed::Joined(ended) => {
                let read = ended?;
                if read.tier == Some(Tier::Loader) {
                    scope.count.joined.add();
                }
                Ok(Read { joined: true, ..read })
            }
            Landed::Late(mut fetch) => {
                scope.count.misses.add();
                if !fetch.has_loader {
                    return Ok(Read::miss(false, None));
                }
                fetch.unstored(Write::refused(Reason::NotStored), None, None).await
            }
        }
    }

    /// Asks the origin that the server has for the namespace.
    pub(crate) async fn fetch(
        &self,
        key: Key<'_>,
        options: FetchOptions,
    ) -> Result<Read<V>, Error> {
        match self.get_or_fetch::<Infallible>(key, None, options).await {
            Ok(read) => Ok(read),
            Err(FetchError::Cache(error)) => Err(error),
            Err(FetchError::Loader(never)) => match *never {},
        }
    }
}
