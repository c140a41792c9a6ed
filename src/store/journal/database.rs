//! The journal's file: a table of entries in the order of their appends, and an index by target.

#![allow(clippy::result_large_err, reason = "the error of the database, boxed on its way out")]

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};

use data_encoding::BASE64URL_NOPAD;

use super::{Invalidation, JournalError, Pending, Queued, Size};
use crate::model::Timestamp;

/// Sequence number to the encoded entry.
const ENTRIES: TableDefinition<'_, u64, (u64, u64, &[u8])> = TableDefinition::new("entries");
/// Target to the sequence number of its entry.
const TARGETS: TableDefinition<'_, &[u8], u64> = TableDefinition::new("targets");
/// Facts about the file: format and next sequence number.
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Facts about the file: the fleet, and the name of the journal.
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");

const FORMAT: u64 = 1;
/// The default of the database is 1 GiB.
const CACHE_BYTES: usize = 4 << 20;
/// An open journal.
pub(super) struct JournalDatabase {
    database: Database,
    path: PathBuf,
    size: Size,
    id: String,
}

/// An entry on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The encoded invalidation.
    pub(super) target: Vec<u8>,
    /// Milliseconds since the Unix epoch.
    pub(super) queued_at: u64,
    /// Milliseconds since the Unix epoch; zero for no hold-off.
    pub(super) held_until: u64,
}

impl Record {
    pub(super) fn of(queued: &Queued) -> Self {
        Self {
            target: queued.invalidation.encode(),
            queued_at: queued.queued_at.0,
            held_until: queued.held_until.0,
        }
    }

    pub(super) fn pending(self, sequence: u64, path: &Path) -> Result<Pending, JournalError> {
        let invalidation = Invalidation::decode(&self.target);
        let invalidation = invalidation.ok_or_else(|| JournalError::Damaged(path.to_owned()))?;
        let (queued_at, held_until) = (Timestamp(self.queued_at), Timestamp(self.held_until));
        Ok(Pending { sequence, entry: Queued { invalidation, queued_at, held_until } })
    }
}

impl JournalDatabase {
    /// Opens or creates a journal of the fleet with the key prefix `fleet`. The whole file is
    /// checked.
    pub(super) fn open(path: &Path, fleet: &str) -> Result<Self, JournalError> {
        let exists = path.try_exists().map_err(|error| failed(path, redb::Error::Io(error)))?;
        if !exists {
            create(path, fleet)?;
        }
        // The database panics at some damages, such as a file that is cut.
        catch_unwind(AssertUnwindSafe(|| {
            let mut database = builder().open(path).map_err(|error| {
                if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                    JournalError::Locked(path.to_owned())
                } else {
                    failed(path, error)
                }
            })?;
            database.check_integrity().map_err(|error| failed(path, error))?;
            Self::of_database(database, path, fleet)
        }))
        .unwrap_or_else(|_| Err(JournalError::Damaged(path.to_owned())))
    }

    /// Checks or writes the facts about the file.
    pub(super) fn of_database(
        database: Database,
        path: &Path,
        fleet: &str,
    ) -> Result<Self, JournalError> {
        let (size, id) = (Size::default(), String::new());
        let mut journal = Self { database, path: path.to_owned(), size, id };
        journal.id = journal.claim(fleet)?;
        journal.size = journal.measure().map_err(|error| failed(path, error))?;
        Ok(journal)
    }

    /// Name of the journal, drawn when the file was created.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Number and bytes of the entries.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// Appends records in one durable transaction. One that does not fit in `max_bytes` is left out
    /// and answered with [`JournalError::Full`]; the others are on disk when this returns.
    pub(super) fn append(
        &mut self,
        records: &[Record],
        max_bytes: u64,
    ) -> Result<Vec<Result<(), JournalError>>, JournalError> {
        let mut size = self.size;
        let mut answers = Vec::with_capacity(records.len());
        let outcome = self.write(|transaction| {
            for record in records {
                let added = added_bytes(transaction, record)?;
                if added > 0 && size.bytes.saturating_add(added) > max_bytes {
                    answers.push(Err(JournalError::Full));
                    continue;
                }
                insert(transaction, record, &mut size)?;
                answers.push(Ok(()));
            }
            Ok(())
        });
        outcome.map_err(|error| failed(&self.path, error))?;
        self.size = size;
        Ok(answers)
    }

    /// The eldest entries after a sequence number, with theirs, at most `limit`.
    pub(super) fn page(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Record)>, JournalError> {
        self.read_page(after, limit).map_err(|error| failed(&self.path, error))
    }

    /// Removes entries that the store has acknowledged. An entry that was appended again since it
    /// was read has another sequence number, and stays. Returns the targets of those removed.
    pub(super) fn remove(&mut self, sequences: &[u64]) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut size = self.size;
        let mut removed = Vec::new();
        let outcome = self.write(|transaction| {
            for &sequence in sequences {
                removed.extend(remove_one(transaction, sequence, &mut size)?);
            }
            Ok(())
        });
        outcome.map_err(|error| failed(&self.path, error))?;
        self.size = size;
        Ok(removed)
    }

    fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate);
        change(&transaction)?;
        transaction.commit()?;
        Ok(())
    }

    /// Returns the name of the journal.
    fn claim(&self, fleet: &str) -> Result<String, JournalError> {
        let mut outcome = Ok(String::new());
        let written = self.write(|transaction| {
            let mut numbers = transaction.open_table(NUMBERS)?;
            let mut texts = transaction.open_table(TEXTS)?;
            transaction.open_table(ENTRIES)?;
            transaction.open_table(TARGETS)?;
            let format = numbers.get("format")?.map(|found| found.value());
            let owner = texts.get("fleet")?.map(|found| found.value().to_owned());
            outcome = match (format, owner) {
                (Some(found), _) if found != FORMAT => Err(JournalError::OtherFormat {
                    path: self.path.clone(),
                    found,
                    expected: FORMAT,
                }),
                (_, Some(found)) if found != fleet => Err(JournalError::OtherFleet {
                    path: self.path.clone(),
                    found,
                    expected: fleet.to_owned(),
                }),
                _ => {
                    numbers.insert("format", FORMAT)?;
                    texts.insert("fleet", fleet)?;
                    let id = texts.get("id")?.map(|found| found.value().to_owned());
                    let id = id.unwrap_or_else(new_id);
                    texts.insert("id", id.as_str())?;
                    Ok(id)
                }
            };
            Ok(())
        });
        written.map_err(|error| failed(&self.path, error))?;
        outcome
    }

    fn measure(&self) -> Result<Size, redb::Error> {
        let transaction = self.database.begin_read()?;
        let entries = transaction.open_table(ENTRIES)?;
        let mut size = Size { entries: entries.len()?, bytes: 0 };
        for entry in entries.iter()? {
            size.bytes += encoded_bytes(entry?.1.value().2);
        }
        Ok(size)
    }

    fn read_page(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Record)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let entries = transaction.open_table(ENTRIES)?;
        let mut page = Vec::new();
        let first = after.map_or(0, |after| after.saturating_add(1));
        for entry in entries.range(first..)?.take(limit) {
            let (sequence, value) = entry?;
            let (queued_at, held_until, target) = value.value();
            let record = Record { target: target.to_vec(), queued_at, held_until };
            page.push((sequence.value(), record));
        }
        Ok(page)
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Creates a journal under a name of its own and links it to its path when it is complete. So a
/// file at the path that is empty or incomplete is damaged, not new.
fn create(path: &Path, fleet: &str) -> Result<(), JournalError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", rand::random::<u64>()));
    let new = PathBuf::from(name);
    let created = private_file(&new)
        .map_err(|error| failed(path, redb::Error::Io(error)))
        .and_then(|file| builder().create_file(file).map_err(|error| failed(path, error)))
        .and_then(|database| JournalDatabase::of_database(database, path, fleet).map(drop));
    let linked = created.and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed(path, redb::Error::Io(error)))
        }
        _ => Ok(()),
    });
    drop(fs::remove_file(&new));
    linked.and_then(|()| sync_directory(path))
}

/// Creates a file that other users cannot read: it has keys in plain text.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Inserts an entry. One with the same target moves to the end: its hold-off lasts until the later
/// of both ends, and its age is that of the elder.
fn insert(
    transaction: &WriteTransaction,
    entry: &Record,
    size: &mut Size,
) -> Result<(), redb::Error> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut targets = transaction.open_table(TARGETS)?;
    let sequence = numbers.get("next")?.map_or(0, |next| next.value());
    let (mut queued_at, mut held_until) = (entry.queued_at, entry.held_until);
    let elder = targets.insert(entry.target.as_slice(), sequence)?.map(|elder| elder.value());
    let elder = match elder {
        Some(elder) => entries.remove(elder)?.map(|elder| (elder.value().0, elder.value().1)),
        None => None,
    };
    if let Some((elder_queued_at, elder_held_until)) = elder {
        queued_at = queued_at.min(elder_queued_at);
        held_until = held_until.max(elder_held_until);
    } else {
        size.entries += 1;
        size.bytes += encoded_bytes(&entry.target);
    }
    entries.insert(sequence, (queued_at, held_until, entry.target.as_slice()))?;
    numbers.insert("next", sequence + 1)?;
    Ok(())
}

/// Bytes that a record adds: none if its target is in the journal.
fn added_bytes(transaction: &WriteTransaction, record: &Record) -> Result<u64, redb::Error> {
    let targets = transaction.open_table(TARGETS)?;
    let is_there = targets.get(record.target.as_slice())?.is_some();
    Ok(if is_there { 0 } else { encoded_bytes(&record.target) })
}

/// Removes an entry, and returns its target.
fn remove_one(
    transaction: &WriteTransaction,
    sequence: u64,
    size: &mut Size,
) -> Result<Option<Vec<u8>>, redb::Error> {
    let mut entries = transaction.open_table(ENTRIES)?;
    let mut targets = transaction.open_table(TARGETS)?;
    let Some(removed) = entries.remove(sequence)? else { return Ok(None) };
    let target = removed.value().2.to_vec();
    targets.remove(target.as_slice())?;
    size.entries = size.entries.saturating_sub(1);
    size.bytes = size.bytes.saturating_sub(encoded_bytes(&target));
    Ok(Some(target))
}

/// Bytes that an invalidation takes in a journal's limit.
fn encoded_bytes(target: &[u8]) -> u64 {
    /// The index and both tables' numbers.
    const OVERHEAD: u64 = 64;
    target.len() as u64 * 2 + OVERHEAD
}

fn new_id() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 12]>())
}

/// Syncs the directory of a file, so that a new file survives a crash of the machine.
fn sync_directory(path: &Path) -> Result<(), JournalError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| JournalError::Directory { path: path.to_owned(), cause: Arc::new(error) })
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> JournalError {
    JournalError::Failed { path: path.to_owned(), cause: Arc::new(error.into()) }
}
