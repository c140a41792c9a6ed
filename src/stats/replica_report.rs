//! The report of a replica to the other replicas: its load, and the state of its origins.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{delta::ReplicaInfo, windows::Window};
use crate::model::{Timestamp, text_prefix};

/// The time for which a report counts: of a replica that is gone, it is kept no longer.
pub const MAX_AGE: Duration = Duration::from_secs(120);
/// The store keeps reports in buckets of this window, which expire: a report that counts is in the
/// current one or in the one before.
pub const REPORTS: Window = Window { bucket_ms: 120_000, buckets: 2 };
/// Longest report as JSON, in bytes.
pub const MAX_REPORT_BYTES: usize = 64 * 1024;
/// Most replicas whose reports are read.
pub const MAX_REPLICAS: usize = 256;
/// Longest text of a report, in bytes; the rest is cut off.
const MAX_TEXT_BYTES: usize = 512;

/// State of a replica. Replicas exchange it as JSON; fields of later releases are ignored, and
/// missing ones are zero.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaReport {
    /// The replica.
    pub replica: ReplicaInfo,
    /// Time of the report, by the store's clock.
    pub reported_at_ms: u64,
    /// Reads, writes and deletions of entries per second, over the time since the report before.
    pub requests_per_second: f64,
    /// Processors in use, over the same time.
    pub cpus: f64,
    /// Its process, store and origins.
    #[serde(flatten)]
    pub state: ReplicaState,
}

/// State of the process of a replica, as the process itself reads it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaState {
    /// Name of its host.
    pub host: String,
    /// Time on processors since the start, in user and system mode.
    #[serde(skip)]
    pub cpu_time: Duration,
    /// Resident memory, in bytes.
    pub resident_bytes: u64,
    /// Calls being answered.
    pub in_flight: u64,
    /// Open gRPC connections.
    pub connections: u64,
    /// Memory of the near cache, in bytes.
    pub near_cache_bytes: u64,
    /// Whether the store answers, and no fault of it lasts.
    pub store_available: bool,
    /// Why the store does not work; empty if that is not known.
    pub store_trouble: String,
    /// Its origins, by namespace.
    pub origins: Vec<OriginReport>,
}

/// State of an origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginReport {
    /// Namespace whose values it has.
    pub namespace: String,
    /// Its address, without credentials.
    pub url: String,
    /// State of its circuit breaker.
    pub breaker: ReportedBreaker,
    /// When the breaker closed or opened last, by the store's clock.
    pub since_ms: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Failed fetches since the start of the replica, by the name of their kind.
    pub failures: BTreeMap<String, u64>,
    /// Description of the last failure; empty if there was none.
    pub last_error: String,
}

/// State of a circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedBreaker {
    /// Fetches pass.
    Closed,
    /// Fetches are rejected.
    Open,
    /// A trial is under way or due.
    HalfOpen,
    /// Not known to this release.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The reports of a fleet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetReport {
    /// The replicas, by the time of their start.
    pub replicas: Vec<ReplicaReport>,
    /// Whether the store was unavailable: only this replica is in the list.
    pub degraded: bool,
}

// === impl ReplicaReport ===

impl ReplicaReport {
    /// Renders the report within [`MAX_REPORT_BYTES`]. If it is longer, origins are left out: those
    /// with a closed breaker and the fewest failures first.
    pub fn to_json(&self) -> String {
        let mut report = self.clone();
        report.state.shorten();
        loop {
            // Texts and numbers can always be written as JSON.
            let text = serde_json::to_string(&report).unwrap_or_default();
            let origins = &mut report.state.origins;
            if text.len() <= MAX_REPORT_BYTES || origins.is_empty() {
                return text;
            }
            origins.sort_by_key(|origin| std::cmp::Reverse(origin.gravity()));
            origins.truncate(origins.len() * MAX_REPORT_BYTES / (text.len() + 1));
            origins.sort_by(|one, two| one.namespace.cmp(&two.namespace));
        }
    }

    /// Reads a report; none if it is malformed or too long.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_REPORT_BYTES {
            return None;
        }
        serde_json::from_slice(text).ok()
    }

    /// Whether the report counts at `now`.
    pub fn is_current(&self, now: Timestamp) -> bool {
        now.since(Timestamp(self.reported_at_ms)) <= MAX_AGE
    }
}

impl ReplicaState {
    /// Cuts off texts that are too long.
    fn shorten(&mut self) {
        cut(&mut self.host);
        cut(&mut self.store_trouble);
        for origin in &mut self.origins {
            cut(&mut origin.url);
            cut(&mut origin.last_error);
        }
    }
}

impl OriginReport {
    /// How much the origin needs attention.
    fn gravity(&self) -> (bool, u64) {
        let failures = self.failures.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        (self.breaker != ReportedBreaker::Closed, failures)
    }
}

/// The newest report of each replica that counts at `now`, by the time of their start.
pub fn newest(reports: Vec<ReplicaReport>, now: Timestamp) -> Vec<ReplicaReport> {
    let mut newest: BTreeMap<(u64, u64), ReplicaReport> = BTreeMap::new();
    for report in reports.into_iter().filter(|report| report.is_current(now)) {
        let key = (report.replica.started_at_ms, report.replica.id);
        let is_newer =
            newest.get(&key).is_none_or(|known| known.reported_at_ms < report.reported_at_ms);
        if is_newer {
            newest.insert(key, report);
        }
    }
    newest.into_values().take(MAX_REPLICAS).collect()
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text_prefix(text, MAX_TEXT_BYTES).len());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(id: u64, started_at_ms: u64, reported_at_ms: u64) -> ReplicaReport {
        let replica = ReplicaInfo { id, started_at_ms, ..ReplicaInfo::default() };
        ReplicaReport { replica, reported_at_ms, ..ReplicaReport::default() }
    }

    fn origin(number: usize, breaker: ReportedBreaker, failures: u64) -> OriginReport {
        OriginReport {
            namespace: format!("ns{number:04}"),
            url: format!("http://{}/{{key}}", "h".repeat(200)),
            breaker,
            failures: BTreeMap::from([("failed".to_owned(), failures)]),
            last_error: "\u{e9}".repeat(2000),
            ..OriginReport::default()
        }
    }

    #[test]
    fn report_survives_its_json() {
        let mut full = report(7, 8, 9);
        full.requests_per_second = 1.5;
        full.state.host = "one".to_owned();
        full.state.origins = vec![OriginReport {
            last_error: "the origin failed: \"x\"".to_owned(),
            ..origin(1, ReportedBreaker::HalfOpen, 3)
        }];
        assert_eq!(ReplicaReport::from_json(full.to_json().as_bytes()), Some(full));
    }

    #[test]
    fn fields_of_later_releases_are_ignored_and_missing_ones_are_zero() {
        let text = r#"{"replica":{"id":3,"version":"9","later":1},"later":{},"host":"h",
            "origins":[{"namespace":"a","breaker":"forced_open","later":[]}]}"#;
        let read = ReplicaReport::from_json(text.as_bytes()).unwrap();
        assert_eq!((read.replica.id, read.state.host.as_str(), read.reported_at_ms), (3, "h", 0));
        assert_eq!(read.state.origins[0].breaker, ReportedBreaker::Unknown);
        assert_eq!(ReplicaReport::from_json(b"{"), None);
        let long = format!("{{}}{}", " ".repeat(MAX_REPORT_BYTES));
        assert_eq!(ReplicaReport::from_json(long.as_bytes()), None);
    }

    #[test]
    fn long_report_keeps_the_origins_that_need_attention() {
        let mut long = report(1, 1, 1);
        long.state.origins = (0..1000).map(|i| origin(i, ReportedBreaker::Closed, 0)).collect();
        long.state.origins[999] = origin(999, ReportedBreaker::Open, 1);
        long.state.origins[500] = origin(500, ReportedBreaker::Closed, 9);
        let text = long.to_json();
        assert!(text.len() <= MAX_REPORT_BYTES && text.len() > MAX_REPORT_BYTES / 2);
        let read = ReplicaReport::from_json(text.as_bytes()).unwrap();
        let names = read.state.origins.iter().map(|origin| origin.namespace.as_str());
        let names: Vec<_> = names.collect();
        assert!(names.is_sorted() && names.contains(&"ns0500") && names.contains(&"ns0999"));
        assert_eq!(read.state.origins[0].last_error.len(), MAX_TEXT_BYTES);
    }

    #[test]
    fn newest_report_of_each_replica_counts_for_two_minutes() {
        let now = Timestamp(1_000_000);
        let reports = vec![
            report(1, 20, now.0 - 5000),
            report(2, 10, now.0),
            report(1, 20, now.0 - 1000),
            report(3, 5, now.0 - 120_001),
        ];
        let ids = newest(reports, now).into_iter();
        let ids: Vec<_> = ids.map(|report| (report.replica.id, report.reported_at_ms)).collect();
        assert_eq!(ids, [(2, now.0), (1, now.0 - 1000)]);
        let many = (0..300).map(|id| report(id, id, now.0)).collect();
        assert_eq!(newest(many, now).len(), MAX_REPLICAS);
    }
}
