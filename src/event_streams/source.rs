//! Reads one stream: reads, applies, acknowledges.

use std::{io, sync::Arc, time::Duration};

use rand::RngExt as _;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisError, RedisResult};
use repeated_events::{LogInterval, RepeatedEvent};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    SourceParts,
    commands::{CONSUMER_PREFIX, Claimed, Commands},
    entry::{Entry, State},
    entry_records::EntryRecords,
    stats::{EntryOutcome, SourceStats},
};
use crate::{
    audit::AuditLog,
    cache::{Cache, Error, EventRoute},
    config::{EventSourceConfig, StreamStart},
    growing_pauses::growing_pauses,
    model::SaturatingFrom as _,
    store::redis::Endpoint,
};

/// Time for which the server waits for an entry. It bounds the time to stop.
const READ_WAIT: Duration = Duration::from_millis(500);
/// Time limit of an answer, besides that wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two looks at the figures of the group.
const FIGURES_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two searches for consumers that are gone.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Time without a read after which a consumer is gone.
const CONSUMER_IDLE: Duration = Duration::from_secs(60 * 60);
/// Least and greatest time between two attempts to connect, or to apply, before jitter.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Least time between two log lines about single entries.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A source and its state.
pub(super) struct Source {
    config: EventSourceConfig,
    endpoint: Endpoint,
    connect_timeout: Duration,
    consumer: String,
    cache: Arc<Cache>,
    audit: AuditLog,
    stats: Arc<SourceStats>,
    /// Whether the group was there: a new one then begins at the oldest entry.
    had_group: bool,
    /// Entries that are read and not acknowledged. They survive a lost connection.
    held: Vec<Entry>,
    /// Where the search for entries of other consumers goes on.
    claim_from: String,
    claim_at: Instant,
    figures_at: Instant,
    cleanup_at: Instant,
    connection_log: RepeatedEvent,
    store_log: RepeatedEvent,
    refused_log: LogInterval,
    lost_log: LogInterval,
}

impl Source {
    pub(super) fn new(
        config: EventSourceConfig,
        endpoint: Endpoint,
        connect_timeout: Duration,
        parts: SourceParts,
        stats: Arc<SourceStats>,
    ) -> Self {
        let SourceParts { cache, audit, tls: _ } = parts;
        let random = || format!("{CONSUMER_PREFIX}{:016x}", rand::rng().random::<u64>());
        let consumer = if config.consumer.is_empty() { random() } else { config.consumer.clone() };
        let now = Instant::now();
        Self {
            config,
            endpoint,
            connect_timeout,
            consumer,
            cache,
            audit,
            stats,
            had_group: false,
            held: Vec::new(),
            claim_from: START.to_owned(),
            claim_at: now,
            figures_at: now,
            cleanup_at: now,
            connection_log: RepeatedEvent::default(),
            store_log: RepeatedEvent::default(),
            refused_log: LogInterval::new(LOG_INTERVAL),
            lost_log: LogInterval::new(LOG_INTERVAL),
        }
    }

    /// Reads until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut pauses = growing_pauses(MIN_PAUSE, MAX_PAUSE);
        loop {
            let error = match self.follow(&stop).await {
                Ok(()) => return,
                Err(error) => error,
            };
            if self.stats.is_connected() {
                pauses = growing_pauses(MIN_PAUSE, MAX_PAUSE);
            }
            self.stats.set_connected(false);
            let stream = &self.config.redis_stream;
            if let Some(summary) = self.connection_log.occurred() {
                let count = summary.count;
                tracing::warn!(%stream, %error, count, "the event source is lost");
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            // Held entries are applied even without the stream. The next attempt reports a failure.
            let _ = self.apply().await;
        }
    }

    /// Reads on one connection until that fails, or until `stop`.
    async fn follow(&mut self, stop: &CancellationToken) -> RedisResult<()> {
        let connecting = self.connect();
        let Some(connection) = stop.run_until_cancelled(connecting).await else { return Ok(()) };
        let (config, consumer) = (self.config.clone(), self.consumer.clone());
        let (connection, term) = connection?;
        let mut commands = Commands { connection, source: &config, consumer: &consumer };
        let endpoint = self.endpoint.clone();
        let moved = async move { endpoint.moved_by_sentinels(term).await };
        let moved = AbortOnDropHandle::new(tokio::spawn(moved));
        let start = if self.had_group { StreamStart::Oldest } else { config.start };
        self.create_group(&mut commands, start).await?;
        loop {
            self.settle(&mut commands, stop).await?;
            if stop.is_cancelled() {
                self.leave(&mut commands).await;
                return Ok(());
            }
            match self.next(&mut commands).await {
                Ok(()) => self.found(),
                // After FLUSHALL, or if the stream was deleted.
                Err(error) if error.code() == Some("NOGROUP") => {
                    self.create_group(&mut commands, StreamStart::Oldest).await?;
                }
                Err(error) => return Err(error),
            }
            if moved.is_finished() {
                return Err((ErrorKind::Io, "the sentinels name another primary").into());
            }
        }
    }

    async fn connect(&self) -> RedisResult<(redis::aio::MultiplexedConnection, u64)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(READ_WAIT + ANSWER_TIMEOUT));
        let connecting = self.endpoint.connect(ProtocolVersion::RESP2, &config);
        let connected = tokio::time::timeout(self.connect_timeout, connecting).await;
        connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    async fn create_group(
        &mut self,
        commands: &mut Commands<'_>,
        start: StreamStart,
    ) -> RedisResult<()> {
        let is_new = commands.create_group(start).await?;
        if is_new && self.had_group {
            let (stream, group) = (&self.config.redis_stream, &self.config.group);
            tracing::warn!(
                %stream,
                %group,
                "the consumer group was missing: events may be lost. It begins at the oldest entry"
            );
        }
        self.had_group = true;
        Ok(())
    }

    /// The stream is read.
    fn found(&mut self) {
        if self.stats.is_connected() {
            return;
        }
        self.stats.set_connected(true);
        let (stream, group) = (&self.config.redis_stream, &self.config.group);
        match self.connection_log.ended_if(|_| true) {
            Some(summary) => {
                let (count, seconds) = (summary.count, summary.seconds);
                tracing::info!(%stream, count, seconds, "the event source is back");
            }
            None => tracing::info!(%stream, %group, "the event source is read"),
        }
    }

    /// Fills `held`, which is empty, with entries that are pending elsewhere or new. Waits for one.
    async fn next(&mut self, commands: &mut Commands<'_>) -> RedisResult<()> {
        let now = Instant::now();
        if now >= self.figures_at {
            self.figures_at = now + FIGURES_INTERVAL;
            // Users without the right to ask can still read.
            let (pending, lag) = optional(commands.figures().await)?.unwrap_or_default();
            self.stats.set_group(pending, lag);
        }
        if now >= self.cleanup_at {
            self.cleanup_at = now + CLEANUP_INTERVAL;
            optional(commands.remove_consumers(false, millis(CONSUMER_IDLE)).await)?;
        }
        if now >= self.claim_at {
            self.claim(commands).await?;
        }
        if self.held.is_empty() {
            // The search for entries of other consumers goes on at once.
            let wait = (self.claim_from == START).then_some(READ_WAIT);
            self.held = commands.read(wait.map(millis)).await?;
        }
        Ok(())
    }

    async fn claim(&mut self, commands: &mut Commands<'_>) -> RedisResult<()> {
        let Claimed { next, mut entries, lost } = commands.claim(&self.claim_from).await?;
        if next.is_none() {
            self.claim_at = Instant::now() + self.config.min_idle / 2;
        }
        self.claim_from = next.unwrap_or_else(|| START.to_owned());
        self.lose(commands, &lost).await?;
        if entries.is_empty() {
            return Ok(());
        }
        self.stats.count(EntryOutcome::Claimed, entries.len());
        let deliveries = commands.deliveries(&entries).await?;
        for (entry, deliveries) in entries.iter_mut().zip(deliveries) {
            if deliveries > self.config.max_deliveries {
                entry.state = State::Refused(format!("it was delivered {deliveries} times"));
            }
        }
        self.held = entries;
        Ok(())
    }

    /// Entries that were trimmed while they were pending.
    async fn lose(&mut self, commands: &mut Commands<'_>, lost: &[String]) -> RedisResult<()> {
        if lost.is_empty() {
            return Ok(());
        }
        self.stats.count(EntryOutcome::Lost, lost.len());
        if let Some(count) = self.lost_log.occurred() {
            let (stream, entries) = (&self.config.redis_stream, lost.len());
            tracing::warn!(
                %stream,
                count,
                entries,
                "events are lost: the stream was trimmed before they were applied"
            );
        }
        let ids: Vec<&str> = lost.iter().map(String::as_str).collect();
        commands.acknowledge(&ids).await
    }

    /// Applies and acknowledges what is held. Ends early at `stop` if the store does not answer.
    async fn settle(
        &mut self,
        commands: &mut Commands<'_>,
        stop: &CancellationToken,
    ) -> RedisResult<()> {
        // Short enough to renew the claim on the entries before another consumer takes them over.
        let mut pauses = growing_pauses(MIN_PAUSE, MAX_PAUSE.min(self.config.min_idle / 4));
        while !self.held.is_empty() {
            let error = self.apply().await;
            self.finish(commands).await?;
            let Some(error) = error else {
                if let Some(summary) = self.store_log.ended_if(|_| true) {
                    let (stream, seconds) = (&self.config.redis_stream, summary.seconds);
                    tracing::info!(%stream, seconds, "events are applied again");
                }
                return Ok(());
            };
            if let Some(summary) = self.store_log.occurred() {
                let (stream, count, entries) =
                    (&self.config.redis_stream, summary.count, self.held.len());
                tracing::warn!(%stream, %error, count, entries, "events wait for the store");
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
            if stop.run_until_cancelled(pause).await.is_none() {
                return Ok(());
            }
            commands.hold(&self.held).await?;
        }
        Ok(())
    }

    /// Applies the events of all entries that are read. Returns why some are not applied.
    async fn apply(&mut self) -> Option<Error> {
        let (mut plans, mut planned) = (Vec::new(), Vec::new());
        let mut records = EntryRecords::new(&self.audit, &self.config.redis_stream);
        for (index, entry) in self.held.iter_mut().enumerate() {
            if entry.state != State::Read {
                continue;
            }
            let event = entry.event_name(&self.config).and_then(|name| {
                let attributes = self.cache.event_attributes(name);
                entry.event(&self.config, attributes)
            });
            let plan = event.and_then(|event| {
                let plan = self.cache.plan_event(&event, EventRoute::Stream);
                plan.inspect(|plan| records.add(&entry.id, event.name(), plan))
                    .map_err(|error| error.to_string())
            });
            match plan {
                Ok(plan) => {
                    plans.push(plan);
                    planned.push(index);
                }
                Err(reason) => {
                    records.refuse(&entry.id);
                    entry.state = State::Refused(reason);
                }
            }
        }
        let results = self.cache.apply_events(plans, EventRoute::Stream).await;
        records.finish(&results);
        let mut failure = None;
        for (index, result) in planned.into_iter().zip(results) {
            match result {
                Ok(_) => self.held[index].state = State::Applied,
                Err(error) => failure = Some(error),
            }
        }
        failure
    }

    /// Acknowledges the entries that are applied or refused, and keeps the others.
    async fn finish(&mut self, commands: &mut Commands<'_>) -> RedisResult<()> {
        let (mut ids, mut applied, mut refused) = (Vec::new(), 0, 0);
        for entry in &self.held {
            match &entry.state {
                State::Read => continue,
                State::Applied => applied += 1,
                State::Refused(reason) => {
                    // A copy that the server refuses must not keep other events back.
                    let error = match commands.bury(entry, reason).await {
                        Err(error) if error.is_io_error() => return Err(error),
                        copied => copied.err(),
                    };
                    refused += 1;
                    if let Some(count) = self.refused_log.occurred() {
                        let (stream, id) = (&self.config.redis_stream, &entry.id);
                        let not_copied = error.as_ref().map(tracing::field::display);
                        tracing::warn!(
                            %stream, %id, reason, count, not_copied, "an event is refused"
                        );
                    }
                }
            }
            ids.push(entry.id.as_str());
        }
        commands.acknowledge(&ids).await?;
        self.stats.count(EntryOutcome::Applied, applied);
        self.stats.count(EntryOutcome::Refused, refused);
        self.held.retain(|entry| entry.state == State::Read);
        Ok(())
    }

    /// Ends the part in the group, unless entries are pending.
    async fn leave(&mut self, commands: &mut Commands<'_>) {
        if self.config.consumer.is_empty() {
            // Otherwise another replica removes it later.
            let _ = commands.remove_consumers(true, millis(CONSUMER_IDLE)).await;
        }
        self.stats.set_connected(false);
    }
}

/// Id before all entries.
const START: &str = "0-0";

/// The answer to a command that the server may refuse.
fn optional<T>(answer: RedisResult<T>) -> Result<Option<T>, RedisError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_io_error() || error.code() == Some("NOGROUP") => Err(error),
        Err(error) => {
            tracing::debug!(%error, "the server refuses a command on the stream");
            Ok(None)
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::saturating_from(duration.as_millis())
}
