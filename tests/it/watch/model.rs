//! Watch against a model: clients keep caches of their own by the rules of the proto, while many
//! writers change entries in every way through several replicas. A copy must never be outdated for
//! longer than `max_delay`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{Consistency, GetRequest, SetRequest, SetResult};
use nix::sys::signal::Signal;

use crate::{
    near::kill_tracking_connections,
    support::{
        client::{Cache, NS, as_text, delete, get, invalidate, set, text},
        fleet::Fleet,
        targets,
        wait::{SOON, eventually},
        watch::{Watch, WatchEvent, watch_request},
    },
};

const CONFIG: &str = "[watch]\nheartbeat = '300ms'\n";
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Time without any message after which a client drops all.
const SILENCE: Duration = Duration::from_millis(1300);
/// Tolerance for a client that is scheduled late.
const SLACK: Duration = Duration::from_millis(700);
const KEYS: usize = 24;
const TAGS: usize = 6;
/// Kinds of events in every run.
const EVERY_KIND: [&str; 5] = ["ready", "keys", "tags", "pattern", "namespace"];

/// When a change was begun and acknowledged.
#[derive(Debug, Clone, Copy)]
struct Change {
    begun: Instant,
    acknowledged: Instant,
}

/// All acknowledged changes of a key.
#[derive(Default)]
struct Acknowledged {
    /// By number, ascending.
    writes: Vec<(u64, Change)>,
    /// In the order in which they were acknowledged.
    removals: Vec<Change>,
}

#[derive(Default)]
struct Model {
    keys: Vec<Mutex<Acknowledged>>,
    over: AtomicBool,
    checked: AtomicU64,
    changes: AtomicU64,
    resets: AtomicU64,
    received: Mutex<HashMap<&'static str, u64>>,
    /// In microseconds.
    worst: AtomicU64,
}

/// A client's own cache.
#[derive(Default)]
struct Copies {
    is_ready: bool,
    numbers: HashMap<usize, u64>,
    /// Changes of each key, and of all, which void reads that have begun.
    changed: HashMap<usize, u64>,
    all_changed: u64,
}

fn name_of(key: usize) -> String {
    format!("g{}:k{key}", key % 4)
}

fn key_of(name: &str) -> usize {
    name.split_once(":k").unwrap().1.parse().unwrap()
}

fn tag_of(key: usize) -> String {
    format!("t{}", key % TAGS)
}

// === impl Copies ===

impl Copies {
    fn drop_all(&mut self) {
        self.numbers.clear();
        self.all_changed += 1;
    }

    fn drop_if(&mut self, matches: impl Fn(usize) -> bool) {
        self.numbers.retain(|key, _| !matches(*key));
        // The tags of a value that is being read are not known.
        self.all_changed += 1;
    }

    fn version(&self, key: usize) -> (u64, u64) {
        (self.all_changed, self.changed.get(&key).copied().unwrap_or_default())
    }

    /// Applies an event. Returns its kind.
    fn apply(&mut self, event: &WatchEvent) -> &'static str {
        match event {
            WatchEvent::Ready { resumed, .. } => {
                if !resumed {
                    self.drop_all();
                }
                self.is_ready = true;
                "ready"
            }
            WatchEvent::Heartbeat { .. } => "heartbeat",
            WatchEvent::Reset(_) => {
                self.is_ready = false;
                self.drop_all();
                "reset"
            }
            WatchEvent::Namespace(_) => {
                self.drop_all();
                "namespace"
            }
            WatchEvent::Tags(_, tags) => {
                self.drop_if(|key| tags.contains(&tag_of(key)));
                "tags"
            }
            WatchEvent::Pattern(_, glob) => {
                let prefix = glob.trim_end_matches('*').to_owned();
                self.drop_if(|key| name_of(key).starts_with(&prefix));
                "pattern"
            }
            WatchEvent::Keys(_, keys) => {
                for (name, _) in keys {
                    let key = key_of(name);
                    self.numbers.remove(&key);
                    *self.changed.entry(key).or_default() += 1;
                }
                "keys"
            }
        }
    }
}

// === impl Model ===

impl Model {
    fn new() -> Arc<Self> {
        let keys = (0..KEYS).map(|_| Mutex::default()).collect();
        Arc::new(Self { keys, ..Self::default() })
    }

    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    fn removed(&self, matches: impl Fn(usize) -> bool, begun: Instant) {
        let change = Change { begun, acknowledged: Instant::now() };
        for key in (0..KEYS).filter(|key| matches(*key)) {
            self.keys[key].lock().unwrap().removals.push(change);
        }
        self.changes.fetch_add(1, SeqCst);
    }

    /// Checks a copy that a client holds at this moment.
    fn check(&self, key: usize, number: u64, now: Instant) {
        let acknowledged = self.keys[key].lock().unwrap();
        let later = acknowledged.writes.iter().find(|(written, _)| *written > number);
        let written = acknowledged.writes.iter().find(|(written, _)| *written == number);
        let removed = written.and_then(|(_, write)| {
            acknowledged.removals.iter().find(|removal| removal.begun > write.acknowledged)
        });
        let outdated = later.map(|(_, write)| write).into_iter().chain(removed);
        let since = outdated.map(|change| change.acknowledged).min();
        let staleness = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.worst.fetch_max(u64::try_from(staleness.as_micros()).unwrap(), SeqCst);
        self.checked.fetch_add(1, SeqCst);
        assert!(
            staleness <= MAX_DELAY + SLACK,
            "{} = {number} is outdated since {staleness:?}",
            name_of(key)
        );
    }

    /// Writes ascending numbers to one key, and deletes it now and then.
    async fn write(self: Arc<Self>, cache: Cache, key: usize) {
        let name = name_of(key);
        let mut number = 0;
        while !self.is_over() {
            number += 1;
            let begun = Instant::now();
            if number % 7 == 0 && cache.delete(delete(&name)).await.is_ok() {
                self.removed(|other| other == key, begun);
            }
            let request =
                SetRequest { tags: vec![tag_of(key)], ..set(&name, text(&number.to_string())) };
            let begun = Instant::now();
            if cache.set(request).await.unwrap().result() == SetResult::Stored {
                let change = Change { begun, acknowledged: Instant::now() };
                self.keys[key].lock().unwrap().writes.push((number, change));
                self.changes.fetch_add(1, SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(5..300))).await;
        }
    }

    /// Invalidates tags, patterns and the namespace.
    async fn invalidate(self: Arc<Self>, cache: Cache) {
        for round in 0.. {
            if self.is_over() {
                return;
            }
            let begun = Instant::now();
            match round % 8 {
                0 => {
                    if cache.invalidate_namespace(invalidate(NS)).await.is_ok() {
                        self.removed(|_| true, begun);
                    }
                }
                1..4 => {
                    let prefix = format!("g{}:", rand::random_range(0..4));
                    let target = targets::pattern(&format!("{prefix}*"));
                    if cache.invalidate(targets::request(&[target])).await.is_ok() {
                        self.removed(|key| name_of(key).starts_with(&prefix), begun);
                    }
                }
                _ => {
                    let tag = tag_of(rand::random_range(0..TAGS));
                    let target = targets::tags(&[&tag]);
                    if cache.invalidate(targets::request(&[target])).await.is_ok() {
                        self.removed(|key| tag_of(key) == tag, begun);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..900))).await;
        }
    }

    /// Follows a watch, and continues it after it has ended.
    async fn follow(self: Arc<Self>, cache: Cache, copies: Arc<Mutex<Copies>>) {
        let mut token = Vec::new();
        while !self.is_over() {
            let watch = Watch::open(&cache, watch_request(&[NS], true, &token)).await;
            let Ok(mut watch) = watch else {
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            };
            // Now and then the client leaves by itself.
            let leaves_at = Instant::now() + Duration::from_millis(rand::random_range(500..4000));
            while !self.is_over() && Instant::now() < leaves_at {
                let message = tokio::time::timeout(SILENCE, watch.stream.message()).await;
                let event = match message {
                    Ok(Ok(Some(message))) => WatchEvent::of(message),
                    // Silent, or ended.
                    _ => {
                        let mut copies = copies.lock().unwrap();
                        copies.is_ready = false;
                        copies.drop_all();
                        token.clear();
                        break;
                    }
                };
                match &event {
                    WatchEvent::Ready { token: new, .. } | WatchEvent::Heartbeat { token: new } => {
                        token.clone_from(new);
                    }
                    WatchEvent::Reset(_) => {
                        self.resets.fetch_add(1, SeqCst);
                        token.clear();
                    }
                    _ => {}
                }
                let kind = copies.lock().unwrap().apply(&event);
                *self.received.lock().unwrap().entry(kind).or_default() += 1;
            }
        }
        copies.lock().unwrap().drop_all();
    }

    /// Reads keys through the client's own cache.
    async fn read(self: Arc<Self>, cache: Cache, copies: Arc<Mutex<Copies>>) {
        while !self.is_over() {
            let key = rand::random_range(0..KEYS);
            let begun = {
                let copies = copies.lock().unwrap();
                if let Some(number) = copies.numbers.get(&key) {
                    self.check(key, *number, Instant::now());
                    None
                } else {
                    copies.is_ready.then(|| copies.version(key))
                }
            };
            if let Some(begun) = begun {
                let consistency = Consistency::Store.into();
                let request = GetRequest { consistency, ..get(&name_of(key)) };
                let answer = cache.get(request).await.unwrap();
                if let Some(number) = as_text(answer.value) {
                    let mut copies = copies.lock().unwrap();
                    // Nothing has changed since the request.
                    if copies.is_ready && copies.version(key) == begun {
                        copies.numbers.insert(key, number.parse().unwrap());
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..4))).await;
        }
    }

    /// Starts everything on these replicas.
    fn start(self: &Arc<Self>, caches: &[Cache]) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = Vec::new();
        let on = |number: usize| caches[number % caches.len()].clone();
        for key in 0..KEYS {
            tasks.push(tokio::spawn(self.clone().write(on(key), key)));
        }
        for number in 0..2 {
            tasks.push(tokio::spawn(self.clone().invalidate(on(number))));
        }
        for number in 0..4 {
            let copies = Arc::<Mutex<Copies>>::default();
            tasks.push(tokio::spawn(self.clone().follow(on(number), copies.clone())));
            // Values are also read through another replica than that of the watch.
            for reader in 0..2 {
                let cache = on(number + reader);
                tasks.push(tokio::spawn(self.clone().read(cache, copies.clone())));
            }
        }
        tasks
    }

    async fn run(&self, what: &str, time: Duration) {
        tokio::time::sleep(time).await;
        let worst = Duration::from_micros(self.worst.load(SeqCst));
        let checked = self.checked.load(SeqCst);
        eprintln!("{what}: {checked} copies checked so far, outdated by at most {worst:?}");
    }

    async fn end(&self, tasks: Vec<tokio::task::JoinHandle<()>>) {
        eventually("enough is checked", 6 * SOON, async || {
            let received = self.received.lock().unwrap();
            let is_received = EVERY_KIND.iter().all(|kind| received.contains_key(kind));
            let [checked, changes] = [&self.checked, &self.changes].map(|count| count.load(SeqCst));
            (is_received && checked > 50 && changes > 100).then_some(())
        })
        .await;
        self.over.store(true, SeqCst);
        for task in tasks {
            task.await.unwrap();
        }
        let [checked, changes, resets] =
            [&self.checked, &self.changes, &self.resets].map(|count| count.load(SeqCst));
        let received = self.received.lock().unwrap().clone();
        eprintln!("{checked} copies, {changes} changes, {resets} resets, received {received:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_is_outdated_for_longer_than_promised_on_the_embedded_store() {
    let env = crate::support::env::Env::memory(&[], CONFIG).await;
    let model = Model::new();
    let tasks = model.start(std::slice::from_ref(&env.cache));
    model.run("no fault", Duration::from_secs(6)).await;
    model.end(tasks).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_is_outdated_for_longer_than_promised_on_redis() {
    let fleet = Fleet::start(2, CONFIG).await;
    let model = Model::new();
    let tasks = model.start(&fleet.caches);
    let mut connection = fleet.redis.connection().await;
    model.run("no fault", Duration::from_secs(4)).await;
    for _ in 0..4 {
        kill_tracking_connections(&mut connection).await;
        model.run("connections killed", Duration::from_millis(700)).await;
    }
    for _ in 0..2 {
        fleet.redis.pause();
        model.run("Redis paused", Duration::from_millis(1300)).await;
        fleet.redis.resume();
        model.run("Redis resumed", Duration::from_millis(1500)).await;
    }
    for millis in [600, 1800] {
        fleet.servers[0].signal(Signal::SIGSTOP);
        model.run("a replica suspended", Duration::from_millis(millis)).await;
        fleet.servers[0].signal(Signal::SIGCONT);
        model.run("the replica resumed", Duration::from_millis(1500)).await;
    }
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    model.run("flushed", Duration::from_secs(1)).await;
    model.run("no fault again", Duration::from_secs(2)).await;
    model.end(tasks).await;
    assert!(model.resets.load(SeqCst) > 0);
}
