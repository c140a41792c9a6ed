//! Metrics of the sources.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use super::stats::{EntryOutcome, SourceStats};

/// Registers the instruments. There are few sources, so they may be labels.
pub(super) fn register(meter: &Meter, sources: Vec<Arc<SourceStats>>) {
    let sources: Arc<[Arc<SourceStats>]> = sources.into();
    let all = sources.clone();
    meter
        .u64_observable_counter("larder.event_source.entries")
        .with_description("Entries of streams, by what became of them")
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
    let gauges: [(&str, &str, Read); 3] = [
        (
            "larder.event_source.pending",
            "Entries that were read and are not acknowledged, by any replica",
            SourceStats::pending,
        ),
        ("larder.event_source.lag", "Entries that no replica has read yet", SourceStats::lag),
        ("larder.event_source.connected", "1 while the stream is read", |source| {
            Some(u64::from(source.is_connected()))
        }),
    ];
    for (name, description, read) in gauges {
        let all = sources.clone();
        meter
            .u64_observable_gauge(name)
            .with_description(description)
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
