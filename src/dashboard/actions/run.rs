//! Does an action, and records it.

use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc, time::Duration};

use super::{
    action::Action,
    jobs::{Job, JobState},
};
use crate::{
    audit::{AuditedCaller, Record},
    cache::{DeleteResult, Durability, EventRoute, TargetOutcome, WarmPlan, WarmProgress},
    dashboard::{Dashboard, error::Error, numbers, text::visible},
    model::{AuditEvent, EntryKey, Event, Namespace, TargetKind},
    warm_list,
};

/// Name of the actions in the audit log.
const ACTION: &str = "POST /actions";

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
    record.caller(caller);
    let outcome = done(&dashboard, action, &job).await;
    let code = outcome.as_ref().map_or_else(Error::code, |_| "OK");
    if let Ok(Outcome { counts, .. }) = &outcome {
        record.counts(counts.clone());
    }
    record.code(code);
    job.end(match outcome {
        Ok(Outcome { rows, .. }) => JobState::Done(rows),
        Err(error) => JobState::Failed(visible(&error.to_string()).into_owned()),
    });
    record.took(job.took());
    dashboard.parts.audit.record(record);
}

fn record_of(action: &Action) -> Record {
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

async fn done(dashboard: &Dashboard, action: Action, job: &Job) -> Result<Outcome, Error> {
    let cache = &dashboard.parts.cache;
    match action {
        Action::Delete(key) => delete(dashboard, &key).await,
        Action::Invalidate(target) => {
            let outcomes = cache.invalidate(&[target], Duration::ZERO).await?;
            Ok(invalidated(&outcomes))
        }
        Action::Publish(event) => publish(dashboard, &event).await,
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

async fn publish(dashboard: &Dashboard, event: &Event) -> Result<Outcome, Error> {
    let results = dashboard.parts.cache.publish(event, EventRoute::Http).await?;
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
