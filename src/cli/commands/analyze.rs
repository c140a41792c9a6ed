//! `larder analyze` prints how well namespaces are cached, and what to change.

use std::cmp::Ordering;

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    display::{phrase, seconds, show, word},
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::figures::{dash, percent},
    pb::v1::{AnalyzeRequest, AnalyzeResponse, Figure, Finding, NamespaceAnalysis},
    units,
};

/// Fewest misses and ended entries of followed keys from which the server judges a TTL.
const ENOUGH: u64 = 200;
/// Namespaces at each end of the table, if there are more than two times as many.
const ENDS: usize = 10;
/// Largest error of a hit rate that is printed: ten points.
const MAX_ERROR: f64 = 0.1;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespaces to examine [default: all with statistics]
    #[arg(value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    #[command(flatten)]
    call: CallArgs,
}

/// Fields without a value are null. The counters are those of the last 24 hours.
#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    reads: u64,
    hit_rate: Option<f64>,
    misses: u64,
    keys: Option<u64>,
    bytes: Option<u64>,
    ttl: Option<f64>,
    findings: Vec<FindingJson<'a>>,
    /// Whether there are enough followed keys and events of them to judge the TTL.
    judged: bool,
    curve: Option<Vec<PointJson>>,
}

/// Effect of another TTL.
#[derive(Serialize)]
struct PointJson {
    ttl: Option<f64>,
    /// None if the error is large.
    hit_rate: Option<f64>,
    error: f64,
    /// None if it is not known well.
    freed_memory: Option<f64>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    kind: String,
    severity: String,
    summary: &'a str,
    figures: Vec<FigureJson<'a>>,
    suggestion: Option<&'a str>,
}

#[derive(Serialize)]
struct FigureJson<'a> {
    name: &'a str,
    value: f64,
    unit: &'a str,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let request = AnalyzeRequest { namespaces: self.namespaces.clone() };
            let mut admin = session.admin();
            let response = session.answer(admin.analyze(session.request(request))).await?;
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                for analyzed in &response.namespaces {
                    output.line(&Line::new(analyzed, &response.findings), String::new)?;
                }
            } else if !response.namespaces.is_empty() {
                output.line(&(), || text(&response))?;
            }
            if response.degraded {
                remark("the store did not answer: counters are of one replica");
            }
            let (unused, used): (Vec<_>, Vec<_>) = response.namespaces.iter().partition(is_unused);
            for namespace in unused.iter().filter(|_| !self.namespaces.is_empty()) {
                remark(&format!(
                    "{}: there are no reads and no keys: check its name",
                    namespace.namespace
                ));
            }
            if response.namespaces.is_empty() {
                remark("no namespace has statistics");
            }
            Ok(if used.is_empty() { Ending::Miss } else { Ending::Done })
        })
    }
}

fn text(response: &AnalyzeResponse) -> String {
    let mut sorted: Vec<&NamespaceAnalysis> = response.namespaces.iter().collect();
    sorted.sort_by(|one, two| by_hit_rate(one, two));
    let (worst, best) = if sorted.len() > 2 * ENDS {
        (&sorted[..ENDS], &sorted[sorted.len() - ENDS..])
    } else {
        (&sorted[..], &[][..])
    };
    let left_out = sorted.len() - worst.len() - best.len();
    let ellipsis = (left_out > 0).then(|| {
        let mut row = vec![format!("({left_out} more)")];
        row.resize(HEADER.len(), String::new());
        row
    });
    let rows = |part: &[&NamespaceAnalysis]| -> Vec<Vec<String>> {
        part.iter().map(|analyzed| row(analyzed, &response.findings)).collect()
    };
    let mut text = table(&HEADER, rows(worst).into_iter().chain(ellipsis).chain(rows(best)));
    for finding in &response.findings {
        text.push_str("\n\n");
        text.push_str(&described(finding));
    }
    if response.findings.is_empty() {
        text.push_str("\n\nno findings");
    }
    let shown = worst.iter().chain(best);
    let few: Vec<String> = shown.filter(|one| !is_judged(one)).map(|one| too_few(one)).collect();
    if !few.is_empty() {
        text.push_str("\n\n");
        text.push_str(&few.join("\n"));
    }
    text
}

const HEADER: [&str; 8] =
    ["namespace", "hit rate", "reads", "misses", "keys", "bytes", "ttl", "findings"];

fn row(analyzed: &NamespaceAnalysis, findings: &[Finding]) -> Vec<String> {
    let counters = analyzed.counters.unwrap_or_default();
    let size = analyzed.size.as_ref();
    // Estimates from a sample are marked.
    let mark = if size.is_some_and(|size| size.sampled) { "~" } else { "" };
    let found = findings.iter().filter(|finding| finding.namespace == analyzed.namespace).count();
    vec![
        analyzed.namespace.clone(),
        counters.hit_rate.map_or_else(dash, percent),
        reads(analyzed).to_string(),
        counters.misses.to_string(),
        size.map_or_else(dash, |size| format!("{mark}{}", size.keys)),
        size.map_or_else(dash, |size| format!("{mark}{}", ByteSize(size.bytes))),
        show(analyzed.ttl),
        if found > 0 { found.to_string() } else { dash() },
    ]
}

/// Whether nothing is known of a namespace. Its name may be a mistake.
fn is_unused(analyzed: &&NamespaceAnalysis) -> bool {
    let has_keys = analyzed.size.as_ref().is_some_and(|size| size.keys > 0);
    let has_events = analyzed
        .reuse
        .as_ref()
        .is_some_and(|reuse| reuse.sampled_misses > 0 || reuse.sampled_entries > 0);
    reads(analyzed) == 0 && !has_keys && !has_events
}

/// Whether a TTL that is too short or too long would be found.
fn is_judged(analyzed: &NamespaceAnalysis) -> bool {
    let reuse = analyzed.reuse.as_ref();
    reuse.is_some_and(|reuse| reuse.sampled_misses >= ENOUGH || reuse.sampled_entries >= ENOUGH)
}

/// The reason for which nothing is found about the TTL of a namespace.
fn too_few(analyzed: &NamespaceAnalysis) -> String {
    let reuse = analyzed.reuse.as_ref();
    let (misses, ended) =
        reuse.map_or((0, 0), |reuse| (reuse.sampled_misses, reuse.sampled_entries));
    format!(
        "{}: too few keys to judge its TTL: {misses} misses and {ended} ended entries of followed \
         keys, {ENOUGH} of either are enough",
        analyzed.namespace
    )
}

/// A finding in some lines: what and why, the figures, and the lines of the configuration.
fn described(finding: &Finding) -> String {
    let kind = phrase(finding.kind().as_str_name(), "KIND_");
    let severity = phrase(finding.severity().as_str_name(), "SEVERITY_");
    let figures: Vec<String> = finding.figures.iter().map(figure).collect();
    let mut text = format!(
        "{severity}: {}: {kind}: {}\n    {}",
        finding.namespace,
        finding.summary,
        figures.join(", ")
    );
    for line in finding.suggestion.lines() {
        text.push_str("\n    > ");
        text.push_str(line);
    }
    text
}

fn figure(figure: &Figure) -> String {
    let name = figure.name.replace('_', " ");
    let value = match &*figure.unit {
        "1" => percent(figure.value),
        // Far below the largest number.
        "bytes" => ByteSize(figure.value as u64).to_string(),
        "s" => format!("{} s", figure.value),
        unit => format!("{} {unit}", units::count(figure.value as u64)),
    };
    format!("{name} {value}")
}

/// The lowest hit rate first, then the most reads. A namespace without reads comes last.
fn by_hit_rate(one: &NamespaceAnalysis, two: &NamespaceAnalysis) -> Ordering {
    let rate = |analyzed: &NamespaceAnalysis| {
        analyzed.counters.unwrap_or_default().hit_rate.unwrap_or(f64::INFINITY)
    };
    rate(one)
        .total_cmp(&rate(two))
        .then_with(|| reads(two).cmp(&reads(one)))
        .then_with(|| one.namespace.cmp(&two.namespace))
}

fn reads(analyzed: &NamespaceAnalysis) -> u64 {
    let counters = analyzed.counters.unwrap_or_default();
    counters.hits + counters.stale + counters.negative + counters.misses
}

impl<'a> Line<'a> {
    fn new(analyzed: &'a NamespaceAnalysis, findings: &'a [Finding]) -> Self {
        let counters = analyzed.counters.unwrap_or_default();
        let size = analyzed.size.as_ref();
        let own = findings.iter().filter(|finding| finding.namespace == analyzed.namespace);
        Self {
            namespace: &analyzed.namespace,
            reads: reads(analyzed),
            hit_rate: counters.hit_rate,
            misses: counters.misses,
            keys: size.map(|size| size.keys),
            bytes: size.map(|size| size.bytes),
            ttl: seconds(analyzed.ttl),
            findings: own.map(FindingJson::new).collect(),
            judged: is_judged(analyzed),
            curve: analyzed.reuse.as_ref().map(|reuse| {
                let points = reuse.ttls.iter().map(|other| PointJson {
                    ttl: seconds(other.ttl),
                    hit_rate: (other.error <= MAX_ERROR).then_some(other.hit_rate),
                    error: other.error,
                    freed_memory: other.freed_memory.filter(|freed| *freed >= 0.0),
                });
                points.collect()
            }),
        }
    }
}

impl<'a> FindingJson<'a> {
    fn new(finding: &'a Finding) -> Self {
        let figures = finding.figures.iter();
        Self {
            kind: word(finding.kind().as_str_name(), "KIND_").into_owned(),
            severity: word(finding.severity().as_str_name(), "SEVERITY_").into_owned(),
            summary: &finding.summary,
            figures: figures
                .map(|Figure { name, value, unit }| FigureJson { name, value: *value, unit })
                .collect(),
            suggestion: (!finding.suggestion.is_empty()).then_some(&finding.suggestion),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{Counters, ReuseEstimate, TtlEstimate, finding::Kind, finding::Severity};

    fn analyzed(name: &str, hits: u64, misses: u64) -> NamespaceAnalysis {
        let rate = (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64);
        let counters = Counters { hits, misses, hit_rate: rate, ..Counters::default() };
        let (namespace, counters) = (name.to_owned(), Some(counters));
        NamespaceAnalysis { namespace, counters, ..NamespaceAnalysis::default() }
    }

    #[test]
    fn namespaces_are_listed_from_the_worst_to_the_best() {
        let namespaces =
            vec![analyzed("idle", 0, 0), analyzed("good", 9, 1), analyzed("bad", 1, 9)];
        let mut response = AnalyzeResponse { namespaces, ..AnalyzeResponse::default() };
        let shown = text(&response);
        let names: Vec<&str> =
            shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names[..5], ["namespace", "bad", "good", "idle", "no"]);
        response.namespaces = (0..30).map(|hits| analyzed(&format!("n{hits}"), hits, 1)).collect();
        let shown = text(&response);
        let names: Vec<&str> =
            shown.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!((names[10], names[11], names[12], names[22]), ("n9", "(10", "n20", "no"));
    }

    #[test]
    fn namespace_with_too_few_events_is_named() {
        let reuse = |sampled_misses, sampled_entries| {
            Some(ReuseEstimate { sampled_misses, sampled_entries, ..ReuseEstimate::default() })
        };
        let with = |name, reuse| NamespaceAnalysis { reuse, ..analyzed(name, 9, 1) };
        let namespaces = vec![
            with("new", None),
            with("few", reuse(199, 12)),
            with("missed", reuse(200, 0)),
            with("ended", reuse(0, 200)),
        ];
        let shown = text(&AnalyzeResponse { namespaces, ..AnalyzeResponse::default() });
        let few: Vec<&str> = shown.lines().filter(|line| line.contains("too few keys")).collect();
        let named: Vec<_> = few.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(named, ["few", "new"], "{shown}");
        assert!(few[0].contains("199 misses and 12 ended entries"), "{shown}");
    }

    #[test]
    fn json_has_what_is_estimated_well() {
        let other = |hit_rate, error, freed_memory| TtlEstimate {
            hit_rate,
            error,
            freed_memory: Some(freed_memory),
            ..TtlEstimate::default()
        };
        let ttls = vec![other(0.8, 0.05, 0.5), other(0.7, 0.2, -0.01)];
        let reuse = Some(ReuseEstimate { ttls, ..ReuseEstimate::default() });
        let analyzed = NamespaceAnalysis { reuse, ..analyzed("ns", 1, 1) };
        let json = serde_json::to_value(Line::new(&analyzed, &[])).unwrap_or_default();
        let expected = serde_json::json!([
            {"ttl": null, "hit_rate": 0.8, "error": 0.05, "freed_memory": 0.5},
            {"ttl": null, "hit_rate": null, "error": 0.2, "freed_memory": null},
        ]);
        assert_eq!(json["curve"], expected);
    }

    #[test]
    fn finding_is_shown_with_its_evidence_and_its_lines() {
        let figures = vec![
            Figure { name: "hit_rate".to_owned(), value: 0.25, unit: "1".to_owned() },
            Figure { name: "reads".to_owned(), value: 6_461_020.0, unit: "reads".to_owned() },
        ];
        let finding = Finding {
            namespace: "ns".to_owned(),
            kind: Kind::LowHitRate.into(),
            severity: Severity::Warning.into(),
            summary: "few hits".to_owned(),
            figures,
            suggestion: "[namespaces.ns]\nttl = \"2h\"\n".to_owned(),
        };
        assert_eq!(
            described(&finding),
            "warning: ns: low hit rate: few hits\n    hit rate 25.0 %, reads 6.5 M reads\n    \
             > [namespaces.ns]\n    > ttl = \"2h\""
        );
    }
}
