//! Leases in Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    RedisStore, ScriptReply, add_lifetime, codec,
    pool::Retry,
    script::{ABANDON, ACQUIRE, CONFIRM, DISCARD, EXTEND, FILL},
    unexpected,
};
use crate::{
    model::{Entry, EntryKey, NewEntry, millis_ceil},
    store::{
        AcquireOutcome, AcquireRequest, FillStatus, LeaseStatus, LeaseToken, Leases, Result,
        RevalidateOutcome, Revalidation, key_watch::KeyWatch, short_cause,
    },
};

#[async_trait]
impl Leases for RedisStore {
    async fn acquire(&self, key: &EntryKey, ask: &AcquireRequest) -> Result<AcquireOutcome> {
        let mut call = self.call(&ACQUIRE, key, None);
        call.arg(&ask.token.0).arg(millis_ceil(ask.ttl)).arg(ask.fresher_than.0);
        let mut reply = self.run(&ACQUIRE, &call, Retry::Never).await?;
        match reply.word.as_str() {
            "FOUND" => next_entry(&mut reply)?
                .map(AcquireOutcome::Found)
                .ok_or_else(|| unexpected("acquire.lua")),
            "GRANTED" => Ok(AcquireOutcome::Granted { previous: next_entry(&mut reply)? }),
            "HELD" => Ok(AcquireOutcome::Held { expires_in: reply.next_millis()? }),
            "BACKED_OFF" => {
                let previous = next_entry(&mut reply)?;
                let remaining = reply.next_millis()?;
                let cause: Vec<u8> = reply.next()?;
                Ok(AcquireOutcome::BackedOff {
                    remaining,
                    previous,
                    cause: String::from_utf8_lossy(&cause).into(),
                })
            }
            "HELD_OFF" => Ok(AcquireOutcome::HeldOff { remaining: reply.next_millis()? }),
            _ => Err(unexpected("acquire.lua")),
        }
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        let mut call = self.call(&EXTEND, key, None);
        call.arg(&token.0).arg(millis_ceil(ttl));
        hold(&self.run(&EXTEND, &call, Retry::Harmless).await?.word)
            .ok_or_else(|| unexpected("extend.lua"))
    }

    async fn discard(&self, key: &EntryKey, token: LeaseToken) -> Result<LeaseStatus> {
        let mut call = self.call(&DISCARD, key, None);
        call.arg(&token.0);
        hold(&self.run(&DISCARD, &call, Retry::Never).await?.word)
            .ok_or_else(|| unexpected("discard.lua"))
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        draft: &NewEntry,
    ) -> Result<FillStatus> {
        let reply = self.store(&FILL, key, draft, |call| {
            call.arg(&token.0);
        });
        filled(&reply.await?.word).ok_or_else(|| unexpected("fill.lua"))
    }

    async fn confirm(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        confirmation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        let Revalidation { version, lifetime, tags, fetch_metadata } = confirmation;
        let mut call = self.call(&CONFIRM, key, None);
        add_lifetime(&mut call, lifetime);
        call.arg(&version.0.to_be_bytes())
            .arg(&codec::encode_windows(lifetime))
            .arg(codec::encode_extensions(tags, Some(fetch_metadata), lifetime.revalidation_window))
            .arg(&token.0);
        match self.run(&CONFIRM, &call, Retry::Never).await?.word.as_str() {
            "GONE" => Ok(RevalidateOutcome::Gone),
            word => filled(word)
                .map(RevalidateOutcome::Settled)
                .ok_or_else(|| unexpected("confirm.lua")),
        }
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        let mut call = self.call(&ABANDON, key, None);
        call.arg(&token.0)
            .arg(if backoff.is_zero() { 0 } else { millis_ceil(backoff) })
            .arg(short_cause(cause));
        match self.run(&ABANDON, &call, Retry::Harmless).await?.word.as_str() {
            "ABANDONED" => Ok(true),
            "LEASE_LOST" => Ok(false),
            _ => Err(unexpected("abandon.lua")),
        }
    }

    fn wait_for(&self, key: &EntryKey) -> KeyWatch {
        self.wakeups.register(self.layout.lease(key))
    }
}

fn hold(word: &str) -> Option<LeaseStatus> {
    match word {
        "HELD" => Some(LeaseStatus::Held),
        "LEASE_LOST" => Some(LeaseStatus::Lost),
        "INVALIDATED" => Some(LeaseStatus::Invalidated),
        "SUPERSEDED" => Some(LeaseStatus::Superseded),
        _ => None,
    }
}

fn filled(word: &str) -> Option<FillStatus> {
    match word {
        "STORED" => Some(FillStatus::Stored),
        "LEASE_LOST" => Some(FillStatus::LeaseLost),
        "INVALIDATED" => Some(FillStatus::Invalidated),
        "SUPERSEDED" => Some(FillStatus::Superseded),
        _ => None,
    }
}

/// The entry in a reply; the script has checked its generation, and an empty string stands for none.
fn next_entry(reply: &mut ScriptReply) -> Result<Option<Entry>> {
    let stored: Vec<u8> = reply.next()?;
    let generation: Vec<u8> = stored.get(1..=codec::GENERATION_BYTES).unwrap_or_default().to_vec();
    Ok(codec::decode(Bytes::from(stored), &generation))
}
