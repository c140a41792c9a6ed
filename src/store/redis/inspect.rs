//! State and sampled usage of Redis.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use redis::Value;

use super::{RedisStore, missing_commands::OptionalCommand, pool::Retry};
use crate::{
    model::{EntryKey, Namespace},
    store::{
        EntryInspection, EntrySample, Inspect, KeyListPart, KeyListPosition, KeyListStep,
        NamespaceListPart, NamespacePage, NamespaceUsage, Result, StoreInfo, Topology, Trouble,
        ttl_class,
    },
};

/// Number of random keys from which the usage is estimated.
const SAMPLE_KEYS: usize = 512;

#[async_trait]
impl Inspect for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn ping(&self) -> Result<()> {
        let answer = self.probe().await;
        if answer.is_ok() {
            self.pool.health().outage().works();
        }
        answer
    }

    fn trouble(&self) -> Option<Trouble> {
        let health = self.pool.health();
        health.faults.trouble().or_else(|| health.outage().trouble())
    }

    fn topology(&self) -> Topology {
        self.endpoint.topology()
    }

    async fn info(&self) -> Result<StoreInfo> {
        let missing = &self.pool.health().missing;
        let mut commands = redis::pipe();
        // Something is sent in any case, so that a server that does not answer is noticed.
        let has_keys = !missing.lacks(OptionalCommand::DbSize);
        commands.cmd(if has_keys { "DBSIZE" } else { "PING" });
        let has_info = !missing.lacks(OptionalCommand::Info);
        if has_info {
            commands.cmd("INFO");
        }
        let mut answers = self.pool.query_all(&commands, Retry::Idempotent).await?.into_iter();
        let keys = answers.next().filter(|_| has_keys).map(redis::from_redis_value::<u64>);
        let keys = keys.transpose().map_err(redis::RedisError::from)?.unwrap_or(0);
        let info = answers.next().map(redis::from_redis_value::<String>);
        let info = info.transpose().map_err(redis::RedisError::from)?;
        let Some(info) = info else {
            return Ok(StoreInfo { keys, ..StoreInfo::default() });
        };
        let mut state = parse_info(&info, keys);
        // Many providers do not permit CONFIG.
        let mut save = redis::pipe();
        save.cmd("CONFIG").arg("GET").arg("save");
        let save = self.pool.query_each(&save, &mut None).await;
        let save = save.ok().and_then(|mut answers| answers.pop());
        let save = save.and_then(|answer| redis::from_redis_value::<HashMap<_, _>>(answer).ok());
        if save.is_some_and(|save: HashMap<String, String>| save.values().any(|v| !v.is_empty())) {
            state.persistence =
                if state.persistence == "aof" { "aof+rdb" } else { "rdb" }.to_owned();
        }
        Ok(state)
    }

    async fn usage(&self, _page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        let missing = &self.pool.health().missing;
        if missing.lacks(OptionalCommand::DbSize) || missing.lacks(OptionalCommand::RandomKey) {
            return Ok(Vec::new());
        }
        let mut names = redis::pipe();
        names.cmd("DBSIZE");
        (0..SAMPLE_KEYS).for_each(|_| {
            names.cmd("RANDOMKEY");
        });
        let mut answers = self.pool.query_all(&names, Retry::Idempotent).await?.into_iter();
        let keys: u64 = answers
            .next()
            .map(redis::from_redis_value)
            .transpose()
            .map_err(redis::RedisError::from)?
            .unwrap_or(0);
        let drawn: Vec<Vec<u8>> =
            answers.filter_map(|name| redis::from_redis_value(name).ok()).collect();
        let entries: Vec<(&str, &Vec<u8>)> =
            drawn.iter().filter_map(|name| Some((self.schema.namespace_of(name)?, name))).collect();
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut details = redis::pipe();
        for (_, name) in &entries {
            if missing.lacks(OptionalCommand::MemoryUsage) {
                details.cmd("STRLEN").arg(name);
            } else {
                details.cmd("MEMORY").arg("USAGE").arg(name);
            }
            details.cmd("PTTL").arg(name);
        }
        let details = self.pool.query_all(&details, Retry::Idempotent).await?;
        let mut sampled: HashMap<&str, NamespaceUsage> = HashMap::new();
        for ((namespace, _), detail) in entries.iter().zip(details.chunks_exact(2)) {
            let (Value::Int(bytes), Value::Int(ttl)) = (&detail[0], &detail[1]) else { continue };
            let usage = sampled.entry(namespace).or_default();
            usage.keys += 1;
            usage.bytes += u64::try_from(*bytes).unwrap_or(0);
            usage.ttl[ttl_class(Duration::from_millis(u64::try_from(*ttl).unwrap_or(0)))] += 1;
        }
        let mut usage: Vec<(Namespace, NamespaceUsage)> = sampled
            .into_iter()
            .filter_map(|(namespace, usage)| {
                Some((Namespace::new(namespace).ok()?, usage.scaled(keys, drawn.len() as u64)))
            })
            .collect();
        usage.sort_by(|(one, _), (two, _)| one.cmp(two));
        Ok(usage)
    }

    async fn list_keys(&self, step: &KeyListStep) -> Result<KeyListPart> {
        self.list_part(step).await
    }

    async fn sample_entries(&self, step: &KeyListStep) -> Result<EntrySample> {
        self.sample_part(step).await
    }

    async fn list_namespaces(&self, position: KeyListPosition) -> Result<NamespaceListPart> {
        self.namespaces_part(position).await
    }

    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection> {
        self.inspection(key).await
    }
}

fn parse_info(info: &str, keys: u64) -> StoreInfo {
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let text = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
    let number = |name: &str| fields.get(name).and_then(|value| value.parse::<u64>().ok());
    let persistence = if text("aof_enabled") == "1" { "aof" } else { "none" };
    let server_version = match fields.get("valkey_version") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", text("redis_version")),
    };
    StoreInfo {
        server_version,
        is_cluster: text("cluster_enabled") == "1",
        used_bytes: number("used_memory").unwrap_or(0),
        peak_bytes: number("used_memory_peak").unwrap_or(0),
        max_bytes: number("maxmemory").unwrap_or(0),
        fragmentation_ratio: fields
            .get("mem_fragmentation_ratio")
            .and_then(|value| value.parse().ok()),
        eviction_policy: text("maxmemory_policy"),
        evicted_keys: number("evicted_keys").unwrap_or(0),
        expired_keys: number("expired_keys").unwrap_or(0),
        keys,
        clients: number("connected_clients"),
        ops_per_second: number("instantaneous_ops_per_sec"),
        persistence: persistence.to_owned(),
        uptime: Duration::from_secs(number("uptime_in_seconds").unwrap_or(0)),
    }
}
