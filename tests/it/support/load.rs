//! Background load that records the slowest answer and all failures.

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

/// Number of concurrent callers.
const CALLERS: usize = 8;

/// Callers that run until stopped.
pub(crate) struct Load {
    callers: Vec<JoinHandle<()>>,
    stopped: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
}

/// Results of all calls.
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
    /// Starts callers of all methods that answer OK even without the store.
    pub(crate) fn start(cache: &Cache) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let record = Arc::new(Mutex::new(Record::default()));
        let callers = (0..CALLERS)
            .map(|number| {
                tokio::spawn(call(cache.clone(), number, Arc::clone(&stopped), Arc::clone(&record)))
            })
            .collect();
        Self { callers, stopped, record }
    }

    /// Stops the callers. Panics if a call failed or took longer than `limit`.
    pub(crate) async fn finish(self, what: &str, limit: Duration) -> Record {
        self.stopped.store(true, SeqCst);
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

async fn call(cache: Cache, number: usize, stopped: Arc<AtomicBool>, record: Arc<Mutex<Record>>) {
    let mut round = 0;
    while !stopped.load(SeqCst) {
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
        // Limits the CPU load, so that latencies show the store's outage.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
