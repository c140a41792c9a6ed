//! Checks of entries and fills against the known bans.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{BanLogs, NamespaceBans};
use crate::{
    model::Timestamp,
    store::{
        MatchingBan, Result, ban_log_lines,
        redis::{
            attempts::Attempts,
            ban_log::BanLog,
            codec,
            marker::{self, Position},
        },
    },
};

/// An entry or a lease to check for bans.
pub(in crate::store::redis) struct Candidate<'a> {
    /// The position up to which the bans are taken into account already.
    pub(in crate::store::redis) since: Position,
    pub(in crate::store::redis) key: &'a str,
    pub(in crate::store::redis) tags: &'a [String],
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Valid,
    Banned,
    /// The marker is at a ban that a failover has lost.
    Lost,
}

impl BanLogs {
    /// The position in the first bytes of an entry, and its tags; none if they are corrupt.
    pub(in crate::store::redis) fn candidate_of(head: &[u8]) -> Option<(Position, Vec<String>)> {
        Some((codec::position_of_entry(head), codec::decode_tags(head)?))
    }

    /// Whether an entry is valid that was read under `marker`, whose name is `marker_name`.
    #[cold]
    pub(in crate::store::redis) async fn is_valid(
        &self,
        bans: &Arc<NamespaceBans>,
        marker: (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<bool> {
        self.0.checks.fetch_add(1, Ordering::Relaxed);
        let verdict = self.verdict(bans, marker, candidate).await?;
        Ok(self.counted(verdict))
    }

    /// As [`BanLogs::is_valid`], for the sweep, which has counters of its own.
    pub(in crate::store::redis) async fn is_swept_valid(
        &self,
        bans: &Arc<NamespaceBans>,
        marker: (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<bool> {
        Ok(self.verdict(bans, marker, candidate).await? == Verdict::Valid)
    }

    async fn verdict(
        &self,
        bans: &Arc<NamespaceBans>,
        marker: (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<Verdict> {
        let Candidate { since, key, tags } = candidate;
        let is_banned =
            |log: &BanLog| !log.covers(*since) || log.table().bans(since.sequence, key, tags);
        self.check(bans, marker, is_banned).await
    }

    /// Whether a fill is accepted under a lease that was granted at the position of the candidate.
    #[cold]
    pub(in crate::store::redis) async fn accepts_fill(
        &self,
        bans: &Arc<NamespaceBans>,
        marker: (&[u8], &[u8]),
        candidate: &Candidate<'_>,
    ) -> Result<bool> {
        self.0.checks.fetch_add(1, Ordering::Relaxed);
        let Candidate { since, key, tags } = candidate;
        let now = self.now();
        let is_refused = |log: &BanLog| {
            !log.covers(*since) || log.table().refuses_fill(since.sequence, key, tags, now)
        };
        let verdict = self.check(bans, marker, is_refused).await?;
        Ok(self.counted(verdict))
    }

    fn counted(&self, verdict: Verdict) -> bool {
        if verdict == Verdict::Banned {
            self.0.banned.fetch_add(1, Ordering::Relaxed);
        }
        verdict == Verdict::Valid
    }

    /// Whether a hold-off refuses a fill, whatever its lease.
    pub(in crate::store::redis) fn holds_off(
        &self,
        bans: &NamespaceBans,
        key: &str,
        tags: &[String],
    ) -> bool {
        let known = bans.known.read();
        known.log.table().refuses_fill(known.log.head().sequence, key, tags, self.now())
    }

    /// Logs which ban refuses a fill.
    #[cold]
    pub(in crate::store::redis) fn log_refusal(
        &self,
        bans: &NamespaceBans,
        candidate: &Candidate<'_>,
    ) {
        if !ban_log_lines::is_enabled() {
            return;
        }
        let Candidate { since, key, tags } = candidate;
        let refusing = bans.known.read().log.table().refusing(since.sequence, key, tags);
        ban_log_lines::refused_fill(&bans.namespace, key, &refusing);
    }

    /// The known bans that make an entry invalid.
    pub(in crate::store::redis) fn matching(
        &self,
        bans: &NamespaceBans,
        candidate: &Candidate<'_>,
    ) -> Vec<MatchingBan> {
        let Candidate { since, key, tags } = candidate;
        bans.known.read().log.table().list(since.sequence, key, tags)
    }

    /// End of the hold-off of a key by a known pattern, if it lies in the future.
    pub(in crate::store::redis) fn held_off_until(
        &self,
        bans: &NamespaceBans,
        key: &str,
    ) -> Option<Timestamp> {
        bans.known.read().log.table().held_off_until(key, self.now())
    }

    /// Time until the end of the hold-offs of the patterns that match a key; zero without any.
    pub(in crate::store::redis) fn hold_off(&self, bans: &NamespaceBans, key: &str) -> Duration {
        if bans.without_bans_in.load(Ordering::Acquire) == self.epoch() + 1 {
            return Duration::ZERO;
        }
        let now = self.now();
        let ends_at = bans.known.read().log.table().held_off_until(key, now);
        ends_at.map_or(Duration::ZERO, |ends_at| ends_at.since(now))
    }

    /// Whether a pattern bans a lease that was granted at `position`.
    pub(in crate::store::redis) fn bans_lease(
        &self,
        bans: &NamespaceBans,
        position: Position,
        key: &str,
    ) -> bool {
        let log = &bans.known.read().log;
        !log.covers(position) || log.table().bans(position.sequence, key, &[])
    }

    /// Whether no ban after `since` hides an entry, by its key and tags. False if not all bans up
    /// to `until` are known.
    pub(in crate::store::redis) fn permits(
        &self,
        bans: &NamespaceBans,
        since: Position,
        until: Position,
        (key, tags): (&str, &[String]),
    ) -> bool {
        let known = bans.known.read();
        known.epoch == Some(self.epoch())
            && known.log.is_known(until)
            && known.log.covers(since)
            && !known.log.table().bans(since.sequence, key, tags)
    }

    /// Checks against all bans up to the position of `marker`. A marker at a lost ban begins a
    /// generation.
    async fn check(
        &self,
        bans: &Arc<NamespaceBans>,
        (marker_name, marker): (&[u8], &[u8]),
        is_banned: impl Fn(&BanLog) -> bool,
    ) -> Result<Verdict> {
        let at = Position::of_marker(marker);
        let (mut attempts, mut doubted_at) = (Attempts::default(), None);
        let (head, is_known, is_banned) = loop {
            self.read(bans, at.sequence).await?;
            {
                let (known, epoch) = (bans.known.read(), self.epoch());
                let is_known = known.log.is_known(at);
                let is_newer = || doubted_at.is_some_and(|time| known.is_of(time, epoch));
                // A position that the copy lacks may be one of a log that has begun anew.
                if known.epoch == Some(epoch) && (is_known || is_newer()) {
                    break (known.log.head(), is_known, is_banned(&known.log));
                }
            }
            let doubted_at = *doubted_at.get_or_insert_with(Instant::now);
            self.read_unless(bans, |known, epoch| known.is_of(doubted_at, epoch)).await?;
            attempts.again(self.0.router.timeout()).await?;
        };
        if !is_known {
            self.on_lost_position(bans);
            self.replace_marker(marker_name, marker, marker::random(head)).await?;
            return Ok(Verdict::Lost);
        }
        if at.sequence < head.sequence {
            self.advance_later(bans, marker_name, marker, head);
        }
        Ok(if is_banned { Verdict::Banned } else { Verdict::Valid })
    }

    #[cold]
    fn on_lost_position(&self, bans: &NamespaceBans) {
        self.0.lost_positions.fetch_add(1, Ordering::Relaxed);
        // Once per shard and namespace otherwise.
        if let Some(shards) = self.0.lost_log.lock().occurred() {
            tracing::warn!(
                namespace = %bans.namespace,
                shards,
                "a failover has lost bans: the entries that may have been written after them are \
                 invalid"
            );
        }
    }
}
