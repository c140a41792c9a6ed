//! Moving the markers of a namespace: forward to the newest ban, or to another generation.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use redis::Value;
use tokio::time::Instant;

use super::{BanLogs, NamespaceBans};
use crate::{
    model::millis_ceil,
    store::{
        Error, Result,
        redis::{
            announcement::announce_invalidation,
            attempts::Attempts,
            ban_log::LogPart,
            marker::{self, Position},
            pool::Retry,
            request::unexpected,
            script::{ADVANCE_MARKERS, DROP_BANS},
        },
    },
};

/// Longest hold-off, in milliseconds, and some time for clocks.
const HOLD_OFF_MARGIN_MS: u64 = 3_600_000 + 120_000;

/// A marker: its name, what it is, and what it becomes. An empty one is missing.
type Change = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Outcome of the last move of all markers of a namespace.
#[derive(Default)]
pub(super) struct LastMove {
    /// The epoch of the last success, and the ban that all markers have reached.
    reached: Option<(u64, Position)>,
    /// When the last one failed, and why.
    failure: Option<(Instant, Error)>,
}

impl BanLogs {
    /// Ends the generations of all shards of a namespace, and drops the bans up to the number
    /// `sequence`, which no entry is older than then. The log is kept for `retention_ms` at least.
    /// `hold_off` and the longest one of the log hold for the whole namespace.
    pub(in crate::store::redis) async fn end_generations(
        &self,
        bans: &NamespaceBans,
        sequence: u64,
        retention_ms: u64,
        hold_off: Duration,
    ) -> Result<()> {
        let due = self.0.ended_log.lock().occurred();
        if let Some(count) = due {
            tracing::warn!(
                namespace = %bans.namespace,
                count,
                remedy = "invalidate fewer tags and patterns, or give Redis more memory",
                "there are too many bans, or some were evicted: the whole namespace is invalidated"
            );
        }
        let mut attempts = Attempts::default();
        while !self.drop_bans(bans, sequence, retention_ms, hold_off).await? {
            attempts.again(self.0.router.timeout()).await?;
        }
        Ok(())
    }

    /// One attempt to end the generations. False if the log is lost meanwhile.
    async fn drop_bans(
        &self,
        bans: &NamespaceBans,
        sequence: u64,
        retention_ms: u64,
        hold_off: Duration,
    ) -> Result<bool> {
        let markers: Vec<String> = self.0.schema.markers(&bans.namespace);
        self.0.router.unlink(&markers).await?;
        announce_invalidation(&self.0.router, &self.0.schema, &bans.namespace).await?;
        let asked = self.ask(bans);
        let id: [u8; 16] = rand::random();
        let mut drop = self.log_call(&DROP_BANS, &bans.namespace);
        drop.arg(sequence).arg(retention_ms);
        drop.arg(millis_ceil(hold_off)).arg(&id);
        let mut reply = self.0.router.run(&DROP_BANS, &drop, Retry::Idempotent).await?;
        if reply.word != "LOG" {
            return Ok(true);
        }
        let part = LogPart::parse(&mut reply)?;
        let head = part.head();
        self.learn(bans, asked, part);
        // Another replica must meet the hold-off before it grants a lease.
        let mut attempts = Attempts::default();
        loop {
            let mut changes = self.markers(&markers).await?;
            // Replicas that read a marker ahead of it read the hold-off too.
            changes.retain(|(_, marker)| Position::of_marker(marker).sequence <= head.sequence);
            let Some(changes) = self.moves(bans, head, changes, true) else {
                return Ok(false);
            };
            if changes.is_empty() || self.replace_markers(&changes).await?.is_empty() {
                return Ok(true);
            }
            attempts.again(self.0.router.timeout()).await?;
        }
    }

    /// Moves the markers of a namespace to the ban `until` or a newer one; also those that are
    /// missing, if `adds_missing`. False if the log has lost the ban.
    pub(in crate::store::redis) async fn move_markers(
        &self,
        bans: &NamespaceBans,
        until: Position,
        adds_missing: bool,
    ) -> Result<bool> {
        let (began_at, epoch) = (Instant::now(), self.epoch());
        // One at a time, because concurrent ones would make each other try again. All bans that
        // are known meanwhile take part in the next one.
        let mut last = bans.moving.lock().await;
        if let Some((failed_at, error)) = &last.failure
            && *failed_at >= began_at
        {
            return Err(error.clone());
        }
        if let Some((in_epoch, reached)) = last.reached
            && !adds_missing
            && in_epoch == epoch
            && reached.sequence >= until.sequence
        {
            let known = bans.known.read();
            if known.has(epoch, reached) && known.has(epoch, until) {
                return Ok(true);
            }
        }
        self.read_ban(bans, until).await?;
        let newest = self.head(bans);
        let until = if newest.sequence > until.sequence { newest } else { until };
        let moved = self.move_alone(bans, until, adds_missing).await;
        match &moved {
            Ok(true) => last.reached = Some((epoch, until)),
            Ok(false) => last.reached = None,
            Err(error) => last.failure = Some((Instant::now(), error.clone())),
        }
        moved
    }

    async fn move_alone(
        &self,
        bans: &NamespaceBans,
        until: Position,
        adds_missing: bool,
    ) -> Result<bool> {
        let mut names: Vec<String> = self.0.schema.markers(&bans.namespace);
        let mut attempts = Attempts::default();
        loop {
            let markers = self.markers(&names).await?;
            // Other bans may have been faster.
            let newest = markers.iter().map(|(_, marker)| Position::of_marker(marker).sequence);
            self.read(bans, newest.max().unwrap_or(0)).await?;
            self.read_ban(bans, until).await?;
            let Some(changes) = self.moves(bans, until, markers, adds_missing) else {
                return Ok(false);
            };
            if changes.is_empty() {
                return Ok(true);
            }
            let changed = self.replace_markers(&changes).await?;
            if changed.is_empty() {
                return Ok(true);
            }
            let changed = changed.into_iter().filter_map(|index| changes.get(index));
            names = changed.filter_map(|(name, ..)| String::from_utf8(name.clone()).ok()).collect();
            attempts.again(self.0.router.timeout()).await?;
        }
    }

    /// The markers as they are, with their names.
    async fn markers(&self, names: &[String]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let markers = self.0.router.mget(names).await?;
        let marker = |value| match value {
            Value::BulkString(marker) => marker,
            _ => Vec::new(),
        };
        let names = names.iter().map(|name| name.clone().into_bytes());
        Ok(names.zip(markers.into_iter().map(marker)).collect())
    }

    /// Changes that move the markers to `until`; none unless the log is known and has that ban. A
    /// marker that is missing belongs to entries that are newer when it is written.
    fn moves(
        &self,
        bans: &NamespaceBans,
        until: Position,
        markers: Vec<(Vec<u8>, Vec<u8>)>,
        adds_missing: bool,
    ) -> Option<Vec<Change>> {
        let known = bans.known.read();
        if !known.has(self.epoch(), until) {
            return None;
        }
        let moved = |(name, marker): (Vec<u8>, Vec<u8>)| {
            if marker.is_empty() {
                return adds_missing.then(|| (name, marker, marker::random(known.log.head())));
            }
            let moved = known.moved(&marker)?;
            Some((name, marker, moved))
        };
        Some(markers.into_iter().filter_map(moved).collect())
    }

    /// The marker at the newest known ban; none if it is there already, or if the log is not known.
    /// A marker of a lost log begins a generation.
    pub(in crate::store::redis) fn moved(
        &self,
        bans: &NamespaceBans,
        marker: &[u8],
    ) -> Option<Vec<u8>> {
        let known = bans.known.read();
        if known.has(self.epoch(), Position::default()) { known.moved(marker) } else { None }
    }

    /// Moves a marker forward in the background, unless one of the namespace is being moved.
    pub(super) fn advance_later(
        &self,
        bans: &Arc<NamespaceBans>,
        name: &[u8],
        marker: &[u8],
        head: Position,
    ) {
        if bans.is_advancing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (logs, bans) = (self.clone(), bans.clone());
        let (name, marker) = (name.to_vec(), marker.to_vec());
        tokio::spawn(async move {
            let moved = marker::moved(&marker, head);
            if let Err(error) = logs.replace_marker(&name, &marker, moved).await {
                tracing::debug!(%error, "cannot move a marker forward");
            }
            bans.is_advancing.store(false, Ordering::Release);
        });
    }

    /// Replaces a marker, unless it has changed.
    pub(in crate::store::redis) async fn replace_marker(
        &self,
        name: &[u8],
        expected: &[u8],
        new: Vec<u8>,
    ) -> Result<()> {
        let name = name.to_vec();
        self.replace_markers(&[(name, expected.to_vec(), new)]).await.map(|_| ())
    }

    /// Replaces markers that are still as expected. Returns the indices of the others.
    async fn replace_markers(&self, changes: &[Change]) -> Result<Vec<usize>> {
        let names: Vec<&[u8]> = changes.iter().map(|(name, ..)| name.as_slice()).collect();
        let groups = self.0.router.groups(&names);
        let replaced = groups.iter().map(|group| self.replace_group(changes, group));
        let mut changed = Vec::new();
        for outcome in join_all(replaced).await {
            changed.extend(outcome?);
        }
        Ok(changed)
    }

    /// As [`Self::replace_markers`], for those with these indices in one step.
    async fn replace_group(&self, changes: &[Change], group: &[usize]) -> Result<Vec<usize>> {
        let names: Vec<&[u8]> = group.iter().map(|index| changes[*index].0.as_slice()).collect();
        let mut call = ADVANCE_MARKERS.call(&names);
        let router = &self.0.router;
        call.arg(router.not_after().0).arg(HOLD_OFF_MARGIN_MS).arg(router.clock().ahead_ms());
        for index in group {
            let (_, expected, new) = &changes[*index];
            call.arg(expected).arg(new);
        }
        let mut reply = router.run(&ADVANCE_MARKERS, &call, Retry::Idempotent).await?;
        if reply.word != "ADVANCED" {
            return Err(unexpected("advance_markers.lua"));
        }
        let mut changed = Vec::new();
        while let Ok(index) = reply.next::<usize>() {
            changed.extend(group.get(index.saturating_sub(1)));
        }
        Ok(changed)
    }
}
