//! Leases in Redis.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    LeaseToken, RedisStore, Reply, add_draft, codec,
    pool::Repeat,
    script::{ABANDON, ACQUIRE, FILL},
    unexpected,
};
use crate::{
    entry::{Draft, Entry, whole_millis},
    key::EntryKey,
    store::{Acquired, Filled, Leases, Result, wakeups::Wakeup},
};

#[async_trait]
impl Leases for RedisStore {
    async fn acquire(&self, key: &EntryKey, token: LeaseToken, ttl: Duration) -> Result<Acquired> {
        let mut call = self.call(&ACQUIRE, key, None);
        call.arg(&token.0).arg(whole_millis(ttl));
        let mut reply = self.run(&ACQUIRE, &call, Repeat::Never).await?;
        let entry = next_entry(&mut reply)?;
        match reply.word.as_str() {
            "FOUND" => entry.map(Acquired::Found).ok_or_else(|| unexpected("acquire.lua")),
            "GRANTED" => Ok(Acquired::Granted { stale: entry }),
            "HELD" => Ok(Acquired::Held { expires_in: reply.next_millis()?, stale: entry }),
            "BACKED_OFF" => Ok(Acquired::BackedOff { remaining: reply.next_millis()?, stale: entry }),
            _ => Err(unexpected("acquire.lua")),
        }
    }

    async fn fill(&self, key: &EntryKey, token: LeaseToken, draft: &Draft) -> Result<Filled> {
        let mut call = self.call(&FILL, key, None);
        add_draft(&mut call, draft);
        call.arg(&token.0);
        match self.run(&FILL, &call, Repeat::Never).await?.word.as_str() {
            "STORED" => Ok(Filled::Stored),
            "LEASE_LOST" => Ok(Filled::LeaseLost),
            "INVALIDATED" => Ok(Filled::Invalidated),
            "SUPERSEDED" => Ok(Filled::Superseded),
            _ => Err(unexpected("fill.lua")),
        }
    }

    async fn abandon(&self, key: &EntryKey, token: LeaseToken, backoff: Duration) -> Result<bool> {
        let mut call = self.call(&ABANDON, key, None);
        call.arg(&token.0).arg(whole_millis(backoff));
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

/// The entry in a reply; the script has checked its generation, and an empty string stands for none.
fn next_entry(reply: &mut Reply) -> Result<Option<Entry>> {
    let stored: Vec<u8> = reply.next()?;
    let generation: Vec<u8> = stored.get(1..=codec::GENERATION_BYTES).unwrap_or_default().to_vec();
    Ok(codec::decode(Bytes::from(stored), &generation))
}
