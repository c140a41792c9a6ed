//! Metrics of the runtime.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};
use transport::runtime::BusyPollStats;

/// Registers the metrics of busy polling.
pub fn register_busy_poll(meter: &Meter, busy_poll: &Arc<BusyPollStats>) {
    let polls = busy_poll.clone();
    meter
        .u64_observable_counter("larder.busy_polls")
        .with_description("Polls of idle threads before they sleep, by whether there was an event")
        .with_callback(move |observer| {
            observer.observe(polls.found(), &[KeyValue::new("outcome", "event")]);
            observer.observe(polls.timed_out(), &[KeyValue::new("outcome", "none")]);
        })
        .build();
    let polls = busy_poll.clone();
    meter
        .f64_observable_counter("larder.busy_poll.duration")
        .with_unit("s")
        .with_description("Time that idle threads have polled for events")
        .with_callback(move |observer| observer.observe(polls.spent().as_secs_f64(), &[]))
        .build();
}
