//! Polling with a deadline: no test waits for a fixed time and hopes.

use std::time::{Duration, Instant};

/// How often a probe is asked.
const PERIOD: Duration = Duration::from_millis(10);
/// For what should happen at once but may be slow on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Asks until there is an answer, and returns it. Panics after `deadline`.
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
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(PERIOD).await;
    }
}

/// Runs `check`, which asserts, again and again for as long as `duration`: for what must never happen.
pub(crate) async fn throughout(duration: Duration, mut check: impl AsyncFnMut()) {
    let start = Instant::now();
    while start.elapsed() < duration {
        check().await;
        tokio::time::sleep(PERIOD).await;
    }
}
