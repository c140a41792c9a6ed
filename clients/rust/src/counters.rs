//! Counters of a client, by namespace.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;

/// Namespaces that are counted by themselves; those beyond are counted under `_other`.
const MAX_NAMESPACES: usize = 1000;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Events in one namespace since the client was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[$doc])* pub $name: u64,)* }

        impl Counts {
            /// Names with their values.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        /// The counters behind [`Counts`].
        #[derive(Debug, Default)]
        pub(crate) struct Live { $(pub(crate) $name: Counter,)* }

        impl Live {
            fn read(&self) -> Counts {
                let mut counts = Counts { $($name: self.$name.0.load(Relaxed),)* };
                // A hit of the near cache is counted once, because it is short.
                counts.hits += counts.near_hits;
                counts
            }
        }
    };
}

counters! {
    /// Fresh values, those of the near cache included.
    hits,
    /// Reads without a value.
    misses,
    /// Values past their TTL.
    stale,
    /// Cached absences.
    negatives,
    /// Values from the near cache of this process.
    near_hits,
    /// Loaders that ran.
    loads,
    /// Loaders that failed.
    load_errors,
    /// Calls that received the value of another call's loader.
    joined,
    /// Calls that went on without the cache.
    fail_open,
    /// Values of loaders that were not stored.
    fills_refused,
    /// Values that could not be decoded.
    undecodable,
    /// Calls that failed, after their retries.
    errors,
    /// Attempts after the first.
    retries,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// The counters of a client.
#[derive(Debug, Default)]
pub(crate) struct Counters(RwLock<BTreeMap<Arc<str>, Arc<Live>>>);

impl Counters {
    pub(crate) fn of(&self, namespace: &Arc<str>) -> Arc<Live> {
        if let Some(live) = self.0.read().get(namespace) {
            return Arc::clone(live);
        }
        let mut all = self.0.write();
        let name =
            if all.len() < MAX_NAMESPACES { Arc::clone(namespace) } else { Arc::from("_other") };
        Arc::clone(all.entry(name).or_default())
    }

    pub(crate) fn read(&self) -> BTreeMap<String, Counts> {
        self.0.read().iter().map(|(name, live)| (name.to_string(), live.read())).collect()
    }
}
