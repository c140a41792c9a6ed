//! Listing the keys of a namespace: SCAN with a pattern, and the headers of what it finds.

use std::collections::HashMap;

use redis::Value;

use super::{RedisStore, codec, key_schema::ParsedKey, parse, pool::Retry};
use crate::{
    model::EntryKey,
    store::{KeyListPart, KeyListPosition, KeyListStep, Result},
};

impl RedisStore {
    /// Sends one SCAN, and one pipeline for what it found.
    pub(super) async fn list_part(&self, step: &KeyListStep) -> Result<KeyListPart> {
        // The cursors of another process have another meaning: the listing begins again, as it must
        // not miss a key.
        let origin = self.pool.health().server().process_id();
        let mut scan = redis::cmd("SCAN");
        scan.arg(step.position.cursor_of(origin))
            .arg("MATCH")
            .arg(self.schema.entry_pattern(&step.namespace))
            .arg("COUNT")
            .arg(step.visits.clamp(1, KeyListStep::MAX_VISITS));
        let (cursor, names): (u64, Vec<Vec<u8>>) =
            parse(self.pool.query(&scan, Retry::Idempotent).await?)?;
        let keys = names.iter().filter_map(|name| match self.schema.parse(name)? {
            ParsedKey::Entry { namespace, key, digest } if step.selects(key) => {
                EntryKey::restored(namespace, key, digest)
            }
            ParsedKey::Entry { .. } | ParsedKey::Marker { .. } => None,
        });
        let keys = keys.filter(|key| *key.namespace() == step.namespace).collect();
        let keys = self.current(keys).await?;
        Ok(KeyListPart { keys, next: (cursor != 0).then_some(KeyListPosition { origin, cursor }) })
    }

    /// Keeps the keys whose entries belong to the current generation.
    async fn current(&self, keys: Vec<EntryKey>) -> Result<Vec<EntryKey>> {
        if keys.is_empty() {
            return Ok(keys);
        }
        let names: Vec<_> = keys.iter().map(|key| self.schema.entry_keys(key)).collect();
        let mut markers: HashMap<&[u8], usize> = HashMap::new();
        let mut reads = redis::pipe();
        for name in &names {
            let next = markers.len();
            markers.entry(&name.marker).or_insert_with(|| {
                reads.cmd("GET").arg(&name.marker);
                next
            });
        }
        for name in &names {
            // Values may be large.
            reads.cmd("GETRANGE").arg(&name.entry).arg(0).arg(codec::HEADER_BYTES - 1);
        }
        let answers = self.pool.query_each(&reads, &mut None).await?;
        let (generations, headers) = answers.split_at_checked(markers.len()).unwrap_or_default();
        let is_current = |(name, header): (&super::EntryKeys, &Value)| {
            let generation = markers.get(&*name.marker).and_then(|index| generations.get(*index));
            match (generation, header) {
                (Some(Value::BulkString(generation)), Value::BulkString(header)) => {
                    codec::is_of_generation(header, generation)
                }
                // A key of another type is foreign.
                _ => false,
            }
        };
        let is_current: Vec<bool> = names.iter().zip(headers).map(is_current).collect();
        let listed = keys.into_iter().zip(is_current);
        Ok(listed.filter_map(|(key, is_current)| is_current.then_some(key)).collect())
    }
}
