//! The records of entries in the audit log.

use crate::{
    audit::{AuditLog, Record},
    cache::{Error, EventPlan, EventResult, TargetOutcome},
    model::AuditEvent,
};

/// Name of this source of events in the audit log.
const ACTION: &str = "redis_stream";

/// The records of some entries, until they are applied.
pub(super) struct EntryRecords<'a> {
    log: &'a AuditLog,
    stream: &'a str,
    planned: Vec<Record>,
}

impl<'a> EntryRecords<'a> {
    pub(super) fn new(log: &'a AuditLog, stream: &'a str) -> Self {
        Self { log, stream, planned: Vec::new() }
    }

    /// An entry is about to be applied.
    pub(super) fn add(&mut self, id: &str, event: &str, plan: &EventPlan) {
        if self.log.records(AuditEvent::Event) {
            let mut record = self.record(id);
            record.text("event_name", event).touched().extend(plan.parts());
            self.planned.push(record);
        }
    }

    /// An entry can never be applied.
    pub(super) fn refuse(&self, id: &str) {
        if self.log.records(AuditEvent::Event) {
            let mut record = self.record(id);
            record.code("INVALID_ARGUMENT");
            self.log.record(record);
        }
    }

    /// Queues the records of those that are applied. The others are tried again.
    pub(super) fn finish(self, results: &[Result<EventResult, Error>]) {
        for (mut record, result) in self.planned.into_iter().zip(results) {
            if let Ok(outcomes) = result {
                let outcomes = outcomes.iter().map(|(_, outcome)| *outcome);
                record.counts(TargetOutcome::counts(outcomes).into()).code("OK");
                self.log.record(record);
            }
        }
    }

    fn record(&self, id: &str) -> Record {
        let mut record = Record::new(AuditEvent::Event, ACTION);
        record.text("stream", self.stream).text("event_id", id);
        record
    }
}
