//! Which traces are recorded. That is decided before anything is done for a span: most calls belong to a trace that is not, and a span
//! that is thrown away costs nearly as much as a hit.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The bits of the part of traces that is recorded; of a number below zero while no spans are exported.
static RATIO: AtomicU64 = AtomicU64::new((-1.0_f64).to_bits());

/// Spans are exported from now on: of the traces that begin here, this part.
pub(crate) fn start(ratio: f64) {
    RATIO.store(ratio.to_bits(), Ordering::Relaxed);
}

/// Whether spans are exported at all.
pub fn is_on() -> bool {
    ratio() >= 0.0
}

/// Whether a trace that begins now is recorded.
pub fn is_chosen() -> bool {
    rand::random::<f64>() < ratio()
}

/// The parent of what is not recorded: whoever is called on its behalf is told so.
pub fn unrecorded() -> SpanContext {
    let (trace, span) =
        (TraceId::from(rand::random::<u128>()), SpanId::from(rand::random::<u64>()));
    SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE)
}

fn ratio() -> f64 {
    f64::from_bits(RATIO.load(Ordering::Relaxed))
}
