#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, future::Future};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    circuit_breaker::{CircuitBreaker, ProbeIntervals},
    model::{Glob, Kind},
    store::{
        Operation,
        circuit_breaker_store::{
            CircuitBreakerStore, OperationObserver, breaker, ping_periodically,
        },
        journal::{
            JournalOptions,
            quarantine::{JournalRegistry, JournalReport},
            replay::Replay,
        },
        memory::MemoryStore,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// A journal in front of an embedded store, which can be away.
struct Stack {
    store: JournaledStore,
    inner: Arc<CircuitBreakerStore<MemoryStore>>,
    memory: MemoryStore,
    breaker: Arc<CircuitBreaker>,
    registry: Arc<Registry>,
    _directory: tempfile::TempDir,
}

struct Unobserved;

impl OperationObserver for Unobserved {
    fn on_operation_end(&self, _: Operation, _: Duration, _: Option<ErrorKind>) {}
}

/// A registry in memory.
#[derive(Default)]
struct Registry(Mutex<BTreeMap<String, Timestamp>>);

#[async_trait]
impl JournalRegistry for Registry {
    async fn report_journal(&self, id: &str, empty_at: Option<Timestamp>) -> Result<()> {
        let mut reports = self.0.lock();
        let report = reports.entry(id.to_owned()).or_default();
        *report = empty_at.unwrap_or(*report);
        Ok(())
    }

    async fn withdraw_journal(&self, id: &str) -> Result<()> {
        self.0.lock().remove(id);
        Ok(())
    }

    async fn journals(&self) -> Result<Vec<JournalReport>> {
        let reports = self.0.lock();
        let report = |(id, empty_at): (&String, &Timestamp)| JournalReport {
            id: id.clone(),
            empty_at: *empty_at,
        };
        Ok(reports.iter().map(report).collect())
    }
}

impl Stack {
    async fn new() -> Self {
        let memory = MemoryStore::new(1 << 20);
        let directory = tempfile::tempdir().unwrap();
        let options = JournalOptions {
            path: directory.path().join("journal.redb"),
            fleet: "larder".to_owned(),
            max_bytes: 1 << 20,
        };
        let journal = Arc::new(Journal::open(&options).unwrap());
        let quarantine = Arc::new(Quarantine::new(MINUTE));
        let breaker = breaker(1, || None, || {});
        let inner = CircuitBreakerStore::new(memory.clone(), breaker.clone(), Arc::new(Unobserved));
        let inner = Arc::new(inner);
        let log = Arc::new(JournalLog::new(&opentelemetry::global::meter("test")));
        let store = JournaledStore::new(inner.clone(), journal, quarantine, log);
        let registry = Arc::default();
        let stack = Self { store, inner, memory, breaker, registry, _directory: directory };
        stack.come_back().await;
        stack
    }

    fn go_away(&self) {
        self.breaker.record::<(), ()>(&Err(()), |()| true);
        assert!(!self.breaker.is_closed());
    }

    async fn come_back(&self) {
        let intervals = ProbeIntervals { closed: MINUTE, open: MINUTE };
        let closed = self.breaker.subscribe();
        let mut closed = closed.clone();
        tokio::select! {
            () = ping_periodically(&self.memory, &self.breaker, intervals) => {}
            _ = closed.wait_for(|closed| *closed) => {}
        }
        assert!(self.breaker.is_closed());
    }

    async fn put(&self, key: &EntryKey) {
        self.memory.put(key, &new_entry(), Condition::Always).await.unwrap();
    }

    /// Queues an invalidation while the store is away.
    async fn queue<T: std::fmt::Debug>(&self, call: impl Future<Output = Result<T>>) {
        self.go_away();
        assert_eq!(call.await.unwrap_err().kind, ErrorKind::Queued);
        self.come_back().await;
    }

    fn replay(&self) -> Replay {
        Replay {
            journal: self.store.journal.clone(),
            store: self.inner.clone(),
            registry: self.registry.clone(),
            quarantine: self.store.quarantine.clone(),
            log: self.store.log.clone(),
            answers: self.breaker.subscribe(),
        }
    }

    /// Runs the replay until the journal is empty and no quarantine lasts.
    async fn replayed(&self) {
        let stop = CancellationToken::new();
        let replay = self.replay().run(stop.clone());
        let wait = async {
            while !self.store.journal.pending().is_empty() || self.store.quarantine.is_active() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(replay, wait) };
        tokio::time::timeout(MINUTE, both).await.unwrap();
    }

    /// The kinds of error of all calls that read or write an entry.
    async fn refusals(&self, key: &EntryKey) -> Vec<Option<ErrorKind>> {
        let (store, token) = (&self.store, LeaseToken::random());
        let lifetime = Lifetime { ttl: MINUTE, ..Lifetime::default() };
        let increment = Increment { delta: 1, initial: Some(0), lifetime, version: Version(2) };
        let request = AcquireRequest { token, ttl: MINUTE, fresher_than: Timestamp(u64::MAX) };
        let revalidation = Revalidation {
            version: Version(1),
            lifetime,
            tags: Vec::new().into(),
            fetch_metadata: Arc::default(),
        };
        let version = Version(1);
        let take = Take { returns_entry: true, ..Take::default() };
        let several = store.get_many(std::slice::from_ref(key)).await;
        vec![
            kind(&store.get(key).await),
            kind(&several),
            kind(&store.put(key, &new_entry(), Condition::IfPresent).await),
            kind(&store.take(key, &take).await),
            kind(&store.touch(key, lifetime).await),
            kind(&store.prolong(key, version, lifetime).await),
            kind(&store.increment(key, &increment).await),
            kind(&store.acquire(key, &request).await),
            kind(&store.fill(key, token, &new_entry()).await),
            kind(&store.revalidate(key, token, &revalidation).await),
        ]
    }
}

fn kind<T>(outcome: &Result<T>) -> Option<ErrorKind> {
    outcome.as_ref().err().map(|error| error.kind)
}

fn key_in(namespace: &str, name: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), name, [].into_iter()).unwrap()
}

fn new_entry() -> NewEntry {
    NewEntry {
        kind: Kind::Text,
        data: "5".into(),
        version: Version(1),
        lifetime: Lifetime { ttl: MINUTE, ..Lifetime::default() },
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

#[tokio::test]
async fn entries_with_a_queued_invalidation_are_not_used_until_the_replay() {
    let stack = Stack::new().await;
    let (of_key, neighbour) = (key_in("a", "k"), key_in("a", "neighbour"));
    let (of_namespace, of_ban) = (key_in("b", "k"), key_in("c", "user:1"));
    for key in [&of_key, &neighbour, &of_namespace, &of_ban] {
        stack.put(key).await;
    }
    let store = &stack.store;
    stack.queue(store.delete(&of_key, Duration::ZERO)).await;
    stack.queue(store.invalidate(of_namespace.namespace())).await;
    let ban = Ban { globs: vec![Glob::new("user:*").unwrap()], ..Ban::default() };
    stack.queue(store.ban(of_ban.namespace(), &ban, &BanLimits::default())).await;
    for key in [&of_key, &of_namespace, &of_ban] {
        let refusals = stack.refusals(key).await;
        assert_eq!(refusals, vec![Some(ErrorKind::Queued); 10], "{key:?}");
        let put = store.put(key, &new_entry(), Condition::Always).await;
        assert_eq!(kind(&put), Some(ErrorKind::Queued), "{key:?}");
    }
    let keys = [neighbour.clone(), of_key.clone(), neighbour.clone()];
    let several = store.get_many(&keys).await.unwrap();
    let found = several.iter().map(|one| one.as_ref().map(Option::is_some).map_err(|e| e.kind));
    assert!(found.eq([Ok(true), Err(ErrorKind::Queued), Ok(true)]));

    stack.replayed().await;
    for key in [&of_key, &of_namespace, &of_ban] {
        assert!(store.get(key).await.unwrap().is_none(), "{key:?}");
        assert!(stack.memory.get(key).await.unwrap().is_none(), "{key:?}");
    }
    assert!(store.get(&neighbour).await.unwrap().is_some());
    assert_eq!(stack.registry.journals().await.unwrap(), [], "withdrawn");
}

#[tokio::test]
async fn a_hold_off_is_applied_for_the_rest_of_its_time() {
    let stack = Stack::new().await;
    let [long, short] = [key_in("a", "long"), key_in("a", "short")];
    stack.queue(stack.store.delete(&long, MINUTE)).await;
    stack.queue(stack.store.delete(&short, Duration::from_millis(1))).await;
    let queued_at = stack.store.now();
    while stack.store.now().since(queued_at) < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    stack.replayed().await;
    for (key, expected) in [(long, Err(crate::store::LeaseLoss::Invalidated)), (short, Ok(()))] {
        let token = LeaseToken::random();
        let request = AcquireRequest { token, ttl: MINUTE, fresher_than: Timestamp(u64::MAX) };
        stack.store.acquire(&key, &request).await.unwrap();
        assert_eq!(stack.store.fill(&key, token, &new_entry()).await.unwrap(), expected, "{key:?}");
    }
}

#[tokio::test]
async fn what_depends_on_the_store_waits_for_the_end_of_the_quarantine() {
    let stack = Stack::new().await;
    let key = key_in("a", "k");
    stack.put(&key).await;
    let now = stack.store.now();
    stack.store.quarantine.begin(now);
    assert_eq!(stack.refusals(&key).await, vec![Some(ErrorKind::BreakerOpen); 10]);
    stack.store.quarantine.check(None, Timestamp(2_000));
    assert_eq!(stack.refusals(&key).await, vec![Some(ErrorKind::Quarantined); 10]);
    let put = stack.store.put(&key, &new_entry(), Condition::Always).await.unwrap();
    assert_eq!(put, PutOutcome::Stored);
    assert!(stack.store.delete(&key, Duration::ZERO).await.unwrap());
    stack.replayed().await;
    assert!(stack.store.get(&key).await.unwrap().is_none());
}

#[tokio::test]
async fn a_store_that_refuses_is_no_reason_to_queue() {
    let stack = Stack::new().await;
    for kind in [ErrorKind::Full, ErrorKind::Refused, ErrorKind::NotReplicated] {
        let invalidation = Invalidation::Key(key_in("a", "k"));
        let error = stack.store.queue(kind.into(), invalidation, Duration::ZERO).await;
        assert_eq!(error.kind, kind);
    }
    assert!(stack.store.journal.pending().is_empty());
}
