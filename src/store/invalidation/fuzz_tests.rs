//! Fuzz target of the records of the journal.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fuzzing::check;

/// A record that is decoded is encoded to a record of the same invalidation, in one form only.
#[test]
fn journal_record() {
    check("journal_record", |bytes| {
        let Some(invalidation) = Invalidation::decode(bytes) else { return };
        let encoded = invalidation.encode();
        assert_eq!(Invalidation::decode(&encoded), Some(invalidation.clone()));
        assert_eq!(Invalidation::decode(&encoded).unwrap().encode(), encoded);
        if let Invalidation::Ban(_, record) = &invalidation {
            assert_eq!(record.ban(Duration::ZERO).globs.len(), record.globs.len());
            let _ = (record.limits(), record.describe());
        }
    });
}
