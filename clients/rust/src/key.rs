//! Keys of entries, with the params that make several entries of one key.

use std::{borrow::Cow, collections::BTreeMap};

use crate::{Error, names, pb};

/// A key of a namespace: text, perhaps with params. Text alone is one: `"user:7".into()`.
///
/// Equal params in another order are the same entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key<'a> {
    text: Cow<'a, str>,
    /// `None` if there are none.
    params: Option<BTreeMap<String, String>>,
}

static NO_PARAMS: BTreeMap<String, String> = BTreeMap::new();

impl<'a> Key<'a> {
    /// A key without params.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), params: None }
    }

    /// Adds a param, such as a parameter of a query.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// The text of the key.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The params by name.
    #[must_use]
    pub fn params(&self) -> &BTreeMap<String, String> {
        self.params.as_ref().unwrap_or(&NO_PARAMS)
    }

    /// The same key, with text of its own.
    #[must_use]
    pub fn into_owned(self) -> Key<'static> {
        Key { text: Cow::Owned(self.text.into_owned()), params: self.params }
    }

    /// The text for a key whose [`entry_id`] is its own text.
    #[inline]
    pub(crate) fn plain_id(&self) -> Option<&str> {
        (self.params.is_none() && !self.text.starts_with(MARK)).then_some(&*self.text)
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(text: &'a str) -> Self {
        Self::new(text)
    }
}

impl<'a> From<&'a String> for Key<'a> {
    fn from(text: &'a String) -> Self {
        Self::new(text.as_str())
    }
}

impl From<String> for Key<'_> {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl<'a> From<&'a Key<'_>> for Key<'a> {
    fn from(key: &'a Key<'_>) -> Self {
        Self { text: Cow::Borrowed(&key.text), params: key.params.clone() }
    }
}

/// An entry as the server addresses it.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) key: String,
    pub(crate) params: BTreeMap<String, String>,
}

impl Address {
    /// # Errors
    ///
    /// The key is empty, or the name of a param.
    pub(crate) fn of(key: Key<'_>) -> Result<Self, Error> {
        let params = names::encode_params(key.params.unwrap_or_default())?;
        Ok(Self { key: names::encode_key(key.text)?.into_owned(), params })
    }

    pub(crate) fn into_key_ref(self, namespace: &str) -> pb::KeyRef {
        pb::KeyRef { namespace: namespace.to_owned(), key: self.key, params: self.params }
    }

    /// One text per entry of a namespace.
    pub(crate) fn entry_id(&self) -> String {
        if self.params.is_empty() && !self.key.starts_with(MARK) {
            return self.key.clone();
        }
        let mut id = format!("{MARK}{}{MARK}{}", self.key.len(), self.key);
        for part in self.params.iter().flat_map(|(name, value)| [name, value]) {
            id.push_str(&format!("{}{MARK}{part}", part.len()));
        }
        id
    }
}

/// Begins the ids that are not the text of their keys.
const MARK: char = '\0';

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: Key<'_>) -> String {
        Address::of(key).map(|address| address.entry_id()).unwrap_or_default()
    }

    #[test]
    fn entries_have_ids_of_their_own() {
        let keys = [
            Key::new("k"),
            Key::new("\0k"),
            Key::new("k").param("a", "b"),
            Key::new("k").param("ab", ""),
            Key::new("ka").param("b", ""),
        ];
        let ids: std::collections::HashSet<_> = keys.iter().map(|key| id(key.clone())).collect();
        assert_eq!(ids.len(), keys.len());
        assert_eq!(
            id(Key::new("k").param("a", "1").param("b", "2")),
            id(Key::new("k").param("b", "2").param("a", "1"))
        );
    }
}
