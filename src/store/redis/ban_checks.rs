//! Scripts on entries and leases that are older than a ban. Only replicas evaluate bans, so these
//! scripts return without any effect, and run again when the replica has checked the bans.

use std::sync::Arc;

use super::{
    RedisStore,
    attempts::Attempts,
    ban_logs::{BanLogs, Candidate, NamespaceBans},
    codec::CorruptEntry,
    key_schema::EntryKeys,
    marker::Position,
    pool::Retry,
    script::{DROP_BANNED, RESTAMP, Script},
    script_reply::ScriptReply,
};
use crate::{model::EntryKey, store::Result};

/// The checks of a script on an entry.
pub(super) struct EntryChecks {
    bans: Arc<NamespaceBans>,
    attempts: Attempts,
}

/// The checks of a script that fills an entry under a lease.
pub(super) struct FillChecks {
    entry: EntryChecks,
    /// The positions between which the bans are checked.
    granted_at: Position,
    until: Position,
}

/// A step of a fill.
pub(super) enum FillStep {
    /// The reply is final.
    Done(ScriptReply),
    /// The script runs again.
    Again,
    /// A ban refuses the fill.
    Refused,
}

// === impl EntryChecks ===

impl EntryChecks {
    /// The bans of the namespace.
    pub(super) fn bans(&self) -> &Arc<NamespaceBans> {
        &self.bans
    }

    /// Returns the reply of a script, unless it must run again.
    pub(super) async fn settle(
        &mut self,
        store: &RedisStore,
        key: &EntryKey,
        mut reply: ScriptReply,
    ) -> Result<Option<ScriptReply>> {
        match reply.word.as_str() {
            "CHECK" => {
                self.attempts.again(store.router.timeout()).await?;
                Box::pin(store.settle(&self.bans, key, &mut reply)).await?;
            }
            "POSITION" => {
                self.attempts.again(store.router.timeout()).await?;
                Box::pin(store.settle_position(&self.bans, key, &mut reply)).await?;
            }
            _ => return Ok(Some(reply)),
        }
        Ok(None)
    }
}

// === impl FillChecks ===

impl FillChecks {
    /// The bans of the namespace.
    pub(super) fn bans(&self) -> &Arc<NamespaceBans> {
        self.entry.bans()
    }

    /// The checked range, as an argument of the script.
    pub(super) fn range(&self) -> Vec<u8> {
        [self.granted_at.encode(), self.until.encode()].concat()
    }

    /// Checks the bans that the reply of the script names.
    pub(super) async fn settle(
        &mut self,
        store: &RedisStore,
        key: &EntryKey,
        tags: &[String],
        mut reply: ScriptReply,
    ) -> Result<FillStep> {
        if reply.word != "CHECK_LEASE" {
            let settled = self.entry.settle(store, key, reply).await?;
            return Ok(settled.map_or(FillStep::Again, FillStep::Done));
        }
        self.entry.attempts.again(store.router.timeout()).await?;
        let (marker, granted_at): (Vec<u8>, Vec<u8>) = (reply.next()?, reply.next()?);
        self.granted_at = Position::from(granted_at.as_slice());
        self.until = Position::of_marker(&marker);
        let candidate = Candidate { since: self.granted_at, key: key.key(), tags };
        let marker_name = store.schema.entry_keys(key).marker;
        let accepts =
            store.bans.accepts_fill(&self.entry.bans, (&marker_name, &marker), &candidate);
        if Box::pin(accepts).await? {
            return Ok(FillStep::Again);
        }
        store.bans.log_refusal(&self.entry.bans, &candidate);
        Ok(FillStep::Refused)
    }
}

// === impl RedisStore ===

impl RedisStore {
    /// Begins the checks of a script on an entry.
    pub(super) async fn begin_checks(&self, key: &EntryKey) -> Result<EntryChecks> {
        let bans = self.bans.of(key.namespace());
        self.bans.ensure_read(&bans).await?;
        Ok(EntryChecks { bans, attempts: Attempts::default() })
    }

    /// Begins the checks of a script that fills an entry; none if a hold-off refuses the fill.
    pub(super) async fn begin_fill(
        &self,
        key: &EntryKey,
        tags: &[String],
    ) -> Result<Option<FillChecks>> {
        let entry = self.begin_checks(key).await?;
        let head = self.bans.head(&entry.bans);
        if head.sequence > 0 && self.bans.holds_off(&entry.bans, key.key(), tags) {
            let candidate = Candidate { since: head, key: key.key(), tags };
            self.bans.log_refusal(&entry.bans, &candidate);
            return Ok(None);
        }
        Ok(Some(FillChecks { entry, granted_at: head, until: head }))
    }

    /// Removes an entry that is banned, and writes the current position into one that is not.
    #[cold]
    async fn settle(
        &self,
        bans: &Arc<NamespaceBans>,
        key: &EntryKey,
        reply: &mut ScriptReply,
    ) -> Result<()> {
        let (marker, head): (Vec<u8>, Vec<u8>) = (reply.next()?, reply.next()?);
        let names = self.schema.entry_keys(key);
        let Some((since, tags)) = BanLogs::candidate_of(&head) else {
            let corrupt = CorruptEntry::new(&head);
            return self.corrupt.found_and_remove(&names.entry, &corrupt).await;
        };
        let EntryKeys { marker: marker_name, .. } = &names;
        let candidate = Candidate { since, key: key.key(), tags: &tags };
        let is_valid = self.bans.is_valid(bans, (marker_name, &marker), &candidate).await?;
        if is_valid && let Some(moved) = self.bans.moved(bans, &marker) {
            return self.bans.replace_marker(marker_name, &marker, moved).await;
        }
        let script: &Script = if is_valid { &RESTAMP } else { &DROP_BANNED };
        let mut call = self.call(script, key, bans, None);
        if is_valid {
            call.arg(&marker);
        }
        call.arg(&head);
        self.router.run(script, &call, Retry::Idempotent).await.map(|_| ())
    }

    /// Reads the log up to the marker, and moves the marker to the newest ban.
    #[cold]
    async fn settle_position(
        &self,
        bans: &Arc<NamespaceBans>,
        key: &EntryKey,
        reply: &mut ScriptReply,
    ) -> Result<()> {
        let marker: Vec<u8> = reply.next()?;
        self.bans.read(bans, Position::of_marker(&marker).sequence).await?;
        match self.bans.moved(bans, &marker) {
            Some(moved) => {
                let name = self.schema.entry_keys(key).marker;
                self.bans.replace_marker(&name, &marker, moved).await
            }
            None => Ok(()),
        }
    }

    /// Whether the entry in the reply of a delete was valid.
    #[cold]
    pub(super) async fn was_valid(
        &self,
        bans: &Arc<NamespaceBans>,
        key: &EntryKey,
        reply: &mut ScriptReply,
    ) -> Result<bool> {
        let (marker, head): (Vec<u8>, Vec<u8>) = (reply.next()?, reply.next()?);
        let Some((since, tags)) = BanLogs::candidate_of(&head) else { return Ok(false) };
        let candidate = Candidate { since, key: key.key(), tags: &tags };
        let marker_name = self.schema.entry_keys(key).marker;
        self.bans.is_valid(bans, (&marker_name, &marker), &candidate).await
    }
}
