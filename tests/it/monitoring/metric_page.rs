//! The reference `docs/reference/metrics.md`, which is generated from the list of metrics.
//!
//! `make references` writes the file.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use larder::metric_list::{self, LATENCY_BOUNDS, Metric, MetricKind};

use crate::sources::read_text;

const FILE: &str = "docs/reference/metrics.md";
/// Set by `make references`.
const UPDATE: &str = "UPDATE_REFERENCES";

const HEAD: &str = "\
# Metrics

<!-- `make references` writes this file from src/metric_list. -->

The admin port shows these metrics at `/metrics`, under the names of Prometheus. With
`telemetry.otlp_endpoint` they are also pushed to a collector, under the names of OpenTelemetry.
[Operations](../operations.md#metrics) explains them, with the values of their labels, and
[Monitoring](../monitoring.md) has the dashboards and alerts that use them.
";

const LABELS: &str = "
Labels are shown as Prometheus has them. In OpenTelemetry, some have dots:

| Prometheus | OpenTelemetry |
|---|---|
";

const BOUNDS: &str = "
A histogram counts durations in these buckets, by their upper bounds in seconds:
";

#[test]
fn the_page_is_generated() {
    let expected = page();
    let rows = expected.lines().filter(|line| line.starts_with("| `")).count();
    assert!(rows > 140 && rows > metric_list::all().count(), "{rows}");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE), &expected).unwrap();
    }
    assert!(read_text(FILE) == expected, "{FILE} is not what `make references` writes");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(LABELS);
    let labels = metric_list::all().flat_map(|metric| metric.labels).copied();
    let dotted: BTreeSet<&str> = labels.filter(|label| label.contains('.')).collect();
    for label in dotted {
        writeln!(page, "| `{}` | `{label}` |", label.replace('.', "_")).unwrap();
    }
    let bounds = LATENCY_BOUNDS.map(|bound| bound.to_string()).join(" ");
    writeln!(page, "{BOUNDS}\n```text\n{bounds}\n```").unwrap();
    for (area, metrics) in metric_list::areas() {
        writeln!(page, "\n## {}\n", title(area)).unwrap();
        page.push_str("| Prometheus | OpenTelemetry | Kind | Unit | Labels | Meaning |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        metrics.iter().for_each(|metric| page.push_str(&row(metric)));
    }
    page
}

/// The subject of an area: the first sentence about its module.
fn title(area: &str) -> String {
    let source = read_text(&format!("src/metric_list/{area}.rs"));
    let lines = source.lines().map_while(|line| line.strip_prefix("//! "));
    let text = lines.collect::<Vec<_>>().join(" ");
    text.split_once('.').unwrap_or_else(|| panic!("{area}: {text}")).0.to_owned()
}

fn row(metric: &Metric) -> String {
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    let unit = match metric.unit {
        "s" => "seconds",
        "By" => "bytes",
        counted => counted.trim_matches(['{', '}']),
    };
    let labels: Vec<_> = metric.prometheus_labels().map(|label| format!("`{label}`")).collect();
    let (prometheus, labels) = (metric.prometheus_name(), labels.join(", "));
    let (name, help) = (metric.name, metric.help.replace('|', "\\|"));
    format!("| `{prometheus}` | `{name}` | {kind} | {unit} | {labels} | {help} |\n")
}
