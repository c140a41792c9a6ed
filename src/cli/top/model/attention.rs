//! Lines on what needs attention.

use std::{collections::BTreeSet, time::Duration};

use super::origins::{failed_share, is_failing};
use crate::{
    cli::{
        figures::percent,
        top::{
            figures::{
                Attention, NamespaceFigures, OriginFigures, ReplicaFigures, Severity, TopFigures,
            },
            units,
        },
    },
    pb::v1::{self, finding::Kind},
};

/// Share of the memory limit from which a store is nearly full.
const NEARLY_FULL: f64 = 0.9;
/// Share of failed fetches with which an origin is down.
const DOWN: f64 = 0.5;

/// All lines, the gravest first.
pub(super) fn attention(
    figures: &TopFigures,
    needs_restart: &[String],
    findings: &[v1::Finding],
) -> Vec<Attention> {
    let mut lines = store_lines(figures);
    lines.extend(figures.origins.iter().filter_map(breaker_line));
    lines.extend(figures.replicas.iter().filter_map(store_line));
    lines.extend(figures.namespaces.iter().filter_map(origin_line));
    lines.extend(replica_line(figures));
    if !needs_restart.is_empty() {
        let keys = needs_restart.join(", ");
        let text = format!("changed keys take effect after a restart: {keys}");
        lines.push(line(Severity::Notice, "configuration", text));
    }
    lines.extend(findings.iter().filter_map(finding_line));
    lines.sort_by_key(|line| line.severity);
    lines
}

/// Gives the namespaces their marks.
pub(super) fn mark(figures: &mut TopFigures, findings: &[v1::Finding]) {
    let (namespaces, origins) = (&mut figures.namespaces, &figures.origins);
    for namespace in namespaces {
        let is_open =
            |one: &OriginFigures| one.namespace == namespace.namespace && one.replicas_open > 0;
        if origins.iter().any(is_open) {
            namespace.marks.push("open");
        }
        if is_failing(namespace) {
            namespace.marks.push("failing");
        }
        let is_cold = |finding: &v1::Finding| {
            finding.kind() == Kind::LowHitRate && finding.namespace == namespace.namespace
        };
        if findings.iter().any(is_cold) {
            namespace.marks.push("cold");
        }
    }
}

fn store_lines(figures: &TopFigures) -> Vec<Attention> {
    let store = &figures.store;
    let mut lines = Vec::new();
    let mut add = |severity, text: String| lines.push(line(severity, "store", text));
    if !store.reachable {
        let trouble = store.trouble.as_deref().unwrap_or("it does not answer");
        add(Severity::Critical, format!("{} is not reachable: {trouble}", store.kind));
    } else if let Some(trouble) = &store.trouble {
        add(Severity::Critical, trouble.clone());
    }
    if figures.degraded {
        add(Severity::Critical, "the figures are those of one replica, since its start".to_owned());
    }
    let used = store.max_bytes.map(|limit| store.used_bytes as f64 / limit as f64);
    if let Some(used) = used.filter(|used| *used >= NEARLY_FULL) {
        add(Severity::Warning, format!("{} of its memory is in use", percent(used)));
    }
    if let Some(evictions) = store.evictions_per_second.filter(|number| *number >= 0.05) {
        let text = format!("{} keys per second are evicted", units::rate(evictions));
        add(Severity::Warning, text);
    }
    lines
}

fn breaker_line(origin: &OriginFigures) -> Option<Attention> {
    if origin.replicas_open == 0 {
        return None;
    }
    let state = origin.state.replace('_', " ");
    let time = origin.state_for.and_then(|time| Duration::try_from_secs_f64(time).ok());
    let time = time.map(|time| format!(" {}", units::span(time))).unwrap_or_default();
    let replicas = if origin.replicas > 1 {
        format!(" on {} of {} replicas", origin.replicas_open, origin.replicas)
    } else {
        String::new()
    };
    let error = origin.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let text = format!("breaker {state}{time}{replicas}{error}");
    Some(line(Severity::Critical, &format!("origin {}", origin.namespace), text))
}

/// A replica that cannot use the store, while the others may.
fn store_line(replica: &ReplicaFigures) -> Option<Attention> {
    let report = replica.report.as_ref().filter(|report| !report.store_available)?;
    let trouble = report.store_trouble.as_deref().unwrap_or("it does not answer");
    let subject = format!("replica {}", replica.id);
    Some(line(Severity::Critical, &subject, format!("its store: {trouble}")))
}

fn origin_line(namespace: &NamespaceFigures) -> Option<Attention> {
    let share = failed_share(namespace).filter(|_| is_failing(namespace))?;
    let subject = format!("origin {}", namespace.namespace);
    let severity = if share >= DOWN { Severity::Critical } else { Severity::Warning };
    Some(line(severity, &subject, format!("{} of the fetches fail", percent(share))))
}

fn replica_line(figures: &TopFigures) -> Option<Attention> {
    let versions: BTreeSet<&str> =
        figures.replicas.iter().map(|replica| replica.version.as_str()).collect();
    let list = || versions.iter().copied().collect::<Vec<_>>().join(", ");
    let text = || format!("they have different versions: {}", list());
    (versions.len() > 1).then(|| line(Severity::Notice, "replicas", text()))
}

/// A finding of the last day. Origins have lines by the rates of now.
fn finding_line(finding: &v1::Finding) -> Option<Attention> {
    let severity = match finding.severity() {
        v1::finding::Severity::Critical => Severity::Critical,
        v1::finding::Severity::Warning => Severity::Warning,
        v1::finding::Severity::Notice | v1::finding::Severity::Unspecified => Severity::Notice,
    };
    let has_line = finding.kind() == Kind::OriginFails;
    (!has_line).then(|| line(severity, &finding.namespace, finding.summary.clone()))
}

fn line(severity: Severity, subject: &str, text: String) -> Attention {
    Attention { severity, subject: subject.to_owned(), text }
}
