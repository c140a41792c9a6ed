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
use redis::Value;
use tokio::sync::{mpsc, oneshot};

use super::{
    ban_logs::{BanLogs, Candidate, NamespaceBans},
    cluster::{Cluster, Node},
    codec,
    corrupt_entries::CorruptEntries,
    key_schema::EntryKeys,
    marker::Position,
    pool::Retry,
    request::{error_or_value, unexpected},
    router::Router,
};
use crate::{
    count_guard::CountGuard,
    model::Entry,
    planted::{self, Bug},
    store::{ErrorKind, ReadOutcome, Result},
};

/// Direct reads in flight at a time.
const MAX_DIRECT_READS: usize = 2;
/// Reads in one batch.
const MAX_BATCH_READS: usize = 32;
/// Target size of the answer to a batch, in bytes: its first entry is only available with the last.
const MAX_BATCH_BYTES: usize = 256 * 1024;
/// Assumed size of an entry before any was read, in bytes.
const INITIAL_ENTRY_BYTES: usize = 16 * 1024;

/// Keys and bans for a read of an entry.
pub(super) struct Read {
    pub(super) keys: EntryKeys,
    pub(super) bans: Arc<NamespaceBans>,
}

/// Reads entries by the names of their keys. Clones share the batches.
#[derive(Clone)]
pub(super) struct ReadBatcher {
    reader: Reader,
    direct_reads: Arc<AtomicUsize>,
    /// Bounded by the limit on concurrent requests.
    queue: mpsc::UnboundedSender<PendingRead>,
}

/// Sends reads to the server.
#[derive(Clone)]
struct Reader {
    router: Router,
    corrupt: CorruptEntries,
    logs: BanLogs,
}

struct PendingRead {
    read: Read,
    reply: oneshot::Sender<Result<Option<Entry>>>,
}

/// Chooses the number of reads in a batch by the recent size of entries.
struct BatchSizer {
    entry_bytes: AtomicUsize,
}

// === impl ReadBatcher ===

impl ReadBatcher {
    /// Must be called in a Tokio runtime.
    pub(super) fn new(router: Router, corrupt: CorruptEntries, logs: BanLogs) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        let reader = Reader { router, corrupt, logs };
        tokio::spawn(send_batches(reader.clone(), queued));
        Self { reader, direct_reads: Arc::default(), queue }
    }

    /// Reads an entry, if it belongs to the current generation and is not banned.
    pub(super) async fn read(&self, read: Read) -> Result<Option<Entry>> {
        if let Some(_direct) = CountGuard::try_new(&self.direct_reads, MAX_DIRECT_READS) {
            // Boxed, so that queued reads do not carry the state of a direct one.
            let mut entries = Box::pin(self.reader.read_all([read].into())).await?;
            return entries.pop().unwrap_or_else(|| Err(unexpected("MGET")));
        }
        let (reply, entry) = oneshot::channel();
        self.queue.send(PendingRead { read, reply }).map_err(|_| ErrorKind::Unreachable)?;
        entry.await.unwrap_or_else(|_| Err(ErrorKind::Unreachable.into()))
    }

    /// Reads entries, in the order of `reads`.
    pub(super) async fn read_all(&self, reads: Vec<Read>) -> Result<Vec<ReadOutcome>> {
        self.reader.read_all(reads).await
    }
}

/// Sends queued reads in batches, until all senders are dropped.
async fn send_batches(reader: Reader, mut queued: mpsc::UnboundedReceiver<PendingRead>) {
    let sizer = BatchSizer { entry_bytes: AtomicUsize::new(INITIAL_ENTRY_BYTES) };
    let mut in_flight = FuturesUnordered::new();
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            count = queued.recv_many(&mut batch, sizer.batch_reads()) => {
                if count == 0 {
                    return;
                }
                match &reader.router {
                    Router::One(..) => in_flight.push(reader.read_batch(&sizer, batch)),
                    Router::Cluster(cluster) => in_flight
                        .extend(parts(cluster, batch).map(|part| reader.read_batch(&sizer, part))),
                }
            }
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
        }
    }
}

// === impl Reader ===

impl Reader {
    async fn read_batch(&self, sizer: &BatchSizer, batch: Vec<PendingRead>) {
        let mut replies = Vec::with_capacity(batch.len());
        let wanted = batch.into_iter().filter(|read| !read.reply.is_closed());
        let reads: Vec<Read> = wanted
            .map(|PendingRead { read, reply }| {
                replies.push(reply);
                read
            })
            .collect();
        if replies.is_empty() {
            return;
        }
        match self.read_all(reads).await {
            Ok(entries) => {
                sizer.record(&entries);
                for (reply, entry) in replies.into_iter().zip(entries) {
                    // An error means that the caller is gone.
                    let _ = reply.send(entry);
                }
            }
            Err(error) => {
                if matches!(error.kind, ErrorKind::Timeout | ErrorKind::PartUnavailable) {
                    sizer.record_timeout();
                }
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Reads entries and the markers of their shards, in the order of `reads`: all of one server in
    /// one command.
    async fn read_all(&self, reads: Vec<Read>) -> Result<Vec<ReadOutcome>> {
        let pool = match &self.router {
            Router::One(pool, _) => pool,
            Router::Cluster(cluster) => return Box::pin(self.read_slots(cluster, reads)).await,
        };
        let mut mget = redis::cmd("MGET");
        for Read { keys: EntryKeys { marker, entry }, .. } in &reads {
            mget.arg(marker).arg(entry);
        }
        let Value::Array(values) = pool.query(&mget, Retry::Idempotent).await? else {
            return Err(unexpected("MGET"));
        };
        if values.len() != 2 * reads.len() {
            return Err(unexpected("MGET"));
        }
        let mut entries = Vec::with_capacity(reads.len());
        let mut values = values.into_iter();
        for read in &reads {
            let pair = (values.next(), values.next());
            entries.push(Ok(self.entry_of(read, pair).await?));
        }
        Ok(entries)
    }

    /// As [`Self::read_all`], with one command per slot. Fails if all reads do.
    async fn read_slots(&self, cluster: &Cluster, reads: Vec<Read>) -> Result<Vec<ReadOutcome>> {
        let names: Vec<&[u8]> = reads.iter().map(|read| read.keys.marker.as_slice()).collect();
        let groups = self.router.groups(&names);
        let mgets = groups.iter().map(|group| {
            let mut mget = redis::cmd("MGET");
            for index in group {
                let EntryKeys { marker, entry } = &reads[*index].keys;
                mget.arg(marker).arg(entry);
            }
            mget
        });
        let answers = cluster.each(mgets.collect()).await;
        let mut entries: Vec<ReadOutcome> = reads.iter().map(|_| Ok(None)).collect();
        for (group, answer) in groups.iter().zip(answers) {
            let values = match answer.and_then(values_of_mget) {
                Ok(values) if values.len() == 2 * group.len() => values,
                Ok(_) => return Err(unexpected("MGET")),
                Err(error) => {
                    group.iter().for_each(|index| entries[*index] = Err(error.clone()));
                    continue;
                }
            };
            let mut values = values.into_iter();
            for index in group {
                let pair = (values.next(), values.next());
                entries[*index] = self.entry_of(&reads[*index], pair).await;
            }
        }
        match entries.iter().all(Result::is_err).then(|| entries.first().cloned()).flatten() {
            Some(Err(error)) => Err(error),
            _ => Ok(entries),
        }
    }

    /// The entry in an answer with its marker, if it is valid.
    #[inline]
    async fn entry_of(&self, read: &Read, pair: (Option<Value>, Option<Value>)) -> ReadOutcome {
        let (Some(Value::BulkString(marker)), Some(Value::BulkString(stored))) = pair else {
            return Ok(None);
        };
        let is_current =
            codec::is_under(&stored, &marker) && self.logs.is_current(&read.bans, &marker);
        let entry = if is_current || codec::is_in_generation(&stored, &marker) {
            self.decode(read, stored)
        } else {
            None
        };
        match entry {
            Some((since, entry)) if !is_current => {
                Box::pin(self.checked(read, &marker, since, entry)).await
            }
            other => Ok(other.map(|(_, entry)| entry)),
        }
    }

    /// The entry and its position, unless it is corrupt.
    #[inline]
    fn decode(&self, read: &Read, stored: Vec<u8>) -> Option<(Position, Entry)> {
        let since = codec::position_of_entry(&stored);
        match codec::decode(Bytes::from(stored)) {
            Ok(entry) => Some((since, entry?)),
            Err(corrupt) => {
                self.corrupt.found(&read.keys.entry, corrupt);
                None
            }
        }
    }

    /// The entry unless it is banned.
    #[cold]
    async fn checked(
        &self,
        read: &Read,
        marker: &[u8],
        since: Position,
        entry: Entry,
    ) -> Result<Option<Entry>> {
        let Read { keys, bans } = read;
        let Some(key) = self.logs.key_of(&keys.entry) else { return Ok(None) };
        let candidate = Candidate { since, key, tags: &entry.tags };
        if planted::is(Bug::BansUnchecked) {
            return Ok(Some(entry));
        }
        let is_valid = self.logs.is_valid(bans, (&keys.marker, marker), &candidate).await?;
        Ok(is_valid.then_some(entry))
    }
}

/// The reads of a batch in parts, so that those of a primary do not wait for another one.
fn parts(
    cluster: &Cluster,
    batch: Vec<PendingRead>,
) -> impl Iterator<Item = Vec<PendingRead>> + use<> {
    let mut parts: Vec<(Option<Arc<Node>>, Vec<PendingRead>)> = Vec::new();
    for read in batch {
        let owner = cluster.owner_of(&read.read.keys.marker);
        let is_same = |other: &Option<Arc<Node>>| match (other, &owner) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        match parts.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, part)) => part.push(read),
            None => parts.push((owner, vec![read])),
        }
    }
    parts.into_iter().map(|(_, part)| part)
}

fn values_of_mget(answer: Value) -> Result<Vec<Value>> {
    match error_or_value(answer)? {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected("MGET")),
    }
}

// === impl BatchSizer ===

impl BatchSizer {
    fn batch_reads(&self) -> usize {
        (MAX_BATCH_BYTES / self.entry_bytes.load(Relaxed).max(1)).clamp(1, MAX_BATCH_READS)
    }

    fn record(&self, entries: &[ReadOutcome]) {
        let found = entries.iter().filter_map(|entry| entry.as_ref().ok()?.as_ref());
        let bytes: usize = found.map(|entry| entry.data.len()).sum();
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
