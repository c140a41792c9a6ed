//! Entries in Redis or Valkey, shared by all replicas.
//!
//! A read is the generation marker and the entry in one MGET, together with other reads of the same moment; a write is one script, and the
//! value beside it if that is large. Which keys there are is in `redis/layout.rs`, how an entry looks in `redis/codec.rs`.

// The client library's enums may grow.
#![allow(clippy::wildcard_enum_match_arm)]

mod client_tracking;
mod clock;
mod codec;
mod error;
mod inspect;
mod key_schema;
mod lease_invalidations;
mod leases;
mod near_invalidations;
mod pool;
mod read_batcher;
mod script;
mod stats;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{
    Condition, Error, ErrorKind, Increment, IncrementOutcome, PutOutcome, Result, Store,
    key_watch::KeyWatchers, near_cache::NearCache,
};
use crate::{
    model::{Entry, EntryKey, Kind, Lifetime, Namespace, NewEntry, Timestamp, millis_ceil},
    stats::delta::ByNamespace,
};
pub use clock::CLOCK_SYNC_INTERVAL;
use key_schema::KeySchema;
pub use pool::{PoolOptions, PoolState};
use pool::{RedisPool, Retry};
use read_batcher::ReadBatcher;
use script::Script;

/// Bytes of a value from which on an entry is not written through a script.
const LARGE: usize = 4096;
/// How long an entry that was set aside is kept if the script does not take it. It comes in the same round trip.
const ASIDE_TTL: Duration = Duration::from_secs(10);

/// How to use Redis.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// How to reach it.
    pub pool: PoolOptions,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// Generation markers per namespace. Replicas that share a Redis must agree on it.
    pub shards: u16,
}

/// See the module. Clones share the same connections.
#[derive(Clone)]
pub struct RedisStore {
    pool: RedisPool,
    layout: Arc<KeySchema>,
    reads: ReadBatcher,
    wakeups: KeyWatchers,
    /// Counters of minutes and ten minutes that are over, which do not change any more.
    closed_buckets: Arc<tokio::sync::Mutex<HashMap<String, ByNamespace>>>,
}

/// The answer of a script: a word, and what goes with it.
struct ScriptReply {
    word: String,
    rest: std::vec::IntoIter<Value>,
}

// === impl RedisStore ===

impl RedisStore {
    /// A store that connects when it is first used, and again whenever it must. Must be called in a Tokio runtime, on which it
    /// follows the leases, and the entries for `near`, until `stop` is cancelled.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(
        options: &RedisOptions,
        near: Arc<NearCache>,
        stop: tokio_util::sync::CancellationToken,
    ) -> Result<Self> {
        let pool = RedisPool::new(&options.pool)?;
        let store = Self {
            reads: ReadBatcher::new(pool.clone()),
            pool,
            layout: Arc::new(KeySchema::new(&options.prefix, options.shards)),
            wakeups: KeyWatchers::default(),
            closed_buckets: Arc::default(),
        };
        lease_invalidations::spawn(
            &options.pool,
            store.layout.lease_prefix(),
            store.wakeups.clone(),
            stop.clone(),
        )?;
        near_invalidations::spawn(&options.pool, store.layout.clone(), near, stop)?;
        Ok(store)
    }

    /// What the pool of connections has done and holds.
    pub fn pool_state(&self) -> PoolState {
        self.pool.state()
    }

    /// A script's call for one entry, with the arguments that all scripts have.
    fn call(&self, script: &Script, key: &EntryKey, scratch: Option<Vec<u8>>) -> Cmd {
        let names = self.layout.names(key);
        let mut keys = vec![names.marker, names.entry, self.layout.lease(key)];
        keys.extend(scratch);
        let mut call = script.call(&keys);
        let generation: [u8; codec::GENERATION_BYTES] = rand::random();
        call.arg(self.pool.not_after().0).arg(&generation);
        call
    }

    /// Runs a script that stores `draft`; `rest` adds the arguments that come after it.
    ///
    /// A large entry is set aside before, in the same round trip: what goes through a script costs the server several times as much
    /// per byte as what does not.
    async fn store(
        &self,
        script: &Script,
        key: &EntryKey,
        draft: &NewEntry,
        rest: impl FnOnce(&mut Cmd),
    ) -> Result<ScriptReply> {
        let aside = (draft.data.len() >= LARGE).then(|| self.layout.aside(key, rand::random()));
        let mut call = self.call(script, key, aside.clone());
        add_lifetime(&mut call, &draft.lifetime);
        call.arg(if aside.is_some() { Vec::new() } else { codec::encode_tail(draft) });
        rest(&mut call);
        let asked = Instant::now();
        // Sent twice, it could be applied once before and once after a delete that was acknowledged in between.
        let answer = match aside {
            None => self.pool.eval(script, &call, Retry::Never).await?,
            Some(name) => {
                let mut set = redis::cmd("SET");
                set.arg(name).arg(codec::encode_aside(draft)).arg("PX").arg(millis_ceil(ASIDE_TTL));
                self.pool.eval_after(set, script, call).await?
            }
        };
        let reply = self.in_time(answer, asked)?;
        // The server has evicted what was set aside a moment ago: its memory is short.
        if reply.word == "ASIDE_MISSING" { Err(ErrorKind::Full.into()) } else { Ok(reply) }
    }

    async fn run(&self, script: &Script, call: &Cmd, repeat: Retry) -> Result<ScriptReply> {
        let asked = Instant::now();
        let answer = self.pool.eval(script, call, repeat).await?;
        self.in_time(answer, asked)
    }

    /// What a script has answered that was asked for at `asked`.
    fn in_time(&self, answer: Value, asked: Instant) -> Result<ScriptReply> {
        let mut reply = ScriptReply::read(answer)?;
        if reply.word == "LATE" {
            let server_time: u64 = reply.next()?;
            self.pool.shared().clock.seen(Timestamp(server_time), asked);
            return Err(ErrorKind::Late.into());
        }
        Ok(reply)
    }
}

fn add_lifetime(call: &mut Cmd, lifetime: &Lifetime) {
    call.arg(millis_ceil(lifetime.total())).arg(millis_ceil(lifetime.ttl));
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.reads.read(self.layout.names(key)).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<Option<Entry>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mget = read_batcher::mget(keys.iter().map(|key| self.layout.names(key)));
        read_batcher::read_all(&self.pool, &mget).await
    }

    async fn put(
        &self,
        key: &EntryKey,
        draft: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let reply = self.store(&script::SET, key, draft, |call| {
            match condition {
                Condition::Always => call.arg(b""),
                Condition::IfAbsent => call.arg(b"absent"),
                Condition::IfPresent => call.arg(b"present"),
                Condition::IfVersion(version) => call.arg(&version.0.to_be_bytes()),
            };
        });
        match reply.await?.word.as_str() {
            "STORED" => Ok(PutOutcome::Stored),
            "CONDITION_NOT_MET" => Ok(PutOutcome::ConditionNotMet),
            _ => Err(unexpected("set.lua")),
        }
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let mut call = self.call(&script::DELETE, key, None);
        call.arg(if hold_off.is_zero() { 0 } else { millis_ceil(hold_off) });
        match self.run(&script::DELETE, &call, Retry::Harmless).await?.word.as_str() {
            "EXISTED" => Ok(true),
            "ABSENT" => Ok(false),
            _ => Err(unexpected("delete.lua")),
        }
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        // What has no marker is invalid, and the next write begins a new generation. Removing the markers, unlike replacing
        // them, also works when Redis is out of memory, and leaves nothing behind for names that are never used again.
        let mut unlink = redis::cmd("UNLINK");
        for marker in self.layout.markers(namespace) {
            unlink.arg(marker);
        }
        match self.pool.query(&unlink, Retry::Harmless).await? {
            Value::Int(_) => Ok(()),
            _ => Err(unexpected("UNLINK")),
        }
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        let mut call = self.call(&script::TOUCH, key, None);
        add_lifetime(&mut call, &lifetime);
        call.arg(&codec::encode_windows(&lifetime));
        match self.run(&script::TOUCH, &call, Retry::Never).await?.word.as_str() {
            "TOUCHED" => Ok(true),
            "ABSENT" => Ok(false),
            _ => Err(unexpected("touch.lua")),
        }
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        let mut call = self.call(&script::INCREMENT, key, Some(self.layout.scratch(key)));
        add_lifetime(&mut call, &increment.lifetime);
        call.arg(&increment.version.0.to_be_bytes())
            .arg(&codec::encode_windows(&increment.lifetime))
            .arg(&codec::kind_and_flags(Kind::Text))
            .arg(increment.delta)
            .arg(increment.initial);
        let mut reply = self.run(&script::INCREMENT, &call, Retry::Never).await?;
        match reply.word.as_str() {
            "SUM" => Ok(IncrementOutcome::Sum {
                value: reply.next()?,
                ttl_remaining: reply.next_millis()?,
            }),
            "NOT_AN_INTEGER" => Ok(IncrementOutcome::NotAnInteger),
            "OVERFLOW" => Ok(IncrementOutcome::Overflow),
            _ => Err(unexpected("increment.lua")),
        }
    }

    fn now(&self) -> Timestamp {
        self.pool.shared().clock.now()
    }
}

// === impl Reply ===

impl ScriptReply {
    fn read(value: Value) -> Result<Self> {
        let (word, rest) = match value {
            Value::Array(parts) => {
                let mut parts = parts.into_iter();
                (parts.next().ok_or_else(|| unexpected("a script"))?, parts)
            }
            // A word alone, which is a little less work for the server than an array around it.
            word => (word, Vec::new().into_iter()),
        };
        Ok(Self { word: read(word)?, rest })
    }

    fn next_value(&mut self) -> Result<Value> {
        self.rest.next().ok_or_else(|| unexpected("a script"))
    }

    fn next<T: redis::FromRedisValue>(&mut self) -> Result<T> {
        read(self.next_value()?)
    }

    fn next_millis(&mut self) -> Result<Duration> {
        // Negative numbers say that the key has no expiry, or has just gone.
        let millis: i64 = self.next()?;
        Ok(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}

fn read<T: redis::FromRedisValue>(value: Value) -> Result<T> {
    redis::from_redis_value(value).map_err(|error| redis::RedisError::from(error).into())
}

fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Refused, format!("unexpected answer to {what}"))
}
