//! Callers that read and write until the end, and the facts that they note.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_client::{Client, Error, FetchError, Namespace, NearCache, Read, Tier, WriteOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{Failure, NAMESPACE};

const KEYS: f64 = 100.0;
/// How often each call is made, of 100.
const WEIGHTS: [(&str, usize); 6] =
    [("get", 25), ("near", 35), ("fetch", 30), ("many", 5), ("set", 4), ("delete", 1)];
const TTL: Duration = Duration::from_secs(20);
const NOTED: usize = 20;

/// A value with its key and a checksum, as all workers write and check it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Proof {
    key: String,
    writer: String,
    seq: u64,
    sum: u32,
}

static SEQUENCE: AtomicU64 = AtomicU64::new(0);

impl Proof {
    fn of(key: &str) -> Self {
        let seq = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let (key, writer) = (key.to_owned(), "rust".to_owned());
        let made = Self { key, writer, seq, sum: 0 };
        Self { sum: made.checksum(), ..made }
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(format!("{}|{}|{}", self.key, self.writer, self.seq).as_bytes())
    }

    fn proves(&self, key: &str) -> bool {
        self.key == key && self.sum == self.checksum()
    }
}

#[derive(Default, Serialize)]
struct Facts {
    calls: BTreeMap<&'static str, usize>,
    hits: usize,
    near: usize,
    degraded: usize,
    refused: usize,
    longest: f64,
    slowest: &'static str,
    raised: Vec<String>,
    wrong: Vec<String>,
}

struct Shared {
    entries: Namespace<Proof>,
    near: Namespace<Proof>,
    pause: Duration,
    is_ending: AtomicBool,
    facts: Mutex<Facts>,
}

/// An error of a read or a write that the caller receives.
enum Raised {
    Call(Error),
    Fetch(FetchError<Infallible>),
}

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl From<FetchError<Infallible>> for Raised {
    fn from(error: FetchError<Infallible>) -> Self {
        Self::Fetch(error)
    }
}

/// One of a few keys that are asked for often.
fn some_key() -> String {
    let share = rand::random::<f64>();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let number = (KEYS * share * share) as usize;
    format!("k{number}")
}

fn some_call() -> &'static str {
    let mut left = rand::random_range(0..100);
    for (call, weight) in WEIGHTS {
        if left < weight {
            return call;
        }
        left -= weight;
    }
    unreachable!("the weights are 100 in all")
}

impl Shared {
    fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn run(self: Arc<Self>) {
        while !self.is_ending.load(Ordering::Relaxed) {
            let (call, began) = (some_call(), Instant::now());
            if let Err(error) = self.make(call, &some_key()).await {
                self.failed(call, &error);
            }
            self.note(|facts| {
                *facts.calls.entry(call).or_default() += 1;
                let took = began.elapsed().as_secs_f64();
                if took > facts.longest {
                    (facts.longest, facts.slowest) = (took, call);
                }
            });
            sleep(self.pause).await;
        }
    }

    async fn make(&self, call: &str, key: &str) -> Result<(), Raised> {
        match call {
            "get" => self.read(key, &self.entries.get(key).await?),
            "near" => self.read(key, &self.near.get(key).await?),
            "fetch" => {
                let own = key.to_owned();
                let load = move || async move {
                    sleep(Duration::from_millis(rand::random_range(1..50))).await;
                    Ok::<_, Infallible>(Proof::of(&own))
                };
                let read = self.entries.get_or_fetch(key, load).await?;
                self.read(key, &read);
                if !read.found() {
                    self.wrong(format!("{key}: no value of a loader: {read:?}"));
                }
            }
            "many" => {
                let keys: BTreeSet<String> = (0..20).map(|_| some_key()).collect();
                for (key, read) in self.entries.get_many(keys).await? {
                    self.read(key.text(), &read);
                }
            }
            "set" => {
                let options = WriteOptions::default().ttl(TTL);
                self.near.set_with(key, &Proof::of(key), &options).await?;
            }
            _ => {
                self.near.delete(key).await?;
            }
        }
        Ok(())
    }

    fn read(&self, key: &str, read: &Read<Proof>) {
        self.note(|facts| {
            facts.degraded += usize::from(read.degraded);
            facts.hits += usize::from(read.found());
            facts.near += usize::from(read.tier == Some(Tier::Client));
        });
        if read.value().is_some_and(|value| !value.proves(key)) {
            self.wrong(format!("{key}: {read:?}"));
        }
        if !read.found() && !read.degraded && read.error.is_some() {
            self.wrong(format!("{key}: {:?}", read.error));
        }
    }

    fn wrong(&self, text: String) {
        self.note(|facts| {
            if facts.wrong.len() < NOTED {
                facts.wrong.push(text);
            }
        });
    }

    fn failed(&self, call: &str, raised: &Raised) {
        let (is_outage, text) = match raised {
            Raised::Call(error) => (error.is_outage(), error.to_string()),
            Raised::Fetch(error) => (false, error.to_string()),
        };
        self.note(|facts| {
            if call == "delete" && is_outage {
                facts.refused += 1;
            } else if facts.raised.len() < NOTED {
                facts.raised.push(format!("{call}: {text}"));
            }
        });
    }
}

/// The callers.
pub struct Load {
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn begin(client: &Client, callers: usize, pause: f64) -> Self {
        let shared = Arc::new(Shared {
            entries: client.namespace(NAMESPACE),
            near: client.namespace(NAMESPACE).near_cache(NearCache::default()),
            pause: Duration::from_secs_f64(pause),
            is_ending: AtomicBool::new(false),
            facts: Mutex::default(),
        });
        let callers = (0..callers).map(|_| tokio::spawn(Arc::clone(&shared).run())).collect();
        Self { shared, callers }
    }

    /// The facts until now.
    pub fn facts(&self) -> Result<Value, Failure> {
        let facts = self.shared.facts.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(serde_json::to_value(&*facts)?)
    }

    /// Ends the callers.
    pub async fn end(mut self) -> Result<Value, Failure> {
        self.shared.is_ending.store(true, Ordering::Relaxed);
        for caller in self.callers.drain(..) {
            caller.await?;
        }
        self.facts()
    }
}
