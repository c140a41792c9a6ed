//! Calls of the scripts on one entry.

use std::time::Duration;

use redis::Cmd;
use tokio::time::Instant;

use super::{
    RedisStore, ban_logs::NamespaceBans, codec, key_schema::EntryKeys, marker, pool::Retry,
    script::Script, script_reply::ScriptReply,
};
use crate::{
    model::{EntryKey, Lifetime, NewEntry, millis_ceil},
    store::{ErrorKind, Result},
};

/// Size in bytes from which on a value is staged instead of passed to the script.
const MIN_STAGED_BYTES: usize = 4096;
/// TTL of a staged entry, in case that its script, which follows in the same round trip, fails.
const STAGING_TTL: Duration = Duration::from_secs(10);

/// A script for an entry, whose namespace has these bans.
pub(super) struct EntryScript<'a> {
    pub(super) script: &'a Script,
    pub(super) key: &'a EntryKey,
    pub(super) bans: &'a NamespaceBans,
}

impl RedisStore {
    /// Builds a call of a script for one entry, with the arguments that all scripts have. `extra`
    /// is the fourth key, see `common.lua`.
    pub(super) fn call(
        &self,
        script: &Script,
        key: &EntryKey,
        bans: &NamespaceBans,
        extra: Option<Vec<u8>>,
    ) -> Cmd {
        let EntryKeys { marker, entry } = self.schema.entry_keys(key);
        let mut keys = vec![marker, entry, self.schema.lease(key)];
        keys.extend(extra);
        let mut call = script.call(&keys);
        let head = self.bans.head(bans);
        call.arg(self.router.not_after().0)
            .arg(marker::random(head))
            .arg(self.router.clock().ahead_ms());
        call
    }

    /// Runs a script that stores `entry`; `rest` adds the arguments after the entry.
    ///
    /// A large entry is staged under another key in the same round trip: a byte that passes through
    /// a script costs the server several times as much as one that does not.
    pub(super) async fn store(
        &self,
        EntryScript { script, key, bans }: EntryScript<'_>,
        entry: &NewEntry,
        rest: impl Fn(&mut Cmd),
    ) -> Result<ScriptReply> {
        let is_staged = entry.data.len() >= MIN_STAGED_BYTES;
        let staging = is_staged.then(|| self.schema.staging(key, rand::random()));
        let mut call = self.call(script, key, bans, staging.clone());
        add_lifetime(&mut call, &entry.lifetime);
        call.arg(if is_staged { Vec::new() } else { codec::encode_tail(entry) });
        rest(&mut call);
        let sent_at = Instant::now();
        // Never sent again: it could be applied a second time after a delete that was acknowledged
        // in the meantime.
        let answer = match staging {
            None => self.router.eval(script, &call, Retry::Never).await?,
            Some(name) => {
                let mut set = redis::cmd("SET");
                set.arg(name)
                    .arg(codec::encode_staged(entry))
                    .arg("PX")
                    .arg(millis_ceil(STAGING_TTL));
                self.router.eval_after(set, script, call).await?
            }
        };
        let reply = self.router.script_reply(answer, sent_at)?;
        // The server has evicted the entry that was staged a moment ago: it is out of memory.
        if reply.word == "STAGED_MISSING" { Err(ErrorKind::Full.into()) } else { Ok(reply) }
    }
}

/// Adds the lifetime of the key, and the TTL of the value.
pub(super) fn add_lifetime(call: &mut Cmd, lifetime: &Lifetime) {
    call.arg(millis_ceil(lifetime.total())).arg(millis_ceil(lifetime.ttl));
}
