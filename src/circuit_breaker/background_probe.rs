//! Recovery by a background task that probes the service.

use std::{future::Future, time::Duration};

use tokio::time::{sleep, timeout};

use super::CircuitBreaker;

/// Time between two probes.
#[derive(Debug, Clone, Copy)]
pub struct ProbeIntervals {
    /// While the breaker is closed.
    pub closed: Duration,
    /// While the breaker is open; jittered by a fifth.
    pub open: Duration,
}

impl CircuitBreaker {
    /// Probes the service until the future is dropped. A successful probe closes the breaker;
    /// a failed one counts like a call that failed.
    pub async fn run_probe<E, F: Future<Output = Result<(), E>>>(
        &self,
        intervals: ProbeIntervals,
        probe: impl Fn() -> F,
        is_outage: impl Fn(&E) -> bool,
    ) {
        let mut closed = self.subscribe();
        loop {
            let outcome = probe().await;
            self.record(&outcome, &is_outage);
            if outcome.is_ok() {
                self.close();
            }
            let was_closed = *closed.borrow_and_update();
            let pause = if was_closed { intervals.closed } else { jittered(intervals.open) };
            // A breaker that opens under traffic does not wait for the next regular probe.
            let changed = timeout(pause, closed.wait_for(|now| *now != was_closed)).await.is_ok();
            // The service gets some rest first: a probe may not see what made the calls fail.
            if changed && was_closed {
                sleep(jittered(intervals.open)).await;
            }
        }
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    };

    use tokio::task::JoinHandle;

    use super::*;

    const INTERVALS: ProbeIntervals =
        ProbeIntervals { closed: Duration::from_millis(1000), open: Duration::from_millis(500) };

    /// A probed service.
    struct Service {
        breaker: Arc<CircuitBreaker>,
        works: Arc<AtomicBool>,
        probes: Arc<AtomicU32>,
        prober: JoinHandle<()>,
    }

    impl Service {
        fn start(failure_threshold: u32, works: bool) -> Self {
            let breaker = Arc::new(CircuitBreaker::new(failure_threshold, |_| ()));
            let (works, probes) = (Arc::new(AtomicBool::new(works)), Arc::new(AtomicU32::new(0)));
            let prober = tokio::spawn({
                let (breaker, works, probes) = (breaker.clone(), works.clone(), probes.clone());
                async move {
                    let probe = || {
                        probes.fetch_add(1, Ordering::Relaxed);
                        let works = works.load(Ordering::Relaxed);
                        async move { if works { Ok(()) } else { Err(()) } }
                    };
                    breaker.run_probe(INTERVALS, probe, |()| true).await;
                }
            });
            Self { breaker, works, probes, prober }
        }

        fn probes(&self) -> u32 {
            self.probes.load(Ordering::Relaxed)
        }
    }

    impl Drop for Service {
        fn drop(&mut self) {
            self.prober.abort();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn successful_probe_closes_the_breaker() {
        let service = Service::start(1, false);
        sleep(Duration::from_secs(10)).await;
        assert!(!service.breaker.is_closed());
        assert!((16..=26).contains(&service.probes()), "{}", service.probes());
        service.works.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(601)).await;
        assert!(service.breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn closed_breaker_is_probed_at_the_longer_interval() {
        let service = Service::start(1, true);
        sleep(Duration::from_millis(10_001)).await;
        assert_eq!(service.probes(), 11);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_probes_open_the_breaker() {
        let service = Service::start(2, true);
        sleep(Duration::from_millis(1)).await;
        service.works.store(false, Ordering::Relaxed);
        sleep(Duration::from_millis(1000)).await;
        assert!(service.breaker.is_closed(), "one failure of two");
        sleep(Duration::from_millis(1000)).await;
        assert!(!service.breaker.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn breaker_that_opens_under_traffic_is_probed_after_a_rest() {
        let service = Service::start(1, true);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(service.probes(), 1);
        service.breaker.record::<(), ()>(&Err(()), |()| true);
        sleep(Duration::from_millis(399)).await;
        assert_eq!((service.probes(), service.breaker.is_closed()), (1, false));
        sleep(Duration::from_millis(202)).await;
        assert_eq!((service.probes(), service.breaker.is_closed()), (2, true));
    }
}
