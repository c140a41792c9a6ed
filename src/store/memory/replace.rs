//! Values that take over the end of their predecessor's TTL.

use super::Inner;
use crate::{
    model::{Entry, EntryKey, NewEntry, Timestamp, Version},
    store::{LeaseLoss, PutOutcome, Result},
};

impl Inner {
    /// Puts an entry in place of the fresh one with this version.
    pub(super) fn replace(
        &self,
        key: &EntryKey,
        new: &NewEntry,
        version: Version,
    ) -> Result<PutOutcome> {
        let is_replaced = |entry: &Entry, now| entry.version == version && entry.is_fresh(now);
        loop {
            let current = self.read(key).filter(|entry| is_replaced(entry, self.now()));
            let Some(Entry { fresh_until, .. }) = current else {
                return Ok(PutOutcome::ConditionNotMet);
            };
            let entry = Entry { fresh_until, ..Entry::written(new, self.now()) };
            let check = |current: Option<Entry>, now: Timestamp| match current {
                Some(entry) if is_replaced(&entry, now) => {
                    // Otherwise its TTL was changed since it was read.
                    (entry.fresh_until == fresh_until).then_some(PutOutcome::Stored)
                }
                Some(_) | None => Some(PutOutcome::ConditionNotMet),
            };
            let outcome = self.write(key, entry, |shard, key, now| {
                let outcome = check(shard.entries.read(key, now), now);
                if outcome != Some(PutOutcome::Stored) {
                    return Err(outcome);
                }
                self.void_lease(shard, key, LeaseLoss::Superseded);
                Ok(outcome)
            })?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }
}
