//! Waits until replicas of Redis have what was written.
//!
//! Redis acknowledges a write before its replicas have it, so that a failover can take it back.
//! WAIT returns when enough replicas have everything that its connection has written. It holds up
//! the commands behind it, so it has a connection of its own, on which a small write marks the end
//! of what others have written before. All calls that wait at the same time share one WAIT.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bb8_redis::bb8::ManageConnection as _;
use redis::{Cmd, Pipeline, Value};
use repeated_events::LogInterval;
use tokio::{sync::Mutex, time::timeout};

use super::{
    connection::{ConnectionManager, Handle, PoolHealth},
    request::{Each, Request as _, error_or_value, unexpected},
};
use crate::{
    error_chain::ErrorChain,
    model::millis_ceil,
    store::{Error, ErrorKind, Result},
};

/// Time for which Redis keeps the key that is written.
const MARK_TTL: Duration = Duration::from_secs(3600);
/// Shortest time between two log lines about replicas that lack a change.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The replicas that must have a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredReplicas {
    /// A number of them.
    AtLeast(u8),
    /// Those that are connected, and at least one.
    All,
}

/// Options of the waits for replicas. Clones share the counts.
#[derive(Debug, Clone)]
pub struct ReplicationOptions {
    required: RequiredReplicas,
    /// Time limit of a wait.
    timeout: Duration,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    replicated: AtomicU64,
    failed: AtomicU64,
    failures: parking_lot::Mutex<LogInterval>,
}

/// Waits for the replicas of one server.
pub(super) struct Replication {
    manager: ConnectionManager,
    options: ReplicationOptions,
    round: Mutex<Round>,
    /// Number of rounds that have begun.
    begun: AtomicU64,
}

/// The last WAIT, and its connection.
#[derive(Default)]
struct Round {
    number: u64,
    outcome: Option<Result<u32>>,
    handle: Option<Arc<Handle>>,
}

// === impl ReplicationOptions ===

impl ReplicationOptions {
    /// Waits for these replicas, each time for `timeout` at most.
    pub fn new(required: RequiredReplicas, timeout: Duration) -> Self {
        let counts = Counts {
            replicated: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failures: parking_lot::Mutex::new(LogInterval::new(LOG_INTERVAL)),
        };
        Self { required, timeout, counts: Arc::new(counts) }
    }

    /// Waits that enough replicas have ended, and those that failed.
    pub fn counts(&self) -> [u64; 2] {
        [&self.counts.replicated, &self.counts.failed].map(|count| count.load(Relaxed))
    }
}

// === impl Counts ===

impl Counts {
    fn record(&self, outcome: &Result<u32>) {
        let Err(error) = outcome else {
            self.replicated.fetch_add(1, Relaxed);
            return;
        };
        self.failed.fetch_add(1, Relaxed);
        if let Some(count) = self.failures.lock().occurred() {
            tracing::warn!(
                error = %ErrorChain(error),
                remedy = "check the replicas of Redis, store.wait_replicas and store.wait_timeout",
                count,
                "replicas of Redis lack a change: a failover may take it back"
            );
        }
    }
}

// === impl Replication ===

impl Replication {
    pub(super) fn new(manager: ConnectionManager, options: ReplicationOptions) -> Self {
        Self { manager, options, round: Mutex::default(), begun: AtomicU64::new(0) }
    }

    /// Waits until enough replicas have everything that the server has acknowledged before, and
    /// returns their number. `key` is a key in one of the server's slots.
    ///
    /// # Errors
    /// [`ErrorKind::NotReplicated`], with the cause, or [`ErrorKind::Refused`] if the server does
    /// not answer as Redis does.
    pub(super) async fn wait(&self, key: &str) -> Result<u32> {
        // A round that has begun already may lack the caller's write.
        let begun = self.begun.load(Relaxed);
        let mut round = self.round.lock().await;
        if round.number <= begun || round.outcome.is_none() {
            round.number = self.begun.fetch_add(1, Relaxed) + 1;
            round.outcome = None;
            let limit = self.options.timeout + self.manager.timeout;
            let outcome = timeout(limit, self.run_round(&mut round, key)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(not_replicated("no answer to WAIT")));
            if outcome.is_err() {
                // The answer may still be under way.
                round.handle = None;
            }
            round.outcome = Some(outcome);
        }
        let outcome = round.outcome.clone().unwrap_or_else(|| Err(unexpected("WAIT")));
        self.options.counts.record(&outcome);
        outcome
    }

    async fn run_round(&self, round: &mut Round, key: &str) -> Result<u32> {
        let handle = self.handle(round).await?;
        let required = match self.options.required {
            RequiredReplicas::AtLeast(count) => u32::from(count),
            RequiredReplicas::All => {
                let mut info = redis::pipe();
                info.cmd("INFO").arg("replication");
                let [info] = self.send(&handle, &info).await?;
                let text: String = redis::from_redis_value(info).unwrap_or_default();
                online_replicas(&text).max(1)
            }
        };
        let mut commands = redis::pipe();
        let ttl = millis_ceil(MARK_TTL);
        // Redis refuses SET, but not PEXPIRE, if it is out of memory.
        commands.cmd("SET").arg(key).arg("1").arg("PX").arg(ttl);
        commands.cmd("PEXPIRE").arg(key).arg(ttl);
        commands.add_command(wait(required, self.options.timeout));
        let [set, expired, replicas] = self.send(&handle, &commands).await?;
        if !matches!(expired, Value::Int(1)) {
            let error = error_or_value(set).and(error_or_value(expired)).err();
            return Err(error.map_or_else(|| unexpected("PEXPIRE"), not_replicated));
        }
        let replicas: u32 = match error_or_value(replicas).map_err(not_replicated)? {
            Value::Int(replicas) => u32::try_from(replicas).unwrap_or(0),
            _ => return Err(unexpected("WAIT")),
        };
        if !self.health().is_usable(&handle) {
            return Err(not_replicated("another server has taken the place of the primary"));
        }
        if replicas < required {
            return Err(not_replicated(format!(
                "{replicas} of {required} replicas have it after {:?} (store.wait_timeout)",
                self.options.timeout
            )));
        }
        Ok(replicas)
    }

    async fn handle(&self, round: &mut Round) -> Result<Arc<Handle>> {
        if let Some(handle) = &round.handle
            && self.health().is_usable(handle)
        {
            return Ok(handle.clone());
        }
        round.handle = None;
        let handle = self.manager.connect().await.map_err(not_replicated)?;
        round.handle = Some(handle.clone());
        Ok(handle)
    }

    async fn send<const N: usize>(
        &self,
        handle: &Handle,
        commands: &Pipeline,
    ) -> Result<[Value; N]> {
        let answers = Each(commands).send(handle.connection.clone()).await;
        let answers = answers.map_err(|refusal| not_replicated(refusal.error))?;
        answers.try_into().map_err(|_| unexpected("WAIT"))
    }

    fn health(&self) -> &PoolHealth {
        &self.manager.health
    }
}

fn wait(replicas: u32, timeout: Duration) -> Cmd {
    let mut wait = redis::cmd("WAIT");
    wait.arg(replicas).arg(millis_ceil(timeout));
    wait
}

/// The error of a write that may be lost in a failover.
pub(super) fn not_replicated(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::NotReplicated, cause)
}

/// Replicas that receive all writes. One that is loading a copy of the data is not.
fn online_replicas(info: &str) -> u32 {
    let is_online = |line: &&str| {
        let is_replica = line.strip_prefix("slave").is_some_and(|rest| {
            rest.split_once(':').is_some_and(|(number, _)| number.parse::<u32>().is_ok())
        });
        is_replica && line.split([',', ':']).any(|field| field == "state=online")
    };
    u32::try_from(info.lines().filter(is_online).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_that_are_online_are_counted() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:2\r\n\
                    slave0:ip=127.0.0.1,port=6380,state=online,offset=14,lag=0\r\n\
                    slave1:ip=127.0.0.1,port=6381,state=wait_bgsave,offset=0,lag=0\r\n\
                    slave_read_only:1\r\nmaster_failover_state:no-failover\r\n";
        assert_eq!(online_replicas(info), 1);
        assert_eq!(online_replicas("role:master\r\nconnected_slaves:0\r\n"), 0);
    }
}
