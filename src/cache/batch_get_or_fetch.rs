//! BatchGetOrFetch: as GetOrFetch, for many keys, chunk by chunk.
//!
//! Each key takes the same decision as in a GetOrFetch of its own. This file only adds what belongs
//! to a batch: chunks of bounded size, one read of the store per chunk, fetches that go to the
//! origin together, and one wait for all keys.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{
    Cache, Error, FetchMode, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult,
    NamespaceContext,
    chunk_sizer::{ChunkLimits, ChunkSizer},
    follow::FollowedRead,
    get_or_fetch::{Decision, FetchContext, LeaseAttempt, OriginFetch, count_answer},
    request::MAX_WAIT,
    singleflight::run_together,
};
use crate::{model::EntryKey, store};

/// Size of the stored values in one chunk, in bytes.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;
const READS: ChunkLimits =
    ChunkLimits { first_keys: 16, max_keys: 128, growth: 2, target_bytes: CHUNK_BYTES };
/// Missing entries in one chunk, unless the origin accepts larger batches.
const CHUNK_MISSING: usize = 128;
/// Size that the fetched values of one chunk may have together, in bytes.
const CHUNK_FETCHED_BYTES: usize = 128 * 1024 * 1024;

/// A batch in progress. Its memory does not grow with its length.
pub struct BatchGetOrFetch {
    cache: Arc<Cache>,
    requests: Vec<GetOrFetchRequest>,
    contexts: Vec<NamespaceContext>,
    wait_until: Instant,
    next: usize,
    reads: ChunkSizer,
    /// Whether the caller holds a lease of this batch.
    has_lease: bool,
}

/// The answer for one key.
type KeyResult = Result<GetOrFetchResult, Error>;

/// One key of a chunk.
struct Item<'a> {
    index: usize,
    state: ItemState<'a>,
}

enum ItemState<'a> {
    /// Answered from the near cache.
    Near(GetOrFetchResult),
    /// To be decided.
    Read(FetchContext<'a>),
}

impl BatchGetOrFetch {
    /// Prepares the batch; reads nothing yet. `request` makes the request for one key.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn new(
        cache: Arc<Cache>,
        keys: Vec<(EntryKey, BTreeMap<String, String>)>,
        request: impl Fn(EntryKey, Arc<BTreeMap<String, String>>) -> GetOrFetchRequest,
    ) -> Result<Self, Error> {
        let mut requests: Vec<GetOrFetchRequest> =
            keys.into_iter().map(|(key, params)| request(key, Arc::new(params))).collect();
        let contexts: Vec<NamespaceContext> = requests
            .iter()
            .map(|request| cache.context(request.key.namespace()))
            .collect::<Result<_, _>>()?;
        for (request, context) in requests.iter_mut().zip(&contexts) {
            if let Cow::Owned(key) = context.key(&request.key) {
                request.key = key;
            }
        }
        let longest_wait = contexts.iter().map(|context| context.config().lease_wait).max();
        let asked_wait = requests.first().and_then(|request| request.wait);
        let wait = asked_wait.or(longest_wait).unwrap_or_default().min(MAX_WAIT);
        Ok(Self {
            cache,
            requests,
            contexts,
            wait_until: Instant::now() + wait,
            next: 0,
            reads: ChunkSizer::new(READS),
            has_lease: false,
        })
    }

    /// The answers for the next keys, in order; `None` when all keys are answered.
    pub async fn next_chunk(&mut self) -> Option<Vec<KeyResult>> {
        if self.next == self.requests.len() {
            return None;
        }
        let first = self.next;
        let mut reads = self.reads.clone();
        let items = self.read_chunk(&mut reads).await;
        // One time for all keys of the chunk.
        let (count, read_at) = (items.len(), self.cache.store.now());
        let mut answers: Vec<Option<KeyResult>> = items.iter().map(|_| None).collect();
        let (mut fetches, mut leases) = (Vec::new(), Vec::new());
        for Item { index, state } in items {
            match state {
                ItemState::Near(result) => answers[index - first] = Some(Ok(result)),
                ItemState::Read(key) if key.context.rules.origin.is_some() => {
                    fetches.push((index, key));
                }
                ItemState::Read(key) => leases.push((index, key)),
            }
        }
        for (index, result) in self.fetch_all(fetches).await {
            answers[index - first] = Some(result);
        }
        // Leases come last: they expire from the moment they are granted.
        let (leased, has_lease) = self.lease_all(leases).await;
        for (index, result) in leased {
            answers[index - first] = Some(Ok(result));
        }
        (self.reads, self.next, self.has_lease) = (reads, first + count, has_lease);
        let answers: Vec<KeyResult> = answers.into_iter().flatten().collect();
        let keys = self.contexts[first..].iter().zip(&self.requests[first..]);
        for (result, (context, request)) in answers.iter().zip(keys) {
            self.cache.sample(count_answer(result, context), &request.key);
            if let Ok(result) = result {
                let followed = context.followed_at(&request.key, || read_at);
                context.follow_read(followed, FollowedRead::of_fetch(result, request.mode));
            }
        }
        Some(answers)
    }

    /// Extends the TTLs of the cached values that the last chunk has returned, see
    /// [`Cache::slide_fetched`].
    pub async fn slide(&self, chunk: &mut [KeyResult], touch: Duration) {
        let first = self.next.saturating_sub(chunk.len());
        let cached = chunk.iter_mut().zip(first..).filter_map(|(result, index)| {
            let found = result.as_mut().ok()?.cached()?;
            Some((found, index))
        });
        let slide = |(found, index): (_, usize)| {
            let (context, key) = (&self.contexts[index], &self.requests[index].key);
            self.cache.slide_stored(context, key, found, touch)
        };
        join_all(cached.map(slide)).await;
    }

    /// Reads until there is enough to answer, or to fetch.
    async fn read_chunk(&self, reads: &mut ChunkSizer) -> Vec<Item<'_>> {
        let mut items: Vec<Item<'_>> = Vec::new();
        let (mut bytes, mut missing) = (0, 0);
        let max_missing = max_missing(&self.contexts[self.next]);
        while bytes < CHUNK_BYTES && missing < max_missing {
            let begin = self.next + items.len();
            let end = self.requests.len().min(begin + reads.keys().min(max_missing - missing));
            if begin == end {
                break;
            }
            let read = self.read(begin, end).await;
            let read_bytes = read.iter().map(Item::bytes).sum();
            bytes += read_bytes;
            missing += read.iter().filter(|item| item.is_missing()).count();
            reads.observe(read.len(), read_bytes);
            items.extend(read);
        }
        items
    }

    /// Reads the keys from `begin` to `end`, from the near cache or in one read of the store.
    async fn read(&self, begin: usize, end: usize) -> Vec<Item<'_>> {
        let started = Instant::now();
        if self.requests[begin].mode == FetchMode::NoCache {
            return (begin..end).map(|index| self.unread(index, None)).collect();
        }
        let mut near: Vec<Option<GetOrFetchResult>> = (begin..end)
            .map(|index| self.cache.get_or_fetch_near(&self.contexts[index], &self.requests[index]))
            .collect();
        let rest: Vec<EntryKey> = (begin..end)
            .filter(|index| near[index - begin].is_none())
            .map(|index| self.requests[index].key.clone())
            .collect();
        let stored =
            if rest.is_empty() { Ok(Vec::new()) } else { self.cache.store.get_many(&rest).await };
        let mut stored = stored.map(Vec::into_iter);
        (begin..end)
            .map(|index| match (near[index - begin].take(), &mut stored) {
                (Some(result), _) => Item { index, state: ItemState::Near(result) },
                (None, Err(error)) => self.unread(index, Some(error.clone())),
                (None, Ok(entries)) => {
                    let (context, request) = (&self.contexts[index], &self.requests[index]);
                    let entry = match entries.next() {
                        Some(Ok(entry)) => entry,
                        Some(Err(error)) => return self.unread(index, Some(error)),
                        None => None,
                    };
                    let key = FetchContext::of(&self.cache, context, request, entry, started);
                    self.item(index, key)
                }
            })
            .collect()
    }

    fn unread(&self, index: usize, error: Option<store::Error>) -> Item<'_> {
        let (context, request) = (&self.contexts[index], &self.requests[index]);
        self.item(index, FetchContext::unread(&self.cache, context, request, error))
    }

    fn item<'a>(&self, index: usize, key: FetchContext<'a>) -> Item<'a> {
        Item { index, state: ItemState::Read(key.waiting_until(self.wait_until)) }
    }

    /// Answers keys whose values the replica fetches, the missing ones together.
    async fn fetch_all(&self, keys: Vec<(usize, FetchContext<'_>)>) -> Vec<(usize, KeyResult)> {
        let mut answered = Vec::with_capacity(keys.len());
        let (mut waiting, mut flights) = (Vec::new(), Vec::new());
        for (index, mut key) in keys {
            let context = key.context;
            let Some(origin) = &context.rules.origin else { continue };
            match key.begin_fetch(origin) {
                OriginFetch::Answered(result) => answered.push((index, Ok(result))),
                OriginFetch::Waiting { handle, flight } => {
                    flights.extend(flight);
                    waiting.push(async move { (index, key.await_fetch(origin, handle).await) });
                }
            }
        }
        run_together(&self.cache.flights, flights);
        answered.extend(join_all(waiting).await);
        answered
    }

    /// Answers keys whose values callers compute. The flag is set if the caller holds a lease.
    async fn lease_all(
        &self,
        keys: Vec<(usize, FetchContext<'_>)>,
    ) -> (Vec<(usize, GetOrFetchResult)>, bool) {
        let attempts = join_all(keys.into_iter().map(async |(index, mut key)| {
            let attempt = match key.answer_without_computing().await {
                Some(result) => LeaseAttempt::Answered(result),
                None => key.attempt_lease().await,
            };
            (index, key, attempt)
        }));
        let (mut answered, mut refused) = (Vec::new(), Vec::new());
        for (index, key, attempt) in attempts.await {
            match attempt {
                LeaseAttempt::Answered(result) => answered.push((index, result)),
                LeaseAttempt::Refused { available_in } => refused.push((index, key, available_in)),
            }
        }
        let has_lease = self.has_lease || answered.iter().any(|(_, result)| result.is_lease());
        // Other callers wait for this caller's lease: with one, it must not wait itself.
        if has_lease {
            let results = refused.iter().map(|(index, key, time)| (*index, key.refused(*time)));
            answered.extend(results);
            return (answered, true);
        }
        let has_lease = await_holders(refused, &mut answered).await;
        (answered, has_lease)
    }
}

/// Waits for the values of other callers, until one of the keys is leased to this caller. Returns
/// whether that happened.
async fn await_holders(
    keys: Vec<(usize, FetchContext<'_>, Duration)>,
    answered: &mut Vec<(usize, GetOrFetchResult)>,
) -> bool {
    let mut left: BTreeMap<usize, Duration> =
        keys.iter().map(|(index, _, available_in)| (*index, *available_in)).collect();
    let mut waiting: FuturesUnordered<_> = keys
        .into_iter()
        .map(async |(index, key, available_in)| (index, key.await_holder(available_in).await))
        .collect();
    while let Some((index, result)) = waiting.next().await {
        left.remove(&index);
        let is_lease = result.is_lease();
        answered.push((index, result));
        if is_lease {
            let contended = |(index, time)| (index, GetOrFetchResult::contended(time));
            answered.extend(left.into_iter().map(contended));
            return true;
        }
    }
    false
}

impl Item<'_> {
    /// Size of the value, in bytes.
    fn bytes(&self) -> usize {
        match &self.state {
            ItemState::Near(GetOrFetchResult {
                outcome: GetOrFetchOutcome::Found(found), ..
            }) => found.entry.data.len(),
            ItemState::Near(_) => 0,
            ItemState::Read(key) => key.stored_bytes(),
        }
    }

    fn is_missing(&self) -> bool {
        match &self.state {
            ItemState::Near(_) => false,
            ItemState::Read(key) => !matches!(key.decision(), Decision::Serve(_)),
        }
    }
}

/// Missing entries in one chunk: as many full batches of the origin as fit.
fn max_missing(context: &NamespaceContext) -> usize {
    let batch = context.rules.origin.as_ref().map_or(1, |origin| origin.client.batch_limit());
    whole_batches(batch, CHUNK_FETCHED_BYTES / context.config().max_value_bytes.max(1))
}

/// A multiple of `batch` that is at most `max_by_size`, or `max_by_size` if one batch is larger.
fn whole_batches(batch: usize, max_by_size: usize) -> usize {
    let most = max_by_size.min(batch.max(CHUNK_MISSING)).max(1);
    if batch > most { most } else { most - most % batch.max(1) }
}

#[cfg(test)]
mod tests;
