//! The one clock of a run.

use std::sync::LazyLock;

use tokio::time::Instant;

use crate::history::Micros;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds since the first call of this function.
pub(crate) fn now() -> Micros {
    u64::try_from(START.elapsed().as_micros()).unwrap_or(Micros::MAX)
}
