//! The sampling decision for traces, which is made before any work for a span.
//!
//! Most calls belong to a trace that is not recorded, and a span that is created and dropped costs
//! nearly as much as a cache hit.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Bits of the sampling ratio, an `f64`. The ratio is negative while spans are not exported.
static RATIO: AtomicU64 = AtomicU64::new((-1.0_f64).to_bits());

/// Enables sampling: of the traces that start in this process, `ratio` is recorded.
pub(crate) fn start(ratio: f64) {
    RATIO.store(ratio.to_bits(), Ordering::Relaxed);
}

/// Whether spans are exported at all.
pub fn is_on() -> bool {
    ratio() >= 0.0
}

/// Decides whether to record a trace that starts now.
pub fn is_chosen() -> bool {
    rand::random::<f64>() < ratio()
}

/// Creates the context of a trace that is not recorded, so that origins and other services called
/// in it do not record it either.
pub fn unrecorded() -> SpanContext {
    let (trace, span) =
        (TraceId::from(rand::random::<u128>()), SpanId::from(rand::random::<u64>()));
    SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE)
}

fn ratio() -> f64 {
    f64::from_bits(RATIO.load(Ordering::Relaxed))
}
