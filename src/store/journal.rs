//! The journal: invalidations that are kept on disk while the store is away.
//!
//! An append is on disk when it returns, and entries are removed only after the store has
//! acknowledged them. Concurrent appends share one sync. [`store::JournaledStore`] appends what the
//! store did not take, and [`replay`] applies it when the store is back. Until then no read of
//! this replica returns what is to be invalidated.

mod database;
mod error;
pub mod metrics;
pub mod offline;
mod pending;
pub mod quarantine;
pub mod replay;
pub mod store;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    model::Timestamp,
    planted::{self, Bug},
    store::Invalidation,
};

use database::{JournalDatabase, Record};
pub use error::JournalError;
pub use pending::PendingInvalidations;

/// Requests that may wait for the thread. Callers are bounded by the limits on calls in flight.
const MAX_WAITING: usize = 4096;
/// Appends that share one sync.
const MAX_GROUP: usize = 1024;

/// Longest time that a caller waits for the disk.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);

/// An invalidation to append. Two of the same target are kept as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The invalidation.
    pub invalidation: Invalidation,
    /// Time of the append.
    pub queued_at: Timestamp,
    /// End of the hold-off; zero without one.
    pub held_until: Timestamp,
}

/// An entry of the journal that the store has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its place in the order of appends.
    pub sequence: u64,
    /// The invalidation.
    pub entry: Queued,
}

/// How much a journal has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Number of entries.
    pub entries: u64,
    /// Their bytes, as they count towards the maximum.
    pub bytes: u64,
}

/// Which journal to open.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The file.
    pub path: PathBuf,
    /// Key prefix of the fleet that the journal belongs to.
    pub fleet: String,
    /// Maximum size of the entries, in bytes.
    pub max_bytes: u64,
}

/// A journal on disk, and the thread that writes it. The thread ends when the journal is dropped.
pub struct Journal {
    requests: SyncSender<Request>,
    pending: Arc<PendingInvalidations>,
    /// Notified at each append.
    appended: Notify,
    id: String,
    max_bytes: u64,
}

/// Where the answer to a request goes.
type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

enum Request {
    Append(Queued, Answer<()>),
    Page { after: Option<u64>, limit: usize, answer: Answer<Vec<Pending>> },
    Remove(Vec<u64>, Answer<()>),
}

struct Writer {
    /// None after a failed write, until the file is open again.
    database: Option<JournalDatabase>,
    options: JournalOptions,
    pending: Arc<PendingInvalidations>,
}

// === impl Journal ===

impl Journal {
    /// Opens or creates a journal.
    ///
    /// # Errors
    /// The file cannot be read or written, is damaged, in use, or that of another fleet.
    pub fn open(options: &JournalOptions) -> Result<Self, JournalError> {
        let database = JournalDatabase::open(&options.path, &options.fleet)?;
        let id = database.id().to_owned();
        let pending = Arc::new(PendingInvalidations::default());
        let mut writer =
            Writer { database: None, options: options.clone(), pending: pending.clone() };
        writer.accept(database)?;
        let (requests, waiting) = sync_channel(MAX_WAITING);
        let spawned =
            thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run(&waiting));
        spawned.map_err(|error: io::Error| JournalError::Failed {
            path: options.path.clone(),
            cause: Arc::new(redb::Error::Io(error)),
        })?;
        Ok(Self { requests, pending, appended: Notify::new(), id, max_bytes: options.max_bytes })
    }

    /// Content of the journal.
    pub fn pending(&self) -> &Arc<PendingInvalidations> {
        &self.pending
    }

    /// Name of the journal among those of its fleet; the same as long as the file exists.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Maximum size of the entries, in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Returns at the next append, or at once if there was one since the last call.
    pub async fn appended(&self) {
        self.appended.notified().await;
    }

    /// Appends an invalidation. It is on disk when this returns, and covered by
    /// [`Journal::pending`].
    ///
    /// # Errors
    /// [`JournalError::Full`]: it is not appended. After another error it may be on disk.
    pub async fn append(&self, queued: Queued) -> Result<(), JournalError> {
        if planted::is(Bug::QueuedBeforeWritten) {
            self.append_later(queued);
            return Ok(());
        }
        let append = self.ask(|answer| Request::Append(queued, answer));
        let outcome = tokio::time::timeout(APPEND_TIMEOUT, append).await;
        outcome.unwrap_or(Err(JournalError::Slow(APPEND_TIMEOUT)))?;
        self.appended.notify_one();
        Ok(())
    }

    /// The planted fault: the entry is on disk two seconds after its acknowledgement.
    fn append_later(&self, queued: Queued) {
        let Size { entries, bytes } = self.pending.size();
        self.pending.insert(queued.invalidation.clone(), queued.queued_at.0);
        self.pending.set_size(Size { entries: entries + 1, bytes });
        let (requests, (answer, _)) = (self.requests.clone(), oneshot::channel());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let _ = requests.try_send(Request::Append(queued, answer));
        });
    }

    /// The eldest entries after the one with the sequence number `after`, at most `limit`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn page(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Pending>, JournalError> {
        self.ask(|answer| Request::Page { after, limit, answer }).await
    }

    /// Removes entries that the store has acknowledged. One that was appended again in the
    /// meantime stays.
    ///
    /// # Errors
    /// The file cannot be written; the entries may still be there.
    pub async fn remove(&self, sequences: Vec<u64>) -> Result<(), JournalError> {
        self.ask(|answer| Request::Remove(sequences, answer)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> Request) -> Result<T, JournalError> {
        let (sender, answer) = oneshot::channel();
        self.requests.try_send(request(sender)).map_err(|_| JournalError::Busy)?;
        answer.await.unwrap_or(Err(JournalError::Busy))
    }
}

// === impl Writer ===

impl Writer {
    fn run(&mut self, waiting: &Receiver<Request>) {
        let mut next = waiting.recv().ok();
        while let Some(request) = next.take() {
            match request {
                Request::Append(queued, answer) => {
                    let mut group = vec![(queued, answer)];
                    while group.len() < MAX_GROUP {
                        match waiting.try_recv() {
                            Ok(Request::Append(queued, answer)) => group.push((queued, answer)),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(group);
                }
                Request::Page { after, limit, answer } => {
                    let _ = answer.send(self.page(after, limit));
                }
                Request::Remove(sequences, answer) => {
                    let _ = answer.send(self.remove(&sequences));
                }
            }
            next = next.or_else(|| waiting.recv().ok());
        }
    }

    fn append(&mut self, group: Vec<(Queued, Answer<()>)>) {
        let (queued, senders): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let records: Vec<Record> = queued.iter().map(Record::of).collect();
        let max_bytes = self.options.max_bytes;
        let outcome = self.with(|database| database.append(&records, max_bytes));
        let outcome = outcome.inspect(|answers| {
            for (queued, answer) in queued.into_iter().zip(answers) {
                if answer.is_ok() {
                    self.pending.insert(queued.invalidation, queued.queued_at.0);
                }
            }
            self.publish_size();
        });
        for (index, sender) in senders.into_iter().enumerate() {
            let answer = match &outcome {
                Ok(answers) => answers[index].clone(),
                Err(error) => Err(error.clone()),
            };
            // A caller that has left needs no answer.
            let _ = sender.send(answer);
        }
    }

    fn page(&mut self, after: Option<u64>, limit: usize) -> Result<Vec<Pending>, JournalError> {
        let page = self.with(|database| database.page(after, limit))?;
        let path = &self.options.path;
        page.into_iter().map(|(sequence, record)| record.pending(sequence, path)).collect()
    }

    fn remove(&mut self, sequences: &[u64]) -> Result<(), JournalError> {
        let removed = self.with(|database| database.remove(sequences))?;
        let removed = removed.iter().filter_map(|target| Invalidation::decode(target));
        removed.for_each(|invalidation| self.pending.remove(&invalidation));
        self.publish_size();
        Ok(())
    }

    /// Runs an operation. The database refuses everything after a failed write, so the file is
    /// closed then, and opened again by the next operation.
    fn with<T>(
        &mut self,
        operation: impl FnOnce(&mut JournalDatabase) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if self.database.is_none() {
            let JournalOptions { path, fleet, .. } = &self.options;
            self.accept(JournalDatabase::open(path, fleet)?)?;
        }
        let Some(mut database) = self.database.take() else { return Err(JournalError::Busy) };
        let outcome = operation(&mut database)?;
        self.database = Some(database);
        Ok(outcome)
    }

    /// Takes over an opened file and what is in it.
    fn accept(&mut self, database: JournalDatabase) -> Result<(), JournalError> {
        let path = &self.options.path;
        let all = database.page(None, usize::MAX)?.into_iter();
        let all: Vec<Pending> = all
            .map(|(sequence, record)| record.pending(sequence, path))
            .collect::<Result<_, _>>()?;
        let all = all.into_iter().map(|pending| pending.entry);
        self.pending.replace(all.map(|queued| (queued.invalidation, queued.queued_at.0)));
        self.database = Some(database);
        self.publish_size();
        Ok(())
    }

    fn publish_size(&self) {
        if let Some(database) = &self.database {
            self.pending.set_size(database.size());
        }
    }
}
