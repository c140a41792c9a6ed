//! Versions of values.

use std::{fmt, ops::Deref, sync::Arc};

/// Bytes of a version that are kept in place. Those of the server have 16.
const INLINE: usize = 22;

/// The version of a value, for `if_version`: a short text, which is cheap to copy.
#[derive(Clone)]
pub struct Version(Text);

#[derive(Clone)]
enum Text {
    Inline(u8, [u8; INLINE]),
    Shared(Arc<str>),
}

impl Version {
    /// `None` for an empty text: there is no version.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::of(text))
    }

    pub(crate) fn of(text: &str) -> Self {
        let mut bytes = [0; INLINE];
        let place = bytes.get_mut(..text.len());
        Self(match (place, u8::try_from(text.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(text.as_bytes());
                Text::Inline(length, bytes)
            }
            _ => Text::Shared(text.into()),
        })
    }

    /// The text of the version.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Inline(length, bytes) => {
                let text = bytes.get(..usize::from(*length)).unwrap_or_default();
                std::str::from_utf8(text).unwrap_or_default()
            }
            Text::Shared(text) => text,
        }
    }
}

impl Deref for Version {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Version {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.as_str().to_owned()
    }
}

impl From<&Version> for String {
    fn from(version: &Version) -> Self {
        version.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_of_all_lengths_are_their_text() {
        assert_eq!(Version::new(""), None);
        for length in [1, 16, 22, 23, 300] {
            let text = "é1".repeat(length).chars().take(length).collect::<String>();
            let version = Version::new(&text);
            assert_eq!(version.as_deref(), Some(&*text));
            assert_eq!(version, Version::new(&text));
        }
    }
}
