//! The replicas' samples of the keys that are read: one hash per namespace and bucket, with a field
//! per replica.

use redis::Value;

use super::RedisStore;
use crate::{
    model::Namespace,
    stats::hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
    store::Result,
};

/// Hashes written or read in one round trip.
const HASHES_PER_CALL: usize = 8;
/// Longest field that is read, in bytes: more than the keys of one bucket can take.
const MAX_FIELD_BYTES: usize = 256 * 1024;
/// Most replicas of one bucket that are read.
const MAX_REPLICAS: usize = 256;

impl RedisStore {
    pub(super) async fn store_hot_keys(
        &self,
        replica: u64,
        buckets: &[HotKeyBucket],
    ) -> Result<()> {
        let field = format!("{replica:016x}");
        let fields = buckets.iter().flat_map(|bucket| {
            let counts = bucket.counts.iter();
            counts.map(move |(namespace, counts)| (bucket, namespace, counts))
        });
        let fields: Vec<_> = fields.collect();
        for chunk in fields.chunks(HASHES_PER_CALL) {
            let mut writes = redis::pipe();
            for (bucket, namespace, counts) in chunk {
                // Texts and numbers can always be written as JSON.
                let Ok(text) = serde_json::to_string(counts) else { continue };
                let name = self.schema.hot_keys(bucket.window, bucket.number, namespace);
                writes.cmd("HSET").arg(&name).arg(&field).arg(text);
                writes.cmd("PEXPIRE").arg(&name).arg(bucket.window.retention_ms());
            }
            self.router.query_all(&writes).await?;
        }
        Ok(())
    }

    pub(super) async fn read_hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>> {
        let name = |bucket| self.schema.hot_keys(range.window, bucket, namespace);
        let names: Vec<String> = range.buckets.clone().map(name).collect();
        let mut found = Vec::new();
        for names in names.chunks(HASHES_PER_CALL) {
            let mut reads = redis::pipe();
            names.iter().for_each(|name| {
                reads.hgetall(name);
            });
            for hash in self.router.query_all(&reads).await? {
                found.extend(counts_in(hash)?);
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }
}

/// The counts in a hash, without those that this release cannot read.
fn counts_in(hash: Value) -> Result<Vec<(u64, HotKeyCounts)>> {
    let fields: Vec<(String, Vec<u8>)> =
        redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
    let counts = |(field, text): (String, Vec<u8>)| {
        let replica = u64::from_str_radix(&field, 16).ok()?;
        let is_short = text.len() <= MAX_FIELD_BYTES;
        Some((replica, is_short.then(|| serde_json::from_slice(&text).ok())??))
    };
    Ok(fields.into_iter().filter_map(counts).take(MAX_REPLICAS).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn malformed_fields_are_left_out() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let counts = r#"{"samples":3,"error":1,"keys":[["k:a",2]],"later":0}"#;
        let long = format!("{{\"samples\":1,\"error\":0,\"keys\":[]{}}}", " ".repeat(1 << 20));
        let fields = ["1", "x", "2", "3"].map(text);
        let values = [counts, counts, "{", &long].map(text);
        let hash = fields.into_iter().zip(values).flat_map(|(field, value)| [field, value]);
        let keys = vec![("k:a".to_owned(), 2)];
        let expected = HotKeyCounts { samples: 3, error: 1, keys };
        assert_eq!(counts_in(Value::Array(hash.collect())).unwrap(), [(1, expected)]);
        assert!(counts_in(Value::Int(1)).is_err());
    }
}
