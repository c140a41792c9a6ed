//! The schema version of a client: the version of what it caches, in the metadata of its requests.
//!
//! It is part of the names of all entries of a call, as is that of the namespace. So clients of two
//! releases never read each other's entries, wait for each other's values or share leases.

use http::HeaderValue;
use tonic::{Request, Status};

use crate::model::{EntryKey, SchemaVersion, Violation};

/// Name of the request metadata.
pub(super) const HEADER: &str = "larder-schema-version";

/// The schema version of a call, if its client has one.
#[derive(Debug, Clone, Default)]
pub(super) struct Schema(Option<SchemaVersion>);

impl Schema {
    /// Parses the value of the metadata.
    #[cold]
    pub(super) fn parse(value: &HeaderValue) -> Result<Self, Status> {
        let text = value.to_str().map_err(|_| Violation::new(HEADER, "must be ASCII text"))?;
        Ok(Self(Some(SchemaVersion::new(HEADER, text)?)))
    }

    /// The version of a request that the pipeline has checked. Most requests have no extensions, so
    /// that this is a comparison.
    #[inline]
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// The name of the entry that the client calls `key`.
    #[inline]
    pub(super) fn key(&self, key: EntryKey) -> EntryKey {
        match &self.0 {
            None => key,
            Some(version) => key.of_schema(version),
        }
    }

    /// As [`Schema::key`], in place.
    #[inline]
    pub(super) fn apply(&self, key: &mut EntryKey) {
        if let Some(version) = &self.0 {
            *key = key.of_schema(version);
        }
    }

    /// Whether there is none.
    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::rpc::convert::entry_key;

    fn schema(version: &'static str) -> Result<Schema, Status> {
        Schema::parse(&HeaderValue::from_static(version))
    }

    #[test]
    fn versions_are_validated() {
        assert!(!schema("v2.0-rc_1").unwrap().is_none());
        assert!(Schema::of(&Request::new(())).is_none());
        let too_long = HeaderValue::from_str(&"x".repeat(65)).unwrap();
        let binary = HeaderValue::from_bytes(b"\xff").unwrap();
        for refused in [schema(""), schema("a b"), Schema::parse(&too_long), Schema::parse(&binary)]
        {
            let status = refused.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(HEADER), "{status:?}");
        }
    }

    #[test]
    fn a_version_changes_the_name_of_an_entry() {
        let key = || entry_key("ns", "k", &Default::default()).unwrap();
        let named = |version| schema(version).unwrap().key(key());
        assert_eq!(Schema::default().key(key()), key());
        assert!(named("1") != key() && named("1") != named("2") && named("1") == named("1"));
        let mut applied = key();
        schema("1").unwrap().apply(&mut applied);
        assert_eq!(applied, named("1"));
        Schema::default().apply(&mut applied);
        assert_eq!(applied, named("1"));
    }
}
