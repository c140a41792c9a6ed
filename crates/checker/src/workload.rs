//! Clients that make random calls, one after the other, and record them.

mod calls;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use larder::pb::v1::{Lease, set_request};
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

/// Deadline of each call: one that takes so long hangs, also on a machine with much else to do.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// TTLs of writes, in milliseconds. Short ones expire within a round.
const TTLS: [u64; 8] = [150, 400, 400, 1_500, 1_500, 10_000, 20_000, 20_000];
/// Lifetime of what must not expire while it is checked, in milliseconds.
const LONG: u64 = 50_000;
/// Increments of a round go to few counters.
const COUNTERS: u32 = 3;
/// Times that a call is repeated that no replica has begun.
const REPEATED: usize = 3;
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
    versions: BTreeMap<Key, String>,
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
            versions: BTreeMap::new(),
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
        // Copies in a near cache live long enough to become outdated, and some values long enough
        // to outlast a fault.
        let is_mostly_read = namespace == NEAR || key.number % 4 == 2;
        if is_mostly_read && self.random.random_ratio(7, 8) {
            let key = if self.random.random_ratio(1, 4) { before(key) } else { key };
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
        for _ in 0..REPEATED {
            if !result.as_ref().is_err_and(convert::was_refused) {
                break;
            }
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
}

/// The same key of the round before.
fn before(key: Key) -> Key {
    Key { number: key.number.checked_sub(KEYS_OF_ROUND).unwrap_or(key.number), ..key }
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
