//! Probes of Redis: whether it answers what the operations need, its time and its role.

use std::{
    collections::HashMap,
    sync::{Arc, Once},
    time::Duration,
};

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::time::Instant;

use super::{
    RedisStore,
    cluster::{Cluster, Node},
    connection::PoolHealth,
    fault::{Fault, words},
    missing_commands::OptionalCommand,
    pool::{RedisPool, Retry},
    request::error_or_value,
    router::Router,
    script::{PROBE, SHARE_CLOCK},
    server_identity::is_replica,
};
use crate::{
    model::{SaturatingFrom as _, Timestamp, millis_ceil},
    store::{
        Error, ErrorKind, Result,
        clock::{SharedClock, StoreClock},
    },
};

/// Interval at which the time of the shared clock is written.
const CLOCK_WRITE_INTERVAL: Duration = Duration::from_secs(10);
/// Time for which Redis keeps the shared clock of a fleet that is gone.
const CLOCK_RETENTION: Duration = Duration::from_secs(90 * 86_400);
/// Tags that are tried for a key in a slot of a primary: enough for one with a few of 16,384 slots.
const MAX_PROBE_TAGS: u32 = 100_000;
const AHEAD_FIELD: &str = "ahead";
const LATEST_FIELD: &str = "latest";
/// The number of shards of a namespace, in the same hash. It is part of what the replicas share.
const SHARDS_FIELD: &str = "shards";

// === impl RedisStore ===

impl RedisStore {
    /// Asks whether the store answers. A cluster does while one of its primaries does.
    ///
    /// # Errors
    /// The store is in an outage. Other faults do not fail the probe: the operations that work are
    /// not held back.
    pub(super) async fn probe(&self) -> Result<()> {
        match &self.router {
            Router::One(pool, _) => {
                self.probe_server(pool, Some(pool.clock()), Some(self.schema.probe())).await
            }
            Router::Cluster(cluster) => cluster.check().await,
        }
    }

    /// Probes a primary of a cluster.
    ///
    /// # Errors
    /// It is in an outage.
    pub(super) async fn probe_node(&self, cluster: &Cluster, node: &Arc<Node>) -> Result<()> {
        // The keys of the full probe must be in one of its slots.
        let is_owner =
            |key: &[u8]| cluster.owner_of(key).is_some_and(|owner| Arc::ptr_eq(&owner, node));
        let has_slots = cluster.slot_of_node(node).is_some();
        let tag = has_slots.then(|| self.probe_tag(is_owner)).flatten();
        let keys = tag.map(|tag| self.schema.probe_with(tag));
        let clock = cluster.has_clock(node).then(|| cluster.clock());
        let outcome = self.probe_server(&node.pool, clock, keys).await;
        cluster.update_health();
        outcome
    }

    /// The tag of keys for probes of a server, which has the keys for which `is_owner` holds.
    pub(super) fn probe_tag(&self, is_owner: impl Fn(&[u8]) -> bool) -> Option<u32> {
        (0..MAX_PROBE_TAGS).find(|tag| is_owner(self.schema.probe_with(*tag)[0].as_bytes()))
    }

    /// Asks whether a server answers, and synchronizes its clock; and `clock`, if the server has
    /// the time of the store. PING is refused by a server that loads its data, has lost its
    /// primary, or runs a script without end; TIME is not. While a fault lasts, the full probe with
    /// these keys follows.
    async fn probe_server(
        &self,
        pool: &RedisPool,
        clock: Option<&StoreClock>,
        keys: Option<[String; 2]>,
    ) -> Result<()> {
        let began_at = Instant::now();
        let mut used = None;
        let mut commands = redis::pipe();
        commands.cmd("PING").cmd("TIME").cmd("HELLO");
        if clock.is_some() {
            commands.hgetall(self.schema.clock());
        }
        let answers = pool.query_each(&commands, &mut used).await;
        let health = pool.health();
        let Some(handle) = used else { return answers.map(|_| ()) };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                // All connections are suspect, and are replaced.
                health.retire(&handle);
                return Err(error);
            }
        };
        let mut answers = answers.into_iter().map(error_or_value);
        let (ping, time, hello) = (answers.next(), answers.next(), answers.next());
        let shared = answers.next().and_then(RedisResult::ok).and_then(shared_state);
        if let Some(Err(error)) = ping {
            let fault = Fault::of(&error);
            health.faults.met(fault, &words(&error));
            if fault.row().replaces_connection {
                health.replace(&handle);
            }
            if fault.kind().is_outage() {
                return Err(error.into());
            }
            if !fault.is_unhealthy() {
                // A server that refuses PING refuses everything: it may be a proxy without a
                // server.
                health.faults.met(Fault::Unusable, &words(&error));
                return Err(Error::new(Fault::Unusable.kind(), words(&error)));
            }
        }
        match time.map(|time| time.and_then(server_time)) {
            Some(Ok(time)) => {
                // Without the shared state, another server may have the time of the store by now.
                if let (Some(shared), Some(clock)) = (&shared, clock) {
                    clock.adopt(shared.clock, time, began_at);
                    if self.is_cluster() {
                        clock.synchronize(time, began_at);
                    }
                }
                health.clock.synchronize(time, began_at);
            }
            Some(Err(error)) => health.faults.met(Fault::of(&error), &words(&error)),
            None => {}
        }
        // Servers and proxies may not support HELLO.
        if hello.is_some_and(|hello| hello.is_ok_and(|hello| is_replica(&hello))) {
            health.faults.met(Fault::ReadOnly, &"role:slave");
            health.leave_replica(&handle);
        }
        self.ask_for_commands(pool).await;
        if let Some(shards) = shared.as_ref().and_then(|shared| shared.shards) {
            self.check_shards(health, shards)?;
        }
        // Also while a fault lasts: a replica that starts meanwhile must learn how far the clock of
        // the others is ahead.
        if let Some(shared) = shared {
            self.share_clock(pool, shared).await;
        }
        if health.faults.is_any_lasting() {
            return full_probe(pool, keys).await;
        }
        Ok(())
    }

    /// Asks a new server for the commands that Larder can do without.
    async fn ask_for_commands(&self, pool: &RedisPool) {
        let health = pool.health();
        let server = health.server().changes();
        if !health.missing.is_due(server) {
            return;
        }
        let [key, _] = self.schema.probe();
        let mut questions = redis::pipe();
        for command in OptionalCommand::ALL {
            questions.add_command(command.question(&key));
        }
        // Without an answer, the next probe asks.
        if let Ok(answers) = pool.query_each(&questions, &mut None).await {
            health.missing.answered(server, answers);
        }
    }

    /// Writes the state of the clock that Redis does not have yet, to the server that has it. Not
    /// by the slot of its key: a primary of a cluster gets no other requests before its first probe
    /// has ended.
    async fn share_clock(
        &self,
        pool: &RedisPool,
        SharedState { clock: shared, shards }: SharedState,
    ) {
        static REFUSED: Once = Once::new();
        let clock = self.router.clock();
        let (ahead_ms, now) = (clock.ahead_ms(), clock.now());
        let is_known = shared.ahead_ms >= ahead_ms && shards.is_some();
        if is_known && now.since(shared.latest) < CLOCK_WRITE_INTERVAL {
            return;
        }
        let mut call = SHARE_CLOCK.call(&[self.schema.clock()]);
        call.arg(ahead_ms).arg(now.0).arg(self.schema.shards()).arg(millis_ceil(CLOCK_RETENTION));
        let mut commands = redis::pipe();
        commands.add_command(SHARE_CLOCK.load()).add_command(call);
        // If the write fails, each replica still measures the steps that it sees. The operations
        // report other errors.
        let Ok(answers) = pool.query_each(&commands, &mut None).await else { return };
        let errors = answers.into_iter().filter_map(|answer| error_or_value(answer).err());
        if let Some(error) = errors.into_iter().find(|error| Fault::of(error) == Fault::Permission)
        {
            REFUSED.call_once(|| {
                tracing::warn!(%error, "Redis does not store the shared state of its clock");
            });
        }
    }

    /// Fails if the fleet has another number of shards: an invalidation by this replica would miss
    /// markers that the others read, and the other way round.
    fn check_shards(&self, health: &PoolHealth, shards: u64) -> Result<()> {
        let (own, other) = (self.schema.shards(), u16::saturating_from(shards));
        let conflict = (shards != own).then_some(other);
        self.router
            .other_shards()
            .send_if_modified(|before| std::mem::replace(before, conflict) != conflict);
        let Some(other) = conflict else { return Ok(()) };
        let words = format!("the fleet uses store.shards = {other}, this replica {own}");
        health.faults.met(Fault::OtherShards, &words);
        Err(Error::new(Fault::OtherShards.kind(), words))
    }
}

/// Uses all commands that the operations need, and ends the faults that are not met any more. A
/// server without keys is not asked for any.
async fn full_probe(pool: &RedisPool, keys: Option<[String; 2]>) -> Result<()> {
    let began_at = Instant::now();
    let outcome = match keys {
        Some(keys) => {
            let script = pool.eval(&PROBE, &PROBE.call(&keys), Retry::Idempotent).await;
            let missing = &pool.health().missing;
            let probed = probed_commands(&keys, |command| missing.lacks(command));
            let commands = pool.query_all(&probed, Retry::Idempotent).await;
            script.map(|_| ()).and(commands.map(|_| ()))
        }
        None => Ok(()),
    };
    let faults = &pool.health().faults;
    match outcome {
        Ok(()) => {
            faults.passed(began_at);
            Ok(())
        }
        Err(error) if error.kind.is_outage() && error.kind != ErrorKind::Timeout => Err(error),
        Err(error) => {
            if error.kind != ErrorKind::Timeout && faults.trouble().is_none() {
                faults.met(Fault::Unusable, &error);
            }
            Ok(())
        }
    }
}

/// The commands that operations use outside of scripts.
fn probed_commands(keys: &[String; 2], lacks: impl Fn(OptionalCommand) -> bool) -> Pipeline {
    let command = |name: &str, arguments: &[&str]| {
        let mut command: Cmd = redis::cmd(name);
        command.arg(arguments);
        command
    };
    let [one, two] = [keys[0].as_str(), keys[1].as_str()];
    let expiry = millis_ceil(std::time::Duration::from_secs(10)).to_string();
    let mut commands = redis::pipe();
    commands
        .add_command(command("SET", &[one, "probe", "PX", &expiry]))
        .add_command(command("MGET", &[one, two]))
        .add_command(command("UNLINK", &[one]))
        .add_command(command("GETRANGE", &[two, "0", "0"]))
        .add_command(command("STRLEN", &[two]))
        .add_command(command("PTTL", &[two]))
        .add_command(command("HSETNX", &[two, "probe", "1"]))
        .add_command(command("HSET", &[two, "probe", "1"]))
        .add_command(command("PEXPIRE", &[two, &expiry]))
        .add_command(command("HGETALL", &[two]))
        .add_command(command("HLEN", &[two]))
        .add_command(command("UNLINK", &[two]));
    for optional in OptionalCommand::ALL.iter().filter(|command| !lacks(**command)) {
        commands.add_command(optional.question(one));
    }
    commands
}

/// State that the replicas of a fleet share besides entries.
#[derive(Debug, PartialEq, Eq)]
struct SharedState {
    clock: SharedClock,
    /// None if no replica has written it yet.
    shards: Option<u64>,
}

/// The shared state; none if the answer is not a hash.
fn shared_state(answer: Value) -> Option<SharedState> {
    let fields: HashMap<String, u64> = redis::from_redis_value(answer).ok()?;
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let clock =
        SharedClock { ahead_ms: field(AHEAD_FIELD), latest: Timestamp(field(LATEST_FIELD)) };
    Some(SharedState { clock, shards: fields.get(SHARDS_FIELD).copied() })
}

fn server_time(answer: Value) -> RedisResult<Timestamp> {
    let (seconds, micros): (u64, u64) =
        redis::from_redis_value(answer).map_err(RedisError::from)?;
    Ok(Timestamp(seconds.saturating_mul(1000).saturating_add(micros / 1000)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_probed() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/redis");
        let names = |text: &str, call: &str, quote: char| {
            let after = text.split(call).skip(1);
            let names = after.filter_map(|rest| rest.split(quote).next().map(str::to_owned));
            let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_uppercase());
            names.filter(is_name).collect::<std::collections::BTreeSet<String>>()
        };
        let in_script = |script: &str| {
            let mut all = names(script, "redis.call('", '\'');
            all.extend(names(script, "redis.pcall('", '\''));
            all
        };
        let probed_by_script = in_script(include_str!("scripts/probe.lua"));
        let commands = probed_commands(&["a".to_owned(), "b".to_owned()], |_| false);
        let probed: std::collections::BTreeSet<String> = commands
            .cmd_iter()
            .filter_map(|command| match command.args_iter().next() {
                Some(redis::Arg::Simple(name)) => String::from_utf8(name.to_vec()).ok(),
                _ => None,
            })
            .collect();
        // Those of the setup of connections, of the probe itself, of the scripts, and of the
        // journals that are withdrawn, which can fail.
        let others = [
            "CLIENT", "CLUSTER", "ASKING", "CONFIG", "EVALSHA", "HELLO", "PING", "SCRIPT", "TIME",
            "GET", "EVAL", "WAIT", "HDEL",
        ];
        let of_sentinels = ["SENTINEL", "SUBSCRIBE"];
        let mut paths = vec![directory];
        while let Some(path) = paths.pop() {
            if path.is_dir() {
                let entries = std::fs::read_dir(&path).unwrap();
                paths.extend(entries.map(|entry| entry.unwrap().path()));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            if path.extension().is_some_and(|extension| extension == "lua") {
                let missing: Vec<_> =
                    in_script(&text).difference(&probed_by_script).cloned().collect();
                assert!(missing.is_empty(), "{}: {missing:?}", path.display());
            } else if !path.ends_with("probe.rs") {
                let used = names(&text, "cmd(\"", '"');
                let is_other = |name: &str| others.contains(&name) || of_sentinels.contains(&name);
                let is_missing =
                    |name: &&String| !probed.contains(*name) && !is_other(name.as_str());
                let missing: Vec<_> = used.iter().filter(is_missing).collect();
                assert!(missing.is_empty(), "{}: {missing:?}", path.display());
            }
        }
    }

    #[test]
    fn shared_state_is_read_from_maps_and_arrays() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let clock = SharedClock { ahead_ms: 7, latest: Timestamp(9) };
        let map = vec![(text("ahead"), text("7")), (text("latest"), text("9"))];
        let expected = Some(SharedState { clock, shards: None });
        assert_eq!(shared_state(Value::Map(map)), expected);
        let mut array = vec![text("latest"), text("9"), text("ahead"), text("7")];
        array.extend([text("shards"), text("64")]);
        let expected = Some(SharedState { clock, shards: Some(64) });
        assert_eq!(shared_state(Value::Array(array)), expected);
        let nothing = SharedState { clock: SharedClock::default(), shards: None };
        assert_eq!(shared_state(Value::Map(Vec::new())), Some(nothing));
        assert_eq!(shared_state(Value::Okay), None);
    }

    #[test]
    fn time_is_read_in_milliseconds() {
        let time = Value::Array(vec![Value::Int(12), Value::Int(345_678)]);
        assert_eq!(server_time(time), Ok(Timestamp(12_345)));
        assert!(server_time(Value::Nil).is_err());
    }
}
