//! The Tokio runtime, and what its threads do before they sleep: they release backpressure and, if
//! configured, poll for events.

use std::{io, sync::Arc, time::Duration};

use tokio::runtime::Builder;

#[cfg(feature = "busy-poll")]
use crate::busy_poll;
pub use crate::threads::{BusyPollStats, Threads, Unsupported};
use crate::{Admission, backpressure::Backpressure};

/// Builds the runtime. A thread without tasks releases the backpressure of `admission`, and then
/// polls for events for the time `busy_poll` before it sleeps. Zero means it sleeps at once. No
/// other thread may open an epoll instance at the same time.
///
/// # Errors
/// The system has no threads or file descriptors left.
pub fn build(busy_poll: Duration, admission: &Admission) -> io::Result<Threads> {
    let backpressure = admission.backpressure().clone();
    if busy_poll.is_zero() {
        return without_busy_poll(backpressure, Ok(Arc::default()));
    }
    #[cfg(feature = "busy-poll")]
    return busy_poll::build(busy_poll, backpressure);
    #[cfg(not(feature = "busy-poll"))]
    without_busy_poll(backpressure, Err(Unsupported::NotBuilt))
}

fn without_busy_poll(
    backpressure: Arc<Backpressure>,
    busy_poll: Result<Arc<BusyPollStats>, Unsupported>,
) -> io::Result<Threads> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(move || _ = backpressure.release())
        .build()?;
    Ok(Threads { runtime, busy_poll })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn busy_polling_is_off_at_zero() {
        let threads = build(Duration::ZERO, &Admission::new(1)).unwrap();
        assert_eq!(threads.busy_poll.unwrap().spent(), Duration::ZERO);
    }

    #[cfg(not(feature = "busy-poll"))]
    #[test]
    fn busy_polling_is_unsupported_without_its_feature() {
        let threads = build(Duration::from_micros(100), &Admission::new(1)).unwrap();
        assert!(matches!(threads.busy_poll, Err(Unsupported::NotBuilt)));
    }
}
