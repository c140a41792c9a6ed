//! The bans of one namespace.

use std::{
    mem::{replace, take},
    sync::atomic::{AtomicU64, Ordering},
};

use super::budget::Budget;
use crate::{
    model::Timestamp,
    store::{
        Ban, BanLimits, BanListing,
        bans::{BanTable, BanTimes},
    },
};

/// The bans of a namespace. A ban is kept while an entry or a lease may be older.
#[derive(Default)]
pub(super) struct NamespaceBans {
    table: BanTable,
    times: BanTimes,
    /// Number of the newest ban.
    sequence: u64,
    /// Time and sequence number of the last drop.
    dropped_at: Timestamp,
    dropped_until: u64,
    /// The part of the budget that the bans have, in bytes, and how many there were.
    accounted: u64,
    counted: u64,
}

/// When a ban is made, and the end of its hold-off.
#[derive(Clone, Copy)]
pub(super) struct BanSpan {
    pub(super) made_at: Timestamp,
    pub(super) held_until: Timestamp,
}

/// Where the memory of the bans is accounted for.
#[derive(Clone, Copy)]
pub(super) struct BanAccount<'a> {
    pub(super) budget: &'a Budget,
    /// Memory of the records of the namespace.
    pub(super) record_bytes: &'a AtomicU64,
    /// Memory of what is kept along with the bans, in bytes.
    pub(super) generation_bytes: u64,
}

impl NamespaceBans {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn table(&self) -> &BanTable {
        &self.table
    }

    /// The newest bans. Visits all of them.
    pub(super) fn listing(&self, now: Timestamp, limits: &BanLimits) -> BanListing {
        BanListing {
            tags: self.table.tag_count() as u64,
            globs: self.table.glob_count() as u64,
            newest: self.table.newest(&self.times, now),
            // No entry is older then.
            kept_for: limits.longest_lifetime,
        }
    }

    /// Records a ban with the next sequence number. Returns false if it exceeds a limit, or the
    /// budget: then no ban is left.
    pub(super) fn add(
        &mut self,
        ban: &Ban,
        times: BanSpan,
        limits: &BanLimits,
        account: BanAccount<'_>,
    ) -> bool {
        if !self.table.is_full_for(ban, limits) {
            self.sequence += 1;
            self.times.add(times.made_at, self.sequence);
            self.table.insert(ban, self.sequence, times.held_until);
            if self.account(account) {
                return true;
            }
        }
        self.table = BanTable::default();
        self.times = BanTimes::default();
        self.account(BanAccount { generation_bytes: 0, ..account });
        false
    }

    /// Drops the bans until the number `oldest`, unless their hold-off lasts: every entry and lease
    /// is as new.
    pub(super) fn sweep(&mut self, oldest: u64, now: Timestamp, account: BanAccount<'_>) {
        let oldest = oldest.min(self.sequence);
        let last_hold_off = self.table.last_hold_off();
        let has_hold_off_ended = self.dropped_at < last_hold_off && last_hold_off <= now;
        if !self.table.is_empty() && (self.dropped_until < oldest || has_hold_off_ended) {
            self.table.drop_until(oldest, now);
            self.times.drop_until(oldest);
            (self.dropped_until, self.dropped_at) = (oldest, now);
        }
        self.account(account);
    }

    /// Gives the part of the budget back.
    pub(super) fn release(&mut self, account: BanAccount<'_>) {
        account.budget.release_record(account.record_bytes, take(&mut self.accounted));
        account.budget.records.bans.fetch_sub(take(&mut self.counted), Ordering::Relaxed);
    }

    /// Memory in bytes, as it is accounted for.
    #[cfg(test)]
    pub(super) fn accounted(&self) -> u64 {
        self.accounted
    }

    /// Accounts for what the bans take now. Returns false if that is too much.
    fn account(&mut self, account: BanAccount<'_>) -> bool {
        let BanAccount { budget, record_bytes, generation_bytes } = account;
        let tables = self.table.memory() + self.times.memory();
        let memory = (size_of::<Self>() + tables) as u64 + generation_bytes;
        if self.accounted < memory {
            if !budget.add_record(record_bytes, memory - self.accounted) {
                budget.records.on_ban_not_recorded();
                return false;
            }
        } else {
            budget.release_record(record_bytes, self.accounted - memory);
        }
        self.accounted = memory;
        let count = (self.table.tag_count() + self.table.glob_count()) as u64;
        let change = count.wrapping_sub(replace(&mut self.counted, count));
        budget.records.bans.fetch_add(change, Ordering::Relaxed);
        true
    }
}
