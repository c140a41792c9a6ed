//! Schema versions: part of the names of entries, so that releases with different values do not
//! read each other's entries.

use super::Violation;

/// Maximum length of a schema version, in bytes.
pub const MAX_SCHEMA_VERSION_BYTES: usize = 64;

/// Version of what is cached: 1 to 64 characters, `[A-Za-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaVersion(Box<str>);

impl SchemaVersion {
    /// Validates a version.
    ///
    /// # Errors
    /// A violation of `field` if the version is empty, too long or has other characters.
    pub fn new(field: &'static str, version: &str) -> Result<Self, Violation> {
        if version.len() > MAX_SCHEMA_VERSION_BYTES {
            let description =
                format!("is {} bytes long, the limit is {MAX_SCHEMA_VERSION_BYTES}", version.len());
            return Err(Violation::over_limit(field, description, MAX_SCHEMA_VERSION_BYTES));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if version.is_empty() || !version.bytes().all(allowed) {
            return Err(Violation::new(field, "must match [A-Za-z0-9._-]{1,64}"));
        }
        Ok(Self(version.into()))
    }

    /// The version.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_pattern() {
        for good in ["1", "v2.0-rc_1", &"x".repeat(64)] {
            assert_eq!(SchemaVersion::new("version", good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "\u{e9}", "a/b"] {
            assert_eq!(SchemaVersion::new("version", bad).unwrap_err().field(), "version");
        }
        assert_eq!(SchemaVersion::new("v", &"x".repeat(65)).unwrap_err().limit(), Some(64));
    }
}
