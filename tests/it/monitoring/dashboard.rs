//! Dashboards, and their JSON for Grafana.

use serde_json::{Value, json};

use super::panel::{Panel, datasource};

/// Panels per line.
const PER_LINE: usize = 3;
/// Single figures per line.
const FIGURES_PER_LINE: usize = 6;
/// Columns of Grafana.
const COLUMNS: usize = 24;

/// A dashboard.
pub(crate) struct Dashboard {
    pub(crate) uid: &'static str,
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// Whether namespaces can be chosen.
    pub(crate) has_namespaces: bool,
    pub(crate) rows: Vec<Row>,
}

/// Panels below a title.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) panels: Vec<Panel>,
}

// === impl Dashboard ===

impl Dashboard {
    /// All panels.
    pub(crate) fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }

    /// The text of the file for Grafana.
    pub(crate) fn to_text(&self) -> String {
        let (mut panels, mut line) = (Vec::new(), 0);
        for row in &self.rows {
            let place = json!({ "h": 1, "w": COLUMNS, "x": 0, "y": line });
            let (id, title) = (panels.len() + 1, row.title);
            panels.push(json!({
                "id": id, "type": "row", "title": title, "collapsed": false, "gridPos": place,
                "panels": [],
            }));
            line += 1;
            for group in groups(&row.panels) {
                let (width, height) = (COLUMNS / group.len(), group[0].height());
                for (index, panel) in group.iter().enumerate() {
                    let x = index * width;
                    let place = json!({ "h": height, "w": width, "x": x, "y": line });
                    panels.push(panel.to_json(panels.len() + 1, place));
                }
                line += height;
            }
        }
        let document = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["larder"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-3h", "to": "now" },
            "timezone": "browser",
            "templating": { "list": self.variables() },
            "annotations": { "list": [alerts_as_annotations()] },
            "links": [{
                "title": "Larder", "type": "dashboards", "tags": ["larder"], "asDropdown": true,
                "includeVars": true, "keepTime": true, "targetBlank": false,
                "icon": "external link",
            }],
            "panels": panels,
        });
        format!("{document:#}\n")
    }

    fn variables(&self) -> Vec<Value> {
        let mut list = vec![
            json!({
                "name": "datasource", "label": "Data source", "type": "datasource",
                "query": "prometheus", "current": {}, "hide": 0, "refresh": 1, "regex": "",
                "multi": false, "includeAll": false, "options": [],
            }),
            choice("job", "Job", "label_values(larder_build_info, job)"),
            choice(
                "replica",
                "Replica",
                "label_values(larder_build_info{job=~\"$job\"}, instance)",
            ),
        ];
        if self.has_namespaces {
            let query = "label_values(larder_misses_total{job=~\"$job\"}, namespace)";
            list.push(choice("namespace", "Namespace", query));
        }
        // The place where docs/runbooks is published.
        list.push(json!({
            "name": "runbooks", "label": "Runbooks at", "type": "textbox", "hide": 0,
            "query": "/public/runbooks",
            "current": { "text": "/public/runbooks", "value": "/public/runbooks" },
            "options": [],
        }));
        list
    }
}

/// Panels that stand in one line: those of the same height, a few at a time.
fn groups(panels: &[Panel]) -> Vec<&[Panel]> {
    let same = panels.chunk_by(|one, other| one.height() == other.height());
    let per_line = |panel: &Panel| if panel.is_figure() { FIGURES_PER_LINE } else { PER_LINE };
    same.flat_map(|group| group.chunks(per_line(&group[0]))).collect()
}

/// A variable with the values of a label, of which all are chosen at first.
fn choice(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "definition": query, "query": { "query": query, "refId": name },
        "current": { "text": ["All"], "value": ["$__all"] }, "allValue": ".*",
        "includeAll": true, "multi": true, "refresh": 2, "sort": 1, "hide": 0, "regex": "",
        "options": [],
    })
}

fn alerts_as_annotations() -> Value {
    json!({
        "name": "Alerts", "datasource": datasource(), "enable": true, "hide": false,
        "iconColor": "red",
        "expr": "ALERTS{alertname=~\"Larder.*\",alertstate=\"firing\"}",
        "titleFormat": "{{alertname}}", "textFormat": "{{instance}} {{namespace}}",
    })
}
