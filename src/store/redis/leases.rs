//! Leases in Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Cmd;

use super::{
    RedisStore,
    ban_checks::FillStep,
    codec::{self, CorruptEntry},
    pool::Retry,
    request::unexpected,
    script::{ABANDON, ACQUIRE, DISCARD, EXTEND, FILL, REVALIDATE, Script},
    script_calls::{EntryScript, add_lifetime},
    script_reply::ScriptReply,
};
use crate::{
    model::{Entry, EntryKey, NewEntry, millis_ceil},
    store::{
        AcquireOutcome, AcquireRequest, LeaseLoss, LeaseStatus, LeaseToken, Leases, Result,
        RevalidateOutcome, Revalidation, key_watch::KeyWatch, short_cause,
    },
};

/// A script that runs under a lease. Its last argument is the checked range of bans.
struct LeaseScript<'a> {
    script: &'a Script,
    retry: Retry,
    token: LeaseToken,
    /// Tags of the value that it stores.
    tags: &'a [String],
}

#[async_trait]
impl Leases for RedisStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        match self.try_acquire(key, request).await? {
            Ok(outcome) => Ok(outcome),
            Err(entry) => {
                let name = self.schema.entry_keys(key).entry;
                self.corrupt.found_and_remove(&name, &entry).await?;
                self.try_acquire(key, request).await?.map_err(|_| unexpected("acquire.lua"))
            }
        }
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        // The tags of the value are not known yet.
        let extend = LeaseScript { script: &EXTEND, retry: Retry::Idempotent, token, tags: &[] };
        let reply = self.run_under_lease(key, extend, |call| {
            call.arg(&token.0).arg(millis_ceil(ttl));
        });
        match reply.await? {
            Ok(reply) => lease_status(&reply.word, "HELD").ok_or_else(|| unexpected("extend.lua")),
            Err(loss) => Ok(Err(loss)),
        }
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        let discard = LeaseScript { script: &DISCARD, retry: Retry::Never, token, tags: &[] };
        let reply = self.run_under_lease(key, discard, |call| {
            add_back_off(call.arg(&token.0), backoff, cause);
        });
        match reply.await? {
            Ok(reply) => lease_status(&reply.word, "HELD").ok_or_else(|| unexpected("discard.lua")),
            Err(loss) => Ok(Err(loss)),
        }
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus> {
        self.quotas.check_sampled(key.namespace())?;
        let Some(mut checks) = self.begin_fill(key, &entry.tags).await? else {
            return self.refuse_fill(key, token).await.map(Err);
        };
        loop {
            let fill = EntryScript { script: &FILL, key, bans: checks.bans() };
            let reply = self.store(fill, entry, |call| {
                call.arg(&token.0).arg(checks.range());
            });
            match checks.settle(self, key, &entry.tags, reply.await?).await? {
                FillStep::Done(reply) => {
                    let status = lease_status(&reply.word, "STORED");
                    return status.ok_or_else(|| unexpected("fill.lua"));
                }
                FillStep::Again => {}
                FillStep::Refused => return self.refuse_fill(key, token).await.map(Err),
            }
        }
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        let Revalidation { version, lifetime, tags, fetch_metadata } = revalidation;
        let revalidate = LeaseScript { script: &REVALIDATE, retry: Retry::Never, token, tags };
        let reply = self.run_under_lease(key, revalidate, |call| {
            add_lifetime(call, lifetime);
            call.arg(&version.0.to_be_bytes())
                .arg(&codec::encode_windows(lifetime))
                .arg(codec::encode_extensions(
                    *version,
                    tags,
                    Some(fetch_metadata),
                    lifetime.revalidation_window,
                ))
                .arg(&token.0);
        });
        let reply = match reply.await? {
            Ok(reply) => reply,
            Err(loss) => return Ok(RevalidateOutcome::LeaseLost(loss)),
        };
        match reply.word.as_str() {
            "GONE" => Ok(RevalidateOutcome::Gone),
            word => match lease_status(word, "STORED") {
                Some(Ok(())) => Ok(RevalidateOutcome::Revalidated),
                Some(Err(loss)) => Ok(RevalidateOutcome::LeaseLost(loss)),
                None => Err(unexpected("revalidate.lua")),
            },
        }
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        // A back-off must not begin under a lease that a ban has ended.
        let abandon = LeaseScript { script: &ABANDON, retry: Retry::Idempotent, token, tags: &[] };
        let reply = self.run_under_lease(key, abandon, |call| {
            add_back_off(call.arg(&token.0), backoff, cause);
        });
        reply.await?.map_or(Ok(false), |reply| was_abandoned(&reply))
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        self.lease_watchers.watch(self.schema.lease(key))
    }
}

impl RedisStore {
    /// Runs a script under a lease, with the arguments that `add_arguments` adds, and again until
    /// the bans that concern it are checked. The inner error is why a ban refuses it: the lease has
    /// ended.
    async fn run_under_lease(
        &self,
        key: &EntryKey,
        LeaseScript { script, retry, token, tags }: LeaseScript<'_>,
        add_arguments: impl Fn(&mut Cmd),
    ) -> Result<std::result::Result<ScriptReply, LeaseLoss>> {
        let Some(mut checks) = self.begin_fill(key, tags).await? else {
            return self.refuse_fill(key, token).await.map(Err);
        };
        loop {
            let mut call = self.call(script, key, checks.bans(), None);
            add_arguments(&mut call);
            call.arg(checks.range());
            let reply = self.router.run(script, &call, retry).await?;
            match checks.settle(self, key, tags, reply).await? {
                FillStep::Done(reply) => return Ok(Ok(reply)),
                FillStep::Again => {}
                FillStep::Refused => return self.refuse_fill(key, token).await.map(Err),
            }
        }
    }

    /// Ends the lease of a fill that a ban refuses.
    async fn refuse_fill(&self, key: &EntryKey, token: LeaseToken) -> Result<LeaseLoss> {
        let bans = self.bans.of(key.namespace());
        let mut call = self.call(&ABANDON, key, &bans, None);
        add_back_off(call.arg(&token.0), Duration::ZERO, "");
        call.arg(b"");
        let reply = self.router.run(&ABANDON, &call, Retry::Idempotent).await?;
        was_abandoned(&reply).map(|_| LeaseLoss::Invalidated)
    }

    /// Asks for a lease. The inner error is the entry that was found instead, if it is corrupt.
    async fn try_acquire(
        &self,
        key: &EntryKey,
        request: &AcquireRequest,
    ) -> Result<std::result::Result<AcquireOutcome, CorruptEntry>> {
        let mut checks = self.begin_checks(key).await?;
        let mut banned_lease: Vec<u8> = Vec::new();
        let mut reply = loop {
            let mut call = self.call(&ACQUIRE, key, checks.bans(), None);
            let hold_off = self.bans.hold_off(checks.bans(), key.key());
            call.arg(&request.token.0).arg(millis_ceil(request.ttl)).arg(request.fresher_than.0);
            call.arg(millis_ceil(hold_off)).arg(&banned_lease);
            let reply = self.router.run(&ACQUIRE, &call, Retry::Never).await?;
            let Some(mut reply) = checks.settle(self, key, reply).await? else { continue };
            if reply.word == "HELD" {
                let (expires_in, held) = (reply.next_millis()?, reply.next()?);
                let position: Vec<u8> = reply.next()?;
                // The lease has ended, but no ban visits it.
                let is_banned = banned_lease.is_empty()
                    && self.bans.bans_lease(checks.bans(), position.as_slice().into(), key.key());
                if !is_banned {
                    return Ok(Ok(AcquireOutcome::Held { expires_in }));
                }
                banned_lease = held;
                continue;
            }
            break reply;
        };
        // A corrupt entry before is as good as none. A read of it removes it.
        Ok(Ok(match reply.word.as_str() {
            "FOUND" => match next_entry(&mut reply)? {
                Ok(Some(entry)) => AcquireOutcome::Found(entry),
                Ok(None) => return Err(unexpected("acquire.lua")),
                Err(entry) => return Ok(Err(entry)),
            },
            "GRANTED" => {
                AcquireOutcome::Granted { previous: next_entry(&mut reply)?.ok().flatten() }
            }
            "BACKED_OFF" => {
                let previous = next_entry(&mut reply)?.ok().flatten();
                let remaining = reply.next_millis()?;
                let cause: Vec<u8> = reply.next()?;
                let cause = String::from_utf8_lossy(&cause).into();
                AcquireOutcome::BackedOff { remaining, previous, cause }
            }
            "HELD_OFF" => AcquireOutcome::HeldOff { remaining: reply.next_millis()? },
            _ => return Err(unexpected("acquire.lua")),
        }))
    }
}

/// The status of the lease by the first word of a script's reply, which is `success` while the
/// lease is held.
fn lease_status(word: &str, success: &str) -> Option<LeaseStatus> {
    match word {
        "LEASE_LOST" => Some(Err(LeaseLoss::Expired)),
        "INVALIDATED" => Some(Err(LeaseLoss::Invalidated)),
        "SUPERSEDED" => Some(Err(LeaseLoss::Superseded)),
        word => (word == success).then_some(Ok(())),
    }
}

fn was_abandoned(reply: &ScriptReply) -> Result<bool> {
    match reply.word.as_str() {
        "ABANDONED" => Ok(true),
        "LEASE_LOST" => Ok(false),
        _ => Err(unexpected("abandon.lua")),
    }
}

/// The entry in a reply; an empty string stands for none. The script has checked the generation.
pub(super) fn next_entry(
    reply: &mut ScriptReply,
) -> Result<std::result::Result<Option<Entry>, CorruptEntry>> {
    let stored: Vec<u8> = reply.next()?;
    Ok(codec::decode(Bytes::from(stored)))
}

/// Adds the arguments of `end_lease` in `common.lua`.
fn add_back_off(call: &mut Cmd, backoff: Duration, cause: &str) {
    call.arg(millis_ceil(backoff)).arg(short_cause(cause));
}
