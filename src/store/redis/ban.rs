//! Bans in Redis: appended to the log first, and acknowledged when all markers have their position.

use redis::Value;

use super::{
    RedisStore, ban_logs::NamespaceBans, marker::Position, pool::Retry, request::unexpected,
    script::APPEND_BAN, script_reply::ScriptReply,
};
use crate::{
    model::{Glob, Namespace, millis_ceil},
    store::{Ban, BanLimits, BanOutcome, ErrorKind, Result},
};

/// Attempts to apply a ban while the server changes, or while other bans move the markers.
const MAX_ATTEMPTS: usize = 8;
/// Longest time for which a ban can matter after the last entry that is older has expired: the
/// longest hold-off, and some time for clocks.
const RETENTION_MARGIN_MS: u64 = 3_600_000 + 120_000;

/// Time for which bans are kept, in milliseconds. A replica with another configuration may have
/// written entries that live longer.
fn retention(limits: &BanLimits) -> u64 {
    (millis_ceil(limits.longest_lifetime).saturating_mul(2)).saturating_add(RETENTION_MARGIN_MS)
}

impl RedisStore {
    /// See [`crate::store::Store::ban`].
    pub(super) async fn apply_ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        let bans = self.bans.of(namespace);
        for _ in 0..MAX_ATTEMPTS {
            let epoch = self.bans.epoch();
            let mut reply = self.append(&bans, ban, limits).await?;
            match reply.word.as_str() {
                "LOG" => {
                    self.bans.learn(&bans, epoch, &mut reply)?;
                    if self.bans.is_too_large(&bans) {
                        let sequence = self.bans.head(&bans).sequence;
                        self.bans.end_generations(&bans, sequence, retention(limits)).await?;
                        bans.forget();
                        return Ok(BanOutcome::NamespaceInvalidated);
                    }
                    self.move_markers(&bans).await?;
                    // Otherwise the ban may have been lost with the former server.
                    if self.bans.epoch() == epoch {
                        return Ok(BanOutcome::Banned);
                    }
                }
                "FULL" => {
                    self.end_generations(&bans, &mut reply, limits).await?;
                    if ban.hold_off.is_zero() {
                        return Ok(BanOutcome::NamespaceInvalidated);
                    }
                    let everything = Glob::new("*").map_err(|_| unexpected("a glob"))?;
                    let held_off =
                        Ban { tags: Vec::new(), globs: vec![everything], hold_off: ban.hold_off };
                    let held_off = Box::pin(self.apply_ban(namespace, &held_off, limits)).await;
                    return held_off.map(|_| BanOutcome::NamespaceInvalidated);
                }
                "DAMAGED" => self.end_generations(&bans, &mut reply, limits).await?,
                _ => return Err(unexpected("append_ban.lua")),
            }
        }
        Err(ErrorKind::Timeout.into())
    }

    async fn append(
        &self,
        bans: &NamespaceBans,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<ScriptReply> {
        let mut call = self.bans.log_call(&APPEND_BAN, bans.namespace());
        let id: [u8; 16] = rand::random();
        call.arg(&self.bans.head(bans).encode())
            .arg(&id)
            .arg(retention(limits))
            .arg(if ban.hold_off.is_zero() { 0 } else { millis_ceil(ban.hold_off) })
            .arg(limits.max_tags)
            .arg(limits.max_globs)
            .arg(ban.tags.len())
            .arg(&ban.tags);
        for glob in &ban.globs {
            call.arg(glob.as_str());
        }
        // A ban that is applied twice is only younger.
        self.pool.run(&APPEND_BAN, &call, Retry::Idempotent).await
    }

    /// Moves all markers of a namespace to the newest ban.
    pub(super) async fn move_markers(&self, bans: &NamespaceBans) -> Result<()> {
        let mut names: Vec<String> = self.schema.markers(bans.namespace());
        for _ in 0..MAX_ATTEMPTS {
            let mut mget = redis::cmd("MGET");
            mget.arg(&names);
            let Value::Array(markers) = self.pool.query(&mget, Retry::Idempotent).await? else {
                return Err(unexpected("MGET"));
            };
            // A marker that is written from now on belongs to entries that are newer.
            let markers: Vec<(&String, Vec<u8>)> = names
                .iter()
                .zip(markers)
                .filter_map(|(name, marker)| match marker {
                    Value::BulkString(marker) => Some((name, marker)),
                    _ => None,
                })
                .collect();
            // Other bans may have been faster.
            let newest = markers.iter().map(|(_, marker)| Position::of_marker(marker).sequence);
            self.bans.read(bans, newest.max().unwrap_or(0)).await?;
            let changes: Vec<_> = markers
                .into_iter()
                .filter_map(|(name, marker)| {
                    let moved = self.bans.moved(bans, &marker)?;
                    Some((name.clone().into_bytes(), marker, moved))
                })
                .collect();
            if changes.is_empty() {
                return Ok(());
            }
            let changed = self.bans.replace_markers(&changes).await?;
            if changed.is_empty() {
                return Ok(());
            }
            let changed = changed.into_iter().filter_map(|index| changes.get(index));
            names = changed.filter_map(|(name, ..)| String::from_utf8(name.clone()).ok()).collect();
        }
        Err(ErrorKind::Timeout.into())
    }

    async fn end_generations(
        &self,
        bans: &NamespaceBans,
        reply: &mut ScriptReply,
        limits: &BanLimits,
    ) -> Result<()> {
        self.bans.end_generations(bans, reply.next()?, retention(limits)).await
    }
}
