//! Figures of a fleet, as `larder top` shows them and prints them as JSON.

use serde::Serialize;

/// All figures. Times are in seconds; a field without a value is null.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct TopFigures {
    /// Address of the server that was asked.
    pub(super) address: String,
    /// When the server collected them.
    pub(super) collected_at: Option<String>,
    /// The store was unreachable: the figures are those of one replica.
    pub(super) degraded: bool,
    pub(super) totals: Traffic,
    pub(super) store: StoreFigures,
    /// The gravest first.
    pub(super) attention: Vec<Attention>,
    /// By reads per second, the most first.
    pub(super) namespaces: Vec<NamespaceFigures>,
    /// Of the busiest namespaces, the most reads first.
    pub(super) hot_keys: Vec<HotKeyFigures>,
    /// Those with trouble first.
    pub(super) origins: Vec<OriginFigures>,
    /// By the time of their start.
    pub(super) replicas: Vec<ReplicaFigures>,
    /// The ended minutes of the last hour, the oldest first; empty if the server has no history.
    pub(super) last_hour: Vec<StepFigures>,
    /// Parts that the server did not answer.
    pub(super) left_out: Vec<LeftOut>,
}

/// Traffic of the fleet or of a namespace.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Traffic {
    /// Time over which the rates were measured.
    pub(super) rate_window: f64,
    pub(super) reads_per_second: f64,
    /// Share of the reads that a cache answered, stale values included; none without reads.
    pub(super) hit_rate: Option<f64>,
    pub(super) stale_rate: Option<f64>,
    pub(super) hit_rate_last_hour: Option<f64>,
    pub(super) stale_rate_last_hour: Option<f64>,
    /// Latency of hits in the last hour.
    pub(super) hit_latency: Percentiles,
    pub(super) sets_per_second: f64,
    pub(super) deletes_per_second: f64,
    pub(super) fetches_per_second: f64,
    pub(super) fetches_failed_per_second: f64,
    /// Share of the reads in namespaces with fetches that needed no fetch.
    pub(super) fetches_saved: Option<f64>,
    /// Reads per second in the last minute, the newest at the end.
    #[serde(skip)]
    pub(super) trail: Vec<f64>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Percentiles {
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
    pub(super) p99: Option<f64>,
}

/// The store of the fleet.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct StoreFigures {
    /// `memory` or `redis`.
    pub(super) kind: String,
    pub(super) server_version: Option<String>,
    pub(super) reachable: bool,
    /// Why it does not work.
    pub(super) trouble: Option<String>,
    pub(super) keys: u64,
    pub(super) used_bytes: u64,
    /// None: there is no limit.
    pub(super) max_bytes: Option<u64>,
    /// Of the namespaces together, an estimate if one of theirs is.
    pub(super) evicted_keys: u64,
    /// None before two answers.
    pub(super) evictions_per_second: Option<f64>,
}

/// Something that needs attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Attention {
    pub(super) severity: Severity,
    /// `store`, or the kind and name of the part, such as `origin points`.
    pub(super) subject: String,
    pub(super) text: String,
}

/// How much something needs attention, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Critical,
    Warning,
    Notice,
}

/// A namespace.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct NamespaceFigures {
    pub(super) namespace: String,
    #[serde(flatten)]
    pub(super) traffic: Traffic,
    pub(super) keys: Option<u64>,
    pub(super) bytes: Option<u64>,
    /// Whether keys and bytes are estimates.
    pub(super) sampled: bool,
    pub(super) ttl: Option<f64>,
    /// Words for what needs attention, `open`, `failing` or `cold`.
    pub(super) marks: Vec<&'static str>,
}

/// A key that is read often. Numbers are estimates.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct HotKeyFigures {
    pub(super) namespace: String,
    pub(super) key: String,
    pub(super) params_digest: Option<String>,
    pub(super) reads_per_second: f64,
    /// Share of the reads of the namespace.
    pub(super) share: f64,
}

/// The origin of a namespace.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct OriginFigures {
    pub(super) namespace: String,
    pub(super) url: Option<String>,
    pub(super) fetches_per_second: f64,
    pub(super) fetch_latency: Percentiles,
    /// Of the last hour.
    pub(super) fetches_failed: u64,
    pub(super) in_flight: u64,
    /// `ok`, `failing`, or the state of its circuit breaker: `open`, `half_open`.
    pub(super) state: &'static str,
    /// Time for which a breaker is open.
    pub(super) state_for: Option<f64>,
    /// Replicas whose breaker is not closed, and replicas that report on it.
    pub(super) replicas_open: usize,
    pub(super) replicas: usize,
    pub(super) last_error: Option<String>,
}

/// A replica.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ReplicaFigures {
    pub(super) id: String,
    pub(super) version: String,
    pub(super) started_at: Option<String>,
    /// Time since its start.
    pub(super) uptime: Option<f64>,
    /// Its newest report; none if the server has no reports.
    pub(super) report: Option<ReportFigures>,
}

/// A replica's report of itself.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct ReportFigures {
    pub(super) host: String,
    pub(super) requests_per_second: f64,
    /// Processors in use.
    pub(super) cpus: f64,
    pub(super) resident_bytes: u64,
    pub(super) near_cache_bytes: u64,
    pub(super) in_flight: u64,
    pub(super) connections: u64,
    pub(super) store_available: bool,
    /// Why its store does not work.
    pub(super) store_trouble: Option<String>,
}

/// A minute of the last hour.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct StepFigures {
    pub(super) start: Option<String>,
    pub(super) reads_per_second: f64,
    pub(super) hit_rate: Option<f64>,
    pub(super) stale_rate: Option<f64>,
    pub(super) hit_latency: Percentiles,
    pub(super) fetches_per_second: f64,
    pub(super) fetches_failed: u64,
}

/// A part of the view that the server did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    pub(super) part: AnswerPart,
    pub(super) reason: String,
}

/// Parts of the view that have calls of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AnswerPart {
    Policies,
    HotKeys,
    Configuration,
    Replicas,
    History,
    Findings,
}

impl Traffic {
    /// Hit rate by the rates, or of the last hour if there were no reads.
    pub(super) fn shown_hit_rate(&self) -> Option<f64> {
        self.hit_rate.or(self.hit_rate_last_hour)
    }

    /// Stale rate by the rates, or of the last hour if there were no reads.
    pub(super) fn shown_stale_rate(&self) -> Option<f64> {
        self.stale_rate.or(self.stale_rate_last_hour)
    }
}

impl StoreFigures {
    /// The kind and the version. The version of a server of Redis begins with its kind.
    pub(super) fn name(&self) -> String {
        let version = self.server_version.as_deref().unwrap_or_default();
        let has_kind = version.to_lowercase().starts_with(&self.kind);
        let kind = if has_kind { "" } else { self.kind.as_str() };
        format!("{kind} {version}").trim().to_owned()
    }
}

impl AnswerPart {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Policies => "policies",
            Self::HotKeys => "hot keys",
            Self::Configuration => "configuration",
            Self::Replicas => "reports of replicas",
            Self::History => "history",
            Self::Findings => "findings",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_once() {
        let name = |kind: &str, version: Option<&str>| {
            let server_version = version.map(str::to_owned);
            StoreFigures { kind: kind.to_owned(), server_version, ..Default::default() }.name()
        };
        assert_eq!(name("redis", Some("Redis 7.0.15")), "Redis 7.0.15");
        assert_eq!(name("redis", Some("Valkey 8.1.0")), "redis Valkey 8.1.0");
        assert_eq!(name("memory", None), "memory");
    }
}
