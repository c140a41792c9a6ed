//! Set: writes one entry, on a condition or under a lease.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::KeyValue;

use super::{Cache, Error, NamespaceContext, policy};
use crate::{
    model::{
        EntryKey, InvalidJson, Kind, MAX_JSON_DEPTH, NewEntry, Tags, Version, Violation, check_json,
    },
    planted::{self, Bug},
    stats::counters::{Counter, LatencyKind},
    store::{Condition, ErrorKind, LeaseLoss, LeaseToken, PutOutcome},
};

/// A write.
#[derive(Debug, Clone)]
pub struct SetCommand {
    /// The key.
    pub key: EntryKey,
    /// Kind of the value.
    pub kind: Kind,
    /// The value.
    pub data: Bytes,
    /// Time for which the value is fresh; `None` is the namespace's TTL.
    pub ttl: Option<Duration>,
    /// Tags of the entry.
    pub tags: Tags,
    /// When to write.
    pub mode: SetMode,
}

/// When to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetMode {
    /// If the condition holds.
    On(Condition),
    /// If the lease is held.
    Under(LeaseToken),
    /// Never: no entry has the version that the caller named. Versions are opaque to callers, so
    /// an unknown form is not an error: it may come from another release.
    OnUnknownVersion,
}

/// Outcome of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOutcome {
    /// The value is stored.
    Stored {
        /// Version of the entry.
        version: Version,
        /// Time for which the value is fresh.
        ttl: Duration,
    },
    /// The condition did not hold.
    ConditionNotMet,
    /// The lease no longer permitted a fill.
    LeaseLost(LeaseLoss),
    /// The store did not take the value, for this cause.
    NotStored(ErrorKind),
}

/// Answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResult {
    /// Outcome of the write.
    pub outcome: SetOutcome,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

impl Cache {
    /// Checks a value as [`Cache::set`] does.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::ValueTooLarge`], or [`Error::Invalid`] for JSON that
    /// is not valid.
    pub fn check(&self, command: &SetCommand) -> Result<(), Error> {
        let rules = self.namespaces.rules(command.key.namespace())?;
        let (size, limit) = (command.data.len(), rules.config.max_value_bytes);
        if size > limit {
            let namespace = command.key.namespace();
            let description = format!(
                "is {size} bytes long, the limit of namespace {namespace} is {limit} \
                 (max_value_bytes)"
            );
            return Err(Error::ValueTooLarge(Violation::over_limit("value", description, limit)));
        }
        if command.kind == Kind::Json {
            check_json(&command.data).map_err(json_violation)?;
        }
        Ok(())
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// As [`Cache::check`], and [`Error::QuotaExceeded`] if the namespace holds as much as it may.
    pub async fn set(&self, command: &SetCommand) -> Result<SetResult, Error> {
        self.check(command)?;
        let result = self.set_checked(command).await?;
        if let SetOutcome::NotStored(kind) = result.outcome {
            let namespace = command.key.namespace();
            if let Some(exceeded) = self.context(namespace)?.exceeded(namespace, kind) {
                return Err(exceeded.into());
            }
        }
        Ok(result)
    }

    /// Writes one entry that [`Cache::check`] has accepted.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn set_checked(&self, command: &SetCommand) -> Result<SetResult, Error> {
        let context = self.context(command.key.namespace())?;
        let key = &*context.key(&command.key);
        let entry = NewEntry {
            kind: command.kind,
            data: command.data.clone(),
            version: Version::random(),
            lifetime: policy::lifetime(context.config(), command.ttl, rand::random()),
            tags: command.tags.clone(),
            fetch_metadata: None,
        };
        let stored = SetOutcome::Stored { version: entry.version, ttl: entry.lifetime.ttl };
        let written = match command.mode {
            SetMode::On(condition) => {
                let put = self.store.put(key, &entry, condition).await;
                put.map(|outcome| match outcome {
                    PutOutcome::Stored => stored,
                    PutOutcome::ConditionNotMet => SetOutcome::ConditionNotMet,
                })
            }
            SetMode::Under(token) => {
                let filled = self.store.fill(key, token, &entry).await;
                filled.map(|status| status.map_or_else(SetOutcome::LeaseLost, |()| stored))
            }
            SetMode::OnUnknownVersion => Ok(SetOutcome::ConditionNotMet),
        };
        let result = match written {
            Ok(outcome) => SetResult { outcome, degraded: false },
            Err(_) if planted::is(Bug::FalselyStored) => {
                SetResult { outcome: stored, degraded: false }
            }
            Err(error) => SetResult {
                outcome: SetOutcome::NotStored(error.kind),
                degraded: error.is_degraded(),
            },
        };
        result.count(&context, command.mode);
        if let SetOutcome::Stored { .. } = result.outcome {
            context.follow_write(&*self.store, key, &entry.lifetime, entry.data.len());
        }
        if let (SetMode::Under(token), SetOutcome::NotStored(kind)) = (command.mode, result.outcome)
            && let Some(exceeded) = context.exceeded(key.namespace(), kind)
        {
            // Otherwise the callers that wait for the value would wait for the end of the lease.
            let backoff = context.config().abandon_backoff;
            let _ = self.store.abandon(key, token, backoff, &exceeded.to_string()).await;
        }
        if let (SetMode::Under(token), SetOutcome::Stored { .. }) = (command.mode, result.outcome) {
            self.observe_computation(&context, &command.key, token);
        }
        Ok(result)
    }
}

impl Cache {
    /// Measures the time in which a caller has computed a value under a lease.
    #[cold]
    fn observe_computation(&self, context: &NamespaceContext, key: &EntryKey, token: LeaseToken) {
        let Some(took) = token.age(self.store.now()) else { return };
        context.counters.time(LatencyKind::Compute, took);
        if let Some(histogram) = self.compute_duration.get() {
            let namespace = self.stats.label(key.namespace());
            histogram.record(took.as_secs_f64(), &[KeyValue::new("namespace", namespace)]);
        }
    }
}

impl SetOutcome {
    /// Why the value is not stored, in the words of the store's failure; empty unless the store
    /// failed.
    pub fn cause(&self) -> String {
        match self {
            Self::NotStored(kind) => kind.to_string(),
            Self::Stored { .. } | Self::ConditionNotMet | Self::LeaseLost(_) => String::new(),
        }
    }
}

impl SetResult {
    fn count(&self, context: &NamespaceContext, mode: SetMode) {
        let is_stored = matches!(self.outcome, SetOutcome::Stored { .. });
        context.counters.count(if is_stored { Counter::Sets } else { Counter::SetsRefused });
        context.count_degraded(self.degraded);
        let is_fill = matches!(mode, SetMode::Under(_));
        match self.outcome {
            SetOutcome::LeaseLost(loss) if is_fill => context.count_lost_fill(loss),
            SetOutcome::NotStored(_) if is_fill => context.counters.count(Counter::FillsNotStored),
            SetOutcome::Stored { .. }
            | SetOutcome::ConditionNotMet
            | SetOutcome::LeaseLost(_)
            | SetOutcome::NotStored(_) => {}
        }
    }
}

#[cold]
fn json_violation(error: InvalidJson) -> Violation {
    let description = error.to_string();
    match error {
        InvalidJson::Syntax(_) => Violation::new("value.json", description),
        InvalidJson::TooDeep(_) => Violation::over_limit("value.json", description, MAX_JSON_DEPTH),
    }
}

#[cfg(test)]
mod tests;
