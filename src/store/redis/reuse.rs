//! Events, counts and tables of followed keys: one hash for the events that wait to be joined, one
//! per bucket for the counts, and a value per namespace for its keys.

use std::collections::BTreeMap;

use redis::Value;
use serde::de::DeserializeOwned;

use super::RedisStore;
use crate::{
    stats::reuse::{
        REUSE_WINDOW,
        counts::ReuseFigures,
        event::{ReuseAnswer, SentEvents},
        table::{ReuseState, ReuseTable},
    },
    store::Result,
};

/// Time for which a replica joins the events after it has last asked for them, in milliseconds.
const TURN_MS: u64 = 20_000;
/// Time for which events wait to be joined, in milliseconds.
const EVENTS_MS: u64 = 60_000;
/// Most batches that wait to be joined: those of 256 replicas for 20 s.
const MAX_BATCHES: u64 = 1024;
/// Longest field that is read, in bytes: more than one batch or one table can take.
const MAX_FIELD_BYTES: usize = 4 * 1024 * 1024;
/// Time for which the keys of a namespace are kept, in milliseconds.
const TABLE_MS: u64 = 25 * 3_600_000;

impl RedisStore {
    pub(super) async fn exchange_reuse_events(
        &self,
        replica: u64,
        SentEvents { id, namespaces }: &SentEvents,
    ) -> Result<ReuseAnswer> {
        let (turn, waiting) = (self.schema.reuse_turn(), self.schema.reuse_events());
        let own = format!("{replica:016x}");
        let mut left = redis::pipe();
        left.cmd("SET").arg(&turn).arg(&own).arg("NX").arg("PX").arg(TURN_MS);
        left.cmd("GET").arg(&turn);
        left.cmd("HLEN").arg(&waiting);
        left.cmd("GET").arg(self.schema.reuse_shares());
        // Numbers and texts can always be written as JSON.
        let text = serde_json::to_string(namespaces).ok();
        if let Some(text) = text.filter(|_| !namespaces.is_empty()) {
            // If the answer is lost, the same field is set again.
            let field = format!("{own}:{id:016x}");
            left.cmd("HSET").arg(&waiting).arg(field).arg(text);
            left.cmd("PEXPIRE").arg(&waiting).arg(EVENTS_MS);
        }
        let answers = self.router.query_all(&left).await?;
        let shares = match answers.get(3) {
            Some(Value::BulkString(text)) => read(text).unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        if matches!(answers.get(2), Some(Value::Int(batches)) if *batches as u64 >= MAX_BATCHES) {
            // No replica joins them: without a bound they would fill the memory.
            let mut all = redis::pipe();
            all.cmd("UNLINK").arg(&waiting);
            self.router.query_all(&all).await?;
            return Ok(ReuseAnswer { taken: None, shares });
        }
        if answers.get(1) != Some(&Value::BulkString(own.into_bytes())) {
            return Ok(ReuseAnswer { taken: None, shares });
        }
        let mut taken = redis::pipe();
        taken.cmd("PEXPIRE").arg(&turn).arg(TURN_MS);
        taken.hgetall(&waiting);
        let mut answers = self.router.query_all(&taken).await?;
        let fields = fields_in(answers.pop().unwrap_or(Value::Nil))?;
        if !fields.is_empty() {
            let mut joined = redis::pipe();
            let names = fields.iter().map(|(name, _)| name);
            joined.cmd("HDEL").arg(&waiting).arg(names.collect::<Vec<_>>());
            // Batches that are not removed are returned again, under the same ids.
            let _ = self.router.query_all(&joined).await;
        }
        let sent = fields.into_iter().filter_map(|(name, text)| sent(&name, &text));
        Ok(ReuseAnswer { taken: Some(sent.collect()), shares })
    }

    pub(super) async fn read_reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>> {
        let mut get = redis::pipe();
        get.cmd("GET").arg(self.schema.reuse_table(namespace));
        let answer = self.router.query_all(&get).await?.pop();
        let text = match answer {
            Some(Value::BulkString(text)) => text,
            _ => return Ok(None),
        };
        Ok(read(&text).filter(ReuseTable::is_valid))
    }

    pub(super) async fn read_reuse_figures(
        &self,
        bucket: u64,
    ) -> Result<BTreeMap<String, ReuseFigures>> {
        let mut get = redis::pipe();
        get.hgetall(self.schema.reuse_figures(bucket));
        let answer = self.router.query_all(&get).await?.pop().unwrap_or(Value::Nil);
        let fields = fields_in(answer)?.into_iter();
        Ok(fields.filter_map(|(namespace, text)| Some((namespace, read(&text)?))).collect())
    }

    pub(super) async fn store_reuse(&self, state: &ReuseState) -> Result<()> {
        let mut writes = redis::pipe();
        let name = self.schema.reuse_figures(state.bucket);
        for (namespace, figures) in &state.figures {
            let Ok(text) = serde_json::to_string(figures) else { continue };
            writes.cmd("HSET").arg(&name).arg(namespace).arg(text);
        }
        if !state.figures.is_empty() {
            writes.cmd("PEXPIRE").arg(&name).arg(REUSE_WINDOW.retention_ms());
        }
        for (namespace, table) in &state.tables {
            let Ok(text) = serde_json::to_string(table) else { continue };
            let name = self.schema.reuse_table(namespace);
            writes.cmd("SET").arg(name).arg(text).arg("PX").arg(TABLE_MS);
        }
        if let Ok(text) = serde_json::to_string(&state.shares)
            && !state.shares.is_empty()
        {
            writes.cmd("SET").arg(self.schema.reuse_shares()).arg(text).arg("PX").arg(TABLE_MS);
        }
        if !writes.is_empty() {
            self.router.query_all(&writes).await?;
        }
        Ok(())
    }
}

/// The events of a field.
fn sent(name: &str, text: &[u8]) -> Option<SentEvents> {
    let (_, id) = name.split_once(':')?;
    Some(SentEvents { id: u64::from_str_radix(id, 16).ok()?, namespaces: read(text)? })
}

fn fields_in(hash: Value) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(redis::from_redis_value(hash).map_err(redis::RedisError::from)?)
}

/// The value of a text; none if it is too long, or if this release cannot read it.
fn read<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let is_short = text.len() <= MAX_FIELD_BYTES;
    is_short.then(|| serde_json::from_slice(text).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::reuse::event::ReuseBatch;

    #[test]
    fn what_this_release_cannot_read_is_left_out() {
        assert_eq!(read::<ReuseBatch>(b"{}"), Some(ReuseBatch::new()));
        assert_eq!(read::<ReuseBatch>(b"{"), None);
        assert_eq!(read::<ReuseBatch>(" {}".repeat(1 << 21).as_bytes()), None);
        assert_eq!(sent("0a:000000000000000b", b"{}").unwrap().id, 11);
        assert_eq!(
            (sent("0a", b"{}"), sent("0a:x", b"{}"), sent("0a:b", b"{")),
            (None, None, None)
        );
        assert!(fields_in(Value::Int(1)).is_err());
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let hash = Value::Array(vec![text("a"), text("1")]);
        assert_eq!(fields_in(hash).unwrap(), [("a".to_owned(), b"1".to_vec())]);
    }
}
