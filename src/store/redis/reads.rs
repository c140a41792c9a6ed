//! Reads that are asked for at the same time go to the server as one command.
//!
//! Most of what a read costs on its way there and back does not depend on how many keys it names. Who reads alone asks by himself, as any
//! detour would only make him later; but while others are under way, reads are collected, and those that have come together go together.
//! Nobody waits for others to come.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::Value;
use tokio::sync::{mpsc, oneshot};

use super::{
    codec,
    layout::Names,
    pool::{RedisPool, Repeat},
    unexpected,
};
use crate::{
    entry::Entry,
    store::{ErrorKind, Result},
};

/// Reads that go by themselves at a time.
const ALONE: usize = 2;
/// Reads that go together, at most.
const TOGETHER: usize = 32;
/// Bytes that their answers should have together, at most: the first of them is only there when the last one is.
const BYTES_TOGETHER: usize = 256 * 1024;
/// Bytes that an entry is taken to have as long as none has been seen.
const FIRST_GUESS: usize = 16 * 1024;

/// Reads entries of any names. Clones share what is under way.
#[derive(Clone)]
pub(super) struct Reads {
    pool: RedisPool,
    alone: Arc<AtomicUsize>,
    /// Bounded by the requests that are admitted.
    others: mpsc::UnboundedSender<Read>,
}

struct Read {
    names: Names,
    answer: oneshot::Sender<Result<Option<Entry>>>,
}

/// How many go together, by how large their answers were lately.
struct Portion {
    entry_bytes: AtomicUsize,
}

/// Counts a read that goes by itself, until it is dropped.
struct Alone<'a>(&'a AtomicUsize);

// === impl Reads ===

impl Reads {
    /// Must be called in a Tokio runtime.
    pub(super) fn new(pool: RedisPool) -> Self {
        let (others, asked) = mpsc::unbounded_channel();
        tokio::spawn(collect(pool.clone(), asked));
        Self { pool, alone: Arc::default(), others }
    }

    /// The entry of these names, if there is one under the current generation.
    pub(super) async fn read(&self, names: Names) -> Result<Option<Entry>> {
        if let Some(_alone) = Alone::among(&self.alone) {
            // In a box, so that those who go together need no room for it.
            let mut entries = Box::pin(read_all(&self.pool, std::slice::from_ref(&names))).await?;
            return entries.pop().ok_or_else(|| unexpected("MGET"));
        }
        let (answer, entry) = oneshot::channel();
        self.others.send(Read { names, answer }).map_err(|_| ErrorKind::Unreachable)?;
        entry.await.unwrap_or_else(|_| Err(ErrorKind::Unreachable.into()))
    }
}

/// Sends what is asked for, until nobody can ask any more.
async fn collect(pool: RedisPool, mut asked: mpsc::UnboundedReceiver<Read>) {
    let portion = Portion { entry_bytes: AtomicUsize::new(FIRST_GUESS) };
    let mut under_way = FuturesUnordered::new();
    loop {
        let mut come = Vec::new();
        tokio::select! {
            count = asked.recv_many(&mut come, portion.reads()) => {
                if count == 0 {
                    return;
                }
                under_way.push(answer_all(&pool, &portion, come));
            }
            Some(()) = under_way.next(), if !under_way.is_empty() => {}
        }
    }
}

async fn answer_all(pool: &RedisPool, portion: &Portion, reads: Vec<Read>) {
    let wanted = reads.into_iter().filter(|read| !read.answer.is_closed());
    let (names, answers): (Vec<_>, Vec<_>) = wanted.map(|read| (read.names, read.answer)).unzip();
    if names.is_empty() {
        return;
    }
    match read_all(pool, &names).await {
        Ok(entries) => {
            portion.saw(&entries);
            for (answer, entry) in answers.into_iter().zip(entries) {
                // Who does not take it has left.
                let _ = answer.send(Ok(entry));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

/// The entries of these names, in their order, in one round trip.
pub(super) async fn read_all(pool: &RedisPool, names: &[Names]) -> Result<Vec<Option<Entry>>> {
    let mut mget = redis::cmd("MGET");
    for names in names {
        mget.arg(&names.marker).arg(&names.entry);
    }
    let Value::Array(values) = pool.query(&mget, Repeat::Harmless).await? else {
        return Err(unexpected("MGET"));
    };
    let mut values = values.into_iter();
    let mut entries = Vec::with_capacity(names.len());
    while let (Some(generation), Some(entry)) = (values.next(), values.next()) {
        entries.push(match (generation, entry) {
            (Value::BulkString(generation), Value::BulkString(stored)) => {
                codec::decode(Bytes::from(stored), &generation)
            }
            _ => None,
        });
    }
    if entries.len() == names.len() { Ok(entries) } else { Err(unexpected("MGET")) }
}

// === impl Portion ===

impl Portion {
    fn reads(&self) -> usize {
        (BYTES_TOGETHER / self.entry_bytes.load(Relaxed).max(1)).clamp(1, TOGETHER)
    }

    /// Takes note at once of larger entries, and slowly of smaller ones.
    fn saw(&self, entries: &[Option<Entry>]) {
        let bytes: usize = entries.iter().flatten().map(|entry| entry.data.len()).sum();
        let now = bytes / entries.len().max(1);
        let before = self.entry_bytes.load(Relaxed);
        self.entry_bytes.store(now.max((before * 7 + now) / 8), Relaxed);
    }
}

// === impl Alone ===

impl<'a> Alone<'a> {
    /// None if there are enough.
    fn among(all: &'a AtomicUsize) -> Option<Self> {
        let one = Self(all);
        // Counted before it is looked at, as it is given back when dropped.
        (all.fetch_add(1, Relaxed) < ALONE).then_some(one)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
