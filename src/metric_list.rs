//! The one list of all metrics: name, kind, unit, labels and help.
//!
//! Each instrument is made from its entry. The dashboards and `docs/reference/metrics.md` are
//! generated from the list, and tests compare it with the alerts and with the table in
//! `docs/operations.md`.

mod access;
mod bans;
mod cache;
mod calls;
mod changes;
mod dashboard;
mod embedded;
mod failover;
mod journal;
mod near;
mod origins;
mod process;
mod redis;

use opentelemetry::metrics::{
    AsyncInstrumentBuilder, Counter, Histogram, Meter, ObservableCounter, ObservableGauge,
};

pub use self::{
    access::*, bans::*, cache::*, calls::*, changes::*, dashboard::*, embedded::*, failover::*,
    journal::*, near::*, origins::*, process::*, redis::*,
};

/// Bounds of histograms, in seconds. They start at 50 µs, because a cache hit is faster than the
/// first bound of the usual defaults.
pub const LATENCY_BOUNDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// Kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only rises.
    Counter,
    /// A value at present.
    Gauge,
    /// A distribution of durations, with the bounds of all latency histograms.
    Histogram,
}

/// A metric, with the names of OpenTelemetry.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name, such as `larder.near.size`.
    pub name: &'static str,
    /// Kind.
    pub kind: MetricKind,
    /// Unit by UCUM: `s`, `By` (bytes), `{entry}`; empty for a plain number.
    pub unit: &'static str,
    /// Names of all attributes that a series may have.
    pub labels: &'static [&'static str],
    /// Meaning, in one line.
    pub help: &'static str,
}

/// Makes a constant of each metric, and `ALL` with all of a file.
macro_rules! metrics {
    ($($constant:ident =
        $kind:ident($name:literal, [$($label:literal),*], $help:literal) $(in $unit:literal)?;
    )*) => {
        $(
            #[doc = $help]
            pub const $constant: super::Metric = super::Metric {
                name: $name,
                kind: super::MetricKind::$kind,
                unit: concat!($($unit)?),
                labels: &[$($label),*],
                help: $help,
            };
        )*

        pub(super) const ALL: &[super::Metric] = &[$($constant),*];
    };
}
use metrics;

/// Areas in order: the name of each, which is that of its module, and its metrics.
pub fn areas() -> [(&'static str, &'static [Metric]); 13] {
    [
        ("calls", calls::ALL),
        ("access", access::ALL),
        ("dashboard", dashboard::ALL),
        ("cache", cache::ALL),
        ("origins", origins::ALL),
        ("near", near::ALL),
        ("changes", changes::ALL),
        ("redis", redis::ALL),
        ("failover", failover::ALL),
        ("bans", bans::ALL),
        ("journal", journal::ALL),
        ("embedded", embedded::ALL),
        ("process", process::ALL),
    ]
}

/// All metrics, by area.
pub fn all() -> impl Iterator<Item = Metric> {
    areas().into_iter().flat_map(|(_, metrics)| metrics).copied()
}

// === impl Metric ===

impl Metric {
    /// Name as Prometheus shows it, such as `larder_near_size_bytes`.
    pub fn prometheus_name(&self) -> String {
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let suffix = if self.kind == MetricKind::Counter { "_total" } else { "" };
        format!("{}{unit}{suffix}", self.name.replace('.', "_"))
    }

    /// Labels as Prometheus shows them, such as `rpc_method`.
    pub fn prometheus_labels(&self) -> impl Iterator<Item = String> {
        self.labels.iter().map(|label| label.replace('.', "_"))
    }

    /// A counter that the code adds to.
    pub fn counter(&self, meter: &Meter) -> Counter<u64> {
        self.assert_kind(MetricKind::Counter);
        meter.u64_counter(self.name).with_unit(self.unit).with_description(self.help).build()
    }

    /// A counter that is read at the time of a scrape.
    pub fn observed_counter<'m>(
        &self,
        meter: &'m Meter,
    ) -> AsyncInstrumentBuilder<'m, ObservableCounter<u64>, u64> {
        self.assert_kind(MetricKind::Counter);
        meter.u64_observable_counter(self.name).with_unit(self.unit).with_description(self.help)
    }

    /// A counter with fractions, read at the time of a scrape.
    pub fn observed_sum<'m>(
        &self,
        meter: &'m Meter,
    ) -> AsyncInstrumentBuilder<'m, ObservableCounter<f64>, f64> {
        self.assert_kind(MetricKind::Counter);
        meter.f64_observable_counter(self.name).with_unit(self.unit).with_description(self.help)
    }

    /// A gauge that is read at the time of a scrape.
    pub fn observed_gauge<'m>(
        &self,
        meter: &'m Meter,
    ) -> AsyncInstrumentBuilder<'m, ObservableGauge<u64>, u64> {
        self.assert_kind(MetricKind::Gauge);
        meter.u64_observable_gauge(self.name).with_unit(self.unit).with_description(self.help)
    }

    /// A gauge with fractions, read at the time of a scrape.
    pub fn observed_level<'m>(
        &self,
        meter: &'m Meter,
    ) -> AsyncInstrumentBuilder<'m, ObservableGauge<f64>, f64> {
        self.assert_kind(MetricKind::Gauge);
        meter.f64_observable_gauge(self.name).with_unit(self.unit).with_description(self.help)
    }

    /// A histogram of durations in seconds.
    pub fn histogram(&self, meter: &Meter) -> Histogram<f64> {
        self.assert_kind(MetricKind::Histogram);
        meter
            .f64_histogram(self.name)
            .with_unit(self.unit)
            .with_description(self.help)
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build()
    }

    fn assert_kind(&self, kind: MetricKind) {
        debug_assert_eq!(self.kind, kind, "{}", self.name);
    }
}
