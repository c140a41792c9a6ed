#![allow(clippy::unwrap_used)]

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use redb::{Database, StorageBackend};

use super::{
    Invalidation, Journal, JournalError, JournalOptions, Queued,
    database::{JournalDatabase, Record},
};
use crate::model::{EntryKey, Namespace, Timestamp};

const FLEET: &str = "larder";

fn key(name: &str) -> EntryKey {
    EntryKey::new(Namespace::new("ns").unwrap(), name, [].into_iter()).unwrap()
}

fn queued(name: &str) -> Queued {
    let (queued_at, held_until) = (Timestamp(1), Timestamp(0));
    Queued { invalidation: Invalidation::Key(key(name)), queued_at, held_until }
}

fn record(target: &str, queued_at: u64, held_until: u64) -> Record {
    Record { target: target.as_bytes().to_vec(), queued_at, held_until }
}

fn targets(journal: &JournalDatabase) -> Vec<String> {
    let page = journal.page(None, usize::MAX).unwrap();
    page.into_iter().map(|(_, record)| String::from_utf8(record.target).unwrap()).collect()
}

fn append(journal: &mut JournalDatabase, target: &str) {
    journal.append(&[record(target, 1, 0)], u64::MAX).unwrap().pop().unwrap().unwrap();
}

/// Changes of a file, in order.
#[derive(Clone)]
enum Step {
    Write(usize, Vec<u8>),
    SetLength(usize),
    Synced,
    /// The append of this target was acknowledged.
    Acknowledged(String),
}

/// A file in memory that records every step.
#[derive(Clone, Default)]
struct Recorder {
    content: Arc<Mutex<Vec<u8>>>,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Recorder")
    }
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let content = self.content.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let part = content.get(offset..offset + len);
        part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).unwrap();
        self.content.lock().unwrap().resize(len, 0);
        self.steps.lock().unwrap().push(Step::SetLength(len));
        Ok(())
    }

    fn sync_data(&self, _eventual: bool) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        apply(&mut self.content.lock().unwrap(), &Step::Write(offset, data.to_vec()));
        self.steps.lock().unwrap().push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn apply(content: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Write(offset, data) => {
            let end = offset + data.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(data);
        }
        Step::SetLength(length) => content.resize(*length, 0),
        Step::Synced | Step::Acknowledged(_) => {}
    }
}

/// Opens a file with this content: its targets, or none if it is refused.
fn reopened(content: Vec<u8>) -> Option<Vec<String>> {
    let recorder = Recorder { content: Arc::new(Mutex::new(content)), ..Recorder::default() };
    let database = Database::builder().create_with_backend(recorder).ok()?;
    let journal = JournalDatabase::of_database(database, Path::new("memory"), FLEET).ok()?;
    Some(targets(&journal))
}

/// Appends two targets to a recorded file.
fn recorded() -> Vec<Step> {
    let recorder = Recorder::default();
    let database = Database::builder().create_with_backend(recorder.clone()).unwrap();
    let mut journal = JournalDatabase::of_database(database, Path::new("memory"), FLEET).unwrap();
    for index in 0..2 {
        let target = format!("target-{index}");
        append(&mut journal, &target);
        recorder.steps.lock().unwrap().push(Step::Acknowledged(target));
    }
    recorder.steps.lock().unwrap().clone()
}

fn assert_acknowledged(content: Vec<u8>, acknowledged: &[String], after: &str) {
    let Some(found) = reopened(content) else {
        panic!("{after}: {acknowledged:?} are refused");
    };
    for target in acknowledged {
        assert!(found.contains(target), "{after}: {target} is lost, there are {found:?}");
    }
}

#[test]
fn a_crash_after_any_write_loses_nothing_acknowledged() {
    let (mut durable, mut unsynced) = (Vec::new(), Vec::new());
    let (mut acknowledged, mut syncs) = (Vec::new(), 0);
    for (index, step) in recorded().into_iter().enumerate() {
        match &step {
            Step::Synced => {
                unsynced.drain(..).for_each(|step| apply(&mut durable, &step));
                syncs += 1;
            }
            Step::Acknowledged(target) => acknowledged.push(target.clone()),
            Step::Write(..) | Step::SetLength(_) => unsynced.push(step),
        }
        // Nothing can be lost yet.
        if acknowledged.is_empty() {
            continue;
        }
        // Writes reach the disk in any order between syncs: all, all but one, or one alone.
        let mut all = durable.clone();
        unsynced.iter().for_each(|step| apply(&mut all, step));
        assert_acknowledged(all, &acknowledged, &format!("all until {index}"));
        assert_acknowledged(durable.clone(), &acknowledged, &format!("synced until {index}"));
        for missing in 0..unsynced.len() {
            let (mut without, mut only) = (durable.clone(), durable.clone());
            let others = unsynced.iter().enumerate().filter(|(other, _)| *other != missing);
            others.for_each(|(_, step)| apply(&mut without, step));
            apply(&mut only, &unsynced[missing]);
            assert_acknowledged(without, &acknowledged, &format!("{index} without {missing}"));
            assert_acknowledged(only, &acknowledged, &format!("{index} with only {missing}"));
        }
    }
    assert_eq!(acknowledged.len(), 2);
    assert!(syncs >= 2, "each append is synced: {syncs}");
}

#[test]
fn equal_targets_are_one_entry_with_the_later_end_of_the_hold_off() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = JournalDatabase::open(&directory.path().join("journal.redb"), FLEET).unwrap();
    let records = [record("a", 10, 500), record("b", 11, 0), record("a", 12, 400)];
    assert!(journal.append(&records, u64::MAX).unwrap().iter().all(Result::is_ok));
    let page = journal.page(None, 10).unwrap();
    let records: Vec<Record> = page.iter().map(|(_, record)| record.clone()).collect();
    assert_eq!(records, [record("b", 11, 0), record("a", 10, 500)]);
    assert_eq!(journal.page(Some(page[0].0), 10).unwrap(), page[1..]);
    assert_eq!(journal.size().entries, 2);
    // Appended again while it is replayed: the new entry stays.
    append(&mut journal, "a");
    let sequences: Vec<u64> = page.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(journal.remove(&sequences).unwrap(), [b"b"]);
    assert_eq!(targets(&journal), ["a"]);
    let last = journal.page(None, 1).unwrap()[0].0;
    assert_eq!(journal.remove(&[last, last]).unwrap(), [b"a"]);
    assert_eq!(journal.size(), super::Size::default());
}

#[test]
fn another_process_and_another_fleet_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let journal = JournalDatabase::open(&path, FLEET).unwrap();
    let locked = JournalDatabase::open(&path, FLEET).err().unwrap();
    assert!(matches!(locked, JournalError::Locked(_)), "{locked}");
    drop(journal);
    let other = JournalDatabase::open(&path, "other").err().unwrap();
    assert!(matches!(&other, JournalError::OtherFleet { found, .. } if found == FLEET), "{other}");
    JournalDatabase::open(&path, FLEET).unwrap();
}

#[test]
fn a_directory_that_does_not_exist_is_an_error() {
    let error = JournalDatabase::open(Path::new("/proc/larder/journal"), FLEET).err().unwrap();
    assert!(matches!(error, JournalError::Failed { .. }), "{error}");
}

#[tokio::test]
async fn concurrent_appends_are_kept_over_a_restart_and_a_full_journal_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let bytes = 64 + 2 * queued("00").invalidation.encode().len() as u64;
    let mut options =
        JournalOptions { path, fleet: FLEET.to_owned(), max_bytes: 100 * bytes + bytes / 2 };
    let journal = Arc::new(Journal::open(&options).unwrap());
    assert!(journal.pending().is_empty());
    let id = journal.id().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&options.path).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "other users cannot read the keys");
    let appends: Vec<_> = (0..100)
        .map(|index| {
            let journal = Arc::clone(&journal);
            tokio::spawn(async move { journal.append(queued(&format!("{index:02}"))).await })
        })
        .collect();
    for append in appends {
        append.await.unwrap().unwrap();
    }
    journal.appended().await;
    assert_eq!(journal.pending().size(), super::Size { entries: 100, bytes: 100 * bytes });
    let refused = journal.append(queued("xx")).await.unwrap_err();
    assert!(matches!(refused, JournalError::Full), "{refused}");
    assert!(!journal.pending().covers(&key("xx")));
    journal.append(queued("00")).await.unwrap();
    let page = journal.page(None, 1000).await.unwrap();
    assert_eq!(page.len(), 100);
    let removed = page[60..].iter();
    journal.remove(removed.clone().map(|pending| pending.sequence).collect()).await.unwrap();
    for pending in removed {
        let Invalidation::Key(key) = &pending.entry.invalidation else { panic!("{pending:?}") };
        assert!(!journal.pending().covers(key));
    }
    journal.append(queued("xx")).await.unwrap();
    drop(journal);
    // The thread closes the file a moment after the journal is dropped.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    let journal = loop {
        match Journal::open(&options) {
            Err(JournalError::Locked(_)) if tokio::time::Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            outcome => break outcome.unwrap(),
        }
    };
    assert_eq!(journal.pending().size().entries, 61);
    assert!(journal.pending().covers(&key("xx")));
    assert_eq!(journal.id(), id);
    options.path = directory.path().join("other.redb");
    assert_ne!(Journal::open(&options).unwrap().id(), id);
}

#[test]
fn a_file_that_is_cut_is_complete_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let mut journal = JournalDatabase::open(&path, FLEET).unwrap();
    let acknowledged: Vec<String> = (0..10).map(|index| format!("target-{index}")).collect();
    acknowledged.iter().for_each(|target| append(&mut journal, target));
    drop(journal);
    let content = std::fs::read(&path).unwrap();
    let pages = (1..content.len().div_ceil(4096)).map(|page| page * 4096);
    let mut lost_silently = Vec::new();
    for length in pages.flat_map(|boundary| [boundary - 1, boundary, boundary + 1]).chain([0]) {
        std::fs::write(&path, &content[..length]).unwrap();
        if let Ok(journal) = JournalDatabase::open(&path, FLEET)
            && targets(&journal) != acknowledged
        {
            lost_silently.push(length);
        }
    }
    assert!(lost_silently.is_empty(), "of {}: {lost_silently:?}", content.len());
}
