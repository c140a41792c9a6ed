//! Concurrent reads are sent to the server as one command.
//!
//! Most of the cost of a read does not depend on the number of its keys. A lone read is sent
//! directly, because any detour would only delay it. While direct reads are in flight, further
//! reads are queued, and those that are queued together are sent together. No read waits for others
//! to arrive.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{Arg, Cmd, Value};
use tokio::sync::{mpsc, oneshot};

use super::{
    codec,
    corrupt_entries::CorruptEntries,
    key_schema::EntryKeys,
    pool::{RedisPool, Retry},
    unexpected,
};
use crate::{
    count_guard::CountGuard,
    model::Entry,
    store::{ErrorKind, Result},
};

/// Direct reads in flight at a time.
const MAX_DIRECT_READS: usize = 2;
/// Reads in one batch.
const MAX_BATCH_READS: usize = 32;
/// Target size of the answer to a batch, in bytes: its first entry is only available with the last.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Assumed size of an entry before any was read, in bytes.
const INITIAL_ENTRY_BYTES: usize = 16 * 1024;

/// Reads entries by the names of their keys. Clones share the batches.
#[derive(Clone)]
pub(super) struct ReadBatcher {
    pool: RedisPool,
    corrupt: CorruptEntries,
    direct_reads: Arc<AtomicUsize>,
    /// Bounded by the limit on concurrent requests.
    queue: mpsc::UnboundedSender<PendingRead>,
}

struct PendingRead {
    keys: EntryKeys,
    reply: oneshot::Sender<Result<Option<Entry>>>,
}

/// Chooses the number of reads in a batch by the recent size of entries.
struct BatchSizer {
    entry_bytes: AtomicUsize,
}

// === impl ReadBatcher ===

impl ReadBatcher {
    /// Must be called in a Tokio runtime.
    pub(super) fn new(pool: RedisPool, corrupt: CorruptEntries) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        tokio::spawn(send_batches(pool.clone(), corrupt.clone(), queued));
        Self { pool, corrupt, direct_reads: Arc::default(), queue }
    }

    /// Reads the entry under these keys, if it belongs to the current generation.
    pub(super) async fn read(&self, keys: EntryKeys) -> Result<Option<Entry>> {
        if let Some(_direct) = CountGuard::try_new(&self.direct_reads, MAX_DIRECT_READS) {
            // Boxed, so that queued reads do not carry the state of a direct one.
            let mut entries = Box::pin(read_all(&self.pool, &self.corrupt, &mget([keys]))).await?;
            return entries.pop().ok_or_else(|| unexpected("MGET"));
        }
        let (reply, entry) = oneshot::channel();
        self.queue.send(PendingRead { keys, reply }).map_err(|_| ErrorKind::Unreachable)?;
        entry.await.unwrap_or_else(|_| Err(ErrorKind::Unreachable.into()))
    }
}

/// Sends queued reads in batches, until all senders are dropped.
async fn send_batches(
    pool: RedisPool,
    corrupt: CorruptEntries,
    mut queued: mpsc::UnboundedReceiver<PendingRead>,
) {
    let sizer = BatchSizer { entry_bytes: AtomicUsize::new(INITIAL_ENTRY_BYTES) };
    let mut in_flight = FuturesUnordered::new();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = queued.recv_many(&mut batch, sizer.batch_reads()) => {
                if count == 0 {
                    return;
                }
                in_flight.push(read_batch(&pool, &corrupt, &sizer, batch));
            }
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
        }
    }
}

async fn read_batch(
    pool: &RedisPool,
    corrupt: &CorruptEntries,
    sizer: &BatchSizer,
    batch: Vec<PendingRead>,
) {
    let mut replies = Vec::with_capacity(batch.len());
    let wanted = batch.into_iter().filter(|read| !read.reply.is_closed());
    let mget = mget(wanted.map(|PendingRead { keys, reply }| {
        replies.push(reply);
        keys
    }));
    if replies.is_empty() {
        return;
    }
    match read_all(pool, corrupt, &mget).await {
        Ok(entries) => {
            sizer.record(&entries);
            for (reply, entry) in replies.into_iter().zip(entries) {
                // An error means that the caller is gone.
                let _ = reply.send(Ok(entry));
            }
        }
        Err(error) => {
            if error.kind == ErrorKind::Timeout {
                sizer.record_timeout();
            }
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// Builds the command that reads the entries under these keys.
pub(super) fn mget(keys: impl IntoIterator<Item = EntryKeys>) -> Cmd {
    let mut mget = redis::cmd("MGET");
    for EntryKeys { marker, entry } in keys {
        mget.arg(marker).arg(entry);
    }
    mget
}

/// Sends an [`mget`], and returns the entries in the order of its keys.
pub(super) async fn read_all(
    pool: &RedisPool,
    corrupt: &CorruptEntries,
    mget: &Cmd,
) -> Result<Vec<Option<Entry>>> {
    let Value::Array(values) = pool.query(mget, Retry::Idempotent).await? else {
        return Err(unexpected("MGET"));
    };
    let mut entries = Vec::with_capacity(values.len() / 2);
    let mut values = values.into_iter();
    while let (Some(generation), Some(entry)) = (values.next(), values.next()) {
        entries.push(match (generation, entry) {
            (Value::BulkString(generation), Value::BulkString(stored)) => {
                codec::decode(Bytes::from(stored), &generation).unwrap_or_else(|entry| {
                    // The arguments are the name of the command, and two keys per entry.
                    if let Some(Arg::Simple(name)) = mget.args_iter().nth(entries.len() * 2 + 2) {
                        corrupt.found(name, entry);
                    }
                    None
                })
            }
            _ => None,
        });
    }
    // The arguments are the name of the command, and two keys per entry.
    if entries.len() * 2 + 1 == mget.args_iter().len() {
        Ok(entries)
    } else {
        Err(unexpected("MGET"))
    }
}

// === impl BatchSizer ===

impl BatchSizer {
    fn batch_reads(&self) -> usize {
        (MAX_BATCH_BYTES / self.entry_bytes.load(Relaxed).max(1)).clamp(1, MAX_BATCH_READS)
    }

    fn record(&self, entries: &[Option<Entry>]) {
        let bytes: usize = entries.iter().flatten().map(|entry| entry.data.len()).sum();
        self.record_entry_bytes(bytes / entries.len().max(1));
    }

    /// Follows growing entries at once, and shrinking ones slowly.
    fn record_entry_bytes(&self, mean: usize) {
        let before = self.entry_bytes.load(Relaxed);
        self.entry_bytes.store(mean.max((before * 7 + mean) / 8), Relaxed);
    }

    /// Shrinks the next batches: the batch may have timed out because it was too large, and then
    /// the size of its entries stays unknown.
    fn record_timeout(&self) {
        let before = self.entry_bytes.load(Relaxed).max(MAX_BATCH_BYTES / MAX_BATCH_READS);
        self.entry_bytes.store((before * 2).min(MAX_BATCH_BYTES), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: usize = 100;
    const LARGE: usize = 1024 * 1024;

    fn sizer() -> BatchSizer {
        BatchSizer { entry_bytes: AtomicUsize::new(INITIAL_ENTRY_BYTES) }
    }

    /// Number of events until batches have `reads` reads.
    fn events_until(sizer: &BatchSizer, reads: usize, event: impl Fn(&BatchSizer)) -> usize {
        let events =
            (0..100).take_while(|_| sizer.batch_reads() != reads).inspect(|_| event(sizer)).count();
        assert_eq!(sizer.batch_reads(), reads);
        events
    }

    #[test]
    fn batches_grow_slowly_with_small_entries_and_shrink_at_once_with_large_ones() {
        let sizer = sizer();
        assert!((1..MAX_BATCH_READS).contains(&sizer.batch_reads()));
        let small = |sizer: &BatchSizer| sizer.record_entry_bytes(SMALL);
        assert!(events_until(&sizer, MAX_BATCH_READS, small) > 1);
        assert_eq!(events_until(&sizer, 1, |sizer| sizer.record_entry_bytes(LARGE)), 1);
        assert!(events_until(&sizer, MAX_BATCH_READS, |sizer| sizer.record_entry_bytes(0)) > 1);
    }

    #[test]
    fn timeouts_shrink_batches_to_single_reads_until_reads_succeed() {
        let sizer = sizer();
        let small = |sizer: &BatchSizer| sizer.record_entry_bytes(SMALL);
        events_until(&sizer, MAX_BATCH_READS, small);
        assert_eq!(events_until(&sizer, 1, BatchSizer::record_timeout), 5);
        assert!(events_until(&sizer, MAX_BATCH_READS, small) > 1);
    }
}
