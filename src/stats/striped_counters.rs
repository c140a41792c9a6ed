//! Counters for many threads that add at the same time.

use std::{
    array,
    sync::{
        LazyLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    counters::{CELLS, Counter, Counters, LatencyKind, bucket_cell},
    read_samples::is_sampled,
    reuse::events::ReuseEvents,
};

/// Maximum number of stripes; more threads share them.
const MAX_STRIPES: usize = 16;

/// One set of counters per core, and the events of the followed keys. A cache line that two cores
/// write to would travel between their caches with every request.
#[derive(Debug)]
pub struct StripedCounters(Box<[Stripe]>, ReuseEvents);

/// Aligned to two cache lines, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe([AtomicU64; CELLS]);

static STRIPE_COUNT: LazyLock<usize> = LazyLock::new(|| {
    thread::available_parallelism().map_or(1, usize::from).next_power_of_two().min(MAX_STRIPES)
});

thread_local! {
    static THREAD_NUMBER: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

impl Default for StripedCounters {
    fn default() -> Self {
        let stripe = |_| Stripe(array::from_fn(|_| AtomicU64::new(0)));
        Self((0..*STRIPE_COUNT).map(stripe).collect(), ReuseEvents::default())
    }
}

impl StripedCounters {
    /// Counts one event.
    pub fn count(&self, counter: Counter) {
        self.count_many(counter, 1);
    }

    /// Counts one read by its outcome. Returns whether the read is to be sampled.
    #[inline]
    pub fn count_read(&self, outcome: Counter) -> bool {
        let stripe = self.stripe();
        let number = stripe.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
        // The address is a seed that costs nothing: without one, all replicas would sample reads
        // with the same numbers, and their errors would add up instead of cancelling out.
        let seed = std::ptr::from_ref(stripe).addr() as u64;
        is_sampled(seed.wrapping_add(number))
    }

    /// Counts several events.
    pub fn count_many(&self, counter: Counter, events: u64) {
        self.add(counter as usize, events);
    }

    /// Counts one latency.
    pub fn time(&self, kind: LatencyKind, took: Duration) {
        self.add(bucket_cell(kind, took), 1);
    }

    /// The events of the followed keys.
    pub fn reuse(&self) -> &ReuseEvents {
        &self.1
    }

    /// Sums the stripes.
    pub fn snapshot(&self) -> Counters {
        Counters(array::from_fn(|cell| {
            self.0.iter().map(|stripe| stripe.0[cell].load(Ordering::Relaxed)).sum()
        }))
    }

    /// Sums the stripes of one counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.iter().map(|stripe| stripe.0[counter as usize].load(Ordering::Relaxed)).sum()
    }

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        let mut cells = self.0.iter().flat_map(|stripe| &stripe.0);
        cells.all(|cell| cell.load(Ordering::Relaxed) == 0)
    }

    fn add(&self, cell: usize, count: u64) {
        self.stripe().0[cell].fetch_add(count, Ordering::Relaxed);
    }

    /// The stripe of this thread.
    #[inline]
    fn stripe(&self) -> &Stripe {
        // The number of stripes is a power of two.
        &self.0[THREAD_NUMBER.with(|number| number & (self.0.len() - 1))]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_counted_and_some_of_them_sampled() {
        let counts = StripedCounters::default();
        let sampled = (0..10_000).filter(|_| counts.count_read(Counter::Stale)).count();
        assert_eq!(counts.get(Counter::Stale), 10_000);
        // 78 on average, with a standard deviation of 9.
        assert!((20..200).contains(&sampled), "{sampled}");
    }

    #[test]
    fn counts_of_all_threads_add_up() {
        let counts = StripedCounters::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counts.count(Counter::Hits);
                        counts.time(LatencyKind::Hit, Duration::from_micros(3));
                    }
                });
            }
        });
        let sum = counts.snapshot();
        assert_eq!(sum.get(Counter::Hits), 8000);
        assert_eq!(sum.0.iter().sum::<u64>(), 16_000);
    }
}
