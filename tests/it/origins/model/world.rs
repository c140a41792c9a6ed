//! What the callers and the origin did, and what the contract makes of it.
//!
//! Behind each key is a number that only grows: the database. The origin reads it when it is asked, a Set writes it, and
//! before a Delete or an InvalidateNamespace it changes. A value names its key, the number, and the fetch or the Set that
//! it comes from.

use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::support::origin::{Asked, Reply, after, ok, send, status};

pub(super) const NAMESPACES: [&str; 2] = ["ns", "ns2"];
pub(super) const KEYS: usize = 4;
/// Every so many changes, the database does not have the key.
const ABSENT_EVERY: u64 = 6;
/// How long after the origin's answer a value can be read: TTL and both windows.
pub(super) const LIFE: Duration = Duration::from_millis(700);
/// What a busy machine may add between the origin's answer and the store.
const MARGIN: Duration = Duration::from_millis(1_500);
/// A lease is older than its fetch.
const LEASE_BEFORE_FETCH: Duration = Duration::from_secs(1);

pub(super) struct World {
    pub(super) keys: Vec<Key>,
    /// When servers were stopped, killed or without their store, and a while after that.
    pub(super) turmoil: Mutex<Vec<(Instant, Instant)>>,
    pub(super) tally: Tally,
    pub(super) over: AtomicBool,
}

/// One key of one namespace.
pub(super) struct Key {
    pub(super) namespace: &'static str,
    pub(super) name: String,
    /// The database.
    now: AtomicU64,
    /// What it said before the last change that was acknowledged.
    floor: AtomicU64,
    /// Whoever writes or invalidates: their order must be known.
    pub(super) writing: tokio::sync::Mutex<()>,
    sources: Mutex<Vec<Source>>,
    /// Times in which leases may have been voided.
    pub(super) voids: Mutex<Vec<(Instant, Instant)>>,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
struct Source {
    is_fetch: bool,
    began: Instant,
    /// When the origin answered, or the Set did.
    ended: Instant,
    /// When the origin was last asked whether it is still good, and when it had said yes.
    confirmed: Option<(Instant, Instant)>,
}

#[derive(Default)]
pub(super) struct Tally {
    pub(super) values: AtomicU64,
    pub(super) nothing: AtomicU64,
    pub(super) negative: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) lost_calls: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) degraded: AtomicU64,
    pub(super) changes: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) confirmed: AtomicU64,
}

/// What a reader knows when it begins.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) began: Instant,
    floor: u64,
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        let key = |namespace, number: usize| Key {
            namespace,
            name: format!("k{number}"),
            now: AtomicU64::new(1),
            floor: AtomicU64::new(0),
            writing: tokio::sync::Mutex::default(),
            sources: Mutex::default(),
            voids: Mutex::default(),
        };
        let keys = NAMESPACES
            .into_iter()
            .flat_map(|namespace| (0..KEYS).map(move |number| key(namespace, number)));
        Self {
            keys: keys.collect(),
            turmoil: Mutex::default(),
            tally: Tally::default(),
            over: AtomicBool::new(false),
        }
    }

    /// What the origin does at `/{namespace}/{key}`.
    pub(super) fn answer(&self, asked: &Asked) -> Reply {
        let key =
            self.keys.iter().find(|key| asked.target == key.target()).expect("a key of the model");
        // Read as soon as it is asked, and told later.
        let number = key.now.load(SeqCst);
        let delay = Duration::from_millis(rand::random_range(
            0..if rand::random_ratio(1, 10) { 250 } else { 40 },
        ));
        self.tally.fetches.fetch_add(1, SeqCst);
        let mut sources = key.sources.lock().unwrap();
        let ended = asked.at + delay;
        let id = sources.len();
        sources.push(Source { is_fetch: true, began: asked.at, ended, confirmed: None });
        let etag = |id: usize| format!("\"{number}.{id}\"");
        let known = asked
            .header("if-none-match")
            .and_then(|tag| tag.split('.').nth(1)?.trim_matches('"').parse().ok());
        let reply = match known {
            _ if rand::random_ratio(1, 15) => status(500),
            _ if number.is_multiple_of(ABSENT_EVERY) => status(404),
            Some(known) if asked.header("if-none-match") == Some(etag(known).as_str()) => {
                self.tally.confirmed.fetch_add(1, SeqCst);
                let confirmed = &mut sources[known].confirmed;
                *confirmed = (*confirmed).max(Some((asked.at, ended)));
                send(304, "", &[("etag", &etag(known))])
            }
            _ => ok(key.value(number, id), &[("etag", &etag(id))]),
        };
        after(delay, reply)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    /// Checks, of the whole run, that no key was fetched twice at a time without a reason.
    pub(super) fn check_overlaps(&self) {
        let turmoil = self.turmoil.lock().unwrap();
        let mut excused = 0;
        for key in &self.keys {
            let voids = key.voids.lock().unwrap();
            let mut fetches: Vec<Source> = key.sources.lock().unwrap().clone();
            fetches.retain(|source| source.is_fetch);
            fetches.sort_by_key(|source| source.began);
            for (place, first) in fetches.iter().enumerate() {
                for second in
                    fetches[place + 1..].iter().take_while(|second| second.began < first.ended)
                {
                    let leased = first.began.checked_sub(LEASE_BEFORE_FETCH).unwrap();
                    let between =
                        |times: &(Instant, Instant)| times.0 <= second.began && times.1 >= leased;
                    let is_excused = voids.iter().chain(&*turmoil).any(between);
                    assert!(
                        is_excused,
                        "two fetches of {} at a time: {first:?} and {second:?}",
                        key.target()
                    );
                    excused += 1;
                }
            }
        }
        eprintln!(
            "{excused} fetches began while another was under way that was obsolete, or whose replica was in trouble"
        );
    }
}

// === impl Key ===

impl Key {
    pub(super) fn target(&self) -> String {
        format!("/{}/{}", self.namespace, self.name)
    }

    fn value(&self, number: u64, id: usize) -> String {
        format!("{}|{number}|{id}", self.target())
    }

    /// Changes the database.
    pub(super) fn change(&self) -> u64 {
        self.now.fetch_add(1, SeqCst) + 1
    }

    /// From now on, nobody may be told what the database said before it said `number`.
    pub(super) fn acknowledge(&self, number: u64) {
        self.floor.fetch_max(number, SeqCst);
    }

    /// A value for a Set that begins now, and its place.
    pub(super) fn write(&self, number: u64) -> (String, usize) {
        let mut sources = self.sources.lock().unwrap();
        let id = sources.len();
        // Until it is known, no end is too late.
        let ended = Instant::now() + Duration::from_secs(60);
        sources.push(Source { is_fetch: false, began: Instant::now(), ended, confirmed: None });
        (self.value(number, id), id)
    }

    pub(super) fn written(&self, id: usize) {
        self.sources.lock().unwrap()[id].ended = Instant::now();
    }

    pub(super) fn void(&self, began: Instant, more: Duration) {
        self.voids.lock().unwrap().push((began, Instant::now() + more));
    }

    /// To be called before a read begins.
    pub(super) fn read(&self) -> Reading {
        Reading { floor: self.floor.load(SeqCst), began: Instant::now() }
    }

    /// Checks what a read was told.
    pub(super) fn check(&self, value: &str, reading: Reading, anew: bool) {
        let mut parts = value.split('|');
        let mut part =
            || parts.next().unwrap_or_else(|| panic!("{value} is no value of the model"));
        assert_eq!(part(), self.target(), "a value of another key");
        let (number, id): (u64, usize) = (part().parse().unwrap(), part().parse().unwrap());
        let floor = reading.floor;
        assert!(number >= floor, "{value} was read after the change to {floor} was acknowledged");
        let source = self.sources.lock().unwrap()[id].clone();
        let landed = source.confirmed.map_or(source.ended, |(_, said)| said.max(source.ended));
        let over = landed + LIFE + MARGIN;
        assert!(reading.began <= over, "{value} was read {:?} too late", reading.began - over);
        let asked = source.confirmed.map_or(source.began, |(asked, _)| asked.max(source.began));
        assert!(
            !anew || asked >= reading.began,
            "{value} is older than the call that wanted it anew"
        );
    }

    /// Checks that the database did not have the key at some time that a read may have been told of.
    pub(super) fn check_absent(&self, reading: Reading) {
        let (floor, now) = (reading.floor, self.now.load(SeqCst));
        let was_absent = (floor..=now).any(|number| number.is_multiple_of(ABSENT_EVERY));
        assert!(
            was_absent,
            "{} is said to be absent, which it was not between {floor} and {now}",
            self.target()
        );
    }
}

// === impl Tally ===

impl Tally {
    pub(super) fn report(&self) -> String {
        let counts = [
            ("values", &self.values),
            ("nothing", &self.nothing),
            ("absent", &self.negative),
            ("origin failed", &self.failed),
            ("calls lost", &self.lost_calls),
            ("degraded", &self.degraded),
            ("fills stored", &self.stored),
            ("fills refused", &self.refused),
            ("changes", &self.changes),
            ("fetches", &self.fetches),
            ("confirmed", &self.confirmed),
        ];
        counts.iter().fold(String::new(), |mut report, (name, count)| {
            let _ = write!(report, "{name}: {}; ", count.load(SeqCst));
            report
        })
    }

    /// Without these there was no race, and nothing was tested.
    pub(super) fn is_eventful(&self) -> bool {
        let least = [
            &self.values,
            &self.negative,
            &self.stored,
            &self.refused,
            &self.changes,
            &self.confirmed,
        ];
        least.into_iter().all(|count| count.load(SeqCst) >= 5)
    }
}
