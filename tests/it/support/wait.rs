//! Polling with a deadline, in place of fixed sleeps.

use std::time::{Duration, Instant};

/// Polling interval.
const PERIOD: Duration = Duration::from_millis(10);
/// Deadline for events that happen at once on an idle machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// Error of a replica's view of the store's clock on a busy machine.
pub(crate) const CLOCK_ERROR: Duration = Duration::from_millis(50);

/// Polls `probe` until it returns a value. Panics after `deadline`.
pub(crate) async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(start.elapsed() < deadline, "timed out after {deadline:?}: {what}");
        tokio::time::sleep(PERIOD).await;
    }
}

/// Runs `check` repeatedly for `duration`, to assert that something never happens.
pub(crate) async fn throughout(duration: Duration, mut check: impl AsyncFnMut()) {
    let start = Instant::now();
    while start.elapsed() < duration {
        check().await;
        tokio::time::sleep(PERIOD).await;
    }
}
