//! One run on one topology.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::{LocalSet, spawn_local},
    time::Instant,
};

use crate::{
    faults::FaultLog,
    fleet::{Fleet, Topology},
    history::{Micros, Rules},
    nemesis::{Kind, Nemesis},
    recorder::{Queue, Recorder},
    report,
    shared::{Shared, Totals},
    watcher,
    workload::{Client, DEADLINE, Workload},
};

const SECOND: Micros = 1_000_000;
const POLL: Duration = Duration::from_millis(100);

/// Topology, time and faults of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) topology: Topology,
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) operations: u64,
    pub(crate) clients: u16,
    /// Whether the replicas have journals.
    pub(crate) has_journals: bool,
    /// The fault that the server has on purpose.
    pub(crate) bug: Option<String>,
    /// The only faults to inject; none: all that the topology has.
    pub(crate) faults: Option<Vec<Kind>>,
}

/// The end of a run.
pub(crate) struct Outcome {
    pub(crate) summary: String,
    pub(crate) violation: Option<String>,
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
}

/// Runs until the time is over, enough operations were made, or a promise is broken.
pub(crate) async fn run(plan: &Plan) -> Outcome {
    LocalSet::new().run_until(run_locally(plan)).await
}

async fn run_locally(plan: &Plan) -> Outcome {
    let fleet = Fleet::start(plan.topology, plan.bug.as_deref(), plan.has_journals).await;
    let replicas = fleet.len();
    let slots = Arc::clone(&fleet.slots);
    let shared = Arc::new(Shared {
        faults: FaultLog::default(),
        events: Mutex::new(Vec::new()),
        rules: Arc::new(rules()),
        is_over: AtomicBool::new(false),
        totals: Mutex::new(Totals::default()),
        violation: Mutex::new(None),
        replicas,
        seed: plan.seed,
    });
    let started = Instant::now();
    let (recorder, Queue { sender, receiver }) =
        Recorder::new(Arc::clone(&shared), usize::from(plan.clients));
    let checks = std::thread::spawn(move || recorder.run(receiver));
    let workload = Arc::new(Workload {
        slots: Arc::clone(&slots),
        shared: Arc::clone(&shared),
        next_write: AtomicU64::new(1),
    });
    let mut tasks = Vec::new();
    for number in 0..plan.clients {
        let client = Client::new(Arc::clone(&workload), number, sender.clone());
        tasks.push(spawn_local(client.run()));
    }
    drop(sender);
    let watches: Vec<_> = (0..replicas)
        .map(|replica| {
            tokio::spawn(watcher::follow(Arc::clone(&shared), Arc::clone(&slots), replica))
        })
        .collect();
    let nemesis = spawn_local(Nemesis::new(fleet, Arc::clone(&shared), plan.faults.clone()).run());
    while started.elapsed() < plan.time
        && shared.operations() < plan.operations
        && !shared.is_over()
    {
        tokio::time::sleep(POLL).await;
        if nemesis.is_finished() || tasks.iter().any(|task| task.is_finished()) {
            break;
        }
    }
    shared.is_over.store(true, Relaxed);
    for task in tasks {
        if let Err(error) = task.await {
            shared.fail(format!("BROKEN: a client ended: {error}"));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    for watch in watches {
        let _ = watch.await;
    }
    let _ = tokio::task::spawn_blocking(|| checks.join()).await;
    let rss = match nemesis.await {
        Ok(mut fleet) => {
            fleet.inspect();
            if shared.violation.lock().unwrap().is_some() {
                fleet.write_logs(plan.seed);
            }
            if let Some(panic) = fleet.panics.first() {
                shared.fail(format!("BROKEN: no replica panics\n{panic}"));
            }
            fleet.largest_rss
        }
        Err(error) => {
            shared.fail(format!("The faults could not be injected: {error}"));
            0
        }
    };
    let mut summary = report::summary(&shared, plan.topology.name(), seconds);
    summary.push_str(&format!("  largest replica: {} MiB\n", rss >> 20));
    let violation = shared.violation.lock().unwrap().take();
    Outcome { summary, violation, operations: shared.operations(), seconds }
}

/// The promises in numbers, by the configuration of [`crate::fleet`].
fn rules() -> Rules {
    let second = SECOND;
    Rules {
        max_staleness: vec![0, 0, 300_000, 0, 0, 0],
        stale_window: vec![0, 0, 0, 600_000, 0, 0],
        deadline: u64::try_from(DEADLINE.as_micros()).unwrap(),
        // Replicas measure the clock of Redis to the time of a round trip, which is tens of
        // milliseconds on a busy machine.
        margin: 100_000,
        // `watch.max_delay`, and the time of a busy machine to deliver and to read an event.
        watch_delay: 3 * second,
        recovery: second,
        // A replica meets another primary within half a second, and retries 20 times per second.
        reapplied: 2 * second,
    }
}
