//! The findings of the analysis, for the pages that show figures.
//!
//! They are made in a task of their own, at most one at a time, and kept for a while. A page waits
//! for them for a moment only, and is made without them if they are not there.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{Dashboard, numbers, query::link};
use crate::{
    cache::{Figure, Finding, FindingKind, Severity},
    model::Namespace,
};

/// Time for which findings are shown.
const MAX_AGE: Duration = Duration::from_secs(30);
/// Time for which a page waits for new ones.
const PATIENCE: Duration = Duration::from_millis(500);
/// Figures of a finding that stand beside its summary.
const MAX_FIGURES: usize = 3;

/// The newest findings.
pub(super) struct Findings {
    newest: watch::Sender<Made>,
    making: Arc<Semaphore>,
}

#[derive(Clone, Default)]
struct Made {
    /// None before the first ones.
    at: Option<Instant>,
    examined: Arc<Examined>,
}

/// Namespaces of an analysis, and what it found.
#[derive(Debug, Default)]
pub(super) struct Examined {
    names: HashSet<String>,
    findings: Vec<Finding>,
}

impl Default for Findings {
    fn default() -> Self {
        Self { newest: watch::Sender::default(), making: Arc::new(Semaphore::new(1)) }
    }
}

impl Made {
    fn is_fresh(&self) -> bool {
        self.at.is_some_and(|at| at.elapsed() < MAX_AGE)
    }
}

impl Examined {
    pub(super) fn new(names: impl IntoIterator<Item = Namespace>, findings: Vec<Finding>) -> Self {
        Self { names: names.into_iter().map(|name| name.to_string()).collect(), findings }
    }

    /// Whether a namespace was examined.
    pub(super) fn has(&self, namespace: &str) -> bool {
        self.names.contains(namespace)
    }

    /// Its findings, the gravest first.
    pub(super) fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl Dashboard {
    /// The findings of the last day; empty if the analysis fails, or takes long.
    pub(super) async fn examined(&self) -> Arc<Examined> {
        let mut newest = self.findings.newest.subscribe();
        if !newest.borrow().is_fresh() {
            self.examine();
        }
        let fresh = timeout(PATIENCE, newest.wait_for(Made::is_fresh)).await;
        let fresh = fresh.ok().and_then(Result::ok);
        fresh.map(|made| made.examined.clone()).unwrap_or_default()
    }

    /// Begins an analysis, unless one is being made.
    fn examine(&self) {
        let Ok(place) = self.findings.making.clone().try_acquire_owned() else { return };
        let (directory, newest) = (self.parts.directory.clone(), self.findings.newest.clone());
        let stop = self.parts.stop.clone();
        tokio::spawn(async move {
            let analysis = stop.run_until_cancelled(directory.analyze(&[], None)).await;
            let examined = match analysis {
                // The counts of one replica do not decide on the fleet.
                Some(Ok(analysis)) if !analysis.degraded => {
                    let names = analysis.namespaces.into_iter().map(|one| one.name);
                    Examined::new(names, analysis.findings)
                }
                _ => Examined::default(),
            };
            newest.send_replace(Made { at: Some(Instant::now()), examined: Arc::new(examined) });
            drop(place);
        });
    }
}

/// The name of a kind, such as `low hit rate`.
pub(super) fn name(kind: FindingKind) -> String {
    kind.name().replace('_', " ").replace("ttl", "TTL")
}

/// The name of a finding on the page of the analysis.
pub(super) fn id(finding: &Finding) -> String {
    format!("{}.{}", finding.namespace, finding.kind.name())
}

/// Where a finding is shown with its suggestion.
pub(super) fn address(finding: &Finding) -> String {
    let page = link("/analysis", &[("namespace", finding.namespace.as_str())]);
    format!("{page}#{}", id(finding))
}

/// The summary, and the first figures.
pub(super) fn evidence(finding: &Finding) -> String {
    let figures: Vec<String> = finding.figures.iter().take(MAX_FIGURES).map(figure).collect();
    let summary = &finding.summary;
    if figures.is_empty() {
        format!("{summary}.")
    } else {
        format!("{summary} ({}).", figures.join(", "))
    }
}

/// All figures of a finding.
pub(super) fn figures(finding: &Finding) -> String {
    let figures: Vec<String> = finding.figures.iter().map(figure).collect();
    figures.join(", ")
}

fn figure(figure: &Figure) -> String {
    let value = match figure.unit {
        "1" => numbers::percent(figure.value),
        "s" => numbers::span(Duration::from_secs_f64(figure.value.max(0.0))),
        // Counts and sizes are far below the largest number.
        "bytes" => numbers::bytes(figure.value as u64),
        unit => format!("{} {unit}", numbers::count(figure.value as u64)),
    };
    format!("{}: {value}", figure.name.replace('_', " "))
}

/// The word for a severity, which stands next to its colour.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "Notice",
        Severity::Warning => "Warning",
        Severity::Critical => "Critical",
    }
}

/// The class of the dot of a severity.
pub(super) fn dot(severity: Severity) -> &'static str {
    match severity {
        Severity::Notice => "dot plain",
        Severity::Warning => "dot mid",
        Severity::Critical => "dot bad",
    }
}
