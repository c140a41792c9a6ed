//! The end of a permission.

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// When the permission of a request ends, for answers that last. An extension of requests.
#[derive(Debug, Clone, Default)]
pub struct AccessEnd {
    ended: CancellationToken,
    /// None if its credential does not expire, or ends `ended` then.
    at: Option<Instant>,
}

impl AccessEnd {
    /// When `ended` is cancelled, or at a time.
    pub(super) fn new(ended: CancellationToken, at: Option<Instant>) -> Self {
        Self { ended, at }
    }

    /// Waits for the end.
    pub async fn wait(&self) {
        match self.at {
            // Both are the end.
            Some(at) => _ = timeout_at(at, self.ended.cancelled()).await,
            None => self.ended.cancelled().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_both_ends_it() {
        let (ended, begin) = (CancellationToken::new(), Instant::now());
        let second = Duration::from_secs(1);
        AccessEnd::new(ended.clone(), Some(begin + second)).wait().await;
        assert_eq!(begin.elapsed(), second);
        let unlimited = AccessEnd::new(ended.clone(), None);
        assert!(timeout_at(begin + 9 * second, unlimited.wait()).await.is_err());
        ended.cancel();
        unlimited.wait().await;
        AccessEnd::new(ended, Some(begin + 99 * second)).wait().await;
        assert_eq!(begin.elapsed(), 9 * second);
    }
}
