//! Access to a journal that no server has open, for operators.

#![allow(clippy::result_large_err, reason = "the error of the database, boxed on its way out")]

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, DatabaseError, StorageError, TableDefinition};

use super::{JournalError, Pending, Queued, Size, database::JournalDatabase};
use crate::model::{Namespace, Timestamp};

/// The table with the name of the fleet.
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");

/// Entries that are read or dropped together.
const BATCH: usize = 1000;

/// A journal of any fleet. No server can open it meanwhile.
pub struct OfflineJournal {
    database: JournalDatabase,
    path: PathBuf,
    fleet: String,
}

/// Which entries to drop: those that meet all conditions.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only those of this namespace.
    pub namespace: Option<Namespace>,
    /// Only those that were appended before.
    pub queued_before: Option<Timestamp>,
}

/// Failure to open a journal, or to read or write it.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// There is no file.
    #[error("there is no journal {}", .0.display())]
    Missing(PathBuf),
    /// A server has it open.
    #[error(
        "the journal {} is in use by a server: stop that, or read its metrics \
         larder_journal_entries and larder_journal_age_seconds",
        .0.display()
    )]
    InUse(PathBuf),
    /// The file is empty or of another kind.
    #[error("{} is not a journal, or its beginning is damaged", .0.display())]
    NotAJournal(PathBuf),
    /// The file cannot be read or written, or is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

// === impl OfflineJournal ===

impl OfflineJournal {
    /// Opens an existing journal. The whole file is checked.
    ///
    /// # Errors
    /// The file does not exist, cannot be written, is in use, damaged, or not a journal.
    pub fn open(path: &Path) -> Result<Self, OfflineError> {
        // The database panics at some damages, such as a file that is cut.
        catch_unwind(AssertUnwindSafe(|| Self::open_file(path)))
            .unwrap_or_else(|_| Err(JournalError::Damaged(path.to_owned()).into()))
    }

    /// Key prefix of the fleet that the journal belongs to.
    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Number and bytes of the entries.
    pub fn size(&self) -> Size {
        self.database.size()
    }

    /// All entries, the eldest first.
    pub fn entries(&self) -> impl Iterator<Item = Result<Pending, OfflineError>> {
        self.pages().flat_map(|page| match page {
            Ok(page) => page.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Number of the entries that are selected.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn count(&self, selection: &Selection) -> Result<u64, OfflineError> {
        let mut count = 0;
        for pending in self.entries() {
            count += u64::from(selection.selects(&pending?.entry));
        }
        Ok(count)
    }

    /// Drops the entries that are selected, and returns their number. They are gone from the disk
    /// when this returns.
    ///
    /// # Errors
    /// The file cannot be read or written; some of the entries may be dropped.
    pub fn drop_entries(&mut self, selection: &Selection) -> Result<u64, OfflineError> {
        let mut dropped = 0;
        let mut after = None;
        loop {
            let page = self.page(after)?;
            let Some(last) = page.last() else { return Ok(dropped) };
            after = Some(last.sequence);
            let selected = page.iter().filter(|pending| selection.selects(&pending.entry));
            let sequences: Vec<u64> = selected.map(|pending| pending.sequence).collect();
            dropped += self.database.remove(&sequences)?.len() as u64;
        }
    }

    fn open_file(path: &Path) -> Result<Self, OfflineError> {
        let mut database = Database::open(path).map_err(|error| open_error(path, error))?;
        database.check_integrity().map_err(|error| open_error(path, error))?;
        let fleet = fleet(&database).map_err(|error| failed(path, error))?;
        let fleet = fleet.ok_or_else(|| OfflineError::NotAJournal(path.to_owned()))?;
        let database = JournalDatabase::of_database(database, path, &fleet)?;
        Ok(Self { database, path: path.to_owned(), fleet })
    }

    fn pages(&self) -> impl Iterator<Item = Result<Vec<Pending>, OfflineError>> {
        let mut after = Some(None);
        std::iter::from_fn(move || {
            let page = self.page(after?);
            // The first error ends the iteration.
            let last = page.as_ref().ok().and_then(|page| Some(page.last()?.sequence));
            after = last.map(Some);
            Some(page).filter(|page| !matches!(page, Ok(page) if page.is_empty()))
        })
    }

    fn page(&self, after: Option<u64>) -> Result<Vec<Pending>, OfflineError> {
        let page = self.database.page(after, BATCH)?.into_iter();
        let page = page.map(|(sequence, record)| record.pending(sequence, &self.path));
        Ok(page.collect::<Result<_, _>>()?)
    }
}

// === impl Selection ===

impl Selection {
    fn selects(&self, queued: &Queued) -> bool {
        let Self { namespace, queued_before } = self;
        namespace.as_ref().is_none_or(|namespace| queued.invalidation.namespace() == namespace)
            && queued_before.is_none_or(|before| queued.queued_at < before)
    }
}

/// The fleet that a file names; none if it is not a journal.
fn fleet(database: &Database) -> Result<Option<String>, redb::Error> {
    let transaction = database.begin_read()?;
    let texts = match transaction.open_table(TEXTS) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        texts => texts?,
    };
    Ok(texts.get("fleet")?.map(|fleet| fleet.value().to_owned()))
}

fn open_error(path: &Path, error: DatabaseError) -> OfflineError {
    let is_io = |kind| {
        let io_error = |error: &io::Error| error.kind() == kind;
        matches!(&error, DatabaseError::Storage(StorageError::Io(error)) if io_error(error))
    };
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        OfflineError::InUse(path.to_owned())
    } else if matches!(error, DatabaseError::Storage(StorageError::Corrupted(_))) {
        JournalError::Damaged(path.to_owned()).into()
    } else if is_io(io::ErrorKind::NotFound) {
        OfflineError::Missing(path.to_owned())
    } else if is_io(io::ErrorKind::InvalidData) {
        OfflineError::NotAJournal(path.to_owned())
    } else {
        failed(path, error)
    }
}

fn failed(path: &Path, error: impl Into<redb::Error>) -> OfflineError {
    JournalError::Failed { path: path.to_owned(), cause: Arc::new(error.into()) }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        model::EntryKey,
        store::{
            Invalidation,
            journal::{Journal, JournalOptions},
        },
    };

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn options(path: &Path) -> JournalOptions {
        JournalOptions { path: path.to_owned(), fleet: "fleet".to_owned(), max_bytes: u64::MAX }
    }

    /// A journal with the keys `0` to `count`, in the namespaces `even` and `odd`, appended at the
    /// time that is their number.
    async fn journal(path: &Path, count: u64) -> Journal {
        let journal = Journal::open(&options(path)).unwrap();
        let appends = (0..count).map(|number| {
            let namespace = namespace(if number % 2 == 0 { "even" } else { "odd" });
            let key = EntryKey::new(namespace, &number.to_string(), [].into_iter()).unwrap();
            let (queued_at, held_until) = (Timestamp(number), Timestamp(0));
            journal.append(Queued { invalidation: Invalidation::Key(key), queued_at, held_until })
        });
        futures_util::future::try_join_all(appends).await.unwrap();
        journal
    }

    fn error(path: &Path) -> String {
        OfflineJournal::open(path).err().unwrap().to_string()
    }

    #[tokio::test]
    async fn entries_of_any_fleet_are_read_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        // More than a page.
        let count = BATCH as u64 + 1;
        let open = journal(&path, count).await;
        assert!(error(&path).contains("is in use by a server"));
        drop(open);
        let journal = eventually_opened(&path).await;
        assert_eq!((journal.fleet(), journal.size().entries), ("fleet", count));
        let all: Vec<Pending> = journal.entries().map(Result::unwrap).collect();
        assert!(all.is_sorted_by_key(|pending| pending.sequence));
        let times: Vec<u64> = all.iter().map(|pending| pending.entry.queued_at.0).collect();
        assert_eq!(times, (0..count).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn only_what_is_selected_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        drop(journal(&path, 10).await);
        let even = Selection { namespace: Some(namespace("even")), ..Selection::default() };
        let old = Selection { queued_before: Some(Timestamp(4)), ..even.clone() };
        let mut journal = eventually_opened(&path).await;
        let counts = [&old, &even, &Selection::default()].map(|all| journal.count(all).unwrap());
        assert_eq!(counts, [2, 5, 10]);
        assert_eq!(journal.drop_entries(&old).unwrap(), 2);
        assert_eq!(journal.drop_entries(&even).unwrap(), 3);
        drop(journal);
        let reopened = Journal::open(&options(&path)).unwrap();
        assert_eq!(reopened.pending().size().entries, 5);
        drop(reopened);
        let mut journal = eventually_opened(&path).await;
        assert_eq!(journal.drop_entries(&Selection::default()).unwrap(), 5);
        assert_eq!((journal.size(), journal.entries().count()), (Size::default(), 0));
    }

    #[tokio::test]
    async fn other_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        assert!(error(&path).starts_with("there is no journal "));
        assert!(!path.exists());
        for content in ["", "text that is longer than the magic number of a database"] {
            fs::write(&path, content).unwrap();
            assert!(error(&path).contains("is not a journal"), "{content}: {}", error(&path));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        drop(Database::create(&path).unwrap());
        assert!(error(&path).contains("is not a journal"));
        fs::remove_file(&path).unwrap();
        drop(journal(&path, 1).await);
        drop(eventually_opened(&path).await);
        let length = fs::metadata(&path).unwrap().len();
        fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
        assert!(error(&path).contains("is damaged"), "{}", error(&path));
    }

    /// Opens a journal whose thread is about to close it.
    async fn eventually_opened(path: &Path) -> OfflineJournal {
        for _ in 0..1000 {
            match OfflineJournal::open(path) {
                Err(OfflineError::InUse(_)) => {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
                opened => return opened.unwrap(),
            }
        }
        panic!("the journal stays in use");
    }
}
