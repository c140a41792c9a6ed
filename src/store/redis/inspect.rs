//! State and sampled usage of Redis.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::join_all;
use redis::Value;

use super::{
    RedisStore,
    key_schema::KeySchema,
    missing_commands::OptionalCommand,
    pool::{RedisPool, Retry},
    router::Router,
};
use crate::{
    model::{EntryKey, Namespace},
    store::{
        BanLimits, BanListing, EntryInspection, EntrySample, ErrorKind, Inspect, KeyListPart,
        KeyListPosition, KeyListStep, NamespaceListPart, NamespacePage, NamespaceUsage, Result,
        StoreInfo, Topology, Trouble, ttl_class,
    },
};

/// Number of random keys from which the usage is estimated.
const SAMPLE_KEYS: usize = 512;
/// The least of them from each primary of a cluster.
const MIN_SAMPLE_KEYS: usize = 16;

#[async_trait]
impl Inspect for RedisStore {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn ping(&self) -> Result<()> {
        let answer = self.probe().await;
        if let (Ok(()), Router::One(pool, _)) = (&answer, &self.router) {
            pool.health().outage().works();
        }
        answer
    }

    fn trouble(&self) -> Option<Trouble> {
        self.router.trouble()
    }

    fn topology(&self) -> Topology {
        self.router.topology()
    }

    async fn info(&self) -> Result<StoreInfo> {
        let servers = self.router.servers().into_iter();
        let infos = servers.map(async move |server| info_of(&server.pool).await);
        let mut infos = those_that_answer(infos).await?.into_iter();
        let Some(mut sum) = infos.next() else { return Err(ErrorKind::Unreachable.into()) };
        for other in infos {
            sum.add(other);
        }
        // A cluster that is used as one has all keys.
        sum.is_cluster &= !self.is_cluster();
        Ok(sum)
    }

    async fn usage(&self, _page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        let servers = self.router.servers();
        let samples = (SAMPLE_KEYS / servers.len().max(1)).max(MIN_SAMPLE_KEYS);
        let usages = servers.into_iter().map(|server| {
            let schema = self.schema.clone();
            async move { usage_of(&server.pool, &schema, samples).await }
        });
        let mut sums: BTreeMap<Namespace, NamespaceUsage> = BTreeMap::new();
        for (namespace, usage) in those_that_answer(usages).await?.into_iter().flatten() {
            sums.entry(namespace).or_default().add(&usage);
        }
        Ok(sums.into_iter().collect())
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

    async fn list_bans(&self, namespace: &Namespace, limits: &BanLimits) -> Result<BanListing> {
        self.listed_bans(namespace, limits).await
    }

    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection> {
        self.inspection(key).await
    }
}

/// The answers of all servers. Those of a cluster that fail are left out, unless all do.
async fn those_that_answer<T>(
    asked: impl Iterator<Item = impl Future<Output = Result<T>>>,
) -> Result<Vec<T>> {
    let (mut answers, mut failure) = (Vec::new(), None);
    for answer in join_all(asked).await {
        match answer {
            Ok(answer) => answers.push(answer),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if answers.is_empty() => Err(error),
        _ => Ok(answers),
    }
}

async fn info_of(pool: &RedisPool) -> Result<StoreInfo> {
    let missing = &pool.health().missing;
    let mut commands = redis::pipe();
    // Something is sent in any case, so that a server that does not answer is noticed.
    let has_keys = !missing.lacks(OptionalCommand::DbSize);
    commands.cmd(if has_keys { "DBSIZE" } else { "PING" });
    let has_info = !missing.lacks(OptionalCommand::Info);
    if has_info {
        commands.cmd("INFO");
    }
    let mut answers = pool.query_all(&commands, Retry::Idempotent).await?.into_iter();
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
    let save = pool.query_each(&save, &mut None).await;
    let save = save.ok().and_then(|mut answers| answers.pop());
    let save = save.and_then(|answer| redis::from_redis_value::<HashMap<_, _>>(answer).ok());
    if save.is_some_and(|save: HashMap<String, String>| save.values().any(|v| !v.is_empty())) {
        state.persistence = if state.persistence == "aof" { "aof+rdb" } else { "rdb" }.to_owned();
    }
    Ok(state)
}

/// Estimates the usage of one server from a sample.
async fn usage_of(
    pool: &RedisPool,
    schema: &KeySchema,
    samples: usize,
) -> Result<Vec<(Namespace, NamespaceUsage)>> {
    let missing = &pool.health().missing;
    if missing.lacks(OptionalCommand::DbSize) || missing.lacks(OptionalCommand::RandomKey) {
        return Ok(Vec::new());
    }
    let mut names = redis::pipe();
    names.cmd("DBSIZE");
    (0..samples).for_each(|_| {
        names.cmd("RANDOMKEY");
    });
    let mut answers = pool.query_all(&names, Retry::Idempotent).await?.into_iter();
    let keys: u64 = answers
        .next()
        .map(redis::from_redis_value)
        .transpose()
        .map_err(redis::RedisError::from)?
        .unwrap_or(0);
    // Without those that were drawn twice, the sample of a small store is the store.
    let drawn: BTreeSet<Vec<u8>> =
        answers.filter_map(|name| redis::from_redis_value(name).ok()).collect();
    let entries: Vec<(&str, &Vec<u8>)> =
        drawn.iter().filter_map(|name| Some((schema.namespace_of(name)?, name))).collect();
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
    // A key that has moved to another server since is left out.
    let details = pool.query_each(&details, &mut None).await?;
    let mut sampled: HashMap<&str, NamespaceUsage> = HashMap::new();
    for ((namespace, _), detail) in entries.iter().zip(details.chunks_exact(2)) {
        let (Value::Int(bytes), Value::Int(ttl)) = (&detail[0], &detail[1]) else { continue };
        let usage = sampled.entry(namespace).or_default();
        usage.keys += 1;
        usage.bytes += u64::try_from(*bytes).unwrap_or(0);
        usage.ttl[ttl_class(Duration::from_millis(u64::try_from(*ttl).unwrap_or(0)))] += 1;
    }
    let usage = sampled.into_iter().filter_map(|(namespace, usage)| {
        Some((Namespace::new(namespace).ok()?, usage.scaled(keys, drawn.len() as u64)))
    });
    Ok(usage.collect())
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
