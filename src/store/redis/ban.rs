//! Bans in Redis: appended to the log first, and acknowledged when all markers have their position.

use std::time::Duration;

use super::{
    RedisStore,
    attempts::Attempts,
    ban_log::{LogPart, encode_key},
    ban_logs::{Asked, NamespaceBans},
    pool::Retry,
    request::unexpected,
    script::APPEND_BAN,
    script_reply::ScriptReply,
};
use crate::{
    model::{Namespace, millis_ceil},
    store::{Ban, BanLimits, BanOutcome, Result},
};

/// Longest time for which a ban can matter after the last entry that is older has expired: the
/// longest hold-off, and some time for clocks.
const RETENTION_MARGIN_MS: u64 = 3_600_000 + 120_000;

/// Time for which bans are kept, in milliseconds. A replica with another configuration may have
/// written entries that live longer.
pub(super) fn retention(limits: &BanLimits) -> u64 {
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
        let (retention, holds_off) = (retention(limits), !ban.hold_off.is_zero());
        let mut attempts = Attempts::default();
        loop {
            let asked = self.bans.ask(&bans);
            let mut reply = self.append(&bans, asked, ban, limits).await?;
            match reply.word.as_str() {
                "LOG" => {
                    let part = LogPart::parse(&mut reply)?;
                    let appended = part.head();
                    self.bans.learn(&bans, asked, part);
                    if self.bans.is_too_large(&bans) {
                        let end = self.bans.end_generations(
                            &bans,
                            appended.sequence,
                            retention,
                            Duration::ZERO,
                        );
                        end.await?;
                        bans.forget();
                        return Ok(BanOutcome::NamespaceInvalidated);
                    }
                    // Without a marker, another replica would not meet a hold-off in time.
                    let is_known = self.bans.move_markers(&bans, appended, holds_off).await?;
                    // Otherwise the ban may have been lost with the former server.
                    if is_known && self.bans.epoch() == asked.epoch {
                        return Ok(BanOutcome::Banned);
                    }
                }
                "FULL" => {
                    let sequence = reply.next()?;
                    let end = self.bans.end_generations(&bans, sequence, retention, ban.hold_off);
                    end.await?;
                    return Ok(BanOutcome::NamespaceInvalidated);
                }
                "DAMAGED" => {
                    let sequence = reply.next()?;
                    let end = self.bans.end_generations(&bans, sequence, retention, Duration::ZERO);
                    end.await?;
                }
                _ => return Err(unexpected("append_ban.lua")),
            }
            attempts.again(self.router.timeout()).await?;
        }
    }

    async fn append(
        &self,
        bans: &NamespaceBans,
        asked: Asked,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<ScriptReply> {
        let mut call = self.bans.log_call(&APPEND_BAN, bans.namespace());
        let id: [u8; 16] = rand::random();
        call.arg(&asked.head.encode())
            .arg(&id)
            .arg(retention(limits))
            .arg(millis_ceil(ban.hold_off))
            .arg(limits.max_tags)
            .arg(limits.max_globs)
            .arg(ban.tags.len() + ban.keys.len())
            .arg(&ban.tags);
        for key in &ban.keys {
            call.arg(encode_key(key));
        }
        for glob in &ban.globs {
            call.arg(glob.as_str());
        }
        // A ban that is applied twice is only younger.
        self.router.run(&APPEND_BAN, &call, Retry::Idempotent).await
    }
}
