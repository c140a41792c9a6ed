//! `larder history` prints the counters of the fleet over time.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{
    arguments::CallArgs,
    display::seconds,
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::{
        figures::{dash, percent},
        stats::{counters_json, show_latency},
    },
    pb::{
        self,
        v1::{Counters, GetHistoryRequest, GetHistoryResponse, HistorySpan},
    },
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespaces to print one by one; without any, the sums of all
    #[arg(value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// How far back to look: an hour by minutes, a day by ten minutes, or a week by hours
    #[arg(long, value_enum, default_value_t = Span::Hour)]
    span: Span,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Span {
    Hour,
    Day,
    Week,
}

/// The counters of a step, of one namespace or of all.
struct Step<'a> {
    /// None: of all.
    namespace: Option<&'a str>,
    start: prost_types::Timestamp,
    /// It has not ended.
    is_last: bool,
    counters: Counters,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let span = match self.span {
                Span::Hour => HistorySpan::Hour,
                Span::Day => HistorySpan::Day,
                Span::Week => HistorySpan::Week,
            };
            let namespaces = self.namespaces.clone();
            let request = GetHistoryRequest { namespaces, span: span.into() };
            let mut admin = session.admin();
            let response = session.answer(admin.get_history(session.request(request))).await?;
            let steps = steps(&response);
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                for step in &steps {
                    output.line(&step.json(response.step), String::new)?;
                }
            } else {
                let length = response.step.and_then(pb::duration).unwrap_or_default();
                let now = SystemTime::now();
                output.line(&(), || text(&steps, length, now))?;
            }
            if response.degraded {
                remark("the store did not answer: these are the counters of one replica only");
            }
            Ok(Ending::Done)
        })
    }
}

/// The steps of the named namespaces, or else those of all.
fn steps(response: &GetHistoryResponse) -> Vec<Step<'_>> {
    let starts = || {
        let places = response.totals.iter().enumerate();
        places.map(|(place, step)| {
            (step.start.unwrap_or_default(), place + 1 == response.totals.len())
        })
    };
    if response.namespaces.is_empty() {
        let all = response.totals.iter().zip(starts());
        let step = |(step, (start, is_last)): (&pb::v1::HistoryStep, _)| Step {
            namespace: None,
            start,
            is_last,
            counters: step.counters.unwrap_or_default(),
        };
        return all.map(step).collect();
    }
    let each = response.namespaces.iter().flat_map(|one| {
        let namespace = Some(one.namespace.as_str());
        let steps = one.steps.iter().zip(starts());
        steps.map(move |(counters, (start, is_last))| {
            let counters = *counters;
            Step { namespace, start, is_last, counters }
        })
    });
    each.collect()
}

fn text(steps: &[Step<'_>], length: Duration, now: SystemTime) -> String {
    let header =
        ["namespace", "time", "requests/s", "hit rate", "stale", "misses", "p50 hit", "p99 hit"];
    table(&header, steps.iter().map(|step| step.row(length, now)))
}

impl Step<'_> {
    fn row(&self, length: Duration, now: SystemTime) -> Vec<String> {
        let Self { namespace, start, is_last: _, counters } = self;
        vec![
            namespace.unwrap_or("(all)").to_owned(),
            start.to_string(),
            format!("{:.1}", self.rate(length, now)),
            counters.hit_rate.map_or_else(dash, percent),
            counters.stale.to_string(),
            counters.misses.to_string(),
            show_latency(counters.hit_latency.as_ref(), |latency| latency.p50),
            show_latency(counters.hit_latency.as_ref(), |latency| latency.p99),
        ]
    }

    /// Requests per second. The last step has not ended: only the time since its begin counts, by
    /// the clock of this machine.
    fn rate(&self, length: Duration, now: SystemTime) -> f64 {
        let start = SystemTime::try_from(self.start).unwrap_or(now);
        let length = length.max(Duration::from_secs(1));
        let time = match self.is_last {
            true => now.duration_since(start).unwrap_or_default(),
            false => length,
        };
        let time = time.clamp(Duration::from_secs(1), length);
        let &Counters { hits, stale, negative, misses, sets, sets_refused, deletes, .. } =
            &self.counters;
        let requests = [hits, stale, negative, misses, sets, sets_refused, deletes];
        requests.into_iter().fold(0, u64::saturating_add) as f64 / time.as_secs_f64()
    }

    fn json(&self, step: Option<prost_types::Duration>) -> Value {
        let mut line = json!({
            "namespace": self.namespace,
            "start": self.start.to_string(),
            "step": seconds(step),
        });
        if let (Value::Object(line), Value::Object(counters)) =
            (&mut line, counters_json(&self.counters))
        {
            line.extend(counters);
        }
        line
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pb::v1::{HistoryStep, NamespaceHistory};

    fn response(namespaces: &[&str]) -> GetHistoryResponse {
        let counters = Counters { hits: 30, misses: 60, sets: 30, ..Counters::default() };
        let start = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        let step = |seconds| HistoryStep { start: Some(start(seconds)), counters: Some(counters) };
        let namespaces = namespaces.iter().map(|name| NamespaceHistory {
            namespace: (*name).to_owned(),
            steps: vec![counters, Counters::default()],
        });
        GetHistoryResponse {
            totals: vec![step(0), step(60)],
            namespaces: namespaces.collect(),
            step: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            degraded: false,
        }
    }

    #[test]
    fn rates_are_those_of_the_time_that_has_passed() {
        let (response, length) = (response(&[]), Duration::from_secs(60));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(70);
        let rates = steps(&response).iter().map(|step| step.rate(length, now)).collect::<Vec<_>>();
        assert_eq!(rates, [2.0, 12.0]);
        // A clock that is behind changes the last step only.
        let behind = SystemTime::UNIX_EPOCH + Duration::from_secs(20);
        let first = steps(&response)[0].rate(length, behind);
        assert!((first - 2.0).abs() < 1e-9, "{first}");
        let text = text(&steps(&response), length, now);
        assert!(text.contains("(all)") && text.contains("1970-01-01T00:01:00Z"), "{text}");
    }

    #[test]
    fn named_namespaces_are_printed_in_place_of_the_sums() {
        let response = response(&["a", "b"]);
        let steps = steps(&response);
        let names = steps.iter().map(|step| step.namespace).collect::<Vec<_>>();
        assert_eq!(names, [Some("a"), Some("a"), Some("b"), Some("b")]);
        let line = steps[0].json(response.step);
        assert_eq!(
            (&line["namespace"], &line["step"], &line["hits"]),
            (&json!("a"), &json!(60.0), &json!(30))
        );
        assert_eq!(line["start"], "1970-01-01T00:00:00Z");
    }
}
