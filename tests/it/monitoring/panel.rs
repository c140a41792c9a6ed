//! Panels of dashboards: queries from the list of metrics, and their JSON for Grafana.

use larder::metric_list::{Metric, MetricKind};
use serde_json::{Value, json};

/// Labels with one value, which no panel needs.
const CONSTANT_LABELS: [&str; 4] = [
    "rpc.system.name",
    "db.system.name",
    "db.client.connection.state",
    "db.client.connection.pool.name",
];
/// Selects the replicas that are shown.
const REPLICAS: &str = "job=~\"$job\",instance=~\"$replica\"";

/// Unit of a panel, by its name in Grafana.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Unit {
    Number,
    PerSecond,
    Bytes,
    Seconds,
    Share,
    YesNo,
}

#[derive(Clone, Copy, PartialEq)]
enum Look {
    Graph,
    Figure,
    Table,
}

/// An expression and the legend of its series.
pub(crate) struct Query {
    pub(crate) expression: String,
    pub(crate) legend: String,
}

/// A graph, a figure or a table.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) description: String,
    pub(crate) unit: Unit,
    pub(crate) queries: Vec<Query>,
    pub(crate) runbooks: Vec<&'static str>,
    look: Look,
    /// Values from which on a panel is yellow, and red.
    thresholds: Option<(f64, f64)>,
    has_exemplars: bool,
}

// === impl Panel ===

impl Panel {
    /// A graph of metrics of one kind and unit, with queries, unit and description of the list.
    pub(crate) fn of(title: &'static str, metrics: &[Metric]) -> Self {
        let first = metrics.first().unwrap();
        let unit = match (first.kind, first.unit) {
            _ if is_flag(first) => Unit::YesNo,
            (MetricKind::Counter, "s") => Unit::Share,
            (MetricKind::Counter, _) => Unit::PerSecond,
            (MetricKind::Histogram, _) | (MetricKind::Gauge, "s") => Unit::Seconds,
            (MetricKind::Gauge, "By") => Unit::Bytes,
            (MetricKind::Gauge, _) => Unit::Number,
        };
        let mut panel = Self::new(Look::Graph, title, unit);
        for metric in metrics {
            assert_eq!((metric.kind, metric.unit), (first.kind, first.unit), "{title}");
            panel.queries.extend(queries_of(metric, metrics.len() > 1));
            panel.has_exemplars |= metric.kind == MetricKind::Histogram;
        }
        let helps: Vec<String> = metrics.iter().map(|metric| format!("{}.", metric.help)).collect();
        panel.description = helps.join("\n\n");
        panel
    }

    /// A graph without queries.
    pub(crate) fn graph(title: &'static str, unit: Unit, description: &str) -> Self {
        Self { description: description.to_owned(), ..Self::new(Look::Graph, title, unit) }
    }

    /// One figure, with a small graph of it.
    pub(crate) fn figure(title: &'static str, unit: Unit, description: &str) -> Self {
        Self { description: description.to_owned(), ..Self::new(Look::Figure, title, unit) }
    }

    /// A table of the labels of series.
    pub(crate) fn table(title: &'static str, description: &str) -> Self {
        Self { description: description.to_owned(), ..Self::new(Look::Table, title, Unit::Number) }
    }

    fn new(look: Look, title: &'static str, unit: Unit) -> Self {
        Self {
            title,
            description: String::new(),
            unit,
            queries: Vec::new(),
            runbooks: Vec::new(),
            look,
            thresholds: None,
            has_exemplars: false,
        }
    }

    /// Adds a query. `{@}` selects the replicas, `{@ns}` the namespaces too.
    pub(crate) fn query(mut self, expression: &str, legend: &str) -> Self {
        let namespaces = format!("{{{REPLICAS},namespace=~\"$namespace\"");
        let expression = expression.replace("{@ns", &namespaces);
        let expression = expression.replace("{@", &format!("{{{REPLICAS}"));
        self.queries.push(Query { expression, legend: legend.to_owned() });
        self
    }

    /// Colours values from `warning` and from `critical` on; the smaller one may be the critical.
    pub(crate) fn thresholds(mut self, warning: f64, critical: f64) -> Self {
        self.thresholds = Some((warning, critical));
        self
    }

    /// Shows exemplars, which lead to traces.
    pub(crate) fn with_exemplars(mut self) -> Self {
        self.has_exemplars = true;
        self
    }

    /// Links to the pages of alerts.
    pub(crate) fn runbooks(mut self, alerts: &[&'static str]) -> Self {
        self.runbooks.extend(alerts);
        self
    }

    /// Height in rows of Grafana.
    pub(super) fn height(&self) -> usize {
        match self.look {
            Look::Graph | Look::Table => 8,
            Look::Figure => 4,
        }
    }

    /// Whether it is one figure.
    pub(super) fn is_figure(&self) -> bool {
        self.look == Look::Figure
    }

    fn steps(&self) -> Value {
        let step = |color: &str, value: Option<f64>| json!({ "color": color, "value": value });
        match self.thresholds {
            None => json!([step("green", None)]),
            Some((warning, critical)) if warning <= critical => {
                let (yellow, red) = (step("yellow", Some(warning)), step("red", Some(critical)));
                json!([step("green", None), yellow, red])
            }
            Some((warning, critical)) => {
                let (yellow, green) =
                    (step("yellow", Some(critical)), step("green", Some(warning)));
                json!([step("red", None), yellow, green])
            }
        }
    }

    pub(super) fn to_json(&self, id: usize, place: Value) -> Value {
        let targets: Vec<Value> =
            ('A'..).zip(&self.queries).map(|(id, query)| self.target(id, query)).collect();
        let links = self.runbooks.iter().map(|alert| {
            let url = format!("${{runbooks}}/{alert}.md");
            json!({ "title": format!("Runbook: {alert}"), "url": url, "targetBlank": true })
        });
        let (kind, options, custom) = match self.look {
            Look::Graph => ("timeseries", graph_options(), self.graph_style()),
            Look::Figure => ("stat", figure_options(), json!({})),
            Look::Table => ("table", json!({ "showHeader": true }), json!({})),
        };
        let color = if self.is_figure() { "thresholds" } else { "palette-classic" };
        let mut defaults = json!({
            "unit": self.unit.name(),
            "color": { "mode": color },
            "custom": custom,
            "mappings": [],
            "thresholds": { "mode": "absolute", "steps": self.steps() },
        });
        if self.unit != Unit::Seconds && self.look == Look::Graph {
            defaults["min"] = json!(0);
        }
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource(),
            "gridPos": place,
            "fieldConfig": { "defaults": defaults, "overrides": [] },
            "options": options,
            "targets": targets,
            "links": links.collect::<Vec<_>>(),
        })
    }

    fn graph_style(&self) -> Value {
        let lines = if self.thresholds.is_some() { "line" } else { "off" };
        json!({
            "drawStyle": "line",
            "fillOpacity": 10,
            "lineWidth": 1,
            "showPoints": "auto",
            "spanNulls": false,
            "thresholdsStyle": { "mode": lines },
        })
    }

    fn target(&self, id: char, query: &Query) -> Value {
        let is_table = self.look == Look::Table;
        json!({
            "refId": id.to_string(),
            "datasource": datasource(),
            "editorMode": "code",
            "expr": query.expression,
            "legendFormat": query.legend,
            "format": if is_table { "table" } else { "time_series" },
            "instant": is_table,
            "range": !is_table,
            "exemplar": self.has_exemplars,
        })
    }
}

/// Whether a gauge is 1 or 0.
fn is_flag(metric: &Metric) -> bool {
    metric.kind == MetricKind::Gauge && metric.help.starts_with("1 ")
}

/// Queries of a metric, by its kind. `is_named`: the legend names the metric too.
fn queries_of(metric: &Metric, is_named: bool) -> Vec<Query> {
    let labels = metric.labels.iter().filter(|label| !CONSTANT_LABELS.contains(label));
    let mut by: Vec<String> = labels.map(|label| label.replace('.', "_")).collect();
    let has_namespace = by.iter().any(|label| label == "namespace");
    // A quota is that of a namespace or of a principal: one of the labels is missing.
    let is_one_of_two = by.iter().any(|label| label == "principal");
    let selected = if has_namespace && !is_one_of_two { "{@ns}" } else { "{@}" };
    if by.is_empty() || metric.kind == MetricKind::Gauge && !has_namespace {
        by.insert(0, "instance".to_owned());
    }
    let parts: Vec<String> = by.iter().map(|label| format!("{{{{{label}}}}}")).collect();
    let series = parts.join(" ");
    let name = metric.prometheus_name();
    let short = metric.name.trim_start_matches("larder.").replace(['.', '_'], " ");
    let legend = if is_named { format!("{short} {series}") } else { series.clone() };
    let by = by.join(", ");
    let one = |expression: String, legend: String| {
        let panel = Panel::new(Look::Graph, "", Unit::Number).query(&expression, &legend);
        panel.queries.into_iter().next().unwrap()
    };
    match metric.kind {
        MetricKind::Counter => {
            let rate = format!("sum by ({by}) (rate({name}{selected}[$__rate_interval]))");
            vec![one(rate, legend)]
        }
        MetricKind::Gauge if is_flag(metric) => {
            vec![one(format!("max by ({by}) ({name}{selected})"), legend)]
        }
        MetricKind::Gauge => vec![one(format!("sum by ({by}) ({name}{selected})"), legend)],
        MetricKind::Histogram => [("0.5", "p50"), ("0.99", "p99")]
            .map(|(quantile, title)| {
                let rate = format!("rate({name}_bucket{selected}[$__rate_interval])");
                let all = format!("histogram_quantile({quantile}, sum by ({by}, le) ({rate}))");
                one(all, format!("{title} {series}"))
            })
            .into(),
    }
}

// === impl Unit ===

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Number => "short",
            Self::PerSecond => "cps",
            Self::Bytes => "bytes",
            Self::Seconds => "s",
            Self::Share => "percentunit",
            Self::YesNo => "bool",
        }
    }
}

/// The data source that is chosen in the dashboard.
pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn graph_options() -> Value {
    json!({
        "legend": {
            "calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom",
            "showLegend": true,
        },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn figure_options() -> Value {
    json!({
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto",
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        "textMode": "auto",
    })
}
