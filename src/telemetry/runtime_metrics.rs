//! Metrics of the threads.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use transport::runtime::BusyPollStats;

/// Registers the instruments.
pub fn register(meter: &Meter, busy_poll: &Arc<BusyPollStats>) {
    let polls = busy_poll.clone();
    meter
        .u64_observable_counter("larder.busy_polls")
        .with_description(
            "Times that a thread without work looked for an event before it slept, by whether there was one",
        )
        .with_callback(move |observer| {
            observer.observe(polls.found(), &[KeyValue::new("outcome", "event")]);
            observer.observe(polls.timed_out(), &[KeyValue::new("outcome", "none")]);
        })
        .build();
    let spent = busy_poll.clone();
    meter
        .f64_observable_counter("larder.busy_poll.duration")
        .with_unit("s")
        .with_description("Time that threads without work have looked for some")
        .with_callback(move |observer| observer.observe(spent.spent().as_secs_f64(), &[]))
        .build();
}
