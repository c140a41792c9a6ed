//! Does an action, and records it.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    ACTION,
    action::Action,
    jobs::{Job, JobState},
};
use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    cache::{DeleteResult, Durability, EventRoute, TargetOutcome, WarmPlan, WarmProgress},
    dashboard::{Dashboard, error::Error, numbers, text::visible},
    model::{AuditEvent, EntryKey, Event, Namespace, TargetKind},
    warm_list,
};

/// Time to end in when the server stops. The server waits longer.
const END_TIME: Duration = Duration::from_millis(1500);

type Counts = Vec<(&'static str, u64)>;

/// Names and texts for people, and numbers for the audit log.
struct Outcome {
    rows: Vec<(&'static str, String)>,
    counts: Counts,
}

/// Does an action, to the end of its job.
pub(super) async fn run(
    dashboard: Arc<Dashboard>,
    action: Action,
    caller: AuditedCaller,
    job: Arc<Job>,
) {
    let mut record = record_of(&action);
    record.caller(caller).code("INTERNAL");
    let mut end = JobEnd { audit: dashboard.parts.audit.clone(), record, job: job.clone() };
    let stop = async {
        dashboard.parts.stop.cancelled().await;
        sleep(END_TIME).await;
    };
    let outcome = tokio::select! {
        outcome = done(&dashboard, action, &job, &mut end.record) => outcome,
        () = stop => Err(Error::Stopping),
    };
    end.record.code(outcome.as_ref().map_or_else(Error::code, |_| "OK"));
    job.end(match outcome {
        Ok(Outcome { rows, counts }) => {
            end.record.counts(counts);
            JobState::Done(rows)
        }
        Err(error) => JobState::Failed(visible(&error.to_string()).into_owned()),
    });
}

/// The end of a job, whatever ends it: it leaves its place, and is recorded.
struct JobEnd {
    audit: AuditLog,
    record: Record,
    job: Arc<Job>,
}

impl Drop for JobEnd {
    fn drop(&mut self) {
        if self.job.is_running() {
            let text = "a fault of the server ended it: it may have been done in part";
            self.job.end(JobState::Failed(text.to_owned()));
        }
        self.record.took(self.job.took());
        self.audit.record(self.record.clone());
    }
}

/// The record of an action. The targets of an event are not in it.
pub(super) fn record_of(action: &Action) -> Record {
    let event = match action {
        Action::Delete(_) => AuditEvent::Delete,
        Action::Invalidate(_) => AuditEvent::Invalidate,
        Action::Publish(_) => AuditEvent::Event,
        Action::FlushNear(_) | Action::Warm { .. } => AuditEvent::Admin,
    };
    let mut record = Record::new(event, ACTION);
    match action {
        Action::Delete(key) => {
            record.touched().target(TargetKind::Key, key.namespace(), Some(key.key()));
        }
        Action::Invalidate(target) => record.touched().extend(target.parts()),
        Action::Publish(event) => {
            record.text("event_name", event.name());
        }
        Action::FlushNear(namespace) => {
            record.text("what", "flush");
            namespace.iter().for_each(|namespace| record.touched().namespace(namespace));
        }
        Action::Warm { namespace, keys, .. } => {
            record.text("what", "warm").touched().namespace(namespace);
            let parts = |key| (TargetKind::Key, namespace, Some(EntryKey::key(key)));
            record.touched().extend(keys.iter().map(parts));
        }
    }
    record
}

/// Does an action. `record` gets what is found out before that.
async fn done(
    dashboard: &Dashboard,
    action: Action,
    job: &Job,
    record: &mut Record,
) -> Result<Outcome, Error> {
    let cache = &dashboard.parts.cache;
    match action {
        Action::Delete(key) => delete(dashboard, &key).await,
        Action::Invalidate(target) => {
            let outcomes = cache.invalidate(&[target], Duration::ZERO).await?;
            Ok(invalidated(&outcomes))
        }
        Action::Publish(event) => publish(dashboard, &event, record).await,
        Action::FlushNear(namespace) => {
            let flushed = cache.flush_near(namespace.as_ref())?;
            let rows = vec![
                ("Copies", numbers::count(flushed.entries)),
                ("Memory", numbers::bytes(flushed.bytes)),
            ];
            let counts = vec![("entries", flushed.entries), ("bytes", flushed.bytes)];
            Ok(Outcome { rows, counts })
        }
        Action::Warm { namespace, keys, refresh } => {
            let plan = plan(dashboard, namespace, keys, refresh).await?;
            warm(dashboard, plan, job).await
        }
    }
}

async fn delete(dashboard: &Dashboard, key: &EntryKey) -> Result<Outcome, Error> {
    let cache = &dashboard.parts.cache;
    let deleted = match key.params() {
        Some(_) => cache.delete_stored(key, Duration::ZERO).await?,
        None => cache.delete(key, Duration::ZERO).await?,
    };
    let DeleteResult { existed, durability, .. } = deleted;
    let is_queued = durability == Durability::Queued;
    let text = match (is_queued, existed) {
        (true, _) => "in the journal: the store is away",
        (false, true) => "removed",
        (false, false) => "there was none",
    };
    let counts = vec![("existed", u64::from(existed)), ("queued", u64::from(is_queued))];
    Ok(Outcome { rows: vec![("Entry", text.to_owned())], counts })
}

fn invalidated(outcomes: &[TargetOutcome]) -> Outcome {
    let text = |outcome: &TargetOutcome| match outcome {
        TargetOutcome::Deleted { existed: true } => "the entry is removed",
        TargetOutcome::Deleted { existed: false } => "there was no such entry",
        TargetOutcome::Banned => "entries that match are invalid",
        TargetOutcome::NamespaceInvalidated => "all entries of the namespace are invalid",
        TargetOutcome::Queued => "in the journal: the store is away",
    };
    let rows = outcomes.iter().map(|outcome| ("Result", text(outcome).to_owned())).collect();
    Outcome { rows, counts: TargetOutcome::counts(outcomes.iter().copied()).into() }
}

async fn publish(
    dashboard: &Dashboard,
    event: &Event,
    record: &mut Record,
) -> Result<Outcome, Error> {
    let cache = &dashboard.parts.cache;
    let plan = cache.plan_event(event, EventRoute::Http)?;
    record.touched().extend(plan.parts());
    let results = cache.publish_plan(plan, EventRoute::Http).await?;
    let outcomes: Vec<TargetOutcome> = results.iter().map(|(_, outcome)| *outcome).collect();
    let rows = vec![("Targets invalidated", outcomes.len().to_string())];
    Ok(Outcome { rows, counts: TargetOutcome::counts(outcomes.into_iter()).into() })
}

async fn plan(
    dashboard: &Dashboard,
    namespace: Namespace,
    keys: Vec<EntryKey>,
    refresh: bool,
) -> Result<WarmPlan, Error> {
    let config = dashboard.parts.cache.warm_config(&namespace)?;
    let rate = NonZeroU32::new(config.rate).unwrap_or(NonZeroU32::MIN);
    if keys.is_empty() {
        return Ok(WarmPlan { refresh, ..warm_list::read(namespace, config).await? });
    }
    let keys = keys.into_iter().map(|key| (key, BTreeMap::new())).collect();
    Ok(WarmPlan { namespace, keys, refresh, rate })
}

async fn warm(dashboard: &Dashboard, plan: WarmPlan, job: &Job) -> Result<Outcome, Error> {
    let total = plan.keys.len() as u64;
    job.progress(0, total);
    let mut last = WarmProgress::default();
    let report = |progress: &WarmProgress| {
        job.progress(progress.done, total);
        last.clone_from(progress);
    };
    dashboard.parts.cache.warm(plan, report).await?;
    let WarmProgress { done, stored, fresh, not_stored, failed, last_error } = last;
    let numbers = [
        ("Keys", "done", done),
        ("Stored", "stored", stored),
        ("Fresh already", "fresh", fresh),
        ("Not stored", "not_stored", not_stored),
        ("Failed", "failed", failed),
    ];
    let mut rows: Vec<_> = numbers.map(|(name, _, count)| (name, count.to_string())).into();
    if !last_error.is_empty() {
        rows.push(("Last failure", visible(&last_error).into_owned()));
    }
    Ok(Outcome { rows, counts: numbers.map(|(_, name, count)| (name, count)).into() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;
    use crate::{
        config::{AuditConfig, AuditTarget},
        dashboard::actions::{Jobs, jobs::Begun},
    };

    #[tokio::test]
    async fn a_job_that_panics_is_recorded_and_leaves_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let to = Some(AuditTarget::File(path.clone()));
        let config = AuditConfig { to, ..AuditConfig::default() };
        let meter = SdkMeterProvider::default().meter("test");
        let audit = AuditLog::open(&config, &meter).unwrap();
        let begun = Jobs::new(&meter).begin("x".to_owned(), None).unwrap();
        let Begun::New(job) = begun else { panic!("it is new") };
        let mut record = record_of(&Action::FlushNear(None));
        record.code("INTERNAL");
        let end = JobEnd { audit: audit.clone(), record, job: job.clone() };
        let task = tokio::spawn(async move {
            let _end = end;
            panic!("a fault");
        });
        assert!(task.await.unwrap_err().is_panic());
        assert!(matches!(job.state(), JobState::Failed(text) if text.contains("a fault")));
        audit.close(Duration::from_secs(10)).await;
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.contains(ACTION) && written.contains("INTERNAL"), "{written}");
    }
}
