//! Patch: changes a part of a JSON value.
//!
//! The value is read, changed, and written on the condition that it is still the one that was read.
//! When another write came first, all of that begins again after a short pause.

mod change;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Cache, Error, VersionCondition, policy, policy::Verdict};
use crate::{
    model::{EntryKey, FetchMetadata, Kind, Lifetime, NewEntry, Validators, Version},
    stats::counters::Counter,
    store::{Condition, PutOutcome},
};
pub use change::Change;

/// Most attempts of a call to write. With the pauses between them they take 2 s on average.
const MAX_ATTEMPTS: u32 = 20;
/// Longest pause between two attempts; the first ones are shorter.
const MAX_PAUSE: Duration = Duration::from_millis(256);

/// A change of a JSON value.
#[derive(Debug, Clone)]
pub struct PatchCommand {
    /// The key.
    pub key: EntryKey,
    /// The change.
    pub change: Change,
    /// The version that the entry must have.
    pub condition: VersionCondition,
    /// How long the changed value is fresh.
    pub expiry: PatchExpiry,
    /// Largest changed value, in bytes, if it is less than that of the namespace.
    pub max_bytes: Option<usize>,
}

/// How long a changed value is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchExpiry {
    /// For this TTL; `None` is that of the namespace.
    Ttl(Option<Duration>),
    /// As long as the value before it.
    Keep,
}

/// Outcome of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchOutcome {
    /// The changed value is stored.
    Applied {
        /// Version of the entry.
        version: Version,
        /// Time for which the value is fresh.
        ttl: Duration,
    },
    /// The entry has another version.
    ConditionNotMet,
    /// There is no fresh value.
    Missing,
}

impl Cache {
    /// Changes a JSON value in one atomic step, and keeps its tags.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::NotJson`], [`Error::PatchNotApplicable`],
    /// [`Error::ValueTooLarge`] and [`Error::Contended`], after which nothing has changed;
    /// [`Error::StoreUnavailable`], after which the change may or may not be applied.
    pub async fn patch(&self, command: &PatchCommand) -> Result<PatchOutcome, Error> {
        for attempt in 0..MAX_ATTEMPTS {
            if attempt > 0 {
                sleep(pause(attempt, rand::random())).await;
            }
            if let Some(outcome) = self.try_patch(command).await? {
                return Ok(outcome);
            }
        }
        self.context(command.key.namespace())?.counters.count(Counter::SetsRefused);
        Err(Error::Contended { attempts: MAX_ATTEMPTS })
    }

    /// One attempt; `None` if another write came first.
    async fn try_patch(&self, command: &PatchCommand) -> Result<Option<PatchOutcome>, Error> {
        let PatchCommand { key, change, condition, expiry, max_bytes } = command;
        let context = self.context(key.namespace())?;
        let key = &*context.key(key);
        let refused = |_: &_| context.counters.count(Counter::SetsRefused);
        let entry = self.store.get(key).await.inspect_err(refused)?;
        let now = self.store.now();
        let is_fresh = |entry: &_| context.rules.evaluate(entry, now, None) == Verdict::Fresh;
        let Some(entry) = entry.filter(is_fresh) else {
            context.counters.count(Counter::SetsRefused);
            return Ok(Some(PatchOutcome::Missing));
        };
        let holds = match condition {
            VersionCondition::Always => true,
            VersionCondition::IfVersion(version) => *version == entry.version,
            VersionCondition::UnknownVersion => false,
        };
        if !holds {
            context.counters.count(Counter::SetsRefused);
            return Ok(Some(PatchOutcome::ConditionNotMet));
        }
        let max_bytes = context.config().max_value_bytes.min(max_bytes.unwrap_or(usize::MAX));
        let data = change.apply(&entry, key.namespace(), max_bytes)?;
        let (lifetime, condition) = match expiry {
            PatchExpiry::Ttl(ttl) => {
                let lifetime = policy::lifetime(context.config(), *ttl, rand::random());
                (lifetime, Condition::IfVersion(entry.version))
            }
            PatchExpiry::Keep => {
                let lifetime = Lifetime {
                    ttl: entry.fresh_until.since(now),
                    stale_while_revalidate: entry.stale_while_revalidate,
                    stale_if_error: entry.stale_if_error,
                    // The validators are those of the value before.
                    revalidation_window: Duration::ZERO,
                };
                (lifetime, Condition::Replacing(entry.version))
            }
        };
        let changed = NewEntry {
            kind: Kind::Json,
            data,
            version: Version::random(),
            lifetime,
            tags: entry.tags,
            // Validators and early refreshes are for the value before; the source is the same.
            fetch_metadata: entry.fetch_metadata.as_deref().map(|metadata| {
                Arc::new(FetchMetadata {
                    validators: Validators::default(),
                    fetch_time: Duration::ZERO,
                    source: metadata.source,
                })
            }),
        };
        let put = self.store.put(key, &changed, condition).await.inspect_err(refused);
        let put = put.map_err(|error| context.store_failed(key.namespace(), error));
        Ok(match put? {
            PutOutcome::Stored => {
                context.counters.count(Counter::Sets);
                context.follow_write(&*self.store, key, &lifetime, changed.data.len());
                Some(PatchOutcome::Applied { version: changed.version, ttl: lifetime.ttl })
            }
            PutOutcome::ConditionNotMet => None,
        })
    }
}

/// The pause before an attempt, the first of which has the number 1: a random part of a time that
/// doubles. `dice` is between 0 and 1.
fn pause(attempt: u32, dice: f64) -> Duration {
    let longest = Duration::from_millis(1 << attempt.min(16));
    longest.min(MAX_PAUSE).mul_f64(dice)
}
