//! A hash with counters of the fleet: one field per namespace and counter, and a few others.

use redis::Value;

use crate::{
    model::Timestamp,
    stats::{
        counters::cell_of,
        delta::{ByNamespace, ReplicaInfo},
    },
    store::Result,
};

/// Separates a namespace, which cannot contain it, from the name of a counter.
pub(super) const SEPARATOR: char = '|';
/// Field of the totals: when counting began. As with a presence, earlier releases skip it.
pub(super) const SINCE: &str = "since";
/// Prefix of the field by which a replica shows that it runs.
const PRESENCE: &str = "replica:";

/// Content of a hash.
#[derive(Default)]
pub(super) struct StatsHash {
    pub(super) counts: ByNamespace,
    pub(super) replicas: Vec<ReplicaInfo>,
    pub(super) since: Option<Timestamp>,
}

/// The field by which a replica shows in a bucket that it runs. It has no [`SEPARATOR`], so that
/// earlier releases skip it.
pub(super) fn presence_field(ReplicaInfo { id, version, started_at_ms }: &ReplicaInfo) -> String {
    format!("{PRESENCE}{id:016x}:{started_at_ms}:{version}")
}

fn parse_presence(field: &str) -> Option<ReplicaInfo> {
    let (id, rest) = field.strip_prefix(PRESENCE)?.split_once(':')?;
    let (started_at_ms, version) = rest.split_once(':')?;
    Some(ReplicaInfo {
        id: u64::from_str_radix(id, 16).ok()?,
        version: version.to_owned(),
        started_at_ms: started_at_ms.parse().ok()?,
    })
}

impl StatsHash {
    pub(super) fn read(hash: Value) -> Result<Self> {
        let fields: Vec<(String, u64)> =
            redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
        let mut read = Self::default();
        for (field, count) in fields {
            read.replicas.extend(parse_presence(&field));
            if field == SINCE {
                read.since = Some(Timestamp(count));
            }
            // A replica of a later release may have counters that this release lacks.
            let Some((namespace, name)) = field.split_once(SEPARATOR) else { continue };
            let Some(cell) = cell_of(name) else { continue };
            let counts = match read.counts.get_mut(namespace) {
                Some(counts) => counts,
                None => read.counts.entry(namespace.to_owned()).or_default(),
            };
            counts.0[cell] = counts.0[cell].saturating_add(count);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_of_a_replica_survives_its_field() {
        let replica =
            ReplicaInfo { id: 7, version: "0.2.0-rc.1+x:y".to_owned(), started_at_ms: 1 << 40 };
        let field = presence_field(&replica);
        assert_eq!(parse_presence(&field), Some(replica));
        assert!(!field.contains(SEPARATOR));
        for other in ["ns|hits", "replica:", "replica:x:1:v", "replica:1:v"] {
            assert_eq!(parse_presence(other), None, "{other}");
        }
    }
}
