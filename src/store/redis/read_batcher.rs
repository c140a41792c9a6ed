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
use redis::{Cmd, Value};
use tokio::sync::{mpsc, oneshot};

use super::{
    codec,
    key_schema::EntryKeys,
    pool::{RedisPool, Retry},
    unexpected,
};
use crate::{
    model::Entry,
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
pub(super) struct ReadBatcher {
    pool: RedisPool,
    alone: Arc<AtomicUsize>,
    /// Bounded by the requests that are admitted.
    others: mpsc::UnboundedSender<PendingRead>,
}

struct PendingRead {
    names: EntryKeys,
    answer: oneshot::Sender<Result<Option<Entry>>>,
}

/// How many go together, by how large their answers were lately.
struct BatchSizer {
    entry_bytes: AtomicUsize,
}

/// Counts a read that goes by itself, until it is dropped.
struct DirectPermit<'a>(&'a AtomicUsize);

// === impl Reads ===

impl ReadBatcher {
    /// Must be called in a Tokio runtime.
    pub(super) fn new(pool: RedisPool) -> Self {
        let (others, asked) = mpsc::unbounded_channel();
        tokio::spawn(collect(pool.clone(), asked));
        Self { pool, alone: Arc::default(), others }
    }

    /// The entry of these names, if there is one under the current generation.
    pub(super) async fn read(&self, names: EntryKeys) -> Result<Option<Entry>> {
        if let Some(_alone) = DirectPermit::among(&self.alone) {
            // In a box, so that those who go together need no room for it.
            let mut entries = Box::pin(read_all(&self.pool, &mget([names]))).await?;
            return entries.pop().ok_or_else(|| unexpected("MGET"));
        }
        let (answer, entry) = oneshot::channel();
        self.others.send(PendingRead { names, answer }).map_err(|_| ErrorKind::Unreachable)?;
        entry.await.unwrap_or_else(|_| Err(ErrorKind::Unreachable.into()))
    }
}

/// Sends what is asked for, until nobody can ask any more.
async fn collect(pool: RedisPool, mut asked: mpsc::UnboundedReceiver<PendingRead>) {
    let portion = BatchSizer { entry_bytes: AtomicUsize::new(FIRST_GUESS) };
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

async fn answer_all(pool: &RedisPool, portion: &BatchSizer, reads: Vec<PendingRead>) {
    let mut answers = Vec::with_capacity(reads.len());
    let wanted = reads.into_iter().filter(|read| !read.answer.is_closed());
    let mget = mget(wanted.map(|PendingRead { names, answer }| {
        answers.push(answer);
        names
    }));
    if answers.is_empty() {
        return;
    }
    match read_all(pool, &mget).await {
        Ok(entries) => {
            portion.saw(&entries);
            for (answer, entry) in answers.into_iter().zip(entries) {
                // Who does not take it has left.
                let _ = answer.send(Ok(entry));
            }
        }
        Err(error) => {
            if error.kind == ErrorKind::Timeout {
                portion.saw_nothing_in_time();
            }
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

/// The command that reads the entries of these names.
pub(super) fn mget(names: impl IntoIterator<Item = EntryKeys>) -> Cmd {
    let mut mget = redis::cmd("MGET");
    for names in names {
        mget.arg(names.marker).arg(names.entry);
    }
    mget
}

/// What an [`mget`] reads, in the order of its names.
pub(super) async fn read_all(pool: &RedisPool, mget: &Cmd) -> Result<Vec<Option<Entry>>> {
    let Value::Array(values) = pool.query(mget, Retry::Harmless).await? else {
        return Err(unexpected("MGET"));
    };
    let mut entries = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(generation), Some(entry)) = (values.next(), values.next()) {
        entries.push(match (generation, entry) {
            (Value::BulkString(generation), Value::BulkString(stored)) => {
                codec::decode(Bytes::from(stored), &generation)
            }
            _ => None,
        });
    }
    // The name of the command, and two of each entry.
    if entries.len() * 2 + 1 == mget.args_iter().len() {
        Ok(entries)
    } else {
        Err(unexpected("MGET"))
    }
}

// === impl Portion ===

impl BatchSizer {
    fn reads(&self) -> usize {
        (BYTES_TOGETHER / self.entry_bytes.load(Relaxed).max(1)).clamp(1, TOGETHER)
    }

    /// Takes note at once of larger entries, and slowly of smaller ones.
    fn saw(&self, entries: &[Option<Entry>]) {
        let bytes: usize = entries.iter().flatten().map(|entry| entry.data.len()).sum();
        self.saw_bytes(bytes / entries.len().max(1));
    }

    fn saw_bytes(&self, each: usize) {
        let before = self.entry_bytes.load(Relaxed);
        self.entry_bytes.store(each.max((before * 7 + each) / 8), Relaxed);
    }

    /// It may have been too much at once, of which nobody would ever see how large it is.
    fn saw_nothing_in_time(&self) {
        let before = self.entry_bytes.load(Relaxed).max(BYTES_TOGETHER / TOGETHER);
        self.entry_bytes.store((before * 2).min(BYTES_TOGETHER), Relaxed);
    }
}

// === impl Alone ===

impl<'a> DirectPermit<'a> {
    /// None if there are enough.
    fn among(all: &'a AtomicUsize) -> Option<Self> {
        // Not written to by the many, so that cores need not hand it around.
        if all.load(Relaxed) >= ALONE {
            return None;
        }
        let before = all.fetch_add(1, Relaxed);
        let one = Self(all);
        (before < ALONE).then_some(one)
    }
}

impl Drop for DirectPermit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1024 * 1024;

    fn portion() -> BatchSizer {
        BatchSizer { entry_bytes: AtomicUsize::new(FIRST_GUESS) }
    }

    /// How often `happens` until so many reads go together.
    fn times_until(portion: &BatchSizer, reads: usize, happens: impl Fn(&BatchSizer)) -> usize {
        let times =
            (0..100).take_while(|_| portion.reads() != reads).inspect(|_| happens(portion)).count();
        assert_eq!(portion.reads(), reads);
        times
    }

    #[test]
    fn small_ones_go_together_and_large_ones_alone() {
        let portion = portion();
        assert!((1..TOGETHER).contains(&portion.reads()));
        assert!(times_until(&portion, TOGETHER, |portion| portion.saw_bytes(100)) > 1);
        assert_eq!(times_until(&portion, 1, |portion| portion.saw_bytes(LARGE)), 1);
        assert!(times_until(&portion, TOGETHER, |portion| portion.saw_bytes(0)) > 1);
    }

    #[test]
    fn those_that_are_too_large_to_be_read_together_in_time_are_read_alone_soon() {
        let portion = portion();
        times_until(&portion, TOGETHER, |portion| portion.saw_bytes(100));
        assert_eq!(times_until(&portion, 1, BatchSizer::saw_nothing_in_time), 5);
        // And again together when the server is well.
        assert!(times_until(&portion, TOGETHER, |portion| portion.saw_bytes(100)) > 1);
    }

    #[test]
    fn two_go_by_themselves_at_a_time() {
        let all = AtomicUsize::new(0);
        let (one, two) = (DirectPermit::among(&all), DirectPermit::among(&all));
        assert!(one.is_some() && two.is_some() && DirectPermit::among(&all).is_none());
        drop(one);
        assert!(DirectPermit::among(&all).is_some());
        drop(two);
        assert_eq!(all.load(Relaxed), 0);
    }
}
