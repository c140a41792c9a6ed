//! Whether an invalidation that is acknowledged is applied.

use crate::store::{self, ErrorKind};

/// Durability of an invalidation that is acknowledged. The weakest is the largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The store has it.
    #[default]
    Applied,
    /// The journal has it on disk, and it is applied at the store's return.
    Queued,
}

impl Durability {
    /// The outcome of an invalidation: what the store returned, or none if it is queued.
    pub(super) fn of<T>(outcome: store::Result<T>) -> store::Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == ErrorKind::Queued => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The durability of several invalidations together.
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn queued_is_no_failure_and_others_are() {
        assert_eq!(Durability::of(Ok(1)).unwrap(), Some(1));
        assert_eq!(Durability::of::<i32>(Err(ErrorKind::Queued.into())).unwrap(), None);
        let failed = Durability::of::<i32>(Err(ErrorKind::Timeout.into())).unwrap_err();
        assert_eq!(failed.kind, ErrorKind::Timeout);
    }

    #[test]
    fn several_are_as_durable_as_the_weakest() {
        let [applied, queued] = [Durability::Applied, Durability::Queued];
        assert_eq!(Durability::of_all([]), applied);
        assert_eq!(Durability::of_all([applied, applied]), applied);
        assert_eq!(Durability::of_all([applied, queued, applied]), queued);
    }
}
