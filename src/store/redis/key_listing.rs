//! Listing the keys of a namespace: SCAN with a pattern, and the headers of what it finds.
//!
//! The primaries of a cluster are visited one after another. Keys whose slots are moved meanwhile
//! may be listed twice, or not at all.

use std::collections::HashMap;

use redis::Value;

use super::{
    RedisStore,
    ban_logs::{BanLogs, Candidate},
    codec,
    key_schema::{EntryKeys, ParsedKey},
    missing_commands::OptionalCommand,
    pool::Retry,
    script_reply::parse,
};
use crate::{
    model::{EntryKey, Namespace, SaturatingFrom as _},
    store::{
        EntryFacts, EntrySample, Error, ErrorKind, KeyListPart, KeyListPosition, KeyListStep,
        NamespaceListPart, Result,
    },
};

/// A valid entry.
struct Listed {
    key: EntryKey,
    name: Vec<u8>,
    /// Its first bytes.
    header: Vec<u8>,
}

impl RedisStore {
    /// Sends one SCAN, and one pipeline for what it found.
    pub(super) async fn list_part(&self, step: &KeyListStep) -> Result<KeyListPart> {
        let (listed, next) = self.scan(step).await?;
        Ok(KeyListPart { keys: listed.into_iter().map(|listed| listed.key).collect(), next })
    }

    /// As [`RedisStore::list_part`], with facts about the entries. SCAN visits keys in the order of
    /// their hashes, so that the first ones are as good a sample as any.
    pub(super) async fn sample_part(&self, step: &KeyListStep) -> Result<EntrySample> {
        let (listed, next) = self.scan(step).await?;
        let mut entries = Vec::with_capacity(listed.len());
        if !listed.is_empty() {
            let mut reads = redis::pipe();
            for Listed { name, .. } in &listed {
                reads.cmd("STRLEN").arg(name);
            }
            let lengths = self.router.query_each(&reads).await?;
            for (Listed { key, header, .. }, length) in listed.iter().zip(lengths) {
                if let Value::Int(length) = length
                    && let Some(value_at) = codec::value_offset(header)
                    && let Some((created_at, fresh_until)) = codec::times(header)
                {
                    let value_at = u64::saturating_from(value_at);
                    // It may have been removed since.
                    let length = u64::try_from(length).unwrap_or(0);
                    let value_bytes = length.saturating_sub(value_at);
                    let key_bytes = key.key().len() as u64;
                    let facts = EntryFacts { key_bytes, value_bytes, created_at, fresh_until };
                    entries.push(facts);
                }
            }
        }
        Ok(EntrySample { entries, next })
    }

    /// Finds namespaces by their generation markers, without which no entry is valid.
    pub(super) async fn namespaces_part(
        &self,
        position: KeyListPosition,
    ) -> Result<NamespaceListPart> {
        let pattern = self.schema.marker_pattern();
        let (names, next) = self.scan_part(position, &pattern, KeyListStep::MAX_VISITS).await?;
        let namespaces = names.iter().filter_map(|name| match self.schema.parse(name)? {
            ParsedKey::Marker { namespace, .. } => Namespace::new(namespace).ok(),
            ParsedKey::Entry { .. } => None,
        });
        Ok(NamespaceListPart { namespaces: namespaces.collect(), next })
    }

    /// Sends one SCAN to the server of the position. A listing visits one server after another.
    async fn scan_part(
        &self,
        position: KeyListPosition,
        pattern: &str,
        visits: usize,
    ) -> Result<(Vec<Vec<u8>>, Option<KeyListPosition>)> {
        let servers = self.router.servers();
        // The cursors of another process have another meaning: the listing begins again, as it must
        // not miss a key.
        let found = servers.iter().position(|server| server.id() == position.origin);
        let at = found.unwrap_or(0);
        let Some(server) = servers.get(at) else { return Err(ErrorKind::Unreachable.into()) };
        if server.pool.health().missing.lacks(OptionalCommand::Scan) {
            return Err(Error::new(ErrorKind::Refused, "Redis does not have SCAN"));
        }
        let origin = server.id();
        let mut scan = redis::cmd("SCAN");
        scan.arg(position.cursor_of(origin))
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(visits.clamp(1, KeyListStep::MAX_VISITS));
        let (cursor, names): (u64, Vec<Vec<u8>>) =
            parse(self.router.query_server(server, &scan).await?)?;
        let next = match (cursor, servers.get(at + 1)) {
            (0, None) => None,
            (0, Some(next)) => Some(KeyListPosition { origin: next.id(), cursor: 0 }),
            _ => Some(KeyListPosition { origin, cursor }),
        };
        Ok((names, next))
    }

    async fn scan(&self, step: &KeyListStep) -> Result<(Vec<Listed>, Option<KeyListPosition>)> {
        let pattern = self.schema.entry_pattern(&step.namespace);
        let (names, next) = self.scan_part(step.position, &pattern, step.visits).await?;
        let keys = names.iter().filter_map(|name| match self.schema.parse(name)? {
            ParsedKey::Entry { namespace, key, digest } if step.selects(key) => {
                EntryKey::restored(namespace, key, digest)
            }
            ParsedKey::Entry { .. } | ParsedKey::Marker { .. } => None,
        });
        let keys = keys.filter(|key| *key.namespace() == step.namespace).collect();
        let listed = self.current(keys).await?;
        Ok((listed, next))
    }

    /// Keeps the keys whose entries belong to the current generation and are not banned.
    async fn current(&self, keys: Vec<EntryKey>) -> Result<Vec<Listed>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<_> = keys.iter().map(|key| self.schema.entry_keys(key)).collect();
        let mut indices: HashMap<&[u8], usize> = HashMap::new();
        let mut reads = redis::pipe();
        for name in &names {
            let next = indices.len();
            indices.entry(&name.marker).or_insert_with(|| {
                reads.cmd("GET").arg(&name.marker);
                next
            });
        }
        for name in &names {
            // Values may be large.
            reads.cmd("GETRANGE").arg(&name.entry).arg(0).arg(codec::MAX_HEADER_BYTES - 1);
        }
        let answers = self.router.query_each(&reads).await?;
        let (markers, headers) = answers.split_at_checked(indices.len()).unwrap_or_default();
        let mut current = Vec::with_capacity(keys.len());
        for ((key, name), header) in keys.iter().zip(&names).zip(headers) {
            let marker = indices.get(&*name.marker).and_then(|index| markers.get(*index));
            // A key of another type is foreign.
            if let (Some(Value::BulkString(marker)), Value::BulkString(header)) = (marker, header)
                && codec::is_in_generation(header, marker)
                && self.is_listed(key, name, marker, header).await?
            {
                let (key, name, header) = (key.clone(), name.entry.clone(), header.clone());
                current.push(Listed { key, name, header });
            }
        }
        Ok(current)
    }

    /// Whether an entry with this header is not banned.
    async fn is_listed(
        &self,
        key: &EntryKey,
        name: &EntryKeys,
        marker: &[u8],
        header: &[u8],
    ) -> Result<bool> {
        let Some(value_at) = codec::value_offset(header) else { return Ok(false) };
        let bans = self.bans.of(key.namespace());
        if codec::is_under(header, marker) && self.bans.is_current(&bans, marker) {
            return Ok(true);
        }
        let mut read = redis::cmd("GETRANGE");
        read.arg(&name.entry).arg(0).arg(value_at - 1);
        let Value::BulkString(head) = self.router.query(&read, Retry::Idempotent).await? else {
            return Ok(false);
        };
        // It may have been written again since.
        let Some((since, tags)) = BanLogs::candidate_of(&head) else { return Ok(false) };
        let candidate = Candidate { since, key: key.key(), tags: &tags };
        self.bans.is_valid(&bans, (&name.marker, marker), &candidate).await
    }
}
