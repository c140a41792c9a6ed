//! Writers that number the values of their keys, and delete them, and readers that check through
//! another replica that no value is older than what was acknowledged before the read began.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::SetResult;
use tokio::task::JoinHandle;

use crate::support::{
    client::{Cache, as_text, batch_get, delete, get, key_ref, set, text},
    wait::{SOON, eventually},
};

/// No read may miss anything.
pub(super) const STRICT: Duration = Duration::ZERO;
/// Pause of a writer and of a reader between two calls.
const PAUSE: Duration = Duration::from_millis(5);

struct Key {
    name: String,
    /// The lowest number that a read may return, and since when: what was acknowledged last, or
    /// the number after what was deleted.
    floors: Mutex<Vec<(Instant, u64)>>,
    /// Time for which a read may miss what was acknowledged.
    max_staleness: Duration,
}

impl Key {
    fn acknowledged(&self, floor: u64) {
        self.floors.lock().unwrap().push((Instant::now(), floor));
    }

    /// The lowest number that a read may return that begins now.
    fn floor(&self) -> u64 {
        let now = Instant::now();
        let floors = self.floors.lock().unwrap();
        let is_due = |(since, _): &&(Instant, u64)| *since + self.max_staleness <= now;
        floors.iter().rev().find(is_due).map_or(0, |(_, floor)| *floor)
    }
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    deleted: AtomicU64,
    refused: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    degraded: AtomicU64,
}

/// The load, and what it has found.
pub(super) struct Model {
    keys: Vec<Arc<Key>>,
    counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
    writes: Arc<AtomicBool>,
    writing: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Model {
    /// Begins to write `keys` through one replica, and to read them through the other.
    /// A read may miss what was acknowledged within `max_staleness` before it.
    pub(super) fn start(
        writer: &Cache,
        reader: &Cache,
        keys: usize,
        max_staleness: Duration,
    ) -> Self {
        let keys = (0..keys).map(|number| {
            let name = format!("key-{number}");
            Arc::new(Key { name, floors: Mutex::default(), max_staleness })
        });
        let mut model = Self {
            keys: keys.collect(),
            counts: Arc::default(),
            is_over: Arc::default(),
            writes: Arc::new(AtomicBool::new(true)),
            writing: Arc::default(),
            tasks: Vec::new(),
        };
        for key in &model.keys {
            let write = write(
                (writer.clone(), key.clone(), model.counts.clone()),
                (model.is_over.clone(), model.writes.clone(), model.writing.clone()),
            );
            let read =
                read(reader.clone(), key.clone(), model.counts.clone(), model.is_over.clone());
            model.tasks.push(tokio::spawn(write));
            model.tasks.push(tokio::spawn(read));
        }
        let batches = read_batches(reader.clone(), model.keys.clone(), model.is_over.clone());
        model.tasks.push(tokio::spawn(batches));
        model
    }

    /// Waits until all keys were stored this many times more, on average.
    pub(super) async fn await_progress(&self, times: u64) {
        let goal = self.counts.stored.load(SeqCst) + times * self.keys.len() as u64;
        let hits = self.counts.hits.load(SeqCst) + times;
        eventually("writes and reads go on", 3 * SOON, async || {
            let stored = self.counts.stored.load(SeqCst);
            (stored >= goal && self.counts.hits.load(SeqCst) >= hits).then_some(())
        })
        .await;
    }

    /// Waits until no write is under way, and holds further ones back.
    pub(super) async fn hold_writes(&self) {
        self.writes.store(false, SeqCst);
        eventually("no write is under way", SOON, async || {
            (self.writing.load(SeqCst) == 0).then_some(())
        })
        .await;
    }

    /// Lets writes go on.
    pub(super) fn release_writes(&self) {
        self.writes.store(true, SeqCst);
    }

    /// Ends the load. Panics if a read was wrong.
    pub(super) async fn finish(self, what: &str) {
        self.is_over.store(true, SeqCst);
        let mut wrong = Vec::new();
        for task in self.tasks {
            wrong.extend(task.await.unwrap());
        }
        let Counts { stored, deleted, refused, hits, misses, degraded } = &*self.counts;
        eprintln!(
            "{what}: {stored:?} stored, {deleted:?} deleted, {refused:?} writes refused, \
             {hits:?} hits, {misses:?} misses, {degraded:?} degraded reads"
        );
        assert!(wrong.is_empty(), "{what}: {} wrong answers: {:?}", wrong.len(), &wrong[..1]);
    }
}

async fn write(
    (cache, key, counts): (Cache, Arc<Key>, Arc<Counts>),
    (is_over, writes, writing): (Arc<AtomicBool>, Arc<AtomicBool>, Arc<AtomicU64>),
) -> Vec<String> {
    let (mut number, mut wrong) = (0, Vec::new());
    while !is_over.load(SeqCst) {
        tokio::time::sleep(PAUSE).await;
        writing.fetch_add(1, SeqCst);
        if !writes.load(SeqCst) {
            writing.fetch_sub(1, SeqCst);
            continue;
        }
        number += 1;
        match cache.set(set(&key.name, text(&number.to_string()))).await {
            Ok(answer) if answer.result() == SetResult::Stored => {
                key.acknowledged(number);
                counts.stored.fetch_add(1, SeqCst);
            }
            Ok(_) => {
                counts.refused.fetch_add(1, SeqCst);
            }
            Err(error) => wrong.push(format!("Set: {error}")),
        }
        if number % 3 == 0 {
            match cache.delete(delete(&key.name)).await {
                Ok(_) => {
                    key.acknowledged(number + 1);
                    counts.deleted.fetch_add(1, SeqCst);
                }
                Err(error) if error.code() == tonic::Code::Unavailable => {
                    counts.refused.fetch_add(1, SeqCst);
                }
                Err(error) => wrong.push(format!("Delete: {error}")),
            }
        }
        writing.fetch_sub(1, SeqCst);
    }
    wrong
}

async fn read(
    cache: Cache,
    key: Arc<Key>,
    counts: Arc<Counts>,
    is_over: Arc<AtomicBool>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    while !is_over.load(SeqCst) {
        tokio::time::sleep(PAUSE).await;
        let floor = key.floor();
        match cache.get(get(&key.name)).await {
            Ok(answer) => {
                let counter = match (&answer.value, answer.degraded) {
                    (_, true) => &counts.degraded,
                    (None, false) => &counts.misses,
                    (Some(_), false) => &counts.hits,
                };
                counter.fetch_add(1, SeqCst);
                wrong.extend(problem(&key.name, as_text(answer.value), floor));
            }
            Err(error) => wrong.push(format!("Get: {error}")),
        }
    }
    wrong
}

async fn read_batches(cache: Cache, keys: Vec<Arc<Key>>, is_over: Arc<AtomicBool>) -> Vec<String> {
    let mut wrong = Vec::new();
    while !is_over.load(SeqCst) {
        tokio::time::sleep(10 * PAUSE).await;
        let floors: Vec<u64> = keys.iter().map(|key| key.floor()).collect();
        let request = batch_get(keys.iter().map(|key| key_ref(&key.name)).collect());
        let chunks = match cache.batch_get(request).await {
            Ok(chunks) => chunks,
            Err(error) => {
                wrong.push(format!("BatchGet: {error}"));
                continue;
            }
        };
        let results: Vec<_> = chunks.into_iter().flat_map(|chunk| chunk.results).collect();
        assert_eq!(results.len(), keys.len());
        for ((key, floor), result) in keys.iter().zip(floors).zip(results) {
            wrong.extend(problem(&key.name, as_text(result.value), floor));
        }
    }
    wrong
}

fn problem(key: &str, value: Option<String>, floor: u64) -> Option<String> {
    let number: u64 = value?.parse().unwrap();
    (number < floor).then(|| format!("{key} is {number}, and at least {floor} was acknowledged"))
}
