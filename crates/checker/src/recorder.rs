//! Collects the calls of all clients by rounds, and checks each round when it is over.
//!
//! The keys of a round are used in it, and read in the next one, so that a round is checked apart,
//! and forgotten. Only invalidations of whole namespaces concern the rounds around them too.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    checks,
    history::{Call, History, Micros, Record, Target, Violation},
    report,
    shared::Shared,
};

/// Duration of a round.
pub(crate) const ROUND: Micros = 4_000_000;
/// Events of watches this much older than a round are dropped, except for the state of a watch.
const EVENTS_KEPT: Micros = 60_000_000;
/// Rounds of clients that wait for the checks.
const QUEUE: usize = 256;

/// The calls of one client in one round.
pub(crate) struct Part {
    pub(crate) round: u32,
    pub(crate) records: Vec<Record>,
}

/// Collects parts until all clients have ended.
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    rounds: BTreeMap<u32, Vec<Part>>,
    clients: usize,
    /// Invalidations of whole namespaces in the round before the next to check.
    before: Vec<Record>,
}

// === impl Recorder ===

impl Recorder {
    /// A recorder of this many clients, and the queue to it.
    pub(crate) fn new(shared: Arc<Shared>, clients: usize) -> (Self, Queue) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let rounds = BTreeMap::new();
        (Self { shared, rounds, clients, before: Vec::new() }, Queue { sender, receiver })
    }

    /// Checks rounds until the queue ends. Blocks its thread.
    pub(crate) fn run(mut self, mut parts: mpsc::Receiver<Part>) {
        while let Some(part) = parts.blocking_recv() {
            self.count(&part.records);
            self.rounds.entry(part.round).or_default().push(part);
            self.check_complete();
        }
        // The clients have ended: no further call belongs to the rounds that are left.
        while let Some((round, _)) = self.rounds.first_key_value() {
            self.check(*round);
        }
    }

    fn count(&self, records: &[Record]) {
        let mut totals = self.shared.totals.lock().unwrap();
        for record in records {
            *totals.calls.entry((record.call.name(), record.answer.name())).or_default() += 1;
        }
    }

    /// Checks the first round if it and the one after it are complete.
    fn check_complete(&mut self) {
        loop {
            let mut first = self.rounds.iter().take(2);
            let (Some((round, a)), Some((_, b))) = (first.next(), first.next()) else { return };
            if a.len() < self.clients || b.len() < self.clients {
                return;
            }
            self.check(*round);
        }
    }

    fn check(&mut self, round: u32) {
        let parts = self.rounds.remove(&round).unwrap_or_default();
        let is_of = |record: &Record| record.call.key().is_none_or(|key| key.round() == round);
        let records = parts.into_iter().flat_map(|part| part.records);
        let mut records: Vec<Record> = records.filter(is_of).collect();
        let own = of_namespaces(&records);
        let next = self.rounds.get(&(round + 1)).into_iter().flatten();
        let mut around: Vec<Record> = std::mem::replace(&mut self.before, own);
        for part in next {
            around.extend(of_namespaces(&part.records));
            let is_late = |record: &&Record| record.call.key().is_some() && is_of(record);
            around.extend(part.records.iter().filter(is_late).cloned());
        }
        let watched = records.clone();
        records.extend(around);
        records.sort_by_key(|record| record.began);
        let history = History {
            records,
            faults: self.shared.faults.all(),
            emptied: self.shared.faults.emptied(),
            rules: Arc::clone(&self.shared.rules),
        };
        let (violations, made) = checks::check_keys(&history);
        // The first one is reported, with its history.
        let is_first = self.shared.violation.lock().unwrap().is_none();
        if let Some((violation, check)) = violations.first().filter(|_| is_first) {
            let text = match reduced(&history, violation, *check) {
                Some((violation, calls)) => {
                    report::failure(&history, &violation, &calls, self.shared.seed)
                }
                None => report::failure(&history, violation, &[], self.shared.seed),
            };
            self.shared.fail(text);
        }
        let watched_calls = self.check_watches(&history, &watched);
        let mut totals = self.shared.totals.lock().unwrap();
        totals.checks += made;
        totals.rounds += 1;
        totals.watched += watched_calls;
    }

    /// Checks the watches, and drops events that are not needed any more.
    fn check_watches(&self, history: &History, records: &[Record]) -> u64 {
        let invalidations: Vec<Record> = records
            .iter()
            .filter(|record| matches!(record.call, Call::Invalidate(_)))
            .cloned()
            .collect();
        let Some(first) = invalidations.iter().map(|record| record.began).min() else { return 0 };
        let events = {
            let mut events = self.shared.events.lock().unwrap();
            events.retain(|event| {
                event.at + EVENTS_KEPT > first
                    || !matches!(event.what, checks::watches::Arrived::Invalidated(_))
            });
            events.clone()
        };
        let (faults, rules) = (&history.faults, &history.rules);
        let replicas = self.shared.replicas;
        if let Some(violation) =
            checks::watches::check(&events, &invalidations, faults, rules, replicas)
        {
            let text = report::failure(history, &violation, &[], self.shared.seed);
            self.shared.fail(text);
        }
        invalidations.len() as u64 * u64::from(replicas)
    }
}

/// The calls of an entry that its check needs to fail, and how it fails with them alone.
fn reduced(
    history: &History,
    violation: &Violation,
    check: checks::KeyCheck,
) -> Option<(Violation, Vec<Record>)> {
    let entries = checks::by_key(history);
    let entry = entries.into_iter().find(|entry| Some(entry.key) == violation.key)?;
    let entry = checks::reduce(entry, check);
    Some((check(&entry)?, entry.records.into_iter().cloned().collect()))
}

fn of_namespaces(records: &[Record]) -> Vec<Record> {
    let concerns_all =
        |record: &&Record| matches!(record.call, Call::Invalidate(Target::Namespace(_)));
    records.iter().filter(concerns_all).cloned().collect()
}

/// Both ends of the queue to the recorder.
pub(crate) struct Queue {
    pub(crate) sender: mpsc::Sender<Part>,
    pub(crate) receiver: mpsc::Receiver<Part>,
}
