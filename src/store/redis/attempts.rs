//! Attempts at a change of markers or entries that other callers and replicas change too.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::store::{ErrorKind, Result};

/// Attempts that are made at least, however slow the store is.
const MIN_ATTEMPTS: u32 = 8;
/// Attempts without a pause between them.
const WITHOUT_PAUSE: u32 = 4;
/// Longest pause between two attempts; the first ones are shorter.
const MAX_PAUSE: Duration = Duration::from_millis(16);

/// Attempts of one operation, for as long as the store may take to answer.
///
/// The pauses are random, so that the operations that disturb each other do so less and less
/// (exponential backoff with full jitter).
#[derive(Default)]
pub(super) struct Attempts {
    failed: u32,
    ends_at: Option<Instant>,
}

impl Attempts {
    /// Waits for the next attempt. The time begins with the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after `limit`.
    pub(super) async fn again(&mut self, limit: Duration) -> Result<()> {
        let ends_at = *self.ends_at.get_or_insert_with(|| Instant::now() + limit);
        self.failed += 1;
        if self.failed >= MIN_ATTEMPTS && Instant::now() >= ends_at {
            return Err(ErrorKind::Timeout.into());
        }
        if let Some(number) = self.failed.checked_sub(WITHOUT_PAUSE) {
            let longest = Duration::from_millis(1 << number.min(10)).min(MAX_PAUSE);
            sleep(longest.mul_f64(rand::random())).await;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn attempts_go_on_until_the_limit() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        let mut made = 0;
        while attempts.again(LIMIT).await.is_ok() {
            made += 1;
        }
        assert!(made > MIN_ATTEMPTS, "{made}");
        assert!((LIMIT..=LIMIT + MAX_PAUSE).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_store_ends_them_after_some() {
        let mut attempts = Attempts::default();
        for _ in 1..MIN_ATTEMPTS {
            attempts.again(LIMIT).await.unwrap();
            sleep(LIMIT).await;
        }
        assert!(attempts.again(LIMIT).await.is_err());
    }
}
