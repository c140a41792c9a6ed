//! Polling with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(5);

/// Repeats `attempt` until it has a result; `None` at the deadline.
pub(crate) async fn until<T>(
    limit: Duration,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(result) = attempt().await {
            return Some(result);
        }
        if Instant::now() >= deadline {
            return None;
        }
        sleep(PAUSE).await;
    }
}
