//! When a replica reads the log of a namespace.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{
    BanLogs, NamespaceBans,
    known::{Asked, Known},
};
use crate::store::{
    ErrorKind, Result,
    redis::{
        attempts::Attempts, ban_log::LogPart, marker::Position, pool::Retry, request::unexpected,
        script::READ_BANS,
    },
};

impl BanLogs {
    /// Reads the log unless it is known.
    #[inline]
    pub(in crate::store::redis) async fn ensure_read(&self, bans: &NamespaceBans) -> Result<()> {
        let epoch = self.epoch();
        if bans.without_bans_in.load(Ordering::Acquire) == epoch + 1
            || bans.known.read().is_known_until(0, epoch)
        {
            return Ok(());
        }
        Box::pin(self.read(bans, 0)).await
    }

    /// Redis has announced a ban of the namespace.
    pub(in crate::store::redis) fn on_ban(&self, namespace: &str) {
        let Some(bans) = self.0.namespaces.get(namespace) else { return };
        bans.has_news.store(true, Ordering::SeqCst);
        if bans.is_following.swap(true, Ordering::SeqCst) {
            return;
        }
        let logs = self.clone();
        tokio::spawn(async move {
            loop {
                while bans.has_news.swap(false, Ordering::SeqCst) {
                    let now = Instant::now();
                    let read = logs.read_unless(&bans, |known, epoch| known.is_of(now, epoch));
                    // A ban that is missed here is met with the next marker.
                    if let Err(error) = read.await {
                        let namespace = &bans.namespace;
                        tracing::debug!(%error, %namespace, "cannot read new bans");
                    }
                }
                bans.is_following.store(false, Ordering::SeqCst);
                // One that was announced just now has not begun a task of its own.
                if !bans.has_news.load(Ordering::SeqCst)
                    || bans.is_following.swap(true, Ordering::SeqCst)
                {
                    break;
                }
            }
        });
    }

    /// Reads the log, unless it is known up to the number `until`.
    pub(in crate::store::redis) async fn read(
        &self,
        bans: &NamespaceBans,
        until: u64,
    ) -> Result<()> {
        self.read_unless(bans, |known, epoch| known.is_known_until(until, epoch)).await
    }

    /// Reads the log unless it is known and has the ban. It may still lack the ban afterwards, if
    /// that was lost.
    pub(in crate::store::redis) async fn read_ban(
        &self,
        bans: &NamespaceBans,
        ban: Position,
    ) -> Result<()> {
        self.read_unless(bans, |known, epoch| known.has(epoch, ban)).await
    }

    /// Concurrent calls read the log once, also if that fails.
    pub(super) async fn read_unless(
        &self,
        bans: &NamespaceBans,
        is_enough: impl Fn(&Known, u64) -> bool,
    ) -> Result<()> {
        if is_enough(&bans.known.read(), self.epoch()) {
            return Ok(());
        }
        let began_at = Instant::now();
        let mut last_failure = bans.reading.lock().await;
        if let Some((failed_at, error)) = &*last_failure
            && *failed_at >= began_at
        {
            return Err(error.clone());
        }
        let outcome = self.read_alone(bans, is_enough).await;
        *last_failure = outcome.clone().err().map(|error| (Instant::now(), error));
        outcome
    }

    async fn read_alone(
        &self,
        bans: &NamespaceBans,
        is_enough: impl Fn(&Known, u64) -> bool,
    ) -> Result<()> {
        let mut attempts = Attempts::default();
        loop {
            let epoch = self.epoch();
            let asked = {
                let known = bans.known.read();
                if is_enough(&known, epoch) {
                    return Ok(());
                }
                known.ask(epoch)
            };
            let mut call = self.log_call(&READ_BANS, &bans.namespace);
            call.arg(&asked.head.encode());
            let mut reply = match self.0.router.run(&READ_BANS, &call, Retry::Idempotent).await {
                Err(error) if error.kind == ErrorKind::PartUnavailable => {
                    let is_kept = self.keep_known(bans, asked);
                    let is_enough = is_kept && is_enough(&bans.known.read(), epoch);
                    return if is_enough { Ok(()) } else { Err(error) };
                }
                reply => reply?,
            };
            match reply.word.as_str() {
                "LOG" => {
                    let part = LogPart::parse(&mut reply)?;
                    let head = part.head();
                    self.learn(bans, asked, part);
                    // Otherwise another answer has overtaken this one.
                    if bans.known.read().has(epoch, head) {
                        if !self.is_too_large(bans) {
                            return Ok(());
                        }
                        self.end_generations(bans, head.sequence, 0, Duration::ZERO).await?;
                        bans.forget();
                    }
                }
                "DAMAGED" => self.end_generations(bans, reply.next()?, 0, Duration::ZERO).await?,
                _ => return Err(unexpected("read_bans.lua")),
            }
            attempts.again(self.0.router.timeout()).await?;
        }
    }

    /// Keeps the copy of a log whose primary is away, if no other primary has changed since it was
    /// read. Then no marker was set back, so that the markers show whether there are newer bans;
    /// there can be none without the log. Returns false otherwise.
    #[cold]
    fn keep_known(&self, bans: &NamespaceBans, asked: Asked) -> bool {
        let mut known = bans.known.write();
        if known.epoch.is_none() || !self.0.router.is_unchanged_since(known.asked_at) {
            return false;
        }
        known.epoch = Some(asked.epoch);
        let has_none = known.log.head().sequence == 0;
        let without_bans_in = if has_none { asked.epoch + 1 } else { 0 };
        bans.without_bans_in.store(without_bans_in, Ordering::Release);
        true
    }

    /// State of the copy, for a request for the rest of the log.
    pub(in crate::store::redis) fn ask(&self, bans: &NamespaceBans) -> Asked {
        bans.known.read().ask(self.epoch())
    }

    /// Adds a part of the log that was asked for. Forgets those of other namespaces if there are
    /// too many.
    pub(in crate::store::redis) fn learn(&self, bans: &NamespaceBans, asked: Asked, part: LogPart) {
        let has_keys = part.has_keys();
        {
            let mut known = bans.known.write();
            known.learn(asked, part, self.now());
            let epoch = known.epoch.filter(|_| known.log.head().sequence == 0);
            let without_bans_in = epoch.map_or(0, |epoch| epoch + 1);
            bans.without_bans_in.store(without_bans_in, Ordering::Release);
        }
        if has_keys {
            // The leases of banned keys have ended. Whether a tag is banned is known at the fill.
            let prefix = self.0.schema.namespace_lease_prefix(&bans.namespace);
            self.0.lease_watchers.notify_prefix(prefix.as_bytes());
        }
        self.forget_others(bans);
    }
}
