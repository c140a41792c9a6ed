//! Converts Analyze.

use super::{
    Checked,
    stats::{counters, size},
};
use crate::{
    cache::{
        Analysis, AnalyzedNamespace, Figure, Finding, FindingKind, ReuseEstimate, Severity,
        TtlEstimate,
    },
    model::Namespace,
    pb::{from_duration, v1 as pb},
};

/// The namespaces that a request names.
pub(in crate::rpc) fn analyzed_names(request: &pb::AnalyzeRequest) -> Checked<Vec<Namespace>> {
    let names = request.namespaces.iter().enumerate();
    names
        .map(|(index, name)| {
            Namespace::new(name)
                .map_err(|violation| violation.renamed(format!("namespaces[{index}]")))
        })
        .collect()
}

pub(in crate::rpc) fn analysis_response(analysis: &Analysis) -> pb::AnalyzeResponse {
    pb::AnalyzeResponse {
        namespaces: analysis.namespaces.iter().map(namespace).collect(),
        findings: analysis.findings.iter().map(finding).collect(),
        degraded: analysis.degraded,
    }
}

fn namespace(analyzed: &AnalyzedNamespace) -> pb::NamespaceAnalysis {
    pb::NamespaceAnalysis {
        namespace: analyzed.name.to_string(),
        counters: Some(counters(&analyzed.counters)),
        size: analyzed.usage.as_ref().map(size),
        ttl: Some(from_duration(analyzed.config.ttl)),
        reuse: analyzed.reuse.as_ref().map(reuse),
    }
}

fn reuse(estimate: &ReuseEstimate) -> pb::ReuseEstimate {
    let counts = &estimate.counts;
    pb::ReuseEstimate {
        sampled_hits: counts.seen_hits,
        sampled_misses: counts.seen_misses,
        sampled_entries: counts.seen_ended,
        mean_ttl: Some(from_duration(estimate.mean_ttl)),
        ttls: estimate.ttls.iter().map(ttl).collect(),
    }
}

fn ttl(estimate: &TtlEstimate) -> pb::TtlEstimate {
    pb::TtlEstimate {
        ttl: Some(from_duration(estimate.ttl)),
        hit_rate: estimate.hit_rate.value,
        error: estimate.hit_rate.error,
        freed_memory: estimate
            .freed
            .filter(|freed| freed.is_well_known() && freed.value >= 0.0)
            .map(|freed| freed.value),
    }
}

fn finding(finding: &Finding) -> pb::Finding {
    let kind = match finding.kind {
        FindingKind::InvalidatedMoreThanHit => pb::finding::Kind::InvalidatedMoreThanHit,
        FindingKind::LowHitRate => pb::finding::Kind::LowHitRate,
        FindingKind::OriginFails => pb::finding::Kind::OriginFails,
        FindingKind::TtlTooShort => pb::finding::Kind::TtlTooShort,
        FindingKind::TtlTooLong => pb::finding::Kind::TtlTooLong,
        FindingKind::NeverRead => pb::finding::Kind::NeverRead,
        FindingKind::LargeRarelyRead => pb::finding::Kind::LargeRarelyRead,
        FindingKind::EvictedTooSoon => pb::finding::Kind::EvictedTooSoon,
    };
    let severity = match finding.severity {
        Severity::Notice => pb::finding::Severity::Notice,
        Severity::Warning => pb::finding::Severity::Warning,
        Severity::Critical => pb::finding::Severity::Critical,
    };
    pb::Finding {
        namespace: finding.namespace.to_string(),
        kind: kind.into(),
        severity: severity.into(),
        summary: finding.summary.clone(),
        figures: finding.figures.iter().map(figure).collect(),
        suggestion: finding.suggestion.clone(),
    }
}

fn figure(figure: &Figure) -> pb::Figure {
    let Figure { name, value, unit } = *figure;
    pb::Figure { name: name.to_owned(), value, unit: unit.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cache::Share;

    #[test]
    fn named_namespaces_are_validated() {
        let names = |names: &[&str]| {
            let namespaces = names.iter().map(ToString::to_string).collect();
            analyzed_names(&pb::AnalyzeRequest { namespaces })
        };
        assert_eq!(names(&[]).unwrap(), []);
        assert_eq!(names(&["a", "b"]).unwrap().len(), 2);
        assert_eq!(names(&["a", "B"]).unwrap_err().field(), "namespaces[1]");
    }

    #[test]
    fn memory_is_freed_by_what_is_known_well() {
        let freed = |value, error| {
            let share = Share { value, error };
            let estimate = TtlEstimate {
                ttl: std::time::Duration::from_secs(1),
                hit_rate: share,
                saved: None,
                lost: None,
                freed: Some(share),
            };
            ttl(&estimate).freed_memory
        };
        assert_eq!([freed(0.4, 0.05), freed(0.0, 0.1)], [Some(0.4), Some(0.0)]);
        assert_eq!([freed(-0.02, 0.05), freed(0.4, 0.11)], [None, None]);
    }

    #[test]
    fn finding_keeps_its_figures() {
        let (namespace, summary) = (Namespace::new("ns").unwrap(), "why".to_owned());
        let figures = vec![Figure { name: "reads", value: 7.0, unit: "reads" }];
        let (kind, severity) = (FindingKind::OriginFails, Severity::Critical);
        let suggestion = "[namespaces.ns]\n".to_owned();
        let found = Finding { namespace, kind, severity, summary, figures, suggestion };
        let converted = finding(&found);
        assert_eq!(converted.kind(), pb::finding::Kind::OriginFails);
        assert_eq!(converted.severity(), pb::finding::Severity::Critical);
        assert_eq!((&*converted.namespace, &*converted.summary), ("ns", "why"));
        let figure = &converted.figures[0];
        assert_eq!((&*figure.name, figure.value, &*figure.unit), ("reads", 7.0, "reads"));
        assert_eq!(converted.suggestion, found.suggestion);
    }
}
