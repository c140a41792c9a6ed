//! Values of loaders.

use crate::Ttl;

/// A computed value with how it is cached. A value alone is one, too.
#[derive(Clone, Debug)]
pub struct Loaded<V> {
    pub(crate) value: V,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
    pub(crate) store: bool,
}

impl<V> Loaded<V> {
    /// A value that is cached by the options of the call.
    pub const fn new(value: V) -> Self {
        Self { value, ttl: None, tags: Vec::new(), store: true }
    }

    /// How long the value is fresh, in place of the call's `ttl`.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = Some(ttl.into());
        self
    }

    /// Tags, in addition to the call's.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// The value is returned and must not be cached.
    #[must_use]
    pub const fn unstored(mut self) -> Self {
        self.store = false;
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}
