//! The reports of the replicas: one hash per two minutes, with a field per replica. The hashes
//! expire, so that a replica that is gone needs no other to remove its report.

use redis::Value;

use super::RedisStore;
use crate::{
    stats::replica_report::{MAX_REPLICAS, REPORTS, ReplicaReport},
    store::{Result, Store as _},
};

impl RedisStore {
    pub(super) async fn store_report(&self, report: &ReplicaReport) -> Result<()> {
        let name = self.schema.replica_reports(REPORTS.bucket(self.now()));
        let mut writes = redis::pipe();
        writes.cmd("HSET").arg(&name).arg(field(report.replica.id)).arg(report.to_json());
        writes.cmd("PEXPIRE").arg(&name).arg(REPORTS.retention_ms());
        self.router.query_all(&writes).await?;
        Ok(())
    }

    pub(super) async fn drop_reports(&self, replica: u64) -> Result<()> {
        let mut removals = redis::pipe();
        for bucket in REPORTS.at(self.now()) {
            let name = self.schema.replica_reports(bucket);
            removals.cmd("HDEL").arg(name).arg(field(replica));
        }
        self.router.query_all(&removals).await?;
        Ok(())
    }

    pub(super) async fn read_reports(&self) -> Result<Vec<ReplicaReport>> {
        let mut reads = redis::pipe();
        for bucket in REPORTS.at(self.now()) {
            reads.hgetall(self.schema.replica_reports(bucket));
        }
        let mut found = Vec::new();
        for hash in self.router.query_all(&reads).await? {
            found.extend(reports_in(hash)?);
            tokio::task::yield_now().await;
        }
        Ok(found)
    }
}

fn field(replica: u64) -> String {
    format!("{replica:016x}")
}

/// The reports in a hash, without those that this release cannot read.
fn reports_in(hash: Value) -> Result<Vec<ReplicaReport>> {
    let fields: Vec<(String, Vec<u8>)> =
        redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
    let report = |(field, text): (String, Vec<u8>)| {
        let report = ReplicaReport::from_json(&text)?;
        (u64::from_str_radix(&field, 16) == Ok(report.replica.id)).then_some(report)
    };
    Ok(fields.into_iter().filter_map(report).take(MAX_REPLICAS).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::{delta::ReplicaInfo, replica_report::MAX_REPORT_BYTES};

    #[test]
    fn malformed_fields_are_left_out() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let replica = ReplicaInfo { id: 1, ..ReplicaInfo::default() };
        let report = ReplicaReport { replica, ..ReplicaReport::default() };
        let json = report.to_json();
        let long = format!("{json}{}", " ".repeat(MAX_REPORT_BYTES));
        let fields = [("0000000000000001", &*json), ("2", &json), ("x", &json), ("1", "{")];
        let fields = fields.into_iter().chain([("1", &*long)]);
        let hash = fields.flat_map(|(field, value)| [text(field), text(value)]);
        assert_eq!(reports_in(Value::Array(hash.collect())).unwrap(), [report]);
        assert!(reports_in(Value::Int(1)).is_err());
    }
}
