//! Dashboards, rules and runbooks: against the list of metrics, and against a real Prometheus.

// Dashboards, their panels, and the files of Grafana.
mod dashboard;
mod dashboards;
mod panel;
// The list of metrics, in the code and in the documents.
mod metric_page;
mod metric_table;
// Expressions of Prometheus.
mod prometheus_queries;
// Alerts, recording rules and the pages of alerts.
mod rules;
mod runbooks;
// A real Prometheus that scrapes real servers.
mod live;
mod prometheus_server;
mod scene;
mod traffic;
