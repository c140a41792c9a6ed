#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::{
    model::{Kind, Version},
    stats::{
        counters::Counter,
        delta::{ByNamespace, StatsDelta},
    },
    store::{LeaseLoss, StatsStore, memory::MemoryStore},
};

const MINUTE: Duration = Duration::from_secs(60);
const THRESHOLD: u32 = 3;
const INTERVALS: ProbeIntervals = ProbeIntervals { closed: MINUTE, open: Duration::from_secs(1) };

/// Observed operations, with their durations and failures.
#[derive(Default)]
struct Observed(Mutex<Vec<(Operation, Duration, Option<ErrorKind>)>>);

impl OperationObserver for Observed {
    fn on_operation_end(
        &self,
        operation: Operation,
        duration: Duration,
        failure: Option<ErrorKind>,
    ) {
        self.0.lock().push((operation, duration, failure));
    }
}

impl Observed {
    fn take(&self) -> Vec<(Operation, Duration, Option<ErrorKind>)> {
        std::mem::take(&mut *self.0.lock())
    }

    /// Names of the operations since the last call, none of which failed.
    fn take_succeeded(&self) -> String {
        let observed = self.take();
        assert!(observed.iter().all(|(_, _, failure)| failure.is_none()), "{observed:?}");
        let names: Vec<&str> = observed.iter().map(|(operation, ..)| operation.name()).collect();
        names.join(" ")
    }
}

/// A store whose operations take a second and end as chosen.
#[derive(Default)]
struct ScriptedStore {
    failure: Mutex<Option<ErrorKind>>,
    calls: AtomicUsize,
}

impl ScriptedStore {
    async fn answer<T>(&self, value: T) -> Result<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let failure = *self.failure.lock();
        failure.map_or(Ok(value), |kind| Err(kind.into()))
    }
}

#[async_trait]
impl Store for Arc<ScriptedStore> {
    async fn get(&self, _key: &EntryKey) -> Result<Option<Entry>> {
        self.answer(None).await
    }

    async fn get_many(&self, _keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        self.answer(Vec::new()).await
    }

    async fn put(&self, _: &EntryKey, _: &NewEntry, _: Condition) -> Result<PutOutcome> {
        self.answer(PutOutcome::Stored).await
    }

    async fn delete(&self, _: &EntryKey, _: Duration) -> Result<bool> {
        self.answer(true).await
    }

    async fn take(&self, _: &EntryKey, _: &Take) -> Result<TakeOutcome> {
        self.answer(TakeOutcome::Absent).await
    }

    async fn invalidate(&self, _: &Namespace) -> Result<()> {
        self.answer(()).await
    }

    async fn ban(&self, _: &Namespace, _: &Ban, _: &BanLimits) -> Result<BanOutcome> {
        self.answer(BanOutcome::Banned).await
    }

    async fn touch(&self, _: &EntryKey, _: Lifetime) -> Result<bool> {
        self.answer(true).await
    }

    async fn prolong(&self, _: &EntryKey, _: Version, _: Lifetime) -> Result<bool> {
        self.answer(true).await
    }

    async fn increment(&self, _: &EntryKey, _: &Increment) -> Result<IncrementOutcome> {
        self.answer(IncrementOutcome::Overflow).await
    }

    fn now(&self) -> Timestamp {
        Timestamp(7)
    }
}

#[async_trait]
impl Inspect for Arc<ScriptedStore> {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    async fn ping(&self) -> Result<()> {
        self.answer(()).await
    }

    async fn info(&self) -> Result<StoreInfo> {
        self.answer(StoreInfo::default()).await
    }

    async fn usage(&self, _page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        self.answer(Vec::new()).await
    }

    async fn list_keys(&self, _: &KeyListStep) -> Result<KeyListPart> {
        self.answer(KeyListPart { keys: Vec::new(), next: None }).await
    }

    async fn sample_entries(&self, _: &KeyListStep) -> Result<EntrySample> {
        self.answer(EntrySample { entries: Vec::new(), next: None }).await
    }

    async fn list_namespaces(&self, _: KeyListPosition) -> Result<NamespaceListPart> {
        self.answer(NamespaceListPart::default()).await
    }

    async fn list_bans(&self, _: &Namespace, _: &BanLimits) -> Result<BanListing> {
        self.answer(BanListing::default()).await
    }

    async fn inspect_entry(&self, _: &EntryKey) -> Result<EntryInspection> {
        self.answer(EntryInspection::default()).await
    }
}

fn key() -> EntryKey {
    EntryKey::new(Namespace::new("ns").unwrap(), "k", [].into_iter()).unwrap()
}

fn lifetime() -> Lifetime {
    Lifetime { ttl: MINUTE, ..Lifetime::default() }
}

fn counter(value: &str) -> NewEntry {
    NewEntry {
        kind: Kind::Text,
        data: value.to_owned().into(),
        version: Version(1),
        lifetime: lifetime(),
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

/// A store behind a closed breaker.
async fn closed<S: Inspect>(inner: S) -> (CircuitBreakerStore<S>, Arc<Observed>) {
    let (breaker, observed) = (breaker(THRESHOLD, || None, || {}), Arc::new(Observed::default()));
    close(&breaker).await;
    (CircuitBreakerStore::new(inner, breaker, observed.clone()), observed)
}

async fn close(breaker: &CircuitBreaker) {
    let healthy = MemoryStore::new(1 << 20);
    let pings = ping_periodically(&healthy, breaker, INTERVALS);
    let _ = tokio::time::timeout(Duration::from_millis(1), pings).await;
    assert!(breaker.is_closed());
}

/// Reads until the breaker opens. Returns the number of reads.
async fn reads_until_open(
    store: &CircuitBreakerStore<Arc<ScriptedStore>>,
    read: impl AsyncFn() -> Option<ErrorKind>,
) -> u32 {
    let mut reads = 0;
    while store.breaker.is_closed() && reads < 10 {
        read().await;
        reads += 1;
    }
    reads
}

#[tokio::test(start_paused = true)]
async fn entry_operations_pass_and_are_observed() {
    let (store, observed) = closed(MemoryStore::new(1 << 20)).await;
    let put = store.put(&key(), &counter("5"), Condition::Always).await.unwrap();
    assert_eq!(put, PutOutcome::Stored);
    let refused = store.put(&key(), &counter("6"), Condition::IfAbsent).await.unwrap();
    assert_eq!(refused, PutOutcome::ConditionNotMet);
    assert_eq!(store.get(&key()).await.unwrap().unwrap().data, "5");
    assert_eq!(store.get_many(&[key(), key()]).await.unwrap().len(), 2);
    assert!(store.touch(&key(), lifetime()).await.unwrap());
    assert!(!store.prolong(&key(), Version(0), lifetime()).await.unwrap());
    let (delta, initial, version) = (1, Some(0), Version(2));
    let increment = Increment { delta, initial, lifetime: lifetime(), version };
    let outcome = store.increment(&key(), &increment).await.unwrap();
    assert_eq!(outcome, IncrementOutcome::Sum { value: 6, ttl_remaining: MINUTE });
    store.invalidate(key().namespace()).await.unwrap();
    assert!(!store.touch(&key(), lifetime()).await.unwrap());
    store.put(&key(), &counter("5"), Condition::Always).await.unwrap();
    assert!(store.delete(&key(), Duration::ZERO).await.unwrap());
    assert!(!store.delete(&key(), Duration::ZERO).await.unwrap());
    let absent = store.take(&key(), &Take::default()).await.unwrap();
    assert_eq!(absent, TakeOutcome::Absent);
    let expected =
        "put put get get_many touch touch increment invalidate touch put delete delete delete";
    assert_eq!(observed.take_succeeded(), expected);
}

#[tokio::test(start_paused = true)]
async fn lease_operations_pass_and_are_observed() {
    let (store, observed) = closed(MemoryStore::new(1 << 20)).await;
    let token = LeaseToken::random();
    let request = AcquireRequest { token, ttl: MINUTE, fresher_than: Timestamp(u64::MAX) };
    let watch = store.watch_lease(&key());
    let acquire = async || store.acquire(&key(), &request).await.unwrap();
    assert!(matches!(acquire().await, AcquireOutcome::Granted { .. }));
    assert_eq!(store.extend(&key(), token, MINUTE).await.unwrap(), Ok(()));
    assert_eq!(store.fill(&key(), token, &counter("5")).await.unwrap(), Ok(()));
    tokio::time::timeout(MINUTE, watch.notified()).await.unwrap();
    acquire().await;
    let revalidation = Revalidation {
        version: Version(1),
        lifetime: lifetime(),
        tags: Vec::new().into(),
        fetch_metadata: Arc::default(),
    };
    let outcome = store.revalidate(&key(), token, &revalidation).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::Revalidated);
    acquire().await;
    assert_eq!(store.discard(&key(), token, Duration::ZERO, "").await.unwrap(), Ok(()));
    acquire().await;
    assert!(store.abandon(&key(), token, Duration::ZERO, "").await.unwrap());
    assert!(!store.abandon(&key(), token, Duration::ZERO, "").await.unwrap());
    assert_eq!(store.extend(&key(), token, MINUTE).await.unwrap(), Err(LeaseLoss::Expired));
    let lost = store.fill(&key(), token, &counter("5")).await.unwrap();
    assert_eq!(lost, Err(LeaseLoss::Expired));
    assert_eq!(
        store.discard(&key(), token, Duration::ZERO, "").await.unwrap(),
        Err(LeaseLoss::Expired)
    );
    let expected = "acquire extend fill acquire confirm acquire discard acquire abandon abandon \
                    extend fill discard";
    assert_eq!(observed.take_succeeded(), expected);
}

#[tokio::test(start_paused = true)]
async fn statistics_and_inspection_pass_and_are_observed_but_pings_are_not() {
    let (store, observed) = closed(MemoryStore::new(1 << 20)).await;
    let mut counts = ByNamespace::new();
    counts.entry("ns".to_owned()).or_default().0[Counter::Hits as usize] = 5;
    store
        .add(&StatsDelta { replica: 1, sequence: 1, counts, sender: Default::default() })
        .await
        .unwrap();
    assert_eq!(store.report().await.unwrap().total["ns"].get(Counter::Hits), 5);
    store.put(&key(), &counter("5"), Condition::Always).await.unwrap();
    assert_eq!(store.info().await.unwrap().keys, 1);
    assert_eq!(store.usage(&NamespacePage::default()).await.unwrap().len(), 1);
    store.ping().await.unwrap();
    assert_eq!(store.kind(), "memory");
    assert_eq!(observed.take_succeeded(), "ledger_add ledger_report put facts sizes");
}

#[tokio::test(start_paused = true)]
async fn open_breaker_rejects_without_calling_the_store() {
    let (inner, observed) = (Arc::new(ScriptedStore::default()), Arc::new(Observed::default()));
    let store = CircuitBreakerStore::new(
        inner.clone(),
        breaker(THRESHOLD, || None, || {}),
        observed.clone(),
    );
    let rejected = store.get(&key()).await.unwrap_err();
    assert_eq!(rejected.kind, ErrorKind::BreakerOpen);
    assert_eq!(inner.calls.load(Ordering::Relaxed), 0);
    let expected = (Operation::Get, Duration::ZERO, Some(ErrorKind::BreakerOpen));
    assert_eq!(observed.take(), [expected]);
    assert_eq!(store.now(), Timestamp(7), "the clock is always available");
    close(&store.breaker).await;
    assert_eq!(store.get(&key()).await.unwrap(), None);
    assert_eq!(inner.calls.load(Ordering::Relaxed), 1);
    assert_eq!(observed.take(), [(Operation::Get, Duration::from_secs(1), None)]);
}

#[tokio::test(start_paused = true)]
async fn open_breaker_lets_pings_pass() {
    let (inner, observed) = (Arc::new(ScriptedStore::default()), Arc::new(Observed::default()));
    let store = CircuitBreakerStore::new(
        inner.clone(),
        breaker(THRESHOLD, || None, || {}),
        observed.clone(),
    );
    store.ping().await.unwrap();
    *inner.failure.lock() = Some(ErrorKind::Unreachable);
    assert_eq!(store.ping().await.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(observed.take(), []);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_at_its_begin_once_a_minute_and_at_its_end() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let store = Arc::new(ScriptedStore::default());
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = opened.clone();
    let cause = || Some(Trouble { cause: "wrong password".to_owned(), remedy: "check it" });
    let breaker = breaker(THRESHOLD, cause, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let pings = ping_periodically(&store, &breaker, INTERVALS);
    let outage = async {
        tokio::time::sleep(2 * MINUTE).await;
        *store.failure.lock() = Some(ErrorKind::Unreachable);
        tokio::time::sleep(10 * MINUTE).await;
        *store.failure.lock() = None;
        tokio::time::sleep(MINUTE).await;
    };
    tokio::select! {
        () = pings => {}
        () = outage => {}
    }
    let lines = std::fs::read_to_string(log.path()).unwrap();
    let count = |part: &str| lines.lines().filter(|line| line.contains(part)).count();
    assert_eq!(count("the store is available"), 2, "{lines}");
    assert_eq!(count("the store is unavailable"), 1, "{lines}");
    assert_eq!(opened.load(Ordering::Relaxed), 1, "the hook runs when the breaker opens");
    assert_eq!(count("cause=\"wrong password\" remedy=\"check it\""), 1, "{lines}");
    let reminders = count("the store is still unavailable");
    assert!((6..=10).contains(&reminders), "{lines}");
    assert_eq!(lines.lines().count(), 3 + reminders, "{lines}");
}

#[tokio::test(start_paused = true)]
async fn outages_open_the_breaker_and_other_failures_do_not() {
    for (kind, opens) in [
        (ErrorKind::Unreachable, true),
        (ErrorKind::Timeout, true),
        (ErrorKind::Late, false),
        (ErrorKind::Full, false),
        (ErrorKind::Refused, false),
    ] {
        let inner = Arc::new(ScriptedStore::default());
        *inner.failure.lock() = Some(kind);
        let (store, observed) = closed(inner).await;
        let read = async || store.get(&key()).await.err().map(|error| error.kind);
        let reads = reads_until_open(&store, read).await;
        assert_eq!((reads == THRESHOLD, store.breaker.is_closed()), (opens, !opens), "{kind}");
        let expected = (Operation::Get, Duration::from_secs(1), Some(kind));
        assert!(observed.take().iter().all(|observed| *observed == expected));
    }
}

#[tokio::test(start_paused = true)]
async fn timeouts_of_bulk_operations_do_not_count() {
    for (kind, opens) in [(ErrorKind::Timeout, false), (ErrorKind::Unreachable, true)] {
        let inner = Arc::new(ScriptedStore::default());
        *inner.failure.lock() = Some(kind);
        let (store, _) = closed(inner).await;
        let read = async || store.get_many(&[]).await.err().map(|error| error.kind);
        let reads = reads_until_open(&store, read).await;
        assert_eq!((reads == THRESHOLD, store.breaker.is_closed()), (opens, !opens), "{kind}");
    }
}

#[test]
fn bulk_operations_are_those_whose_size_grows_with_the_store() {
    let bulk = Operation::ALL.into_iter().filter(|one| one.is_bulk());
    let names: Vec<&str> = bulk.map(Operation::name).collect();
    let expected = "get_many ledger_add ledger_report facts sizes list_keys put_hot_keys hot_keys \
                    sample_entries list_namespaces history put_replica replicas \
                    exchange_reuse reuse_table reuse_figures put_reuse list_bans";
    assert_eq!(names.join(" "), expected);
}

/// Dashboards and alerts use these names.
#[test]
fn operation_names_never_change() {
    let expected = "get get_many put delete invalidate ban touch increment acquire extend fill \
                    confirm discard abandon ledger_add ledger_report facts sizes list_keys \
                    inspect_entry put_hot_keys hot_keys sample_entries list_namespaces \
                    history put_replica remove_replica replicas exchange_reuse reuse_table \
                    reuse_figures put_reuse list_bans";
    assert_eq!(Operation::ALL.map(Operation::name).join(" "), expected);
    for (index, operation) in Operation::ALL.into_iter().enumerate() {
        assert_eq!(operation as usize, index, "metrics are indexed by the operation");
    }
}
