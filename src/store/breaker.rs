//! A circuit breaker: after some failures in a row nobody asks the store any more, until one probe has seen it well.
//!
//! There is no state in which callers try the store out: the probe of [`Breaker::watch`] is the only one, so an outage costs each
//! caller nothing and the store one question per interval.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{Error, ErrorKind, Result};

/// Between two questions while all is well: they keep the knowledge of the store's health and clock current where there is
/// no traffic.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    failures: AtomicU32,
    closed: watch::Sender<bool>,
}

impl Breaker {
    /// A breaker that opens after `threshold` failures in a row. It is open until the store has been seen well once.
    pub fn new(threshold: u32) -> Arc<Self> {
        Arc::new(Self { threshold, failures: AtomicU32::new(0), closed: watch::Sender::new(false) })
    }

    /// Whether the store may be asked; follows every change.
    pub fn state(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Whether the store may be asked.
    ///
    /// # Errors
    /// [`ErrorKind::BreakerOpen`] if not.
    pub fn check(&self) -> Result<()> {
        if *self.closed.borrow() { Ok(()) } else { Err(ErrorKind::BreakerOpen.into()) }
    }

    /// Takes note of how an operation went.
    pub fn record<T>(&self, outcome: &Result<T>) {
        match outcome {
            Err(Error { kind, .. }) if kind.is_outage() => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= self.threshold {
                    self.set_closed(false);
                }
            }
            Err(Error { kind: ErrorKind::BreakerOpen, .. }) => {}
            _ => {
                if self.failures.load(Ordering::Relaxed) != 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
            }
        }
    }

    /// Asks the store how it is, for ever: now and then while the breaker is closed, every `interval` (jittered by a fifth)
    /// while it is open.
    pub async fn watch<F: Future<Output = Result<()>>>(
        &self,
        interval: Duration,
        probe: impl Fn() -> F,
    ) {
        let mut state = self.state();
        loop {
            let outcome = probe().await;
            self.record(&outcome);
            if outcome.is_ok() {
                self.set_closed(true);
            }
            let closed = *state.borrow_and_update();
            let pause =
                if closed { HEARTBEAT } else { interval.mul_f64(rand::random_range(0.8..1.2)) };
            // A breaker that opens under traffic does not wait for the next heartbeat.
            let changed =
                tokio::time::timeout(pause, state.wait_for(|now| *now != closed)).await.is_ok();
            // It gets some rest first: what made it fail may not be what a probe sees.
            if changed && closed {
                tokio::time::sleep(interval.mul_f64(rand::random_range(0.8..1.2))).await;
            }
        }
    }

    fn set_closed(&self, closed: bool) {
        let changed =
            self.closed.send_if_modified(|state| std::mem::replace(state, closed) != closed);
        if changed && closed {
            self.failures.store(0, Ordering::Relaxed);
            tracing::info!("the store answers");
        } else if changed {
            tracing::warn!(
                failures = self.threshold,
                "the store does not answer: serving without it"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn outage() -> Result<()> {
        Err(ErrorKind::Timeout.into())
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(3);
        breaker.set_closed(true);
        for _ in 0..2 {
            breaker.record(&outage());
        }
        breaker.record(&Ok(()));
        for _ in 0..2 {
            breaker.record(&outage());
        }
        assert!(breaker.check().is_ok());
        breaker.record(&outage());
        assert!(breaker.check().is_err_and(|error| error.kind == ErrorKind::BreakerOpen));
    }

    #[test]
    fn an_answer_that_is_an_error_shows_that_the_store_is_there() {
        let breaker = Breaker::new(1);
        breaker.set_closed(true);
        breaker.record::<()>(&Err(ErrorKind::Refused.into()));
        breaker.record::<()>(&Err(ErrorKind::Full.into()));
        assert!(breaker.check().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_probe_alone_closes_it() {
        let breaker = Breaker::new(1);
        let well = Arc::new(AtomicBool::new(false));
        let probes = Arc::new(AtomicU32::new(0));
        let (watching, asked) = (breaker.clone(), (well.clone(), probes.clone()));
        let watcher = tokio::spawn(async move {
            let (well, probes) = asked;
            let probe = || {
                probes.fetch_add(1, Ordering::Relaxed);
                let well = well.load(Ordering::Relaxed);
                async move { if well { Ok(()) } else { outage() } }
            };
            watching.watch(Duration::from_millis(500), probe).await;
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(breaker.check().is_err());
        assert!((16..=26).contains(&probes.load(Ordering::Relaxed)), "{probes:?}");
        well.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(601)).await;
        assert!(breaker.check().is_ok());
        watcher.abort();
    }
}
