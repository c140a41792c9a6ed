//! The state of a fleet over time: answers of a server in, figures out. It has no clock and makes
//! no calls.

mod attention;
mod detail;
mod history;
mod origins;
mod rates;
mod traffic;

use std::{collections::BTreeMap, time::Duration};

pub(super) use self::{detail::NamespaceDetail, rates::TRAIL_COLUMNS, traffic::percentiles};
use self::{
    history::History,
    origins::OriginSources,
    rates::{Flow, SlidingRates},
};
use super::{
    answers::Answer,
    figures::{
        AnswerPart, HotKeyFigures, LeftOut, NamespaceFigures, ReplicaFigures, ReportFigures,
        StoreFigures, TopFigures,
    },
};
use crate::pb::{self, v1};

/// Hot keys of all namespaces together.
const HOT_KEYS: usize = 100;
/// Time after which hot keys are no longer shown, in seconds: their namespace is not among the
/// busiest any more, and they are not requested.
const HOT_KEYS_AGE: f64 = 150.0;

/// The answers so far.
#[derive(Debug)]
pub(super) struct Model {
    address: String,
    /// The newest statistics; empty before the first.
    stats: v1::StatsResponse,
    totals: SlidingRates,
    namespaces: BTreeMap<String, SlidingRates>,
    /// Evicted keys count as reads.
    evictions: SlidingRates,
    policies: BTreeMap<String, v1::NamespaceSummary>,
    /// With the time of the answer.
    hot_keys: BTreeMap<String, (f64, v1::HotKeysResponse)>,
    needs_restart: Vec<String>,
    reports: Vec<v1::Replica>,
    history: History,
    findings: Vec<v1::Finding>,
    left_out: BTreeMap<AnswerPart, String>,
}

impl Model {
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            stats: v1::StatsResponse::default(),
            totals: SlidingRates::default(),
            namespaces: BTreeMap::new(),
            evictions: SlidingRates::default(),
            policies: BTreeMap::new(),
            hot_keys: BTreeMap::new(),
            needs_restart: Vec::new(),
            reports: Vec::new(),
            history: History::default(),
            findings: Vec::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Applies an answer of a time in seconds, by any clock that does not go back.
    pub(super) fn apply(&mut self, at: f64, answer: Answer) {
        match answer {
            Answer::Stats(stats) => self.apply_stats(at, *stats),
            Answer::Policies(summaries) => {
                self.left_out.remove(&AnswerPart::Policies);
                let named = summaries.into_iter().map(|one| (one.namespace.clone(), one));
                self.policies = named.collect();
            }
            Answer::HotKeys { namespace, keys } => {
                self.left_out.remove(&AnswerPart::HotKeys);
                self.hot_keys.insert(namespace, (at, keys));
            }
            Answer::Configuration(configuration) => {
                self.left_out.remove(&AnswerPart::Configuration);
                self.needs_restart = configuration.needs_restart;
            }
            Answer::Replicas(replicas) => {
                self.left_out.remove(&AnswerPart::Replicas);
                self.reports = replicas.replicas;
            }
            Answer::Findings(findings) => {
                self.left_out.remove(&AnswerPart::Findings);
                self.findings = findings;
            }
            Answer::History(history) => {
                self.left_out.remove(&AnswerPart::History);
                self.history = History::new(*history);
            }
            Answer::LeftOut { part, reason } => {
                self.left_out.insert(part, reason);
            }
        }
    }

    fn apply_stats(&mut self, at: f64, stats: v1::StatsResponse) {
        // The counters of one replica are no continuation of those of the fleet.
        if stats.degraded != self.stats.degraded {
            self.totals = SlidingRates::default();
            self.namespaces.clear();
        }
        self.hot_keys.retain(|_, (since, _)| at - *since < HOT_KEYS_AGE);
        self.totals.add(at, total(stats.totals.as_ref()));
        let reported = |name: &String| stats.namespaces.iter().any(|one| one.namespace == *name);
        self.namespaces.retain(|name, _| reported(name));
        for namespace in &stats.namespaces {
            let rates = self.namespaces.entry(namespace.namespace.clone()).or_default();
            rates.add(at, total(namespace.counted.as_ref()));
        }
        if let Some(store) = stats.store.as_ref().filter(|store| store.reachable) {
            let evicted = Flow { reads: store.evicted_keys as f64, ..Flow::default() };
            self.evictions.add(at, evicted);
        }
        self.stats = stats;
    }

    /// The names of the namespaces with the most reads, the busiest first.
    pub(super) fn busiest(&self, limit: usize) -> Vec<String> {
        let mut namespaces = self.namespaces();
        namespaces.truncate(limit);
        let is_read = |one: &NamespaceFigures| one.traffic.reads_per_second > 0.0;
        namespaces.into_iter().filter(is_read).map(|one| one.namespace).collect()
    }

    /// All figures, by the answers so far.
    pub(super) fn figures(&self) -> TopFigures {
        let namespaces = self.namespaces();
        let mut totals =
            traffic::traffic(Some(&self.totals), self.stats.totals.as_ref(), self.counted_for());
        totals.fetches_saved = traffic::saved(&namespaces);
        let left_out = self.left_out.iter();
        let sources =
            OriginSources { stats: &self.stats, policies: &self.policies, replicas: &self.reports };
        let mut figures = TopFigures {
            address: self.address.clone(),
            collected_at: self.stats.collected_at.map(|at| at.to_string()),
            degraded: self.stats.degraded,
            totals,
            store: self.store(),
            attention: Vec::new(),
            hot_keys: self.hot_keys(&namespaces),
            origins: origins::origins(&sources, &namespaces),
            namespaces,
            replicas: self.replicas(),
            last_hour: self.history.totals(),
            left_out: left_out
                .map(|(part, reason)| LeftOut { part: *part, reason: reason.clone() })
                .collect(),
        };
        figures.attention = attention::attention(&figures, &self.needs_restart, &self.findings);
        attention::mark(&mut figures, &self.findings);
        figures
    }

    fn namespaces(&self) -> Vec<NamespaceFigures> {
        let counted_for = self.counted_for();
        let row = |stats: &v1::NamespaceStats| {
            let name = &stats.namespace;
            let rates = self.namespaces.get(name);
            let summary = self.policies.get(name);
            let ttl = summary.and_then(|summary| summary.policy.as_ref()?.ttl);
            NamespaceFigures {
                namespace: name.clone(),
                traffic: traffic::traffic(rates, stats.counted.as_ref(), counted_for),
                keys: stats.size.as_ref().map(|size| size.keys),
                bytes: stats.size.as_ref().map(|size| size.bytes),
                sampled: stats.size.as_ref().is_some_and(|size| size.sampled),
                ttl: seconds(ttl),
                marks: Vec::new(),
            }
        };
        let mut rows: Vec<NamespaceFigures> = self.stats.namespaces.iter().map(row).collect();
        let reads = |one: &NamespaceFigures| one.traffic.reads_per_second;
        rows.sort_by(|one, other| reads(other).total_cmp(&reads(one)));
        rows
    }

    /// Seconds of the last hour in which events were counted.
    fn counted_for(&self) -> f64 {
        let own_start = || self.stats.replicas.first().and_then(|replica| replica.started_at);
        let start = if self.stats.degraded { own_start() } else { self.stats.counting_since };
        elapsed(start, self.stats.collected_at).map_or(3600.0, |time| time.clamp(1.0, 3600.0))
    }

    fn store(&self) -> StoreFigures {
        let store = self.stats.store.clone().unwrap_or_default();
        let text = |text: String| (!text.is_empty()).then_some(text);
        StoreFigures {
            kind: store.kind,
            server_version: text(store.server_version),
            reachable: store.reachable,
            trouble: text(store.cause),
            keys: store.keys,
            used_bytes: store.used_bytes,
            max_bytes: (store.max_bytes > 0).then_some(store.max_bytes),
            evicted_keys: store.evicted_keys,
            evictions_per_second: self.evictions.rates().map(|(_, evicted)| evicted.reads),
        }
    }

    /// The keys with the most reads of the namespaces that are still among the busiest.
    fn hot_keys(&self, namespaces: &[NamespaceFigures]) -> Vec<HotKeyFigures> {
        let listed =
            namespaces.iter().filter_map(|one| self.hot_keys.get_key_value(&one.namespace));
        let mut rows: Vec<HotKeyFigures> =
            listed.flat_map(|(namespace, (_, keys))| hot_key_rows(namespace, keys)).collect();
        rows.sort_by(|one, other| other.reads_per_second.total_cmp(&one.reads_per_second));
        rows.truncate(HOT_KEYS);
        rows
    }

    fn replicas(&self) -> Vec<ReplicaFigures> {
        let row = |replica: &v1::ReplicaStats| ReplicaFigures {
            id: replica.id.clone(),
            version: replica.version.clone(),
            started_at: replica.started_at.map(|at| at.to_string()),
            uptime: elapsed(replica.started_at, self.stats.collected_at),
            report: self.report(&replica.id),
        };
        self.stats.replicas.iter().map(row).collect()
    }

    fn report(&self, id: &str) -> Option<ReportFigures> {
        let is_own =
            |report: &&v1::Replica| report.replica.as_ref().is_some_and(|one| one.id == id);
        self.reports.iter().find(is_own).map(report_figures)
    }
}

fn report_figures(replica: &v1::Replica) -> ReportFigures {
    let trouble = &replica.store_trouble;
    ReportFigures {
        host: replica.host.clone(),
        requests_per_second: replica.requests_per_second,
        cpus: replica.cpus,
        resident_bytes: replica.resident_bytes,
        near_cache_bytes: replica.near_cache_bytes,
        in_flight: replica.in_flight,
        connections: replica.connections,
        store_available: replica.store_available,
        store_trouble: (!trouble.is_empty()).then(|| trouble.clone()),
    }
}

fn hot_key_rows(
    namespace: &str,
    keys: &v1::HotKeysResponse,
) -> impl Iterator<Item = HotKeyFigures> {
    let window = seconds(keys.window).filter(|window| *window > 0.0).unwrap_or(300.0);
    // A key of a single sample has an error that is larger than its estimate.
    let certain = keys.keys.iter().filter(|hot| hot.error < hot.reads);
    certain.map(move |hot| HotKeyFigures {
        namespace: namespace.to_owned(),
        key: hot.key.clone(),
        params_digest: (!hot.params_digest.is_empty()).then(|| hot.params_digest.clone()),
        reads_per_second: hot.reads as f64 / window,
        share: hot.share,
    })
}

/// All events since counting began.
fn total(windows: Option<&v1::WindowStats>) -> Flow {
    windows.and_then(|windows| windows.total.as_ref()).map(Flow::of).unwrap_or_default()
}

pub(super) fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.and_then(pb::duration).map(|duration| duration.as_secs_f64())
}

/// Seconds between two times; none if one of them is missing. Clocks may differ, so that it is
/// never negative.
fn elapsed(
    from: Option<prost_types::Timestamp>,
    to: Option<prost_types::Timestamp>,
) -> Option<f64> {
    let seconds = |at: prost_types::Timestamp| at.seconds as f64 + f64::from(at.nanos) / 1e9;
    let time = seconds(to?) - seconds(from?);
    Some(Duration::try_from_secs_f64(time).unwrap_or_default().as_secs_f64())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
