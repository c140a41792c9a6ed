//! Entries in Redis.

use std::time::Duration;

use async_trait::async_trait;
use redis::Cmd;

use super::{
    RedisStore,
    announcement::announce_invalidation,
    codec, leases,
    pool::Retry,
    replicated::Replicated,
    request::unexpected,
    script::{self, Script},
    script_calls::{EntryScript, add_lifetime},
    script_reply::ScriptReply,
};
use crate::{
    model::{
        Entry, EntryKey, Kind, Lifetime, Namespace, NewEntry, Timestamp, Version, millis_ceil,
    },
    planted::{self, Bug},
    store::{
        Ban, BanLimits, BanOutcome, Condition, Increment, IncrementOutcome, PutOutcome,
        ReadOutcome, Result, Store, Take, TakeOutcome,
    },
};

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.reads.read(self.read(key)).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.reads.read_all(keys.iter().map(|key| self.read(key)).collect()).await
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.quotas.check_sampled(key.namespace())?;
        let condition = if planted::is(Bug::ConditionNotAtomic) && condition == Condition::IfAbsent
        {
            let found = self.get(key).await?.filter(|entry| self.now() < entry.fresh_until);
            if found.is_some() {
                return Ok(PutOutcome::ConditionNotMet);
            }
            Condition::Always
        } else {
            condition
        };
        let is_conditional = condition != Condition::Always;
        let mut replicas = is_conditional.then(|| Replicated::once(self, key));
        let mut checks = self.begin_checks(key).await?;
        let reply = loop {
            let set = EntryScript { script: &script::SET, key, bans: checks.bans() };
            let reply = self.store(set, entry, |call| {
                match condition {
                    Condition::Always => call.arg(b""),
                    Condition::IfAbsent => call.arg(b"absent"),
                    Condition::IfPresent => call.arg(b"present"),
                    Condition::IfVersion(version) => call.arg(&version.0.to_be_bytes()),
                    Condition::Replacing(version) => {
                        call.arg(&version.0.to_be_bytes()).arg(b"keep")
                    }
                };
            });
            if let Some(reply) = checks.settle(self, key, reply.await?).await? {
                break reply;
            }
        };
        if let Some(replicas) = &mut replicas {
            replicas.is_done().await?;
        }
        match reply.word.as_str() {
            "STORED" => Ok(PutOutcome::Stored),
            "CONDITION_NOT_MET" => Ok(PutOutcome::ConditionNotMet),
            _ => Err(unexpected("set.lua")),
        }
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let mut replicas = Replicated::of_entry(self, key);
        let mut existed = false;
        loop {
            existed |= self.apply_delete(key, hold_off).await?;
            if replicas.is_done().await? {
                return Ok(existed);
            }
        }
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        let &Take { hold_off, if_version, returns_entry } = take;
        let version = if_version.map(|version| version.0.to_be_bytes());
        let mut replicas = Replicated::once(self, key);
        // Sent again, it would not find the entry that it removed the first time.
        let mut reply = self
            .run_checked(&script::DELETE, key, None, |call| {
                call.arg(millis_ceil(hold_off))
                    .arg(version.as_ref().map_or(&b""[..], |version| version))
                    .arg(u8::from(returns_entry));
            })
            .await?;
        replicas.is_done().await?;
        match reply.word.as_str() {
            "EXISTED" if returns_entry => match leases::next_entry(&mut reply)? {
                Ok(Some(entry)) => Ok(TakeOutcome::Removed(Some(entry))),
                Ok(None) => Ok(TakeOutcome::Absent),
                Err(corrupt) => {
                    self.corrupt.found(&self.schema.entry_keys(key).entry, corrupt);
                    Ok(TakeOutcome::Absent)
                }
            },
            "EXISTED" => Ok(TakeOutcome::Removed(None)),
            "ABSENT" => Ok(TakeOutcome::Absent),
            "OTHER_VERSION" => Ok(TakeOutcome::OtherVersion),
            _ => Err(unexpected("delete.lua")),
        }
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        let mut replicas = Replicated::of_namespace(self, namespace);
        loop {
            // Entries without a marker are invalid, and the next write begins a new generation.
            // Unlike replacing the markers, removing them also works when Redis is out of memory,
            // and leaves nothing behind for namespaces that are never used again.
            let mut markers = self.schema.markers(namespace);
            if planted::is(Bug::ShardMissed) {
                markers.pop();
            }
            self.router.unlink(&markers).await?;
            announce_invalidation(&self.router, &self.schema, namespace).await?;
            if replicas.is_done().await? {
                return Ok(());
            }
        }
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        let mut replicas = Replicated::of_namespace(self, namespace);
        loop {
            let outcome = self.apply_ban(namespace, ban, limits).await?;
            if replicas.is_done().await? {
                return Ok(outcome);
            }
        }
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.reschedule(key, &lifetime, &[]).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.reschedule(key, &lifetime, &version.0.to_be_bytes()).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        if increment.initial.is_some() {
            self.quotas.check_sampled(key.namespace())?;
        }
        let scratch = Some(self.schema.scratch(key));
        let mut reply = self
            .run_checked(&script::INCREMENT, key, scratch, |call| {
                add_lifetime(call, &increment.lifetime);
                call.arg(&increment.version.0.to_be_bytes())
                    .arg(&codec::encode_windows(&increment.lifetime))
                    .arg(&codec::kind_and_flags(Kind::Text))
                    .arg(increment.delta)
                    .arg(increment.initial.map_or_else(String::new, |initial| initial.to_string()));
            })
            .await?;
        match reply.word.as_str() {
            "SUM" => Ok(IncrementOutcome::Sum {
                value: reply.next()?,
                ttl_remaining: reply.next_millis()?,
            }),
            "MISSING" => Ok(IncrementOutcome::Missing),
            "NOT_AN_INTEGER" => Ok(IncrementOutcome::NotAnInteger),
            "OVERFLOW" => Ok(IncrementOutcome::Overflow),
            _ => Err(unexpected("increment.lua")),
        }
    }

    fn now(&self) -> Timestamp {
        self.router.clock().now()
    }
}

impl RedisStore {
    /// Runs a script that is not sent twice, with the arguments that `add_arguments` adds, and
    /// again until the bans that concern the entry are checked. `extra` as in [`Self::call`].
    async fn run_checked(
        &self,
        script: &Script,
        key: &EntryKey,
        extra: Option<Vec<u8>>,
        add_arguments: impl Fn(&mut Cmd),
    ) -> Result<ScriptReply> {
        let mut checks = self.begin_checks(key).await?;
        loop {
            let mut call = self.call(script, key, checks.bans(), extra.clone());
            add_arguments(&mut call);
            let is_retried = planted::is(Bug::IncrementRetried);
            let retry = if is_retried { Retry::Idempotent } else { Retry::Never };
            let reply = self.router.run(script, &call, retry).await?;
            if let Some(reply) = checks.settle(self, key, reply).await? {
                return Ok(reply);
            }
        }
    }

    async fn apply_delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let bans = self.bans.of(key.namespace());
        let mut call = self.call(&script::DELETE, key, &bans, None);
        call.arg(millis_ceil(hold_off)).arg(b"").arg(0);
        let mut reply = self.router.run(&script::DELETE, &call, Retry::Idempotent).await?;
        match reply.word.as_str() {
            "EXISTED" => Ok(true),
            "ABSENT" => Ok(false),
            // It is deleted, whether or not the check succeeds.
            "CHECK" => Ok(Box::pin(self.was_valid(&bans, key, &mut reply)).await.unwrap_or(true)),
            _ => Err(unexpected("delete.lua")),
        }
    }

    /// Runs the script of Touch; `prolongs` is empty or a version.
    async fn reschedule(
        &self,
        key: &EntryKey,
        lifetime: &Lifetime,
        prolongs: &[u8],
    ) -> Result<bool> {
        let reply = self
            .run_checked(&script::TOUCH, key, None, |call| {
                add_lifetime(call, lifetime);
                call.arg(&codec::encode_windows(lifetime)).arg(prolongs);
            })
            .await?;
        match reply.word.as_str() {
            "TOUCHED" => Ok(true),
            "ABSENT" | "NOT_PROLONGED" => Ok(false),
            _ => Err(unexpected("touch.lua")),
        }
    }
}
