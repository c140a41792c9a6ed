//! The budget under random operations.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::model::{MAX_TAG_BYTES, MAX_TAGS};

const MAX_BYTES: u64 = 150_000;

#[derive(Debug, Clone)]
enum Step {
    Put { key: u8, size: usize, ttl_ms: u64 },
    PutIfAbsent { key: u8, size: usize },
    Delete { key: u8, hold_off_ms: u64 },
    Increment { key: u8 },
    Touch { key: u8, ttl_ms: u64 },
    Acquire { key: u8 },
    Leased { key: u8, step: LeasedStep },
    Invalidate { namespace: u8 },
    Wait { ms: u64 },
}

/// A step under the lease of a key.
#[derive(Debug, Clone)]
enum LeasedStep {
    Extend { ttl_ms: u64 },
    Fill { size: usize },
    Revalidate { tags: usize, ttl_ms: u64 },
    Abandon,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..12u8;
    let hold_off_ms = prop_oneof![Just(0), 1..3_000u64];
    prop_oneof![
        4 => (key(), size(), ttl_ms())
            .prop_map(|(key, size, ttl_ms)| Step::Put { key, size, ttl_ms }),
        1 => (key(), size()).prop_map(|(key, size)| Step::PutIfAbsent { key, size }),
        1 => (key(), hold_off_ms)
            .prop_map(|(key, hold_off_ms)| Step::Delete { key, hold_off_ms }),
        1 => key().prop_map(|key| Step::Increment { key }),
        1 => (key(), ttl_ms()).prop_map(|(key, ttl_ms)| Step::Touch { key, ttl_ms }),
        2 => key().prop_map(|key| Step::Acquire { key }),
        6 => (key(), leased_step()).prop_map(|(key, step)| Step::Leased { key, step }),
        1 => (0..3u8).prop_map(|namespace| Step::Invalidate { namespace }),
        1 => (1..2_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn leased_step() -> impl Strategy<Value = LeasedStep> {
    prop_oneof![
        1 => ttl_ms().prop_map(|ttl_ms| LeasedStep::Extend { ttl_ms }),
        2 => (0..MAX_TAGS, ttl_ms())
            .prop_map(|(tags, ttl_ms)| LeasedStep::Revalidate { tags, ttl_ms }),
        2 => size().prop_map(|size| LeasedStep::Fill { size }),
        1 => Just(LeasedStep::Abandon),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![0..200usize, 10_000..60_000usize]
}

fn ttl_ms() -> impl Strategy<Value = u64> {
    prop_oneof![1..50u64, 5_000..100_000u64]
}

fn key_of(number: u8) -> EntryKey {
    key_in(&format!("n{}", number % 3), &format!("k{number}"))
}

/// A store and the lease tokens that it has granted.
struct Run {
    store: MemoryStore,
    tokens: HashMap<u8, LeaseToken>,
}

impl Run {
    /// Applies a step. A failure is fine, as long as the budget stays exact.
    async fn apply(&mut self, step: Step) {
        let store = &self.store;
        match step {
            Step::Put { key, size, ttl_ms } => {
                let new = new_entry(size, Duration::from_millis(ttl_ms));
                let _ = store.put(&key_of(key), &new, Condition::Always).await;
            }
            Step::PutIfAbsent { key, size } => {
                let new = new_entry(size, MINUTE);
                let _ = store.put(&key_of(key), &new, Condition::IfAbsent).await;
            }
            Step::Delete { key, hold_off_ms } => {
                let _ = store.delete(&key_of(key), Duration::from_millis(hold_off_ms)).await;
            }
            Step::Increment { key } => {
                let (lifetime, version) = (lifetime(MINUTE), Version::random());
                let increment = Increment { delta: 1, initial: Some(0), lifetime, version };
                let _ = store.increment(&key_of(key), &increment).await;
            }
            Step::Touch { key, ttl_ms } => {
                let lifetime = lifetime(Duration::from_millis(ttl_ms));
                let _ = store.touch(&key_of(key), lifetime).await;
            }
            Step::Invalidate { namespace: number } => {
                store.invalidate(&namespace(&format!("n{number}"))).await.unwrap();
            }
            Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Step::Acquire { key } => {
                let token = LeaseToken::random();
                let outcome = store.acquire(&key_of(key), &forced_request(token)).await;
                if let Ok(AcquireOutcome::Granted { .. }) = outcome {
                    self.tokens.insert(key, token);
                }
            }
            Step::Leased { key, step } => {
                if let Some(&token) = self.tokens.get(&key) {
                    self.apply_leased(&key_of(key), token, step).await;
                }
            }
        }
    }

    async fn apply_leased(&self, key: &EntryKey, token: LeaseToken, step: LeasedStep) {
        let store = &self.store;
        match step {
            LeasedStep::Extend { ttl_ms } => {
                let _ = store.extend(key, token, Duration::from_millis(ttl_ms)).await;
            }
            LeasedStep::Fill { size } => {
                let _ = store.fill(key, token, &new_entry(size, MINUTE)).await;
            }
            LeasedStep::Revalidate { tags, ttl_ms } => {
                if let Some(entry) = store.get(key).await.unwrap() {
                    let tag = "t".repeat(MAX_TAG_BYTES);
                    let (ttl, tags) = (Duration::from_millis(ttl_ms), vec![&*tag; tags]);
                    let revalidation = revalidation(entry.version, ttl, &tags);
                    let _ = store.revalidate(key, token, &revalidation).await;
                }
            }
            LeasedStep::Abandon => {
                let _ = store.abandon(key, token, 5 * MILLISECOND, "cause").await;
            }
        }
    }

    /// Memory of all entries, leases and namespaces, summed up again.
    fn recount(&self) -> u64 {
        let shards = self.store.0.shards.iter().map(|shard| shard.lock().recount());
        shards.sum::<u64>() + self.store.0.generations.recount()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn used_bytes_are_exact_and_within_the_limit(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut run = Run { store: MemoryStore::new(MAX_BYTES), tokens: HashMap::new() };
            for step in steps {
                run.apply(step).await;
                let used = run.store.snapshot().used_bytes;
                prop_assert_eq!(used, run.recount());
                prop_assert!(used <= MAX_BYTES);
            }
            advance(200 * SECOND).await;
            sweep().await;
            prop_assert_eq!(run.store.snapshot().used_bytes, 0);
            Ok(())
        })?;
    }
}
