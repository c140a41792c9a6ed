//! Load that measures every answer while something breaks.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tonic::Status;

use super::client::{Cache, batch_get, fetch, get, key_ref, set, text, touch};

/// Callers at work at the same time.
const CALLERS: usize = 8;

/// Runs until stopped.
pub(crate) struct Load {
    callers: Vec<JoinHandle<()>>,
    over: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
}

/// What the callers saw.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) calls: u64,
    pub(crate) degraded: u64,
    pub(crate) slowest: Duration,
    slowest_call: &'static str,
    pub(crate) failures: Vec<String>,
}

// === impl Load ===

impl Load {
    /// Starts callers of everything that answers OK whatever the store does.
    pub(crate) fn start(cache: &Cache) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let record = Arc::new(Mutex::new(Record::default()));
        let callers = (0..CALLERS)
            .map(|number| {
                tokio::spawn(call(cache.clone(), number, Arc::clone(&over), Arc::clone(&record)))
            })
            .collect();
        Self { callers, over, record }
    }

    /// Stops the callers. Fails when one of them was answered an error, or late.
    pub(crate) async fn finish(self, what: &str, limit: Duration) -> Record {
        self.over.store(true, SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let record = std::mem::take(&mut *self.record.lock().unwrap());
        eprintln!(
            "{what}: {} calls, {} degraded, the slowest ({}) took {:?}",
            record.calls, record.degraded, record.slowest_call, record.slowest
        );
        assert!(record.failures.is_empty(), "{what}: {:?}", record.failures);
        assert!(record.calls > 100, "{what}: only {} calls", record.calls);
        assert!(
            record.slowest < limit,
            "{what}: {} took {:?}",
            record.slowest_call,
            record.slowest
        );
        record
    }
}

// === impl Record ===

impl Record {
    fn add(&mut self, call: &'static str, took: Duration, answer: Result<bool, Status>) {
        self.calls += 1;
        if took > self.slowest {
            self.slowest = took;
            self.slowest_call = call;
        }
        match answer {
            Ok(degraded) => self.degraded += u64::from(degraded),
            Err(status) => self.failures.push(format!("{call}: {status:?}")),
        }
    }
}

async fn call(cache: Cache, number: usize, over: Arc<AtomicBool>, record: Arc<Mutex<Record>>) {
    let mut round = 0;
    while !over.load(SeqCst) {
        round += 1;
        let key = format!("load-{number}-{}", round % 7);
        let start = Instant::now();
        let (name, answer) = match round % 5 {
            0 => ("Get", cache.get(get(&key)).await.map(|answer| answer.degraded)),
            1 => ("Set", cache.set(set(&key, text("v"))).await.map(|answer| answer.degraded)),
            2 => (
                "GetOrFetch",
                cache.get_or_fetch(fetch(&key, 0)).await.map(|answer| answer.degraded),
            ),
            3 => ("Touch", cache.touch(touch(&key, 60_000)).await.map(|answer| answer.degraded)),
            _ => {
                let keys = vec![key_ref(&key), key_ref("load")];
                let answer = cache.batch_get(batch_get(keys)).await;
                ("BatchGet", answer.map(|chunks| chunks.iter().any(|chunk| chunk.degraded)))
            }
        };
        record.lock().unwrap().add(name, start.elapsed(), answer);
        // Leaves the machine some room: what is measured is the store's absence, not the load.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
