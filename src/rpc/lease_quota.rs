//! Leases that count for the quota of their caller.

use std::{sync::Arc, time::Duration};

use super::access::Access;
use crate::{
    cache::{
        Error, FetchStatus, GetOrFetchOutcome, GetOrFetchResult, LeaseToken, SetCommand, SetMode,
        SetOutcome, SetResult,
    },
    model::EntryKey,
    quota::{CallQuota, QuotaExceeded},
};

/// A lease that counts until it is dropped.
pub(super) struct CountedLease {
    quota: Arc<CallQuota>,
    key: EntryKey,
    token: LeaseToken,
}

/// Counts the lease of an answer. One that the quota does not allow goes back, and the answer is
/// the stale value if there is one.
pub(super) fn count_lease(
    access: &Access,
    key: &EntryKey,
    result: GetOrFetchResult,
) -> Result<GetOrFetchResult, QuotaExceeded> {
    let (Some(quota), GetOrFetchOutcome::Lease(offer)) = (access.quota(), &result.outcome) else {
        return Ok(result);
    };
    // A permission to compute that is not in the store ends with its caller.
    if offer.guard.is_detached() {
        return Ok(result);
    }
    let Err(exceeded) = quota.hold_lease(key, offer.guard.token().0, offer.expires_in) else {
        return Ok(result);
    };
    let GetOrFetchResult { outcome, status: _, fill, degraded } = result;
    // Dropping the guard gives the lease back.
    if let GetOrFetchOutcome::Lease(offer) = outcome
        && let Some(stale) = offer.stale
    {
        let outcome = GetOrFetchOutcome::Found(stale);
        return Ok(GetOrFetchResult { outcome, status: FetchStatus::Read, fill, degraded });
    }
    Err(exceeded)
}

/// Ends the count of a lease that was filled or abandoned.
pub(super) fn end_lease(access: &Access, key: &EntryKey, token: LeaseToken) {
    if let Some(quota) = access.quota() {
        quota.end_lease(key, token.0);
    }
}

/// As [`end_lease`], after a write: one under a lease ends it, unless the store did not answer.
pub(super) fn end_filled_lease(
    access: &Access,
    command: &SetCommand,
    result: &Result<SetResult, Error>,
) {
    let is_kept = match result {
        Ok(SetResult { outcome: SetOutcome::NotStored(kind), .. }) => !kind.is_quota(),
        Ok(_) | Err(Error::QuotaExceeded(_)) => false,
        Err(_) => true,
    };
    if let SetMode::Under(token) = command.mode
        && !is_kept
    {
        end_lease(access, &command.key, token);
    }
}

impl CountedLease {
    /// Takes over the count of a lease that is held for up to `max_hold`; none if no quota applies
    /// to the call.
    pub(super) fn new(
        access: &Access,
        key: &EntryKey,
        token: LeaseToken,
        max_hold: Duration,
    ) -> Option<Self> {
        let quota = access.quota()?.clone();
        quota.extend_lease(key, token.0, max_hold);
        Some(Self { quota, key: key.clone(), token })
    }
}

impl Drop for CountedLease {
    fn drop(&mut self) {
        self.quota.end_lease(&self.key, self.token.0);
    }
}
