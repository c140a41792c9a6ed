//! Metrics of the sources.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use super::stats::{EntryOutcome, SourceStats};
use crate::metric_list::{self, Metric};

/// Registers the instruments. There are few sources, so they may be labels.
pub(super) fn register(meter: &Meter, sources: Vec<Arc<SourceStats>>) {
    let sources: Arc<[Arc<SourceStats>]> = sources.into();
    let all = sources.clone();
    metric_list::EVENT_SOURCE_ENTRIES
        .observed_counter(meter)
        .with_callback(move |observer| {
            for source in &*all {
                for outcome in EntryOutcome::ALL {
                    let [index, stream] = labels(source);
                    let labels = [index, stream, KeyValue::new("outcome", outcome.name())];
                    observer.observe(source.counted(outcome), &labels);
                }
            }
        })
        .build();
    type Read = fn(&SourceStats) -> Option<u64>;
    let gauges: [(Metric, Read); 3] = [
        (metric_list::EVENT_SOURCE_PENDING, SourceStats::pending),
        (metric_list::EVENT_SOURCE_LAG, SourceStats::lag),
        (metric_list::EVENT_SOURCE_CONNECTED, |source| Some(u64::from(source.is_connected()))),
    ];
    for (metric, read) in gauges {
        let all = sources.clone();
        metric
            .observed_gauge(meter)
            .with_callback(move |observer| {
                for source in &*all {
                    if let Some(value) = read(source) {
                        observer.observe(value, &labels(source));
                    }
                }
            })
            .build();
    }
}

fn labels(source: &SourceStats) -> [KeyValue; 2] {
    let index = i64::try_from(source.index).unwrap_or(i64::MAX);
    [KeyValue::new("source", index), KeyValue::new("stream", source.stream.clone())]
}
