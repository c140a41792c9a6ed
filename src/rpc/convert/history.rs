//! Converts GetHistory.

use super::{
    Checked,
    stats::{at_millis, check_reported, counters},
};
use crate::{
    model::Violation,
    pb::{from_duration, v1 as pb},
    stats::history::{History, HistorySpan},
};

pub(in crate::rpc) fn history_span(request: &pb::GetHistoryRequest) -> Checked<HistorySpan> {
    check_reported(&request.namespaces)?;
    match pb::HistorySpan::try_from(request.span) {
        Ok(pb::HistorySpan::Unspecified | pb::HistorySpan::Hour) => Ok(HistorySpan::Hour),
        Ok(pb::HistorySpan::Day) => Ok(HistorySpan::Day),
        Ok(pb::HistorySpan::Week) => Ok(HistorySpan::Week),
        Err(_) => Err(Violation::new("span", format!("{} is not a HistorySpan", request.span))),
    }
}

pub(in crate::rpc) fn history_response(history: History) -> pb::GetHistoryResponse {
    let totals = history.totals.iter().map(|step| pb::HistoryStep {
        start: Some(at_millis(step.start.0).into()),
        counters: Some(counters(&step.counters)),
    });
    let totals = totals.collect();
    let namespaces = history.namespaces.into_iter().map(|one| pb::NamespaceHistory {
        steps: one.steps.iter().map(counters).collect(),
        namespace: one.namespace,
    });
    pb::GetHistoryResponse {
        totals,
        namespaces: namespaces.collect(),
        step: Some(from_duration(history.step)),
        degraded: history.degraded,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        model::Timestamp,
        stats::{
            counters::{Counter, Counters},
            history::{HistoryStep, NamespaceHistory},
        },
    };

    fn request(namespaces: &[&str], span: i32) -> pb::GetHistoryRequest {
        let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
        pb::GetHistoryRequest { namespaces, span }
    }

    #[test]
    fn span_has_a_default_and_unknown_ones_are_refused() {
        let span = |number| history_span(&request(&["a", "_other"], number));
        let known = [0, 1, 2, 3].map(|number| span(number).unwrap());
        let expected = [HistorySpan::Hour, HistorySpan::Hour, HistorySpan::Day, HistorySpan::Week];
        assert_eq!(known, expected);
        assert_eq!(span(4).unwrap_err().to_string(), "span 4 is not a HistorySpan");
    }

    #[test]
    fn namespaces_are_valid_names() {
        let violation = history_span(&request(&["a", ""], 1)).unwrap_err();
        assert_eq!(violation.field(), "namespaces[1]");
    }

    #[test]
    fn response_has_all_steps() {
        let mut one = Counters::default();
        one.0[Counter::Hits as usize] = 3;
        let step = |start, counters: &Counters| HistoryStep {
            start: Timestamp(start),
            counters: counters.clone(),
        };
        let steps = vec![one.clone(), Counters::default()];
        let mut history = History::new(HistorySpan::Day, &[], true);
        history.totals = vec![step(0, &one), step(600_000, &Counters::default())];
        history.namespaces = vec![NamespaceHistory { namespace: "a".to_owned(), steps }];
        let response = history_response(history);
        assert_eq!((response.step.unwrap().seconds, response.degraded), (600, true));
        let starts = response.totals.iter().map(|step| step.start.unwrap().seconds);
        assert_eq!(starts.collect::<Vec<_>>(), [0, 600]);
        let hits = response.namespaces[0].steps.iter().map(|counters| counters.hits);
        assert_eq!(hits.collect::<Vec<_>>(), [3, 0]);
    }
}
