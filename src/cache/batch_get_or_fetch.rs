//! Reading many entries, and having the missing ones computed together.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{
    StreamExt as _,
    future::{join_all, select_all},
    stream::FuturesUnordered,
};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Cache, Error, NamespaceContext,
    get_or_fetch::lease_mode::Asked,
    get_or_fetch::{
        FetchMode, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult, MAX_WAIT, bounded_wait,
        contended, count,
    },
    is_degraded,
    policy::Verdict,
    singleflight::flight::{Flight, NextStep, aborted},
    singleflight::waiters::{FlightGroup, Requirement},
};
use crate::{
    model::{Entry, EntryKey},
    store::ErrorKind,
};

/// Keys read at once at first, when nothing is known of the size of their values; later at most so many times more.
const FIRST_READ: usize = 16;
const LARGEST_READ: usize = 8 * FIRST_READ;
/// Size of stored values in one part, in bytes.
const PART_BYTES: usize = 2 * 1024 * 1024;
/// Missing entries in one part, unless the origin takes more of them at once.
const PART_MISSING: usize = 128;
/// Size that the values fetched for one part may have together, in bytes.
const PART_FETCHED_BYTES: usize = 128 * 1024 * 1024;

/// A batch that is being read. The memory it takes does not grow with the batch: it is answered part by part.
pub struct BatchGetOrFetch {
    cache: Arc<Cache>,
    requests: Vec<GetOrFetchRequest>,
    scopes: Vec<NamespaceContext>,
    wait_until: Instant,
    done: usize,
    read: usize,
    has_lease: bool,
}

/// What one key of a batch comes to.
type Fetched = Result<GetOrFetchResult, Error>;

/// A key of the part at hand.
struct Item {
    place: usize,
    stored: Option<Entry>,
    verdict: Verdict,
    without_store: bool,
    /// What the replica remembers; then there is nothing more to do.
    nearby: Option<GetOrFetchResult>,
}

impl Item {
    fn unread(place: usize, without_store: bool) -> Self {
        Self { place, stored: None, verdict: Verdict::Gone, without_store, nearby: None }
    }

    /// What there is of the key.
    fn entry(&self) -> Option<&Entry> {
        match &self.nearby {
            Some(GetOrFetchResult { answer: GetOrFetchOutcome::Found(found), .. }) => {
                Some(&found.entry)
            }
            _ => self.stored.as_ref(),
        }
    }
}

impl BatchGetOrFetch {
    /// Begins to read. `like` says what holds for all keys.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], before anything is read.
    pub fn new(
        cache: Arc<Cache>,
        keys: Vec<(EntryKey, BTreeMap<String, String>)>,
        like: impl Fn(EntryKey, Arc<BTreeMap<String, String>>) -> GetOrFetchRequest,
    ) -> Result<Self, Error> {
        let requests: Vec<GetOrFetchRequest> =
            keys.into_iter().map(|(key, params)| like(key, Arc::new(params))).collect();
        let scopes: Vec<NamespaceContext> = requests
            .iter()
            .map(|request| cache.scope(request.key.namespace()))
            .collect::<Result<_, _>>()?;
        let longest =
            |scopes: &[NamespaceContext]| scopes.iter().map(|scope| scope.rules.lease_wait).max();
        let wait = requests
            .first()
            .and_then(|request| request.wait)
            .or_else(|| longest(&scopes))
            .unwrap_or_default();
        let wait_until = Instant::now() + wait.min(MAX_WAIT);
        Ok(Self {
            cache,
            requests,
            scopes,
            wait_until,
            done: 0,
            read: FIRST_READ,
            has_lease: false,
        })
    }

    /// What the next keys came to, in order; none when all are answered.
    pub async fn next_part(&mut self) -> Option<Vec<Fetched>> {
        if self.done == self.requests.len() {
            return None;
        }
        let items = self.read_part().await;
        let first = self.done;
        self.shorten_wait(first);
        self.done += items.len();
        let mut answers: Vec<Option<Fetched>> = items.iter().map(|_| None).collect();
        let (nearby, items): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.nearby.is_some());
        for Item { place, nearby, .. } in nearby {
            answers[place - first] = nearby.map(Ok);
        }
        let mut answer = |place: usize, fetched| answers[place - first] = Some(fetched);
        let (with_source, others): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| self.scopes[item.place].rules.source().is_some());
        // Leases last: their time is running from when they are granted.
        for (place, fetched) in self.fetch_all(with_source).await {
            answer(place, fetched);
        }
        self.shorten_wait(first);
        for (place, fetched) in self.lease_all(others).await {
            answer(place, Ok(fetched));
        }
        let answers: Vec<Fetched> = answers.into_iter().flatten().collect();
        for (fetched, scope) in answers.iter().zip(&self.scopes[first..]) {
            if let Ok(fetched) = fetched {
                count(scope, fetched);
            }
        }
        Some(answers)
    }

    /// Leaves the keys from `first` on what is left of the time to wait, which is that of the whole batch.
    fn shorten_wait(&mut self, first: usize) {
        let left = self.wait_until.saturating_duration_since(Instant::now());
        self.requests[first..].iter_mut().for_each(|request| request.wait = Some(left));
    }

    /// Reads until there is enough to answer, or to be fetched.
    async fn read_part(&mut self) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let (mut bytes, mut missing) = (0, 0);
        let most_missing = most_missing(&self.scopes[self.done]);
        while bytes < PART_BYTES && missing < most_missing {
            let begin = self.done + items.len();
            let end = self.requests.len().min(begin + self.read.min(most_missing - missing));
            if begin == end {
                break;
            }
            let read = self.read_some(begin, end).await;
            let read_bytes: usize =
                read.iter().filter_map(Item::entry).map(|entry| entry.data.len()).sum();
            missing += read
                .iter()
                .filter(|item| !matches!(item.verdict, Verdict::Fresh | Verdict::Negative))
                .count();
            bytes += read_bytes;
            self.read = (PART_BYTES / (read_bytes / read.len()).max(1))
                .clamp(1, LARGEST_READ.min(self.read * 2));
            items.extend(read);
        }
        items
    }

    async fn read_some(&self, begin: usize, end: usize) -> Vec<Item> {
        let started = Instant::now();
        let places = begin..end;
        if self.requests[begin].mode == FetchMode::NoCache {
            return places.map(|place| Item::unread(place, false)).collect();
        }
        let mut items = Vec::with_capacity(places.len());
        let (mut far, mut keys) = (Vec::new(), Vec::new());
        for place in places {
            let (scope, request) = (&self.scopes[place], &self.requests[place]);
            let nearby = self.cache.fetch_nearby(scope, request);
            if nearby.is_none() {
                far.push(place);
                keys.push(request.key.clone());
            }
            let verdict = Verdict::Fresh;
            items.push(Item { place, stored: None, verdict, without_store: false, nearby });
        }
        if far.is_empty() {
            return items;
        }
        let stored = self.cache.store.get_many(&keys).await;
        let mut put = |item: Item| {
            let place = item.place - begin;
            items[place] = item;
        };
        match stored {
            Err(error) => {
                far.into_iter().for_each(|place| put(Item::unread(place, is_degraded(&error))))
            }
            Ok(entries) => entries.into_iter().zip(far).for_each(|(entry, place)| {
                let (verdict, stored) =
                    self.cache.judge(&self.scopes[place], &self.requests[place], entry, started);
                put(Item { place, stored, verdict, without_store: false, nearby: None });
            }),
        }
        items
    }

    /// Answers keys whose values callers compute.
    async fn lease_all(&mut self, items: Vec<Item>) -> Vec<(usize, GetOrFetchResult)> {
        let asked = join_all(items.into_iter().map(|item| self.lease(item))).await;
        self.has_lease |= asked.iter().any(|(_, fetched)| is_lease(fetched));
        let (contended, mut answered): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|(_, fetched)| {
                matches!(fetched.answer, GetOrFetchOutcome::Contended { .. })
            });
        // Whoever waits for one of this call's leases should not be waited for: as soon as there is one, no more waiting.
        if self.has_lease {
            answered.extend(contended);
            return answered;
        }
        let mut left: BTreeMap<usize, GetOrFetchResult> = contended.into_iter().collect();
        let batch = &*self;
        let mut waiting: FuturesUnordered<_> = left
            .keys()
            .copied()
            .map(|place| async move { (place, batch.wait_for_others(place).await) })
            .collect();
        let mut has_lease = false;
        while let Some((place, fetched)) = waiting.next().await {
            left.remove(&place);
            has_lease |= is_lease(&fetched);
            answered.push((place, fetched));
            if has_lease {
                break;
            }
        }
        drop(waiting);
        self.has_lease |= has_lease;
        answered.extend(left);
        answered
    }

    async fn wait_for_others(&self, place: usize) -> GetOrFetchResult {
        let (scope, request) = (&self.scopes[place], &self.requests[place]);
        let computed = self.cache.compute(scope, request).await;
        computed.unwrap_or_else(|error| self.cache.without_store(scope, None, &error))
    }

    async fn lease(&self, item: Item) -> (usize, GetOrFetchResult) {
        let Item { place, stored, verdict, without_store, nearby: _ } = item;
        let (cache, scope, request) = (&self.cache, &self.scopes[place], &self.requests[place]);
        let only_if_cached = request.mode == FetchMode::OnlyIfCached;
        let is_there = matches!(verdict, Verdict::Fresh | Verdict::Negative | Verdict::Stale);
        let fetched = if without_store && !only_if_cached {
            cache.without_store(scope, None, &ErrorKind::Unreachable.into())
        } else if is_there || only_if_cached {
            let served = cache.serve_or_compute(scope, request, verdict, stored).await;
            GetOrFetchResult { degraded: served.degraded || without_store, ..served }
        } else {
            match cache.ask_for_lease(scope, request).await {
                Ok(Asked::Answered(answer)) => answer.into(),
                Ok(Asked::Refused { stale_on_error: Some((stale, cause)), .. }) => {
                    cache.stale_on_error(stale, cause)
                }
                Ok(Asked::Refused { available_in, .. }) => contended(available_in).into(),
                Err(error) => {
                    cache.without_store(scope, cache.usable(stored, request.max_stale), &error)
                }
            }
        };
        (place, fetched)
    }

    /// Answers keys whose values are fetched, those that are missing together.
    async fn fetch_all(&self, items: Vec<Item>) -> Vec<(usize, Fetched)> {
        let mut answered = Vec::with_capacity(items.len());
        let (mut waiting, mut ushers) = (Vec::new(), Vec::new());
        for Item { place, stored, verdict, without_store, nearby: _ } in items {
            let (cache, scope, request) = (&self.cache, &self.scopes[place], &self.requests[place]);
            let Some(source) = scope.rules.source() else { continue };
            match (verdict, stored) {
                (Verdict::Fresh, Some(entry)) => {
                    answered.push((place, Ok(cache.serve_fresh(scope, source, request, entry))));
                }
                (Verdict::Negative, Some(entry)) => {
                    answered.push((place, Ok(GetOrFetchOutcome::Found(cache.landed(entry)).into())))
                }
                (Verdict::Stale, Some(entry)) => {
                    answered.push((place, Ok(cache.serve_stale(scope, request, entry))))
                }
                (_, _) if request.mode == FetchMode::OnlyIfCached => {
                    answered.push((
                        place,
                        Ok(GetOrFetchResult {
                            degraded: without_store,
                            ..GetOrFetchOutcome::Missing.into()
                        }),
                    ));
                }
                (_, stored) => {
                    let wish = Requirement { without_store, ..request.wish() };
                    let errand = cache.errand(scope, request);
                    let taken = if bounded_wait(scope, request).is_zero() {
                        cache.waiting.refresh(errand, wish);
                        None
                    } else {
                        cache.waiting.take_place(errand, wish)
                    };
                    let (seat, usher) = taken.unzip();
                    ushers.extend(usher.flatten());
                    waiting.push(async move {
                        let fetched = cache
                            .await_fetch(scope, source, request, stored, without_store, seat)
                            .await;
                        (place, fetched)
                    });
                }
            }
        }
        run_together(&self.cache.waiting, ushers);
        answered.extend(join_all(waiting).await);
        answered
    }
}

/// Missing entries in one part: as many full batches of the origin as fit.
fn most_missing(scope: &NamespaceContext) -> usize {
    let batch = scope.rules.source().map_or(1, |source| source.gate.batch_limit());
    whole_batches(batch, PART_FETCHED_BYTES / scope.rules.max_value_bytes.max(1))
}

/// A part of at most `most_by_size` entries.
fn whole_batches(batch: usize, most_by_size: usize) -> usize {
    let most = most_by_size.min(batch.max(PART_MISSING)).max(1);
    if batch > most { most } else { most - most % batch.max(1) }
}

fn is_lease(fetched: &GetOrFetchResult) -> bool {
    matches!(fetched.answer, GetOrFetchOutcome::Lease(_)) && !fetched.degraded
}

/// Runs the ushers of a batch, those of one origin together if it takes batches.
fn run_together(room: &Arc<FlightGroup>, ushers: Vec<Flight>) {
    let mut by_origin: BTreeMap<_, Vec<Flight>> = BTreeMap::new();
    for usher in ushers {
        by_origin.entry(usher.errand().key.namespace().clone()).or_default().push(usher);
    }
    for ushers in by_origin.into_values() {
        let limit = ushers
            .first()
            .and_then(|usher| usher.errand().source())
            .map_or(1, |source| source.gate.batch_limit());
        if limit > 1 && ushers.len() > 1 {
            room.spawn(fetch_together(room.clone(), ushers, limit));
        } else {
            ushers.into_iter().for_each(|usher| room.spawn(usher.run()));
        }
    }
}

async fn fetch_together(room: Arc<FlightGroup>, ushers: Vec<Flight>, limit: usize) {
    let looks = ushers.into_iter().map(|mut usher| async move {
        // Whoever wanted it may have left, and with them the usher goes.
        if !usher.seat() {
            return None;
        }
        let step = usher.look().await;
        Some((usher, step))
    });
    let mut fetching = Vec::new();
    for (usher, step) in join_all(looks).await.into_iter().flatten() {
        match step {
            NextStep::Fetch(mandate) => fetching.push((usher, mandate)),
            NextStep::Done | NextStep::Wait(_) | NextStep::Rest(_) => room.spawn(usher.go_on(step)),
        }
    }
    while !fetching.is_empty() {
        let part: Vec<_> = fetching.drain(..limit.min(fetching.len())).collect();
        room.spawn(fetch_part(room.clone(), part));
    }
}

async fn fetch_part(
    room: Arc<FlightGroup>,
    mut part: Vec<(Flight, super::singleflight::fill::FillPermit)>,
) {
    let Some((first, _)) = part.first_mut() else { return };
    let (errand, span) = (first.errand().clone(), first.span());
    let Some(source) = errand.source() else { return };
    let orders: Vec<_> = part
        .iter()
        .map(|(usher, mandate)| usher.errand().order(source, mandate.validators()))
        .collect();
    let fetched = {
        let leases = part.iter().map(|(usher, mandate)| Box::pin(usher.keep_alive(mandate)));
        tokio::select! {
            fetched = source.gate.fetch_batch(&orders).instrument(span) => fetched,
            _ = select_all(leases) => vec![Err(aborted()); orders.len()],
            () = room.abort.cancelled() => vec![Err(aborted()); orders.len()],
        }
    };
    let landings = part.into_iter().zip(fetched).map(|((mut usher, mandate), fetched)| {
        let room = room.clone();
        async move {
            usher.land(mandate, fetched).await;
            room.spawn(usher.run());
        }
    });
    join_all(landings).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_made_of_full_batches_of_the_origin_if_they_fit() {
        for (batch, most_by_size, expected) in [
            (1, 1000, 128),
            (100, 1000, 100),
            (25, 1000, 125),
            (500, 1000, 500),
            (500, 128, 128),
            (100, 64, 64),
            (30, 64, 60),
            (1, 0, 1),
        ] {
            assert_eq!(whole_batches(batch, most_by_size), expected, "{batch} of {most_by_size}");
        }
    }
}
