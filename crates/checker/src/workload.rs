//! Clients that make random calls, one after the other, and record them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use larder::pb::v1::{
    AbandonRequest, BatchDeleteRequest, BatchGetRequest, BatchSetRequest, Consistency,
    DeleteRequest, GetOrFetchRequest, GetRequest, IncrementRequest, InvalidateNamespaceRequest,
    Lease, TouchRequest, get_or_fetch_response::Outcome as Fetched, set_request,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;
use tonic::{Request, Status};

use crate::{
    clock, convert,
    history::{
        Answer, Call, Condition, GROUPS, KEYS_OF_ROUND, Key, Micros, Namespace, ReadKind, Record,
        Target, WriteId,
    },
    names::{COUNT, KEEP, NAMESPACES, NEAR, SHOP, SHOP_EU, STALE, TAGS, key_name},
    recorder::{Part, ROUND},
    shared::Shared,
    slots::Slots,
    support::client::Cache,
};

/// Deadline of each call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(6);
/// TTLs of writes, in milliseconds. Short ones expire within a round.
const TTLS: [u64; 8] = [150, 400, 400, 1_500, 1_500, 10_000, 20_000, 20_000];
/// Lifetime of what must not expire while it is checked, in milliseconds.
const LONG: u64 = 50_000;
/// Increments of a round go to few counters.
const COUNTERS: u32 = 3;
/// Pause after a call that failed at once.
const AFTER_FAILURE: Duration = Duration::from_millis(5);

/// Shared by all clients.
pub(crate) struct Workload {
    pub(crate) slots: Arc<Slots>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) next_write: AtomicU64,
}

/// One client.
pub(crate) struct Client {
    workload: Arc<Workload>,
    number: u16,
    random: StdRng,
    round: u32,
    records: Vec<Record>,
    parts: mpsc::Sender<Part>,
    /// Versions seen in this round.
    versions: HashMap<Key, String>,
    /// Leases to be filled later than at once.
    held: Vec<(Key, Lease, Micros)>,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(workload: Arc<Workload>, number: u16, parts: mpsc::Sender<Part>) -> Self {
        let random = StdRng::seed_from_u64(workload.shared.seed ^ (u64::from(number) << 32));
        Self {
            workload,
            number,
            random,
            round: u32::try_from(clock::now() / ROUND).unwrap(),
            records: Vec::new(),
            parts,
            versions: HashMap::new(),
            held: Vec::new(),
        }
    }

    /// Calls until the run is over.
    pub(crate) async fn run(mut self) {
        while !self.workload.shared.is_over() {
            let round = u32::try_from(clock::now() / ROUND).unwrap();
            while self.round < round {
                self.pass().await;
            }
            self.step().await;
        }
        self.pass().await;
    }

    /// Hands over the calls of the round and begins the next one.
    async fn pass(&mut self) {
        let records = std::mem::take(&mut self.records);
        let part = Part { round: self.round, records };
        // The recorder ends after the clients.
        let _ = self.parts.send(part).await;
        self.round += 1;
        self.versions.clear();
        self.held.clear();
    }

    async fn step(&mut self) {
        if let Some(position) = self.held.iter().position(|(_, _, at)| *at <= clock::now()) {
            let (key, lease, _) = self.held.swap_remove(position);
            return self.fill(key, lease).await;
        }
        let namespace = self.namespace();
        if namespace == COUNT {
            return self.increment().await;
        }
        let key = self.key(namespace);
        if namespace == KEEP {
            return match self.random.random_range(0..3) {
                0 => self.set(key, LONG, Condition::Always, None).await,
                1 => self.get(key).await,
                _ => self.batch_get(key).await,
            };
        }
        // Copies in a near cache live long enough to become outdated.
        if namespace == NEAR && self.random.random_ratio(7, 8) {
            return if self.random.random_ratio(7, 8) {
                self.get(key).await
            } else {
                self.batch_get(key).await
            };
        }
        // Some keys are only created, and hardly changed otherwise.
        if key.number % 8 == 7 && self.random.random_ratio(1, 2) {
            let ttl = self.ttl();
            let condition = Some(set_request::Condition::IfAbsent(true));
            return self.set(key, ttl, Condition::IfAbsent, condition).await;
        }
        match self.random.random_range(0..1000) {
            0..270 => self.get(key).await,
            270..370 => self.batch_get(key).await,
            370..500 => {
                let ttl = self.ttl();
                self.set(key, ttl, Condition::Always, None).await;
            }
            500..530 => self.batch_set(key).await,
            530..560 => {
                let ttl = self.ttl();
                let condition = Some(set_request::Condition::IfPresent(true));
                self.set(key, ttl, Condition::IfPresent, condition).await;
            }
            560..640 => self.set_version(key).await,
            640..860 => self.get_or_fetch(key).await,
            860..910 => self.delete(key).await,
            910..925 => self.batch_delete(key).await,
            925..955 => {
                let tags = 1 << self.random.random_range(0..TAGS);
                self.invalidate(Target::Tags { namespace, round: self.round, tags }).await;
            }
            955..970 => {
                let group = self.random.random_range(0..GROUPS);
                self.invalidate(Target::Group { namespace, round: self.round, group }).await;
            }
            970..973 => self.invalidate_namespace(namespace).await,
            _ => self.touch(key).await,
        }
    }

    fn namespace(&mut self) -> Namespace {
        match self.random.random_range(0..100) {
            0..24 => SHOP,
            24..39 => SHOP_EU,
            39..72 => NEAR,
            72..88 => STALE,
            88..95 => COUNT,
            _ => KEEP,
        }
    }

    /// A key of the round. A quarter of the calls go to few of them.
    fn key(&mut self, namespace: Namespace) -> Key {
        let last = if self.random.random_ratio(1, 4) { 4 } else { KEYS_OF_ROUND };
        let number = self.round * KEYS_OF_ROUND + self.random.random_range(0..last);
        Key { namespace, number }
    }

    fn ttl(&mut self) -> u64 {
        TTLS[self.random.random_range(0..TTLS.len())]
    }

    fn replica(&mut self) -> (u8, Cache) {
        let count = u8::try_from(self.workload.slots.len()).unwrap();
        let replica = self.random.random_range(0..count);
        (replica, self.workload.slots.cache(replica))
    }

    fn write_id(&self) -> WriteId {
        self.workload.next_write.fetch_add(1, Relaxed)
    }

    fn record(&mut self, replica: u8, began: Micros, call: Call, answer: Answer) {
        let client = self.number;
        let ended = clock::now();
        self.records.push(Record { client, replica, began, ended, call, answer });
    }

    /// Calls a replica. A call that the replica has not begun is made again, as by a client that
    /// follows GOAWAY.
    async fn call<T>(&mut self, call: impl AsyncFn(Cache) -> Result<T, Status>) -> Called<T> {
        let (replica, cache) = self.replica();
        let began = clock::now();
        let mut result = call(cache).await;
        if let Err(status) = &result
            && convert::was_refused(status)
        {
            result = call(self.workload.slots.cache(replica)).await;
        }
        if result.is_err() {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        Called { replica, began, result }
    }

    /// Records a call with one answer.
    fn record_called<T>(
        &mut self,
        called: &Called<T>,
        call: Call,
        answer: impl FnOnce(&T) -> Answer,
    ) {
        let answer = match &called.result {
            Ok(response) => answer(response),
            Err(status) => Answer::Failed(convert::failure(status)),
        };
        self.record(called.replica, called.began, call, answer);
    }

    async fn get(&mut self, key: Key) {
        let from_store = self.random.random_ratio(1, 5);
        let consistency = if from_store { Consistency::Store } else { Consistency::Unspecified };
        let request = GetRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            consistency: consistency.into(),
            ..GetRequest::default()
        };
        let called = self.call(async |cache| cache.get(limited(request.clone())).await).await;
        let kind = if from_store { ReadKind::GetFromStore } else { ReadKind::Get };
        if let Ok(response) = &called.result
            && let Some(entry) = &response.entry
        {
            self.versions.insert(key, entry.version.clone());
        }
        self.record_called(&called, Call::Read { key, kind }, |response| {
            let (value, entry) = (response.value.as_ref(), response.entry.as_ref());
            convert::read_answer(response.outcome(), value, entry, response.degraded, false)
        });
    }

    /// Keys from this one on.
    fn keys(&mut self, first: Key) -> Vec<Key> {
        let count = self.random.random_range(3..12);
        let begin = first.number - first.number % KEYS_OF_ROUND;
        let other = match first.namespace {
            SHOP => SHOP_EU,
            namespace => namespace,
        };
        (0..count)
            .map(|step| {
                let number = begin + (first.number + step) % KEYS_OF_ROUND;
                let namespace = if step % 4 == 3 { other } else { first.namespace };
                Key { namespace, number }
            })
            .collect()
    }

    async fn batch_get(&mut self, first: Key) {
        let keys = self.keys(first);
        let request = BatchGetRequest {
            keys: keys.iter().copied().map(convert::key_ref).collect(),
            ..BatchGetRequest::default()
        };
        let called = self.call(async |cache| {
            let mut stream = cache.rpc().batch_get(limited(request.clone())).await?.into_inner();
            let mut chunks = Vec::new();
            while let Some(chunk) = stream.message().await? {
                chunks.push(chunk);
            }
            Ok(chunks)
        });
        let called = called.await;
        let answers: Vec<Answer> = match &called.result {
            Ok(chunks) => chunks
                .iter()
                .flat_map(|chunk| chunk.results.iter().map(move |result| (chunk.degraded, result)))
                .map(|(degraded, result)| {
                    let (value, entry) = (result.value.as_ref(), result.entry.as_ref());
                    convert::read_answer(result.outcome(), value, entry, degraded, false)
                })
                .collect(),
            Err(status) => vec![Answer::Failed(convert::failure(status)); keys.len()],
        };
        assert_eq!(answers.len(), keys.len(), "a batch has a result for each key");
        for (key, answer) in keys.into_iter().zip(answers) {
            let call = Call::Read { key, kind: ReadKind::Batch };
            self.record(called.replica, called.began, call, answer);
        }
    }

    async fn set(
        &mut self,
        key: Key,
        ttl_millis: u64,
        condition: Condition,
        pb_condition: Option<set_request::Condition>,
    ) {
        let (write, ttl) = (self.write_id(), ttl_millis * 1000);
        let tags = self.tags(key);
        let request = convert::set_request(key, write, ttl, tags, pb_condition);
        let called = self.call(async |cache| cache.set(limited(request.clone())).await).await;
        let call = Call::Write { key, write, ttl, tags, condition };
        self.record_called(&called, call, convert::set_answer);
    }

    fn tags(&mut self, key: Key) -> u8 {
        if key.namespace == KEEP {
            return 0;
        }
        [0, 1 << self.random.random_range(0..TAGS), 1 << self.random.random_range(0..TAGS)]
            .into_iter()
            .fold(0, |tags, tag| tags | tag)
    }

    async fn set_version(&mut self, key: Key) {
        let Some(seen) = self.versions.get(&key).cloned() else { return self.get(key).await };
        let condition = Condition::IfVersion(convert::version(&seen));
        let ttl = self.ttl();
        self.set(key, ttl, condition, Some(set_request::Condition::IfVersion(seen))).await;
    }

    async fn batch_set(&mut self, first: Key) {
        let ttl = self.ttl() * 1000;
        let keys: Vec<Key> = self.keys(first);
        let writes: Vec<(Key, WriteId, u8)> =
            keys.into_iter().map(|key| (key, self.write_id(), self.tags(key))).collect();
        let items = writes
            .iter()
            .map(|(key, write, tags)| convert::set_request(*key, *write, ttl, *tags, None));
        let request = BatchSetRequest { items: items.collect() };
        let called = self.call(async |cache| cache.batch_set(limited(request.clone())).await).await;
        for (position, (key, write, tags)) in writes.into_iter().enumerate() {
            let call = Call::Write { key, write, ttl, tags, condition: Condition::Always };
            self.record_called(&called, call, |response| {
                convert::set_answer(&response.results[position])
            });
        }
    }

    async fn get_or_fetch(&mut self, key: Key) {
        let wait = self.random.random_range(0..4) * 40_000;
        let request = GetOrFetchRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            wait: convert::duration(wait),
            ..GetOrFetchRequest::default()
        };
        let called =
            self.call(async |cache| cache.get_or_fetch(limited(request.clone())).await).await;
        let call = Call::Read { key, kind: ReadKind::GetOrFetch };
        self.record_called(&called, call, convert::fetched);
        let Ok(response) = called.result else { return };
        let Some(Fetched::Lease(lease)) = response.outcome else { return };
        let expires_in = convert::micros(lease.expires_in);
        match self.random.random_range(0..20) {
            0 => self.abandon(key, &lease).await,
            1 => {}
            // A fill that comes too late.
            2 => self.held.push((key, lease, clock::now() + expires_in + 60_000)),
            3..10 => {
                let delay = self.random.random_range(0..expires_in.max(1));
                self.held.push((key, lease, clock::now() + delay));
            }
            // A lease that is used twice.
            10 => {
                self.fill(key, lease.clone()).await;
                self.fill(key, lease).await;
            }
            _ => self.fill(key, lease).await,
        }
    }

    async fn fill(&mut self, key: Key, lease: Lease) {
        let (write, ttl) = (self.write_id(), self.ttl() * 1000);
        let tags = self.tags(key);
        let mut request = convert::set_request(key, write, ttl, tags, None);
        let condition = Condition::Lease(convert::hash(&lease.token));
        request.lease_token = lease.token;
        let called = self.call(async |cache| cache.set(limited(request.clone())).await).await;
        let call = Call::Write { key, write, ttl, tags, condition };
        self.record_called(&called, call, convert::set_answer);
    }

    async fn abandon(&mut self, key: Key, lease: &Lease) {
        let request = AbandonRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            lease_token: lease.token.clone(),
            ..AbandonRequest::default()
        };
        let called = self.call(async |cache| cache.abandon(limited(request.clone())).await).await;
        let call = Call::Abandon { key, lease: convert::hash(&lease.token) };
        self.record_called(&called, call, |_| Answer::Done);
    }

    async fn delete(&mut self, key: Key) {
        let request = DeleteRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ..DeleteRequest::default()
        };
        let called = self.call(async |cache| cache.delete(limited(request.clone())).await).await;
        self.record_called(&called, Call::Invalidate(Target::Key(key)), |_| Answer::Done);
    }

    async fn batch_delete(&mut self, first: Key) {
        let keys: Vec<Key> = self.keys(first).into_iter().take(4).collect();
        let request = BatchDeleteRequest {
            keys: keys.iter().copied().map(convert::key_ref).collect(),
            ..BatchDeleteRequest::default()
        };
        let called =
            self.call(async |cache| cache.batch_delete(limited(request.clone())).await).await;
        for key in keys {
            self.record_called(&called, Call::Invalidate(Target::Key(key)), |_| Answer::Done);
        }
    }

    async fn invalidate(&mut self, target: Target) {
        let request = convert::invalidate_request(target);
        let called =
            self.call(async |cache| cache.invalidate(limited(request.clone())).await).await;
        self.record_called(&called, Call::Invalidate(target), |_| Answer::Done);
    }

    async fn invalidate_namespace(&mut self, namespace: Namespace) {
        let request =
            InvalidateNamespaceRequest { namespace: NAMESPACES[usize::from(namespace)].to_owned() };
        let called = self
            .call(async |cache| cache.invalidate_namespace(limited(request.clone())).await)
            .await;
        let call = Call::Invalidate(Target::Namespace(namespace));
        self.record_called(&called, call, |_| Answer::Done);
    }

    async fn touch(&mut self, key: Key) {
        let ttl = self.ttl() * 1000;
        let request = TouchRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ttl: convert::duration(ttl),
            ..TouchRequest::default()
        };
        let called = self.call(async |cache| cache.touch(limited(request.clone())).await).await;
        self.record_called(&called, Call::Touch { key, ttl }, |response| {
            // A degraded one may have been applied.
            if response.found || response.degraded { Answer::Done } else { Answer::NoEffect }
        });
    }

    async fn increment(&mut self) {
        let number = self.round * KEYS_OF_ROUND + self.random.random_range(0..COUNTERS);
        let key = Key { namespace: COUNT, number };
        let request = IncrementRequest {
            namespace: convert::namespace(key),
            key: key_name(key),
            ttl: convert::duration(LONG * 1000),
            ..IncrementRequest::default()
        };
        let called = self.call(async |cache| cache.increment(limited(request.clone())).await).await;
        let call = Call::Increment { key };
        self.record_called(&called, call, |response| Answer::Counted(response.value));
    }
}

/// A call with its response.
struct Called<T> {
    replica: u8,
    began: Micros,
    result: Result<T, Status>,
}

fn limited<T>(request: T) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(DEADLINE);
    request
}
