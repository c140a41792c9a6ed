//! All queries of dashboards and all rules, against a real Prometheus that scrapes real servers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use larder::metric_list::{self, Metric, MetricKind};
use serde_json::Value;

use super::{
    dashboards::dashboards, prometheus_server::Prometheus, rules::rules, scene::Scene, traffic,
};
use crate::support::wait::eventually;

/// Time until all panels have data, after the traffic has ended.
const DATA_LIMIT: Duration = Duration::from_secs(20);
/// Panels that may be empty, with the reason.
const MAY_BE_EMPTY: [(&str, &str); 0] = [];
/// Metrics that may be missing, with the reason.
const MAY_BE_MISSING: [(&str, &str); 0] = [];
/// The trace of the calls that are sampled.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// The resource of OpenTelemetry, which its exporter adds.
const RESOURCE: &str = "target_info";
/// Labels that Prometheus adds.
const ADDED_LABELS: [&str; 4] = ["__name__", "instance", "job", "le"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_and_rules_work_with_a_real_prometheus() {
    let since = unix_time();
    let scene = Scene::start().await;
    let prometheus = Prometheus::start(&scene.scrape_configs()).await;
    tokio::join!(
        async {
            traffic::calls(&scene).await;
            traffic::traced(&scene, TRACE).await;
            traffic::origin(&scene).await;
            traffic::outages(&scene).await;
        },
        traffic::guarded(&scene),
        traffic::embedded(&scene),
    );
    check_panels(&prometheus, since).await;
    check_rules(&prometheus).await;
    check_list(&prometheus);
    check_exemplars(&prometheus, since).await;
}

/// Each query of each panel is answered, with data.
async fn check_panels(prometheus: &Prometheus, since: f64) {
    let mut empty = BTreeMap::new();
    for dashboard in dashboards() {
        for panel in dashboard.panels() {
            for query in &panel.queries {
                let expression = with_values(&query.expression);
                let place = format!("{}: {}", dashboard.title, panel.title);
                empty.insert(expression, place);
            }
        }
    }
    assert!(empty.len() > 100, "{} queries", empty.len());
    let end = std::time::Instant::now() + DATA_LIMIT;
    let allowed = |place: &str| MAY_BE_EMPTY.iter().any(|(panel, _)| place.ends_with(panel));
    loop {
        empty.retain(|expression, place| {
            let series = prometheus.range(expression, since, unix_time());
            series.unwrap_or_else(|error| panic!("{place}: {expression}: {error}")).is_empty()
        });
        let missing = empty.values().filter(|place| !allowed(place)).count();
        if missing == 0 || std::time::Instant::now() > end {
            break;
        }
    }
    empty.retain(|_, place| !allowed(place));
    assert!(empty.is_empty(), "no data: {empty:#?}");
}

/// Each rule is evaluated without an error.
async fn check_rules(prometheus: &Prometheus) {
    let expected = rules().len();
    eventually("all rules are evaluated", DATA_LIMIT, async || {
        let groups = prometheus.ask("rules", &[]).unwrap();
        let groups = groups["groups"].as_array().unwrap().clone();
        let all: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        assert_eq!(all.len(), expected);
        for rule in &all {
            let error = rule["lastError"].as_str().unwrap_or_default();
            assert!(error.is_empty(), "{}: {error}", rule["name"]);
        }
        all.iter().all(|rule| rule["health"] == "ok").then_some(())
    })
    .await;
}

/// The servers have the metrics of the list, with their kinds, helps and labels, and no others.
fn check_list(prometheus: &Prometheus) {
    let metadata = prometheus.ask("metadata", &[]).unwrap();
    let metadata = metadata.as_object().unwrap();
    let listed: BTreeMap<String, Metric> =
        metric_list::all().map(|metric| (metric.prometheus_name(), metric)).collect();
    // OpenMetrics names a counter without the suffix of its series.
    let metadata: BTreeMap<String, &Value> = metadata
        .iter()
        .filter(|(name, _)| *name != RESOURCE)
        .map(|(name, entries)| {
            let suffix = if entries[0]["type"] == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), entries)
        })
        .collect();
    for (name, entries) in &metadata {
        let metric = listed.get(name).unwrap_or_else(|| panic!("{name} is not in the list"));
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let found = (entries[0]["type"].as_str().unwrap(), entries[0]["help"].as_str().unwrap());
        assert_eq!(found, (kind, metric.help), "{name}");
        let matcher = format!("{{__name__=~\"{name}(_bucket|_sum|_count)?\",job=\"larder\"}}");
        let series = prometheus.ask("series", &[("match[]", &matcher)]).unwrap();
        let labels: BTreeSet<&str> = series
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|series| series.as_object().unwrap().keys())
            .map(String::as_str)
            .filter(|label| !ADDED_LABELS.contains(label))
            .collect();
        let known: BTreeSet<String> = metric.prometheus_labels().collect();
        let known: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        assert!(labels.is_subset(&known), "labels of {name}: {labels:?}, the list has {known:?}");
    }
    let may_be_missing = |name: &String| MAY_BE_MISSING.iter().any(|(known, _)| known == name);
    let missing: Vec<&String> = listed
        .keys()
        .filter(|name| !metadata.contains_key(*name) && !may_be_missing(name))
        .collect();
    assert!(missing.is_empty(), "no server has {missing:?}");
}

/// The histograms have exemplars of the sampled calls, and of no others.
async fn check_exemplars(prometheus: &Prometheus, since: f64) {
    let start = since.to_string();
    for metric in [
        metric_list::RPC_SERVER_CALL_DURATION,
        metric_list::DB_CLIENT_OPERATION_DURATION,
        metric_list::ORIGIN_FETCH_DURATION,
    ] {
        let name = format!("{}_bucket", metric.prometheus_name());
        let exemplars = eventually(&format!("exemplars of {name}"), DATA_LIMIT, async || {
            let end = unix_time().to_string();
            let parameters = [("query", name.as_str()), ("start", &start), ("end", &end)];
            let series = prometheus.ask("query_exemplars", &parameters).unwrap();
            let series = series.as_array().unwrap().clone();
            let all = series.iter().flat_map(|one| one["exemplars"].as_array().unwrap().clone());
            let all: Vec<Value> = all.collect();
            (!all.is_empty()).then_some(all)
        })
        .await;
        for exemplar in exemplars {
            assert_eq!(exemplar["labels"]["trace_id"], TRACE, "{exemplar}");
            let seconds: f64 = exemplar["value"].as_str().unwrap().parse().unwrap();
            assert!(seconds > 0.0, "{exemplar}");
        }
    }
}

/// An expression with values in place of the variables of a dashboard.
fn with_values(expression: &str) -> String {
    let all = ["$job", "$replica", "$namespace"];
    let chosen = all.iter().fold(expression.to_owned(), |text, name| text.replace(name, ".*"));
    chosen.replace("$__rate_interval", "30s")
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}
