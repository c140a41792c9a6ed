//! Metrics and labels that an expression of Prometheus uses, against the list of metrics.

use std::collections::{BTreeMap, BTreeSet};

use larder::metric_list::{self, Metric, MetricKind};

/// Labels that Prometheus adds to each series.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];
/// Series of Prometheus itself, with their labels.
const OF_PROMETHEUS: [(&str, &[&str]); 2] = [("up", &[]), ("ALERTS", &["alertname", "alertstate"])];
/// Words in front of a list of labels.
const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between operands.
const OPERATORS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "atan2", "inf"];

/// Series and labels of an expression.
#[derive(Debug, Default)]
pub(crate) struct Used {
    /// Names of series, each with the labels of its matchers.
    pub(crate) series: BTreeMap<String, BTreeSet<String>>,
    /// Labels that series are grouped by.
    groups: BTreeSet<String>,
}

/// Names of recorded series, with their labels.
pub(crate) type Recorded = BTreeMap<String, BTreeSet<String>>;

// === impl Used ===

impl Used {
    /// Reads an expression.
    pub(crate) fn of(expression: &str) -> Self {
        let mut used = Self::default();
        let (mut series, mut grouping) = (None, false);
        let tokens = tokens(expression);
        let mut depth = 0;
        for (index, token) in tokens.iter().enumerate() {
            let next = tokens.get(index + 1).map_or("", String::as_str);
            match token.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                ")" => grouping = false,
                word if !is_name(word) => {}
                word if depth > 0 => {
                    let labels = used.series.entry(series.clone().unwrap_or_default()).or_default();
                    labels.insert(word.to_owned());
                }
                word if grouping => {
                    used.groups.insert(word.to_owned());
                }
                word if GROUPINGS.contains(&word) => grouping = next == "(",
                word if next == "(" || OPERATORS.contains(&word) || is_aggregation(word, next) => {}
                word => {
                    series = Some(word.to_owned());
                    used.series.entry(word.to_owned()).or_default();
                }
            }
        }
        used
    }

    /// Metrics of the list that are used.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = Metric> + '_ {
        metric_list::all().filter(|metric| self.series.keys().any(|name| is_of(metric, name)))
    }

    /// Names and labels that neither the list nor Prometheus nor a recording rule has.
    pub(crate) fn unknown(&self, recorded: &Recorded) -> Vec<String> {
        let mut unknown = Vec::new();
        let mut all = BTreeSet::new();
        for (name, matched) in &self.series {
            let Some(labels) = labels_of(name, recorded) else {
                unknown.push(format!("there is no series {name}"));
                continue;
            };
            let missing = matched.iter().filter(|label| !labels.contains(*label));
            unknown.extend(missing.map(|label| format!("{name} has no label {label}")));
            all.extend(labels);
        }
        let groups = self.groups.iter().filter(|label| !all.contains(*label));
        unknown.extend(groups.map(|label| format!("no series has the label {label}")));
        unknown
    }

    /// Labels that the result can have.
    pub(crate) fn groups(&self) -> &BTreeSet<String> {
        &self.groups
    }
}

/// Whether a series belongs to a metric. Those of a histogram have suffixes.
fn is_of(metric: &Metric, series: &str) -> bool {
    let Some(suffix) = series.strip_prefix(&metric.prometheus_name()) else { return false };
    match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"].contains(&suffix),
        MetricKind::Counter | MetricKind::Gauge => suffix.is_empty(),
    }
}

fn labels_of(series: &str, recorded: &Recorded) -> Option<BTreeSet<String>> {
    let target = TARGET_LABELS.map(str::to_owned);
    if let Some(labels) = recorded.get(series) {
        return Some(labels.clone());
    }
    if let Some((_, labels)) = OF_PROMETHEUS.iter().find(|(name, _)| *name == series) {
        return Some(labels.iter().map(|label| (*label).to_owned()).chain(target).collect());
    }
    let metric = metric_list::all().find(|metric| is_of(metric, series))?;
    let bucket = series.ends_with("_bucket").then(|| "le".to_owned());
    Some(metric.prometheus_labels().chain(target).chain(bucket).collect())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

/// Whether a word is a function with its labels in front, as in `sum by (namespace) (...)`.
fn is_aggregation(word: &str, next: &str) -> bool {
    ["sum", "max", "min", "avg", "count", "topk"].contains(&word) && GROUPINGS.contains(&next)
}

/// Names, numbers with their units, and characters. Texts and variables are left out.
fn tokens(expression: &str) -> Vec<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            rest = &rest[end..];
            continue;
        } else if is_part(first) || first == '$' {
            rest[1..].find(|char| !is_part(char)).map_or(rest.len(), |end| end + 1)
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(rest[..length].to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn names_and_labels_of_expressions_are_checked() {
    let none = Recorded::new();
    let good = "sum by (instance, le) (rate(db_client_operation_duration_seconds_bucket{\
                db_operation_name=\"get\"}[5m])) > 0.1 and on (instance) up{job=\"x\"} offset 5m";
    assert_eq!(Used::of(good).unknown(&none), Vec::<String>::new());
    assert_eq!(Used::of(good).metrics().count(), 1);
    for (bad, expected) in [
        ("larder_hit_total", "there is no series larder_hit_total"),
        ("larder_hits_total{reason=\"x\"}", "larder_hits_total has no label reason"),
        ("sum by (reason) (larder_hits_total)", "no series has the label reason"),
        ("larder_waiting_bucket", "there is no series larder_waiting_bucket"),
        ("larder_watch_delay_seconds", "there is no series larder_watch_delay_seconds"),
    ] {
        assert_eq!(Used::of(bad).unknown(&none), [expected], "{bad}");
    }
}
