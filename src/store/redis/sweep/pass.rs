//! One pass of the sweep.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use redis::Value;
use tokio::time::Instant;

use super::{LOCK_TTL, SweepLock, SweepOptions};
use crate::{
    model::EntryKey,
    store::{
        ErrorKind, Result,
        redis::{
            RedisStore,
            ban_logs::{BanLogs, Candidate, NamespaceBans},
            codec,
            key_schema::{EntryKeys, ParsedKey},
            marker::Position,
            pool::Retry,
            request::unexpected,
            router::Server,
            script::{DROP_BANNED, DROP_SWEPT_BANS, RESTAMP},
            script_reply::parse,
        },
    },
};

/// Keys that one command visits. Redis answers nothing else meanwhile.
const MAX_VISITS: u32 = 250;
/// The pass rests for this many times as long as a step takes, at least.
const PAUSE_FACTOR: u32 = 9;
/// Scripts in flight.
const CONCURRENCY: usize = 8;
/// Bans of a namespace from which on valid entries are moved to the newest one.
const MANY_TAGS: usize = 1_000;
const MANY_GLOBS: usize = 16;
/// Bytes of a lease until the end of its position.
const LEASE_BYTES: usize = 73;

/// A pass.
pub(super) struct Pass<'a> {
    store: &'a RedisStore,
    /// The epoch in which the bans were read.
    epoch: u64,
    /// The layout of the keys over the servers: a key that moves may be missed.
    layout: u64,
    namespaces: HashMap<Box<str>, Swept>,
    pattern: String,
}

/// A namespace whose bans may be dropped.
struct Swept {
    bans: Arc<NamespaceBans>,
    /// The newest ban at the beginning.
    until: Position,
    /// Number of the newest ban that no entry and no lease is older than.
    oldest: u64,
    /// Whether valid entries are moved to the newest ban.
    renews: bool,
}

/// An entry that was found, and the first bytes of its value.
struct Found {
    key: EntryKey,
    names: EntryKeys,
    marker: Vec<u8>,
    head: Vec<u8>,
}

/// Outcome for an entry.
enum Outcome {
    /// It does not count any more.
    Invalid,
    /// It is valid, and at this position.
    Kept(u64),
}

impl<'a> Pass<'a> {
    /// Moves all markers to the newest ban, so that what is written from now on is newer.
    pub(super) async fn begin(
        store: &'a RedisStore,
        namespaces: Vec<Arc<NamespaceBans>>,
    ) -> Result<Self> {
        let (epoch, layout) = (store.bans.epoch(), store.router.layouts());
        let mut swept = HashMap::new();
        for bans in namespaces {
            store.bans.ensure_read(&bans).await?;
            let until = store.bans.head(&bans);
            if !store.bans.move_markers(&bans, until, false).await? {
                continue;
            }
            let (_, tags, globs) = bans.figures();
            let renews = tags > MANY_TAGS || globs > MANY_GLOBS;
            let name = bans.namespace().as_str().into();
            swept.insert(name, Swept { bans, until, oldest: until.sequence, renews });
        }
        let single = swept.values().next().map(|swept| swept.bans.namespace());
        let pattern = store.schema.sweep_pattern(single.filter(|_| swept.len() == 1));
        Ok(Self { store, epoch, layout, namespaces: swept, pattern })
    }

    /// Visits all keys, and drops bans at the end. Returns false if the pass is void.
    pub(super) async fn run(
        mut self,
        lock: &SweepLock<'_>,
        options: &SweepOptions,
    ) -> Result<bool> {
        let rate = options.keys_per_second.max(1);
        // Ten steps a second at least, so that a slow sweep is an even one.
        let visits = (rate / 10).clamp(1, MAX_VISITS);
        let mut locked_at = Instant::now();
        let mut servers = self.store.router.servers().into_iter();
        let mut server = servers.next();
        let mut cursor = 0;
        while let Some(current) = &server {
            let began_at = Instant::now();
            cursor = self.step(current, cursor, visits).await?;
            if !self.is_current() {
                return Ok(false);
            }
            if cursor == 0 {
                server = servers.next();
                if server.is_none() {
                    break;
                }
            }
            if locked_at.elapsed() > LOCK_TTL / 3 {
                locked_at = Instant::now();
                if !lock.extend(LOCK_TTL).await? {
                    return Ok(false);
                }
            }
            let pause = Duration::from_secs(1) * visits / rate;
            let pause = pause.max(began_at.elapsed() * PAUSE_FACTOR);
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
        }
        for swept in self.namespaces.values() {
            self.drop_bans(swept).await?;
        }
        Ok(self.is_current())
    }

    /// Whether the servers and their keys are still the same.
    fn is_current(&self) -> bool {
        self.store.bans.epoch() == self.epoch && self.store.router.layouts() == self.layout
    }

    /// Visits some keys of a server. Returns the next cursor.
    async fn step(&mut self, server: &Server, cursor: u64, visits: u32) -> Result<u64> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&self.pattern).arg("COUNT").arg(visits);
        let (next, names): (u64, Vec<Vec<u8>>) =
            parse(self.store.router.query_server(server, &scan).await?)?;
        let (mut keys, mut leases) = (Vec::new(), Vec::new());
        for name in &names {
            if let Some(namespace) = self.store.schema.leased_namespace(name) {
                if self.namespaces.contains_key(namespace) {
                    leases.push((namespace.to_owned(), name));
                }
            } else if let Some(ParsedKey::Entry { namespace, key, digest }) =
                self.store.schema.parse(name)
                && self.namespaces.contains_key(namespace)
            {
                keys.extend(EntryKey::restored(namespace, key, digest));
            }
        }
        self.visit_leases(leases).await?;
        self.visit_entries(keys).await?;
        Ok(next)
    }

    /// Notes how old the leases are: the fills under them must be checked.
    async fn visit_leases(&mut self, leases: Vec<(String, &Vec<u8>)>) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        let mut reads = redis::pipe();
        for (_, name) in &leases {
            reads.cmd("GETRANGE").arg(*name).arg(0).arg(LEASE_BYTES - 1);
        }
        let answers = self.store.router.query_each(&reads).await?;
        for ((namespace, _), answer) in leases.into_iter().zip(answers) {
            let Value::BulkString(lease) = answer else { continue };
            if let Some(swept) = self.namespaces.get_mut(namespace.as_str())
                && lease.first() == Some(&b'L')
            {
                // A lease of earlier releases, or from before the first ban, has no position.
                let position: Position = lease.get(49..).unwrap_or_default().into();
                swept.oldest = swept.oldest.min(position.sequence);
            }
        }
        Ok(())
    }

    /// Removes the entries that are banned, and notes how old the others are.
    async fn visit_entries(&mut self, keys: Vec<EntryKey>) -> Result<()> {
        let found = self.older(keys).await?;
        let this = &*self;
        let outcomes: Vec<(String, Result<Outcome>)> = stream::iter(found)
            .map(|found| async move {
                let namespace = found.key.namespace().as_str().to_owned();
                (namespace, this.settle(found).await)
            })
            .buffer_unordered(CONCURRENCY)
            .collect()
            .await;
        for (namespace, outcome) in outcomes {
            if let Outcome::Kept(position) = outcome?
                && let Some(swept) = self.namespaces.get_mut(namespace.as_str())
            {
                swept.oldest = swept.oldest.min(position);
            }
        }
        Ok(())
    }

    /// The entries that are older than the newest ban, of those with these keys.
    async fn older(&self, keys: Vec<EntryKey>) -> Result<Vec<Found>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.store;
        let mut reads = redis::pipe();
        let mut found = Vec::new();
        for key in keys {
            let names = store.schema.entry_keys(&key);
            reads.cmd("GET").arg(&names.marker);
            // Values may be large.
            reads.cmd("GETRANGE").arg(&names.entry).arg(0).arg(codec::MAX_HEADER_BYTES - 1);
            found.push(Found { key, names, marker: Vec::new(), head: Vec::new() });
        }
        let examined = found.len() as u64;
        store.sweep.examined.fetch_add(examined, Ordering::Relaxed);
        let mut answers = store.router.query_each(&reads).await?.into_iter();
        let mut heads = redis::pipe();
        found.retain_mut(|found| {
            // A key of another type is foreign.
            let (Some(Value::BulkString(marker)), Some(Value::BulkString(header))) =
                (answers.next(), answers.next())
            else {
                return false;
            };
            let Some(swept) = self.namespaces.get(found.key.namespace().as_str()) else {
                return false;
            };
            let position = codec::position_of_entry(&header);
            let is_newer = store.bans.is_newer(&swept.bans, position, swept.until.sequence);
            let Some(value_at) = codec::value_offset(&header) else { return false };
            if is_newer || !codec::is_in_generation(&header, &marker) {
                return false;
            }
            heads.cmd("GETRANGE").arg(&found.names.entry).arg(0).arg(value_at - 1);
            found.marker = marker;
            true
        });
        if found.is_empty() {
            return Ok(found);
        }
        let mut answers = store.router.query_each(&heads).await?.into_iter();
        found.retain_mut(|found| match answers.next() {
            Some(Value::BulkString(head)) => {
                found.head = head;
                true
            }
            _ => false,
        });
        Ok(found)
    }

    /// Removes an entry that is banned. Moves another one to the newest ban if there are many.
    async fn settle(&self, found: Found) -> Result<Outcome> {
        let (store, Found { key, names, marker, head }) = (self.store, &found);
        let Some(swept) = self.namespaces.get(key.namespace().as_str()) else {
            return Ok(Outcome::Invalid);
        };
        // It may have been written again since, and reads find corrupt entries.
        let Some((since, tags)) = BanLogs::candidate_of(head) else { return Ok(Outcome::Invalid) };
        let candidate = Candidate { since, key: key.key(), tags: &tags };
        let marker_read = (names.marker.as_slice(), marker.as_slice());
        let is_valid = store.bans.is_swept_valid(&swept.bans, marker_read, &candidate).await?;
        if !is_valid {
            let mut call = store.call(&DROP_BANNED, key, &swept.bans, None);
            call.arg(head);
            let reply = store.router.run(&DROP_BANNED, &call, Retry::Idempotent).await?;
            // An entry that was changed meanwhile is older than the ban nevertheless, or newer.
            store.sweep.removed.fetch_add(u64::from(reply.word == "DROPPED"), Ordering::Relaxed);
            return Ok(Outcome::Invalid);
        }
        let position = Position::of_marker(marker);
        if swept.renews && store.bans.is_newer(&swept.bans, position, swept.until.sequence) {
            let mut call = store.call(&RESTAMP, key, &swept.bans, None);
            call.arg(marker).arg(head);
            let reply = store.router.run(&RESTAMP, &call, Retry::Idempotent).await?;
            if reply.word == "RESTAMPED" {
                store.sweep.renewed.fetch_add(1, Ordering::Relaxed);
                return Ok(Outcome::Kept(position.sequence));
            }
        }
        Ok(Outcome::Kept(since.sequence))
    }

    /// Drops the bans of a namespace that no entry and no lease is older than.
    async fn drop_bans(&self, swept: &Swept) -> Result<()> {
        let Swept { bans, until, oldest, .. } = swept;
        let store = self.store;
        bans.on_swept(until.sequence);
        let (dropped, ..) = bans.figures();
        if *oldest <= dropped {
            return Ok(());
        }
        let mut call = store.bans.log_call(&DROP_SWEPT_BANS, bans.namespace());
        call.arg(&until.encode()).arg(*oldest);
        let mut reply = store.router.run(&DROP_SWEPT_BANS, &call, Retry::Idempotent).await?;
        match reply.word.as_str() {
            "DROPPED" => {
                let count: u64 = reply.next()?;
                store.sweep.dropped_bans.fetch_add(count, Ordering::Relaxed);
                store.bans.on_ban(bans.namespace().as_str());
                Ok(())
            }
            // The log was set back during the pass.
            "UNKNOWN" => Ok(()),
            // The next read or ban ends the generations.
            "DAMAGED" => Err(ErrorKind::Refused.into()),
            _ => Err(unexpected("drop_swept_bans.lua")),
        }
    }
}
