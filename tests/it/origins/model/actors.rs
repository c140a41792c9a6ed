//! Those who call at random.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{
    BatchGetOrFetchRequest, DeleteRequest, FillResult, GetOrFetchRequest, GetOrFetchResponse,
    GetRequest, KeyRef, Outcome, SetRequest, SetResult, batch_get_or_fetch_result::Result as OfKey,
    get_or_fetch_response::Outcome as Answer,
};
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use tonic::Status;

use super::world::{Key, NAMESPACES, Reading, World};
use crate::support::{
    client::{Cache, as_text, delete, fetch, get, invalidate, ms, set, text},
    status::reason,
};

/// A server as its callers see it.
pub(super) struct Replica {
    pub(super) cache: Mutex<Cache>,
    /// Odd while something happens to it.
    pub(super) accidents: AtomicU64,
    /// Held for reading by those whose calls must not be lost.
    pub(super) steady: tokio::sync::RwLock<()>,
}

/// Somebody who calls one server.
pub(super) struct Actor {
    pub(super) world: Arc<World>,
    pub(super) replica: Arc<Replica>,
    pub(super) dice: StdRng,
}

const HOLD_OFF: Duration = Duration::from_millis(100);

impl Replica {
    pub(super) fn new(cache: Cache) -> Arc<Self> {
        Arc::new(Self {
            cache: Mutex::new(cache),
            accidents: AtomicU64::new(0),
            steady: tokio::sync::RwLock::default(),
        })
    }
}

impl Actor {
    /// Reads through the cache in every way there is.
    pub(super) async fn fetch(mut self) {
        let world = self.world.clone();
        while !world.is_over() {
            let key = self.key(&world);
            match self.dice.random_range(0..10) {
                0 => self.fetch_batch().await,
                1 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { no_cache: true, ..request(key, 5_000) },
                    )
                    .await
                }
                2 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { only_if_cached: true, ..request(key, 5_000) },
                    )
                    .await
                }
                3 => self.get_or_fetch(key, request(key, 0)).await,
                4 => {
                    self.get_or_fetch(
                        key,
                        GetOrFetchRequest { max_stale: ms(0), ..request(key, 5_000) },
                    )
                    .await
                }
                _ => self.get_or_fetch(key, request(key, 5_000)).await,
            }
            self.pause(20).await;
        }
    }

    /// Reads what is there.
    pub(super) async fn get(mut self) {
        let world = self.world.clone();
        while !world.is_over() {
            // All keys alike, also those that are seldom fetched.
            let key = world.keys.choose(&mut self.dice).unwrap();
            let (reading, before) = (key.read(), self.accidents());
            let request = GetRequest { namespace: key.namespace.to_owned(), ..get(&key.name) };
            match self.cache().get(request).await {
                Ok(answer) if answer.outcome() == Outcome::Negative => self.absent(key, reading),
                Ok(answer) => self.check(key, as_text(answer.value), reading, false),
                Err(error) => self.lost(before, &error),
            }
            self.pause(4).await;
        }
    }

    /// Changes the database and deletes, or invalidates the whole namespace.
    pub(super) async fn invalidate(mut self) {
        let world = self.world.clone();
        while !world.is_over() {
            self.pause(120).await;
            if self.dice.random_ratio(1, 8) {
                let namespace = *NAMESPACES.choose(&mut self.dice).unwrap();
                self.invalidate_namespace(&world, namespace).await;
            } else {
                let key = world.keys.choose(&mut self.dice).unwrap();
                self.delete(key).await;
            }
        }
    }

    /// Changes the database and tells the cache its new value.
    pub(super) async fn set(mut self) {
        let world = self.world.clone();
        while !world.is_over() {
            self.pause(300).await;
            let key = self.key(&world);
            let replica = self.replica.clone();
            // A Set that nobody was told of could be carried out at any later time.
            let Ok(_steady) = replica.steady.try_read() else { continue };
            let _order = key.writing.lock().await;
            let began = Instant::now();
            let number = key.change();
            let (value, id) = key.write(number);
            let request =
                SetRequest { namespace: key.namespace.to_owned(), ..set(&key.name, text(&value)) };
            let answer = self.cache().set(request).await.unwrap();
            assert_eq!(answer.result(), SetResult::Stored, "{answer:?}");
            key.written(id);
            key.acknowledge(number);
            key.void(began, Duration::ZERO);
            world.tally.changes.fetch_add(1, SeqCst);
        }
    }

    async fn delete(&mut self, key: &Key) {
        let _order = key.writing.lock().await;
        let (began, before) = (Instant::now(), self.accidents());
        let number = key.change();
        let hold_off = if self.dice.random_ratio(1, 10) { HOLD_OFF } else { Duration::ZERO };
        let hold_off_ms = ms(i64::try_from(hold_off.as_millis()).unwrap());
        let request = DeleteRequest {
            namespace: key.namespace.to_owned(),
            hold_off: hold_off_ms,
            ..delete(&key.name)
        };
        match self.cache().delete(request).await {
            Ok(_) => key.acknowledge(number),
            Err(error) => self.lost(before, &error),
        }
        key.void(began, hold_off);
        self.world.tally.changes.fetch_add(1, SeqCst);
    }

    async fn invalidate_namespace(&self, world: &World, namespace: &'static str) {
        let keys = || world.keys.iter().filter(|key| key.namespace == namespace);
        let mut order = Vec::new();
        for key in keys() {
            order.push(key.writing.lock().await);
        }
        let (began, before) = (Instant::now(), self.accidents());
        let numbers: Vec<u64> = keys().map(Key::change).collect();
        match self.cache().invalidate_namespace(invalidate(namespace)).await {
            Ok(_) => keys().zip(numbers).for_each(|(key, number)| key.acknowledge(number)),
            Err(error) => self.lost(before, &error),
        }
        keys().for_each(|key| key.void(began, Duration::ZERO));
        world.tally.changes.fetch_add(1, SeqCst);
    }

    async fn get_or_fetch(&self, key: &Key, request: GetOrFetchRequest) {
        let (reading, before) = (key.read(), self.accidents());
        let anew = request.no_cache;
        match self.cache().get_or_fetch(request).await {
            Ok(answer) => self.check_answer(key, answer, reading, anew),
            Err(error) => self.failed(before, &error),
        }
    }

    async fn fetch_batch(&mut self) {
        let world = self.world.clone();
        let wanted: Vec<&Key> = world.keys.sample(&mut self.dice, 3).collect();
        let readings: Vec<Reading> = wanted.iter().map(|key| key.read()).collect();
        let keys = wanted.iter().map(|key| KeyRef {
            namespace: key.namespace.to_owned(),
            key: key.name.clone(),
            ..Default::default()
        });
        let anew = self.dice.random_ratio(1, 10);
        let request =
            BatchGetOrFetchRequest { keys: keys.collect(), no_cache: anew, ..Default::default() };
        let before = self.accidents();
        match self.cache().batch_get_or_fetch(request).await {
            Ok(results) => {
                assert_eq!(results.len(), wanted.len());
                for ((key, reading), result) in wanted.into_iter().zip(readings).zip(results) {
                    match result.result.unwrap() {
                        OfKey::Answer(answer) => self.check_answer(key, answer, reading, anew),
                        OfKey::Error(error) => {
                            assert!(error.reason.starts_with("ORIGIN"), "{error:?}");
                            self.world.tally.failed.fetch_add(1, SeqCst);
                        }
                    }
                }
            }
            Err(error) => self.lost(before, &error),
        }
    }

    fn check_answer(&self, key: &Key, answer: GetOrFetchResponse, reading: Reading, anew: bool) {
        let tally = &self.world.tally;
        match answer.fill() {
            FillResult::Stored => tally.stored.fetch_add(1, SeqCst),
            FillResult::Unspecified | FillResult::Uncacheable => 0,
            FillResult::LeaseLost
            | FillResult::Invalidated
            | FillResult::Superseded
            | FillResult::NotStored => tally.refused.fetch_add(1, SeqCst),
        };
        if answer.degraded || answer.fill() == FillResult::NotStored {
            tally.degraded.fetch_add(1, SeqCst);
            self.world
                .turmoil
                .lock()
                .unwrap()
                .push((reading.began, Instant::now() + Duration::from_secs(1)));
        }
        match answer.outcome.unwrap() {
            Answer::Found(found) if found.outcome() == Outcome::Negative => {
                self.absent(key, reading)
            }
            Answer::Found(found) => {
                self.check(key, Some(as_text(found.value).unwrap()), reading, anew)
            }
            Answer::Contended(_) | Answer::NotCached(_) => self.check(key, None, reading, anew),
            Answer::Lease(lease) => panic!("{lease:?} although there is an origin"),
        }
    }

    fn check(&self, key: &Key, value: Option<String>, reading: Reading, anew: bool) {
        if let Some(value) = value {
            key.check(&value, reading, anew);
            self.world.tally.values.fetch_add(1, SeqCst);
        } else {
            self.world.tally.nothing.fetch_add(1, SeqCst);
        }
    }

    fn absent(&self, key: &Key, reading: Reading) {
        key.check_absent(reading);
        self.world.tally.negative.fetch_add(1, SeqCst);
    }

    /// The origin may fail; anything else must be an accident.
    fn failed(&self, before: u64, error: &Status) {
        let is_told = tonic_types::StatusExt::get_details_error_info(error).is_some();
        if is_told && reason(error).starts_with("ORIGIN") {
            self.world.tally.failed.fetch_add(1, SeqCst);
        } else {
            self.lost(before, error);
        }
    }

    fn lost(&self, before: u64, error: &Status) {
        assert!(
            before % 2 == 1 || self.accidents() != before,
            "nothing had happened to the server: {error:?}"
        );
        self.world.tally.lost_calls.fetch_add(1, SeqCst);
    }

    /// Some keys are fetched all the time, others seldom.
    fn key<'a>(&mut self, world: &'a World) -> &'a Key {
        let key = &world.keys[self.dice.random_range(0..world.keys.len())];
        let is_quiet = key.name == "k0";
        if is_quiet && self.dice.random_ratio(49, 50) { self.key(world) } else { key }
    }

    fn accidents(&self) -> u64 {
        self.replica.accidents.load(SeqCst)
    }

    fn cache(&self) -> Cache {
        self.replica.cache.lock().unwrap().clone()
    }

    async fn pause(&mut self, millis: u64) {
        let micros = self.dice.random_range(0..millis * 1000);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

fn request(key: &Key, wait: i64) -> GetOrFetchRequest {
    GetOrFetchRequest { namespace: key.namespace.to_owned(), ..fetch(&key.name, wait) }
}
