//! Reads what an announcement of a marker or of a ban means for the watches of a namespace.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use redis::Value;

use super::{
    ban_log::LogPart,
    ban_logs::BanLogs,
    key_schema::KeySchema,
    marker::Position,
    pool::Retry,
    router::Router,
    script::READ_BANS,
    watched_namespace::{News, Reading, WatchedNamespace},
};
use crate::{
    changes::{ChangeHub, MissedChanges, Proof, PublishedChange},
    model::Namespace,
    store::Result,
};

/// Bans that are published one by one. More of them are published as an invalidation of the
/// namespace.
const MAX_BANS: u64 = 1000;
/// Tags and patterns that are published one by one.
const MAX_TARGETS: usize = 10_000;

/// Changes of a namespace that Redis has announced, besides entries.
#[derive(Debug, Default)]
pub(super) struct AnnouncedNews {
    /// Shards whose marker has changed.
    pub(super) shards: BTreeSet<usize>,
    /// Whether the namespace was invalidated as a whole.
    pub(super) is_invalidated: bool,
}

/// Reads markers and bans, and publishes the invalidations.
#[derive(Clone)]
pub(super) struct ChangeChecks {
    router: Router,
    schema: Arc<KeySchema>,
    bans: BanLogs,
    hub: Arc<ChangeHub>,
}

impl ChangeChecks {
    pub(super) fn new(
        router: Router,
        schema: Arc<KeySchema>,
        bans: BanLogs,
        hub: Arc<ChangeHub>,
    ) -> Self {
        Self { router, schema, bans, hub }
    }

    /// The state in Redis now. Changes of it are announced already.
    pub(super) async fn begin(&self, namespace: &Namespace) -> Result<WatchedNamespace> {
        let watched = self.read_all(namespace).await?;
        self.set_proof(namespace, &watched);
        Ok(watched)
    }

    /// Reads what was announced, and publishes it.
    pub(super) async fn check(
        &self,
        namespace: &Namespace,
        watched: &mut WatchedNamespace,
        announced: &AnnouncedNews,
    ) -> Result<()> {
        let markers = self.schema.markers(namespace).into_iter().enumerate();
        let markers = markers.filter(|(shard, _)| announced.shards.contains(shard)).collect();
        let mut news = watched.update(self.read(namespace, markers).await?);
        if announced.is_invalidated {
            news = News::Invalidated;
        }
        let changes = match news {
            News::Nothing => Vec::new(),
            News::Invalidated => vec![PublishedChange::Namespace],
            News::BannedSince(since) => {
                let bans = self.bans_since(namespace, since, watched.head()).await?;
                bans.unwrap_or_else(|| vec![PublishedChange::Namespace])
            }
        };
        for change in changes {
            self.hub.publish(namespace.as_str(), change);
        }
        self.set_proof(namespace, watched);
        Ok(())
    }

    fn set_proof(&self, namespace: &Namespace, watched: &WatchedNamespace) {
        let server = self.router.process_id();
        self.hub.set_proof(namespace, watched.proof(server));
    }

    async fn read_all(&self, namespace: &Namespace) -> Result<WatchedNamespace> {
        let markers = self.schema.markers(namespace).into_iter().enumerate().collect();
        Ok(WatchedNamespace::new(self.read(namespace, markers).await?))
    }

    /// Reads markers and the head of the log. Each change of them is announced, so that they need
    /// not be read at one moment.
    async fn read(&self, namespace: &Namespace, markers: Vec<(usize, String)>) -> Result<Reading> {
        let [head, ..] = self.schema.ban_log(namespace);
        let mut names: Vec<&str> = markers.iter().map(|(_, name)| name.as_str()).collect();
        names.push(&head);
        let mut values = self.router.mget(&names).await?;
        let bytes = |value: Value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        let head = values.pop().and_then(bytes);
        let shards = markers.into_iter().map(|(shard, _)| shard);
        Ok(Reading { markers: shards.zip(values.into_iter().map(bytes)).collect(), head })
    }

    /// The bans after `since`; `None` if that are too many, or not all of them are known.
    async fn bans_since(
        &self,
        namespace: &Namespace,
        since: Position,
        head: Position,
    ) -> Result<Option<Vec<PublishedChange>>> {
        if head.sequence - since.sequence.min(head.sequence) > MAX_BANS {
            return Ok(None);
        }
        let mut call = self.bans.log_call(&READ_BANS, namespace);
        call.arg(&since.encode());
        let mut reply = self.router.run(&READ_BANS, &call, Retry::Idempotent).await?;
        if reply.word != "LOG" {
            return Ok(None);
        }
        let Some((tags, globs)) = LogPart::parse(&mut reply)?.newer_than(since) else {
            return Ok(None);
        };
        if tags.len() + globs.len() > MAX_TARGETS {
            return Ok(None);
        }
        let tags = (!tags.is_empty()).then_some(PublishedChange::Tags(tags));
        let globs = globs.into_iter().map(PublishedChange::Pattern);
        Ok(Some(tags.into_iter().chain(globs).collect()))
    }
}

#[async_trait]
impl MissedChanges for ChangeChecks {
    async fn missed(&self, namespace: &Namespace, proof: &Proof) -> Option<Vec<PublishedChange>> {
        let watched = self.read_all(namespace).await.ok()?;
        let server = self.router.process_id();
        let since = watched.published_at(proof, server)?;
        self.bans_since(namespace, since, watched.head()).await.ok()?
    }
}
