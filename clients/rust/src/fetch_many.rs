//! `get_or_fetch_many`: reads values, and computes those that are missing together.

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;
use tonic::Code;

use crate::{
    Error, Failure, FetchError, FetchOptions, Key, Loaded, Outcome, Read, Reason, Write,
    core::BATCH_KEYS,
    error::LoaderError,
    fetching::{NotLoaded, retry_delay},
    filling::fill_all,
    key::Address,
    lease::{Answers, Lease},
    pb::{
        self, batch_get_or_fetch_result::Result as Answered,
        get_or_fetch_response::Outcome as Answer,
    },
    reads::fields,
    ttl::{FOREVER, from_wire, to_wire},
    typed::Typed,
};

/// Computes several values; a key without one is a miss.
pub(crate) type ManyLoader<V, E> = Arc<
    dyn Fn(Vec<Key<'static>>) -> BoxFuture<'static, Result<HashMap<Key<'static>, Loaded<V>>, E>>
        + Send
        + Sync,
>;
type Results<V> = BTreeMap<Key<'static>, Read<V>>;
type Wanted = Vec<(Key<'static>, Address)>;

/// A key that is missing, and how its value is stored once it is computed.
struct Missing<V> {
    key: Key<'static>,
    lease: Option<Lease>,
    /// Why the value is not stored, for a key without a lease.
    why: Write,
    stale: Option<Read<V>>,
    /// Whether the stale value is the answer while the new one is computed.
    meanwhile: bool,
}

impl<V> Missing<V> {
    const fn unleased(key: Key<'static>, why: Write) -> Self {
        Self { key, lease: None, why, stale: None, meanwhile: false }
    }
}

/// The work that one call of the server has left.
struct Left<V> {
    missing: Vec<Missing<V>>,
    contended: Wanted,
    retry_after: Option<Duration>,
}

/// One call of `get_or_fetch_many`.
struct FetchMany<V, E> {
    typed: Typed<V>,
    loader: Option<ManyLoader<V, E>>,
    options: FetchOptions,
    started: Instant,
    budget: Duration,
    results: Results<V>,
    /// Keys with values that cannot be decoded.
    undecodable: Wanted,
}

impl<V: Send + Sync + 'static, E: LoaderError> FetchMany<V, E> {
    async fn run(mut self, wanted: Wanted) -> Result<Results<V>, FetchError<E>> {
        self.parts(wanted, true).await?;
        // They are computed anew. Values of others that cannot be decoded stay then.
        self.options.refresh = true;
        let undecodable = std::mem::take(&mut self.undecodable);
        self.parts(undecodable, false).await?;
        Ok(self.results)
    }

    async fn parts(&mut self, mut wanted: Wanted, is_first: bool) -> Result<(), FetchError<E>> {
        while !wanted.is_empty() {
            let rest = wanted.split_off(wanted.len().min(BATCH_KEYS));
            self.part(std::mem::replace(&mut wanted, rest), is_first).await?;
        }
        Ok(())
    }

    async fn part(&mut self, mut part: Wanted, mut is_first: bool) -> Result<(), FetchError<E>> {
        while !part.is_empty() {
            let Left { missing, contended, retry_after } = self.ask(part, is_first).await?;
            is_first = false;
            self.load(missing).await?;
            let left = self.budget.saturating_sub(self.started.elapsed());
            match retry_after.filter(|delay| *delay < left) {
                _ if contended.is_empty() => return Ok(()),
                Some(delay) => tokio::time::sleep(delay).await,
                None if self.loader.is_none() => {
                    let misses =
                        contended.into_iter().map(|(key, _)| (key, Read::miss(false, None)));
                    self.results.extend(misses);
                    return Ok(());
                }
                None => {
                    let why = Write::refused(Reason::NotStored);
                    let late = contended
                        .into_iter()
                        .map(|(key, _)| Missing::unleased(key, why.clone()))
                        .collect();
                    return self.load(late).await;
                }
            }
            part = contended;
        }
        Ok(())
    }

    /// Asks the server once, and keeps what it answers.
    async fn ask(&mut self, part: Wanted, is_first: bool) -> Result<Left<V>, FetchError<E>> {
        let scope = self.typed.scope.clone();
        let mut left = Left { missing: Vec::new(), contended: Vec::new(), retry_after: None };
        let wait = self.budget.saturating_sub(self.started.elapsed()).min(scope.core.limits.wait);
        let fields = fields(&self.options.read, false)?;
        let request = pb::BatchGetOrFetchRequest {
            keys: part
                .iter()
                .map(|(_, address)| address.clone().into_key_ref(&scope.namespace))
                .collect(),
            max_stale: fields.max_stale,
            wait: Some(to_wire(wait)),
            no_cache: self.options.refresh,
            consistency: fields.consistency,
            touch: fields.touch,
            ..Default::default()
        };
        let spec = scope.open_spec(Some(wait + scope.core.limits.wait_margin), true)?;
        let answers = Answers::new(&scope, part.iter().map(|(_, address)| address.clone()));
        let ended =
            scope.run::<pb::BatchGetOrFetchRequest, _, _, _>(request, spec, |attempt, request| {
                answers.read(attempt, request)
            });
        let cut = match ended.await {
            Ok(None) => None,
            Ok(Some(error)) | Err(error) => Some(scope.fail_open(error)?),
        };
        for (key, address) in part {
            let answer = match (answers.next(), &cut) {
                (None, Some(failure)) => {
                    self.away(key, failure.clone(), &mut left);
                    continue;
                }
                (answer, _) => answer.and_then(|answer| answer.result),
            };
            let answer = match answer {
                Some(Answered::Answer(answer)) => answer,
                Some(Answered::Error(error)) => {
                    let failed = Error::new(Code::Unavailable, error.message)
                        .with_reason(error.reason)
                        .with_retry_after(from_wire(error.retry_after));
                    let failure = scope.fail_open(failed)?;
                    self.away(key, failure, &mut left);
                    continue;
                }
                None => pb::GetOrFetchResponse::default(),
            };
            if is_first && !matches!(answer.outcome, Some(Answer::Found(_))) {
                scope.count.misses.add();
            }
            match answer.outcome {
                Some(Answer::Found(found)) => {
                    self.found((key, address), found, answer.degraded, &mut left);
                }
                Some(Answer::Lease(lease)) => {
                    self.leased((key, address), lease, answer.degraded, &mut left);
                }
                Some(Answer::Contended(contended)) => {
                    let delay = retry_delay(&contended);
                    left.retry_after =
                        Some(left.retry_after.map_or(delay, |before| before.min(delay)));
                    left.contended.push((key, address));
                }
                Some(Answer::NotCached(_)) | None => left.contended.push((key, address)),
            }
        }
        Ok(left)
    }

    fn away(&mut self, key: Key<'static>, failure: Failure, left: &mut Left<V>) {
        if self.loader.is_none() {
            self.typed.scope.count.misses.add();
            self.results.insert(key, Read::miss(true, Some(failure)));
        } else {
            let why = Write::away(Reason::Unavailable, Some(failure));
            left.missing.push(Missing::unleased(key, why));
        }
    }

    fn found(
        &mut self,
        (key, address): (Key<'static>, Address),
        found: pb::Found,
        degraded: bool,
        left: &mut Left<V>,
    ) {
        let read = self.typed.found(found, degraded);
        if read.outcome != Outcome::Miss || self.loader.is_none() {
            self.results.insert(key, read);
        } else if self.options.refresh {
            // Another caller has stored what cannot be decoded again.
            let error = read.error;
            let why = Write::NotStored { reason: Reason::NotStored, degraded: false, error };
            left.missing.push(Missing::unleased(key, why));
        } else {
            self.undecodable.push((key, address));
        }
    }

    fn leased(
        &mut self,
        (key, address): (Key<'static>, Address),
        mut lease: pb::Lease,
        degraded: bool,
        left: &mut Left<V>,
    ) {
        let stale = lease.stale.take().map(|stale| self.typed.found(stale, degraded));
        let stale = stale.filter(Read::found);
        let held = (!degraded).then(|| Lease::new(self.typed.scope.clone(), address, &lease));
        if self.loader.is_none() {
            // Without a loader the lease passes on.
            drop(held);
            self.results.insert(key, stale.unwrap_or_else(|| Read::miss(degraded, None)));
            return;
        }
        let meanwhile = stale.is_some() && lease.stale_while_revalidate && !degraded;
        let why = Write::away(Reason::Degraded, None);
        left.missing.push(Missing { key, lease: held, why, stale, meanwhile });
    }

    /// Computes what is missing: stale values in the background, if there is room for that.
    async fn load(&mut self, missing: Vec<Missing<V>>) -> Result<(), FetchError<E>> {
        let (later, mut now): (Vec<_>, Vec<_>) =
            missing.into_iter().partition(|each| each.meanwhile);
        let background = &self.typed.scope.core.background;
        let Some(loader) = &self.loader else { return Ok(()) };
        if !later.is_empty() {
            match background.room() {
                None => now.extend(later),
                Some(room) => {
                    for Missing { key, stale, .. } in &later {
                        self.results.extend(stale.clone().map(|stale| (key.clone(), stale)));
                    }
                    let loading = Loading {
                        typed: self.typed.clone(),
                        loader: Arc::clone(loader),
                        options: self.options.clone(),
                    };
                    let namespace = Arc::clone(&self.typed.scope.namespace);
                    Arc::clone(background).start(room, crate::telemetry::in_trace(async move {
                        if let Err(error) = loading.compute(later).await {
                            tracing::warn!(%namespace, "stale values are not refreshed: {error}");
                        }
                    }));
                }
            }
        }
        if now.is_empty() {
            return Ok(());
        }
        let loading = Loading {
            typed: self.typed.clone(),
            loader: Arc::clone(loader),
            options: self.options.clone(),
        };
        self.results.extend(loading.compute(now).await?);
        Ok(())
    }
}

/// One run of a loader for several keys.
struct Loading<V, E> {
    typed: Typed<V>,
    loader: ManyLoader<V, E>,
    options: FetchOptions,
}

impl<V: Send + Sync + 'static, E: LoaderError> Loading<V, E> {
    async fn compute(self, missing: Vec<Missing<V>>) -> Result<Results<V>, FetchError<E>> {
        let count = &self.typed.scope.count;
        count.loads.add();
        let keys = missing.iter().map(|each| each.key.clone()).collect();
        let mut values = match self.values(keys).await {
            Ok(values) => values,
            Err(error) => {
                count.load_errors.add();
                return failed(missing, error);
            }
        };
        let mut results = Results::new();
        let mut fills = Vec::new();
        for Missing { key, lease, why, stale, .. } in missing {
            match (values.remove(&key), lease) {
                // The lease of a key without a value passes on.
                (None, _) => {
                    results.insert(key, stale.unwrap_or_else(|| Read::miss(false, None)));
                }
                (Some(loaded), Some(lease)) => fills.push((key, lease, loaded)),
                (Some(loaded), None) => {
                    let degraded = why.degraded();
                    let read = Read::loaded(loaded.value, why, loaded.tags);
                    results.insert(key, Read { degraded, ..read });
                }
            }
        }
        let stored = fill_all(&self.typed, fills, &self.options).await;
        results.extend(stored.into_iter().map(|(key, loaded, write)| {
            let (degraded, error) = (write.degraded(), write.error());
            let read = Read::loaded(loaded.value, write, loaded.tags);
            (key, Read { degraded, error, ..read })
        }));
        Ok(results)
    }

    async fn values(
        &self,
        keys: Vec<Key<'static>>,
    ) -> Result<HashMap<Key<'static>, Loaded<V>>, NotLoaded<E>> {
        let loading = async { (self.loader)(keys).await };
        let loaded = AssertUnwindSafe(loading).catch_unwind().await;
        let values = loaded.map_err(NotLoaded::Panic)?.map_err(NotLoaded::Loader)?;
        for loaded in values.values() {
            let tags = self.options.tags.iter().chain(&loaded.tags).cloned();
            self.typed.scope.tags(tags).map_err(NotLoaded::Mistake)?;
        }
        Ok(values)
    }
}

/// The answers after a loader has failed: stale values if all keys have one, or the error.
fn failed<V, E: LoaderError>(
    missing: Vec<Missing<V>>,
    error: NotLoaded<E>,
) -> Result<Results<V>, FetchError<E>> {
    let has_all = missing.iter().all(|each| each.stale.is_some());
    let mut left = Vec::new();
    for Missing { key, lease, stale, .. } in missing {
        if let Some(lease) = lease {
            lease.abandon(error.name());
        }
        left.extend(stale.map(|stale| (key, stale)));
    }
    let (error, failure) = error.errors();
    if !has_all {
        return Err(error);
    }
    let with = |stale| Read { error: Some(failure.clone()), ..stale };
    Ok(left.into_iter().map(|(key, stale)| (key, with(stale))).collect())
}

impl<V: Send + Sync + 'static> Typed<V> {
    /// Reads values; those that are missing are computed together, each once by all processes.
    pub(crate) async fn get_or_fetch_many<E: LoaderError>(
        &self,
        keys: Vec<Key<'static>>,
        loader: Option<ManyLoader<V, E>>,
        options: FetchOptions,
    ) -> Result<Results<V>, FetchError<E>> {
        let core = &self.scope.core;
        core.check_open()?;
        if let Some(error) = &self.scope.wrong {
            return Err(error.clone().into());
        }
        self.scope.tags(options.tags.iter().cloned())?;
        let mut wanted = BTreeMap::new();
        let mut order = Vec::new();
        for key in keys {
            if !wanted.contains_key(&key) {
                wanted.insert(key.clone(), ());
                let address = Address::of(key.clone())?;
                order.push((key, address));
            }
        }
        let fetch = FetchMany {
            typed: self.clone(),
            loader,
            budget: options.timeout.unwrap_or(core.limits.wait).min(FOREVER),
            started: Instant::now(),
            options,
            results: Results::new(),
            undecodable: Vec::new(),
        };
        // The end of the client ends the loader. `close` waits until the leases are given up.
        let _tracked = core.background.track();
        tokio::select! {
            biased;
            () = core.ended() => Err(Error::closed().into()),
            results = fetch.run(order) => results,
        }
    }
}
