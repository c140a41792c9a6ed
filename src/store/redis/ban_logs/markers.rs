//! Moving the markers of a namespace: forward to the newest ban, or to another generation.

use std::sync::{Arc, atomic::Ordering};

use super::{BanLogs, NamespaceBans};
use crate::store::{
    Result,
    redis::{
        announcement::announce_invalidation,
        marker::{self, Position},
        pool::Retry,
        request::unexpected,
        script::{ADVANCE_MARKERS, DROP_BANS},
    },
};

impl BanLogs {
    /// Ends the generations of all shards of a namespace, and drops the bans up to the number
    /// `sequence`, which no entry is older than then. The log is kept for `retention_ms` at least.
    pub(in crate::store::redis) async fn end_generations(
        &self,
        bans: &NamespaceBans,
        sequence: u64,
        retention_ms: u64,
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
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(self.0.schema.markers(&bans.namespace));
        self.0.pool.query(&unlink, Retry::Idempotent).await?;
        announce_invalidation(&self.0.pool, &self.0.schema, &bans.namespace).await?;
        let mut drop = self.log_call(&DROP_BANS, &bans.namespace);
        drop.arg(sequence).arg(retention_ms);
        self.0.pool.run(&DROP_BANS, &drop, Retry::Idempotent).await.map(|_| ())
    }

    /// The marker at the newest known ban; none if it is there already. A marker of a lost log
    /// begins a generation.
    pub(in crate::store::redis) fn moved(
        &self,
        bans: &NamespaceBans,
        marker: &[u8],
    ) -> Option<Vec<u8>> {
        let known = bans.known.read();
        let (at, head) = (Position::of_marker(marker), known.log.head());
        match known.log.is_known(at) {
            false => Some(marker::random(head)),
            true => (at.sequence < head.sequence).then(|| marker::moved(marker, head)),
        }
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
    pub(in crate::store::redis) async fn replace_markers(
        &self,
        changes: &[(Vec<u8>, Vec<u8>, Vec<u8>)],
    ) -> Result<Vec<usize>> {
        let names: Vec<&[u8]> = changes.iter().map(|(name, ..)| name.as_slice()).collect();
        let mut call = ADVANCE_MARKERS.call(&names);
        self.add_times(&mut call);
        for (_, expected, new) in changes {
            call.arg(expected).arg(new);
        }
        let mut reply = self.0.pool.run(&ADVANCE_MARKERS, &call, Retry::Idempotent).await?;
        if reply.word != "ADVANCED" {
            return Err(unexpected("advance_markers.lua"));
        }
        let mut changed = Vec::new();
        while let Ok(index) = reply.next::<usize>() {
            changed.push(index.saturating_sub(1));
        }
        Ok(changed)
    }
}
