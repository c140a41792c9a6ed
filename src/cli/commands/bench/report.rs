//! The report of a load, as text and JSON.

use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use serde::Serialize;

use super::{latencies::Latencies, load::Measured};
use crate::cli::figures::{dash, percent, table};

const HEADER: [&str; 8] = ["calls", "count", "per second", "p50", "p90", "p99", "p99.9", "max"];

/// The arguments of the load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Setting<'a> {
    pub(super) namespace: &'a str,
    pub(super) connections: u16,
    pub(super) in_flight: u16,
    pub(super) keys: u64,
    pub(super) value_bytes: u32,
    pub(super) rate: Option<u32>,
}

/// The figures of a load. Durations are in seconds; fields without a value are null.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    setting: Setting<'a>,
    seconds: f64,
    all: Figures,
    reads: Figures,
    writes: Figures,
    hit_rate: Option<f64>,
    errors: BTreeMap<&'static str, u64>,
}

/// Figures of the calls that were answered.
#[derive(Debug, Serialize)]
struct Figures {
    count: u64,
    per_second: f64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
}

impl<'a> Report<'a> {
    pub(super) fn new(setting: Setting<'a>, measured: &Measured) -> Self {
        let reads = measured.reads.count();
        let figures = |latencies: &Latencies| Figures::new(latencies, measured.took);
        Self {
            setting,
            seconds: measured.took.as_secs_f64(),
            all: figures(&measured.reads.with(&measured.writes)),
            reads: figures(&measured.reads),
            writes: figures(&measured.writes),
            hit_rate: (reads > 0).then(|| measured.hits as f64 / reads as f64),
            errors: measured.errors.clone(),
        }
    }

    pub(super) fn text(&self) -> String {
        let Setting { namespace, connections, in_flight, keys, value_bytes, rate } = self.setting;
        let values = ByteSize(u64::from(value_bytes));
        let rate =
            rate.map_or_else(|| "as many as possible".to_owned(), |rate| format!("{rate}/s"));
        let rows = [("all", &self.all), ("reads", &self.reads), ("writes", &self.writes)];
        let mut text = format!(
            "{namespace}: {:.1} s, {rate}, {connections} x {in_flight} in flight, {keys} keys of \
             {values}\n\n{}\n\nhit rate {}",
            self.seconds,
            table(&HEADER, rows.map(|(name, figures)| figures.row(name))),
            self.hit_rate.map_or_else(dash, percent),
        );
        let errors = self.errors.iter().map(|(code, count)| format!("{code} {count}"));
        let errors: Vec<String> = errors.collect();
        text.push_str("\nerrors ");
        text.push_str(&if errors.is_empty() { "0".to_owned() } else { errors.join(", ") });
        text
    }
}

impl Figures {
    fn new(latencies: &Latencies, took: Duration) -> Self {
        let quantile = |share| latencies.quantile(share).map(|took| took.as_secs_f64());
        Self {
            count: latencies.count(),
            per_second: latencies.count() as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: latencies.longest().map(|took| took.as_secs_f64()),
        }
    }

    fn row(&self, name: &str) -> Vec<String> {
        let latencies = [self.p50, self.p90, self.p99, self.p999, self.max];
        let millis = |took: f64| format!("{:.3} ms", took * 1000.0);
        let counts = [name.to_owned(), self.count.to_string(), format!("{:.0}", self.per_second)];
        counts.into_iter().chain(latencies.map(|took| took.map_or_else(dash, millis))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn measured() -> Measured {
        let mut measured =
            Measured { took: Duration::from_secs(2), hits: 75, ..Measured::new().unwrap() };
        (1..=100).for_each(|number| measured.reads.add(Duration::from_micros(number)));
        measured.errors.insert("UNAVAILABLE", 3);
        measured
    }

    fn setting(rate: Option<u32>) -> Setting<'static> {
        let (namespace, keys) = ("bench", 1000);
        Setting { namespace, connections: 2, in_flight: 32, keys, value_bytes: 1024, rate }
    }

    #[test]
    fn text_has_all_figures() {
        let expected = "\
bench: 2.0 s, 50/s, 2 x 32 in flight, 1000 keys of 1.0 KiB

 calls   count  per second  p50       p90       p99       p99.9     max
 all     100    50          0.050 ms  0.090 ms  0.099 ms  0.100 ms  0.100 ms
 reads   100    50          0.050 ms  0.090 ms  0.099 ms  0.100 ms  0.100 ms
 writes  0      0           -         -         -         -         -

hit rate 75.0 %
errors UNAVAILABLE 3";
        assert_eq!(Report::new(setting(Some(50)), &measured()).text(), expected);
        let nothing = Report::new(setting(None), &Measured::new().unwrap()).text();
        assert!(nothing.contains("0.0 s, as many as possible"), "{nothing}");
        assert!(nothing.ends_with("hit rate -\nerrors 0"), "{nothing}");
    }

    #[test]
    fn json_has_seconds() {
        let json = serde_json::to_value(Report::new(setting(None), &measured())).unwrap();
        assert_eq!((&json["namespace"], &json["rate"]), (&"bench".into(), &().into()));
        assert_eq!((&json["all"]["p50"], &json["hit_rate"]), (&5e-5.into(), &0.75.into()));
        assert_eq!(json["errors"]["UNAVAILABLE"], 3);
    }
}
