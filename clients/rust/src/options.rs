//! Options of calls.

use std::time::Duration;

use crate::{Error, Ttl, ttl::FOREVER};

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(mut self, $name: impl Into<$kind>) -> Self {
            self.$name = Some($name.into());
            self
        })*
    };
}

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $($(#[$doc])*
        #[must_use]
        pub const fn $name(mut self) -> Self {
            self.$name = true;
            self
        })*
    };
}

macro_rules! tagged {
    () => {
        /// Adds tags: of a value, in addition to those of the handle, or of entries to invalidate.
        #[must_use]
        pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
            self.tags.extend(tags.into_iter().map(Into::into));
            self
        }
    };
}

/// Options of reads.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    pub(crate) max_stale: Option<Duration>,
    pub(crate) consistent: bool,
    pub(crate) touch: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}

impl ReadOptions {
    setters! {
        /// Longest time past the TTL for which a value may be stale; zero: none.
        max_stale: Duration,
        /// Sliding expiration: a hit is fresh for at least this long from now.
        touch: Duration,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    switches! {
        /// Ask the store, so that the read sees every write that was acknowledged before.
        consistent,
    }

    /// Whether a near cache may answer.
    pub(crate) const fn near(&self) -> bool {
        !self.consistent && self.touch.is_none()
    }
}

/// When a value is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// Only if there is no fresh entry.
    IfAbsent,
    /// Only if there is a fresh entry.
    IfPresent,
    /// Only if the entry has this version.
    IfVersion(String),
}

/// Options of writes.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
    pub(crate) condition: Option<Condition>,
    pub(crate) timeout: Option<Duration>,
}

impl WriteOptions {
    setters! {
        /// How long the value is fresh; the handle's, else the server's default. Zero: it is
        /// deleted.
        ttl: Ttl,
        /// When the value is stored. Only for the write of one key.
        condition: Condition,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    tagged!();
}

/// Options of calls with loaders.
#[derive(Clone, Debug, Default)]
pub struct FetchOptions {
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) refresh: bool,
    pub(crate) read: ReadOptions,
}

impl FetchOptions {
    setters! {
        /// How long the computed value is fresh.
        ttl: Ttl,
        /// How long to wait for the computation of another process, which is 5 s otherwise. After
        /// that the loader runs, and its value is not stored.
        timeout: Duration,
    }
    switches! {
        /// Compute the value even if there is a fresh one.
        refresh,
    }
    tagged!();

    /// How a cached value is read. Its `timeout` is not used.
    #[must_use]
    pub fn read(mut self, read: ReadOptions) -> Self {
        self.read = read;
        self
    }
}

/// Options of `delete`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub(crate) if_version: Option<String>,
    pub(crate) hold_off: Option<Duration>,
    pub(crate) return_value: bool,
    pub(crate) timeout: Option<Duration>,
}

impl DeleteOptions {
    setters! {
        /// Delete only if the entry has this version. Not for several keys.
        if_version: String,
        /// Rejects fills of the entry for this long.
        hold_off: Duration,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    switches! {
        /// Return the entry that is removed. Not for several keys.
        return_value,
    }
}

/// Options of `increment`.
#[derive(Clone, Debug, Default)]
pub struct IncrementOptions {
    pub(crate) initial: i64,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) if_present: bool,
    pub(crate) timeout: Option<Duration>,
}

impl IncrementOptions {
    setters! {
        /// TTL of a counter that is created.
        ttl: Ttl,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    switches! {
        /// Add only to a counter that is there.
        if_present,
    }

    /// Value of a missing counter before the amount is added: 0.
    #[must_use]
    pub const fn initial(mut self, initial: i64) -> Self {
        self.initial = initial;
        self
    }
}

/// Options of `patch`.
#[derive(Clone, Debug, Default)]
pub struct PatchOptions {
    pub(crate) if_version: Option<String>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) keep_ttl: bool,
    pub(crate) timeout: Option<Duration>,
}

impl PatchOptions {
    setters! {
        /// Change only if the entry has this version.
        if_version: String,
        /// How long the changed value is fresh.
        ttl: Ttl,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    switches! {
        /// The changed value expires when it would have expired without the patch.
        keep_ttl,
    }
}

/// Options of listings.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub(crate) glob: Option<String>,
    pub(crate) page_size: Option<u32>,
    pub(crate) timeout: Option<Duration>,
}

impl ListOptions {
    setters! {
        /// Only keys that match: `*`, `?`, `[a-z]`.
        glob: String,
        /// Keys per call: 100; at most 1,000.
        page_size: u32,
        /// Time limit of each call, in place of the client's.
        timeout: Duration,
    }
}

/// Entries to invalidate.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    pub(crate) tags: Vec<String>,
    pub(crate) globs: Vec<String>,
    pub(crate) keys: Vec<crate::Key<'static>>,
    pub(crate) hold_off: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
}

impl Targets {
    /// No entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Rejects fills of what the targets match for this long.
        hold_off: Duration,
        /// Time limit of the call, in place of the client's.
        timeout: Duration,
    }
    tagged!();

    /// Entries whose key matches: `*`, `?`, `[a-z]`, with any params.
    #[must_use]
    pub fn globs<T: Into<String>>(mut self, globs: impl IntoIterator<Item = T>) -> Self {
        self.globs.extend(globs.into_iter().map(Into::into));
        self
    }

    /// These entries.
    #[must_use]
    pub fn keys<'a, K: Into<crate::Key<'a>>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.keys.extend(keys.into_iter().map(|key| key.into().into_owned()));
        self
    }
}

/// A version that must not be empty.
pub(crate) fn version(version: Option<String>) -> Result<Option<String>, Error> {
    if version.as_deref() == Some("") {
        return Err(Error::argument("if_version", "must not be empty"));
    }
    Ok(version)
}

/// A duration that must be positive. One without end, such as `Duration::MAX`, is 100 years.
pub(crate) fn positive(name: &str, value: Option<Duration>) -> Result<Option<Duration>, Error> {
    if value == Some(Duration::ZERO) {
        return Err(Error::argument(name, "must be positive"));
    }
    Ok(value.map(|value| value.min(FOREVER)))
}
