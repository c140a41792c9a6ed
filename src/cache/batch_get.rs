//! BatchGet: reads many entries, chunk by chunk.

use std::{borrow::Cow, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, GetResult, NamespaceContext,
    chunk_sizer::{ChunkLimits, ChunkSizer},
    near_read::NearRead,
};
use crate::model::EntryKey;

const CHUNKS: ChunkLimits =
    ChunkLimits { first_keys: 32, max_keys: 128, growth: 4, target_bytes: 2 * 1024 * 1024 };

/// A batch of reads in progress.
pub struct BatchGet {
    cache: Arc<Cache>,
    keys: Vec<EntryKey>,
    contexts: Vec<Arc<NamespaceContext>>,
    max_stale: Option<Duration>,
    consistency: Consistency,
    next: usize,
    sizer: ChunkSizer,
}

impl BatchGet {
    /// Prepares the batch; reads nothing yet.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub fn new(
        cache: Arc<Cache>,
        mut keys: Vec<EntryKey>,
        max_stale: Option<Duration>,
        consistency: Consistency,
    ) -> Result<Self, Error> {
        let mut contexts: Vec<Arc<NamespaceContext>> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let context = match contexts.last() {
                Some(last) if keys[index - 1].namespace() == key.namespace() => last.clone(),
                _ => Arc::new(cache.context(key.namespace())?),
            };
            contexts.push(context);
        }
        for (key, context) in keys.iter_mut().zip(&contexts) {
            if let Cow::Owned(versioned) = context.key(key) {
                *key = versioned;
            }
        }
        let sizer = ChunkSizer::new(CHUNKS);
        Ok(Self { cache, keys, contexts, max_stale, consistency, next: 0, sizer })
    }

    /// The answers for the next keys, in order; `None` when all keys are read.
    pub async fn next_chunk(&mut self) -> Option<Vec<GetResult>> {
        let chunk = self.next..self.keys.len().min(self.next + self.sizer.keys());
        if chunk.is_empty() {
            return None;
        }
        let started = Instant::now();
        let near_read =
            NearRead { consistency: self.consistency, now: self.cache.store.now(), started };
        let mut reads: Vec<Option<GetResult>> =
            chunk.clone().map(|index| self.read_near(index, near_read)).collect();
        let rest: Vec<usize> =
            chunk.clone().filter(|index| reads[index - chunk.start].is_none()).collect();
        if !rest.is_empty() {
            let keys = match rest.len() == reads.len() {
                true => Cow::Borrowed(&self.keys[chunk.clone()]),
                false => rest.iter().map(|index| self.keys[*index].clone()).collect(),
            };
            let entries = match self.cache.store.get_many(&keys).await {
                Ok(entries) => entries,
                Err(error) => vec![Err(error); keys.len()],
            };
            let now = self.cache.store.now();
            for (index, entry) in rest.into_iter().zip(entries) {
                let context = &self.contexts[index];
                let degraded = entry.is_err();
                let entry = entry.unwrap_or_default();
                let read = GetResult::of(entry, context, self.max_stale, degraded, now);
                self.cache.sample(read.count(context), &self.keys[index]);
                let followed = context.followed_at(&self.keys[index], || now);
                context.follow_read(followed, read.followed());
                reads[index - chunk.start] = Some(read);
            }
        }
        let reads: Vec<GetResult> = reads.into_iter().map(Option::unwrap_or_default).collect();
        // Each key took as long as its chunk.
        let elapsed = started.elapsed();
        for (read, context) in reads.iter().zip(&self.contexts[chunk.clone()]) {
            context.counters.time(read.latency_kind(), elapsed);
        }
        let found = reads.iter().filter_map(|read| read.found.as_ref());
        self.sizer.observe(chunk.len(), found.map(|found| found.entry.data.len()).sum());
        self.next = chunk.end;
        Some(reads)
    }

    /// Extends the TTLs of the values that the last chunk has found, see [`Cache::slide`].
    pub async fn slide(&self, chunk: &mut [GetResult], touch: Duration) {
        let first = self.next.saturating_sub(chunk.len());
        let found = chunk.iter_mut().zip(first..);
        let found = found.filter_map(|(read, index)| Some((read.found.as_mut()?, index)));
        let slide = |(found, index): (_, usize)| {
            self.cache.slide_stored(&self.contexts[index], &self.keys[index], found, touch)
        };
        join_all(found.map(slide)).await;
    }

    fn read_near(&self, index: usize, read: NearRead) -> Option<GetResult> {
        let context = &self.contexts[index];
        let found = self.cache.read_near(context, &self.keys[index], read)?;
        self.cache.sample(context.count_outcome(Some(found.outcome)), &self.keys[index]);
        let result = GetResult { found: Some(found), degraded: false };
        let followed = context.followed_at(&self.keys[index], || read.now);
        context.follow_read(followed, result.followed());
        Some(result)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::{
            Outcome, Tier,
            testing::{SECOND, TestCache, config, entry, key, key_in, new_entry},
        },
        config::{NamespaceConfig, NearCacheConfig},
        model::{Entry, NewEntry},
        stats::counters::{Counter, LatencyKind},
        store::ErrorKind,
    };

    fn batch(test: &TestCache, keys: impl IntoIterator<Item = EntryKey>) -> BatchGet {
        let keys = keys.into_iter().collect();
        BatchGet::new(test.cache.clone(), keys, None, Consistency::Near).unwrap()
    }

    fn numbered(count: usize) -> impl Iterator<Item = EntryKey> {
        (0..count).map(|number| key(&number.to_string()))
    }

    /// The sizes of all chunks, and their answers.
    async fn run(mut batch: BatchGet) -> (Vec<usize>, Vec<GetResult>) {
        let (mut sizes, mut reads) = (Vec::new(), Vec::new());
        while let Some(chunk) = batch.next_chunk().await {
            sizes.push(chunk.len());
            reads.extend(chunk);
        }
        (sizes, reads)
    }

    fn values(reads: &[GetResult]) -> Vec<Option<&[u8]>> {
        reads.iter().map(|read| read.found.as_ref().map(|found| &*found.entry.data)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_in_the_order_of_the_keys() {
        let near_cache = Some(NearCacheConfig::default());
        let test = TestCache::of_callers(NamespaceConfig { near_cache, ..config() });
        test.put("a", &new_entry("1", 60 * SECOND)).await;
        test.put("c", &new_entry("3", 60 * SECOND)).await;
        let fresh_until = test.memory.now().after(60 * SECOND);
        test.store.remember(key("b"), Entry { fresh_until, ..entry("near", SECOND) });
        let (sizes, reads) = run(batch(&test, ["c", "missing", "b", "a"].map(key))).await;
        assert_eq!(values(&reads), [Some(&b"3"[..]), None, Some(b"near"), Some(b"1")]);
        assert_eq!((sizes, test.store.take_reads()), (vec![4], vec![3]));
        assert_eq!(reads[2].found.as_ref().unwrap().tier, Tier::Near);
        assert!(reads.iter().all(|read| !read.degraded));
        let counted = [(Counter::Hits, 3), (Counter::Misses, 1), (Counter::NearHits, 1)];
        assert_eq!(test.all_counted(), counted);
    }

    #[tokio::test(start_paused = true)]
    async fn values_of_each_chunk_are_extended() {
        let test = TestCache::of_callers(config());
        for number in 0..40 {
            test.put(&number.to_string(), &new_entry("v", 10 * SECOND)).await;
        }
        let mut batch = batch(&test, numbered(40));
        while let Some(mut chunk) = batch.next_chunk().await {
            batch.slide(&mut chunk, 60 * SECOND).await;
            let remaining = |read: &GetResult| read.found.as_ref().map(|found| found.ttl_remaining);
            assert!(chunk.iter().all(|read| remaining(read) == Some(60 * SECOND)));
        }
        tokio::time::sleep(59 * SECOND).await;
        let (_, reads) = run(self::batch(&test, numbered(40))).await;
        assert!(reads.iter().all(|read| read.found.is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn near_copies_are_read_without_the_store() {
        let near_cache = Some(NearCacheConfig::default());
        let test = TestCache::of_callers(NamespaceConfig { near_cache, ..config() });
        let fresh_until = test.memory.now().after(60 * SECOND);
        for key in numbered(40) {
            test.store.remember(key, Entry { fresh_until, ..entry("near", SECOND) });
        }
        let (sizes, reads) = run(batch(&test, numbered(40))).await;
        assert_eq!((sizes, reads.len()), (vec![32, 8], 40));
        assert!(test.store.take_reads().is_empty());
        assert_eq!(test.counted(Counter::Hits), 40);
        let strict =
            BatchGet::new(test.cache.clone(), numbered(40).collect(), None, Consistency::Store);
        let (_, reads) = run(strict.unwrap()).await;
        assert!(values(&reads).iter().all(Option::is_none));
        assert_eq!(test.store.take_reads(), [32, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_grow_while_values_are_small() {
        let test = TestCache::of_callers(config());
        let (sizes, reads) = run(batch(&test, numbered(300))).await;
        assert_eq!((sizes, reads.len()), (vec![32, 128, 128, 12], 300));
        assert_eq!(test.store.take_reads(), [32, 128, 128, 12]);
        assert!(run(batch(&test, [])).await.0.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_of_large_values_have_about_2_mib() {
        let test = TestCache::of_callers(config());
        let large = NewEntry { data: vec![b'x'; 128 << 10].into(), ..new_entry("", 60 * SECOND) };
        for key in numbered(60) {
            test.put(key.key(), &large).await;
        }
        let (sizes, reads) = run(batch(&test, numbered(60))).await;
        assert_eq!(sizes, [32, 16, 12]);
        assert!(values(&reads).iter().all(Option::is_some));
    }

    #[tokio::test(start_paused = true)]
    async fn the_answers_count_in_the_namespace_of_their_key() {
        let test = TestCache::new([("ns", config(), None), ("other", config(), None)], 8);
        run(batch(&test, [key("a"), key_in("other", "b"), key("c"), key("d")])).await;
        assert_eq!(test.all_counted(), [(Counter::Misses, 3)]);
        let keys = vec![key("a"), key_in("unknown", "b")];
        let unknown = BatchGet::new(test.cache.clone(), keys, None, Consistency::Near);
        assert!(matches!(unknown.err(), Some(Error::UnknownNamespace(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_read_makes_a_chunk_of_degraded_misses() {
        let test = TestCache::of_callers(config());
        test.put("0", &new_entry("v", 60 * SECOND)).await;
        test.store.fail(ErrorKind::Timeout);
        let (_, reads) = run(batch(&test, numbered(3))).await;
        assert_eq!(values(&reads), [None; 3]);
        assert!(reads.iter().all(|read| read.degraded));
        assert_eq!(test.all_counted(), [(Counter::Misses, 3), (Counter::Degraded, 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_can_limit_the_staleness() {
        let test = TestCache::of_callers(config());
        let mut stale = new_entry("v", SECOND);
        stale.lifetime.stale_while_revalidate = 60 * SECOND;
        test.put("k", &stale).await;
        tokio::time::sleep(3 * SECOND).await;
        for (max_stale, outcome) in [(None, Some(Outcome::Stale)), (Some(SECOND), None)] {
            let keys = vec![key("k")];
            let batch = BatchGet::new(test.cache.clone(), keys, max_stale, Consistency::Near);
            let (_, reads) = run(batch.unwrap()).await;
            assert_eq!(reads[0].found.as_ref().map(|found| found.outcome), outcome);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_is_timed_with_its_chunk() {
        let test = TestCache::of_callers(config());
        test.put("hit", &new_entry("v", 60 * SECOND)).await;
        test.store.delay(3 * SECOND);
        run(batch(&test, ["hit", "missing"].map(key))).await;
        for kind in [LatencyKind::Hit, LatencyKind::Miss] {
            assert!(test.counters().latency(kind, 0.5).unwrap() > 2 * SECOND, "{kind:?}");
        }
    }
}
