//! Writing one entry, plainly or under a lease.

use std::time::Duration;

use bytes::Bytes;

use super::{Cache, Error, NamespaceContext, is_degraded, policy};
use crate::{
    model::{EntryKey, Kind, NewEntry, Tags, Version, Violation},
    stats::counters::Counter,
    store::{Condition, FillStatus, LeaseToken, PutOutcome},
};

/// What is to be written.
#[derive(Debug, Clone)]
pub struct SetCommand {
    /// The entry.
    pub key: EntryKey,
    /// Kind of the value.
    pub kind: Kind,
    /// The value.
    pub data: Bytes,
    /// How long it is fresh, if the caller says.
    pub ttl: Option<Duration>,
    /// Its tags.
    pub tags: Tags,
    /// When to write.
    pub mode: SetMode,
}

/// When to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetMode {
    /// If the condition holds.
    On(Condition),
    /// If the lease holds.
    Under(LeaseToken),
    /// Never, because no entry has the version that the caller named. Versions are opaque to callers, so this is not their
    /// mistake: it may come from a release with other versions.
    OnUnknownVersion,
    /// Never, because no lease has the token that the caller named. Tokens are opaque too.
    UnderUnknownLease,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetOutcome {
    /// It is stored.
    Stored {
        /// Id of the write.
        version: Version,
        /// How long the value is fresh.
        ttl: Duration,
    },
    /// The condition did not hold.
    ConditionNotMet,
    /// The lease is no longer held.
    LeaseLost,
    /// The entry or its namespace was invalidated since the lease was granted.
    Invalidated,
    /// The entry was written since the lease was granted.
    Superseded,
    /// The store did not take it.
    NotStored,
}

/// The answer to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetResult {
    /// What became of it.
    pub result: SetOutcome,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

impl Cache {
    /// Whether [`Cache::set`] would refuse the value.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`], [`Error::ValueTooLarge`], or [`Error::Invalid`] for JSON that is none.
    pub fn check(&self, command: &SetCommand) -> Result<(), Error> {
        let rules = self.namespaces.rules(command.key.namespace())?;
        let (size, limit) = (command.data.len(), rules.max_value_bytes);
        if size > limit {
            let description = format!(
                "is {size} bytes long, the limit of namespace {} is {limit}",
                command.key.namespace()
            );
            return Err(Error::ValueTooLarge(Violation::over_limit("value", description, limit)));
        }
        if command.kind == Kind::Json {
            let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&command.data);
            parsed.map_err(|error| {
                Violation::new("value.json", format!("is not valid JSON: {error}"))
            })?;
        }
        Ok(())
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// Those of [`Cache::check`].
    pub async fn set(&self, command: &SetCommand) -> Result<SetResult, Error> {
        self.check(command)?;
        self.set_checked(command).await
    }

    /// Writes one entry that [`Cache::check`] has found good.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn set_checked(&self, command: &SetCommand) -> Result<SetResult, Error> {
        let scope = self.scope(command.key.namespace())?;
        let draft = NewEntry {
            kind: command.kind,
            data: command.data.clone(),
            version: Version::random(),
            lifetime: policy::lifetime(&scope.rules, command.ttl, rand::random()),
            tags: command.tags.clone(),
            fetch_metadata: None,
        };
        let stored = SetOutcome::Stored { version: draft.version, ttl: draft.lifetime.ttl };
        let written = match command.mode {
            SetMode::On(condition) => {
                self.store.put(&command.key, &draft, condition).await.map(|written| match written {
                    PutOutcome::Stored => stored,
                    PutOutcome::ConditionNotMet => SetOutcome::ConditionNotMet,
                })
            }
            SetMode::Under(token) => {
                self.store.fill(&command.key, token, &draft).await.map(|filled| match filled {
                    FillStatus::Stored => stored,
                    FillStatus::LeaseLost => SetOutcome::LeaseLost,
                    FillStatus::Invalidated => SetOutcome::Invalidated,
                    FillStatus::Superseded => SetOutcome::Superseded,
                })
            }
            SetMode::OnUnknownVersion => Ok(SetOutcome::ConditionNotMet),
            SetMode::UnderUnknownLease => Ok(SetOutcome::LeaseLost),
        };
        let outcome = match written {
            Ok(result) => SetResult { result, degraded: false },
            Err(error) => {
                SetResult { result: SetOutcome::NotStored, degraded: is_degraded(&error) }
            }
        };
        scope.counts.count(if outcome.result == stored {
            Counter::Sets
        } else {
            Counter::SetsRefused
        });
        if let SetMode::Under(_) | SetMode::UnderUnknownLease = command.mode {
            count_refused_fill(&scope, outcome.result);
        }
        scope.count_degraded(outcome.degraded);
        Ok(outcome)
    }
}

fn count_refused_fill(scope: &NamespaceContext, result: SetOutcome) {
    scope.counts.count(match result {
        SetOutcome::LeaseLost => Counter::FillsLost,
        SetOutcome::Invalidated => Counter::FillsInvalidated,
        SetOutcome::Superseded => Counter::FillsSuperseded,
        SetOutcome::NotStored => Counter::FillsNotStored,
        SetOutcome::Stored { .. } | SetOutcome::ConditionNotMet => return,
    });
}
