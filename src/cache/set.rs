//! Writing one entry, plainly or under a lease.

use std::time::Duration;

use bytes::Bytes;

use super::{Cache, Error, Scope, is_degraded, policy};
use crate::{
    entry::{Draft, Kind, Tags, Version},
    invalid::Violation,
    key::EntryKey,
    stats::counts::Counter,
    store::{Condition, Filled, LeaseToken, Written},
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
pub enum SetResult {
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
pub struct SetOutcome {
    /// What became of it.
    pub result: SetResult,
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
    pub async fn set(&self, command: &SetCommand) -> Result<SetOutcome, Error> {
        self.check(command)?;
        self.set_checked(command).await
    }

    /// Writes one entry that [`Cache::check`] has found good.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`].
    pub async fn set_checked(&self, command: &SetCommand) -> Result<SetOutcome, Error> {
        let scope = self.scope(command.key.namespace())?;
        let draft = Draft {
            kind: command.kind,
            data: command.data.clone(),
            version: Version::random(),
            lifetime: policy::lifetime(&scope.rules, command.ttl, rand::random()),
            tags: command.tags.clone(),
            provenance: None,
        };
        let stored = SetResult::Stored { version: draft.version, ttl: draft.lifetime.ttl };
        let written = match command.mode {
            SetMode::On(condition) => {
                self.store.put(&command.key, &draft, condition).await.map(|written| match written {
                    Written::Stored => stored,
                    Written::ConditionNotMet => SetResult::ConditionNotMet,
                })
            }
            SetMode::Under(token) => {
                self.store.fill(&command.key, token, &draft).await.map(|filled| match filled {
                    Filled::Stored => stored,
                    Filled::LeaseLost => SetResult::LeaseLost,
                    Filled::Invalidated => SetResult::Invalidated,
                    Filled::Superseded => SetResult::Superseded,
                })
            }
            SetMode::OnUnknownVersion => Ok(SetResult::ConditionNotMet),
            SetMode::UnderUnknownLease => Ok(SetResult::LeaseLost),
        };
        let outcome = match written {
            Ok(result) => SetOutcome { result, degraded: false },
            Err(error) => {
                SetOutcome { result: SetResult::NotStored, degraded: is_degraded(&error) }
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

fn count_refused_fill(scope: &Scope, result: SetResult) {
    scope.counts.count(match result {
        SetResult::LeaseLost => Counter::FillsLost,
        SetResult::Invalidated => Counter::FillsInvalidated,
        SetResult::Superseded => Counter::FillsSuperseded,
        SetResult::NotStored => Counter::FillsNotStored,
        SetResult::Stored { .. } | SetResult::ConditionNotMet => return,
    });
}
