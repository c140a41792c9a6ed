//! The journals of the fleet: a hash with the time at which each was empty last, in milliseconds
//! by the store's clock.

use async_trait::async_trait;

use super::{RedisStore, pool::Retry};
use crate::{
    model::Timestamp,
    store::{
        Result,
        journal::quarantine::{JournalRegistry, JournalReport},
    },
};

/// Most journals that are read; more replicas than a fleet has.
const MAX_JOURNALS: usize = 4096;

#[async_trait]
impl JournalRegistry for RedisStore {
    async fn report_journal(&self, id: &str, empty_at: Option<Timestamp>) -> Result<()> {
        let command = if empty_at.is_some() { "HSET" } else { "HSETNX" };
        let Timestamp(empty_at) = empty_at.unwrap_or_default();
        let mut write = redis::cmd(command);
        write.arg(self.schema.journals()).arg(id).arg(empty_at);
        self.router.query(&write, Retry::Idempotent).await?;
        Ok(())
    }

    async fn withdraw_journal(&self, id: &str) -> Result<()> {
        let mut write = redis::cmd("HDEL");
        write.arg(self.schema.journals()).arg(id);
        self.router.query(&write, Retry::Idempotent).await?;
        Ok(())
    }

    async fn journals(&self) -> Result<Vec<JournalReport>> {
        let mut read = redis::cmd("HGETALL");
        read.arg(self.schema.journals());
        let hash = self.router.query(&read, Retry::Idempotent).await?;
        let fields: Vec<(String, u64)> =
            redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
        let report = |(id, empty_at)| JournalReport { id, empty_at: Timestamp(empty_at) };
        Ok(fields.into_iter().map(report).take(MAX_JOURNALS).collect())
    }
}
