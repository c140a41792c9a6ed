//! Leases in Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    RedisStore, Reply, add_lifetime, codec,
    pool::Repeat,
    script::{ABANDON, ACQUIRE, CONFIRM, DISCARD, EXTEND, FILL},
    unexpected,
};
use crate::{
    entry::{Draft, Entry, whole_millis},
    key::EntryKey,
    store::{
        Acquired, Ask, Confirmation, Confirmed, Filled, Hold, LeaseToken, Leases, Result,
        short_cause, wakeups::Wakeup,
    },
};

#[async_trait]
impl Leases for RedisStore {
    async fn acquire(&self, key: &EntryKey, ask: &Ask) -> Result<Acquired> {
        let mut call = self.call(&ACQUIRE, key, None);
        call.arg(&ask.token.0).arg(whole_millis(ask.ttl)).arg(ask.fresher_than.0);
        let mut reply = self.run(&ACQUIRE, &call, Repeat::Never).await?;
        match reply.word.as_str() {
            "FOUND" => next_entry(&mut reply)?
                .map(Acquired::Found)
                .ok_or_else(|| unexpected("acquire.lua")),
            "GRANTED" => Ok(Acquired::Granted { previous: next_entry(&mut reply)? }),
            "HELD" => Ok(Acquired::Held { expires_in: reply.next_millis()? }),
            "BACKED_OFF" => {
                let previous = next_entry(&mut reply)?;
                let remaining = reply.next_millis()?;
                let cause: Vec<u8> = reply.next()?;
                Ok(Acquired::BackedOff {
                    remaining,
                    previous,
                    cause: String::from_utf8_lossy(&cause).into(),
                })
            }
            "HELD_OFF" => Ok(Acquired::HeldOff { remaining: reply.next_millis()? }),
            _ => Err(unexpected("acquire.lua")),
        }
    }

    async fn extend(&self, key: &EntryKey, token: LeaseToken, ttl: Duration) -> Result<Hold> {
        let mut call = self.call(&EXTEND, key, None);
        call.arg(&token.0).arg(whole_millis(ttl));
        hold(&self.run(&EXTEND, &call, Repeat::Harmless).await?.word)
            .ok_or_else(|| unexpected("extend.lua"))
    }

    async fn discard(&self, key: &EntryKey, token: LeaseToken) -> Result<Hold> {
        let mut call = self.call(&DISCARD, key, None);
        call.arg(&token.0);
        hold(&self.run(&DISCARD, &call, Repeat::Never).await?.word)
            .ok_or_else(|| unexpected("discard.lua"))
    }

    async fn fill(&self, key: &EntryKey, token: LeaseToken, draft: &Draft) -> Result<Filled> {
        let reply = self.store(&FILL, key, draft, |call| {
            call.arg(&token.0);
        });
        filled(&reply.await?.word).ok_or_else(|| unexpected("fill.lua"))
    }

    async fn confirm(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        confirmation: &Confirmation,
    ) -> Result<Confirmed> {
        let Confirmation { version, lifetime, tags, provenance } = confirmation;
        let mut call = self.call(&CONFIRM, key, None);
        add_lifetime(&mut call, lifetime);
        call.arg(&version.0.to_be_bytes())
            .arg(&codec::encode_windows(lifetime))
            .arg(codec::encode_extensions(tags, Some(provenance), lifetime.keep))
            .arg(&token.0);
        match self.run(&CONFIRM, &call, Repeat::Never).await?.word.as_str() {
            "GONE" => Ok(Confirmed::Gone),
            word => filled(word).map(Confirmed::Settled).ok_or_else(|| unexpected("confirm.lua")),
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
            .arg(if backoff.is_zero() { 0 } else { whole_millis(backoff) })
            .arg(short_cause(cause));
        match self.run(&ABANDON, &call, Repeat::Harmless).await?.word.as_str() {
            "ABANDONED" => Ok(true),
            "LEASE_LOST" => Ok(false),
            _ => Err(unexpected("abandon.lua")),
        }
    }

    fn wait_for(&self, key: &EntryKey) -> Wakeup {
        self.wakeups.register(self.layout.lease(key))
    }
}

fn hold(word: &str) -> Option<Hold> {
    match word {
        "HELD" => Some(Hold::Held),
        "LEASE_LOST" => Some(Hold::Lost),
        "INVALIDATED" => Some(Hold::Invalidated),
        "SUPERSEDED" => Some(Hold::Superseded),
        _ => None,
    }
}

fn filled(word: &str) -> Option<Filled> {
    match word {
        "STORED" => Some(Filled::Stored),
        "LEASE_LOST" => Some(Filled::LeaseLost),
        "INVALIDATED" => Some(Filled::Invalidated),
        "SUPERSEDED" => Some(Filled::Superseded),
        _ => None,
    }
}

/// The entry in a reply; the script has checked its generation, and an empty string stands for none.
fn next_entry(reply: &mut Reply) -> Result<Option<Entry>> {
    let stored: Vec<u8> = reply.next()?;
    let generation: Vec<u8> = stored.get(1..=codec::GENERATION_BYTES).unwrap_or_default().to_vec();
    Ok(codec::decode(Bytes::from(stored), &generation))
}
