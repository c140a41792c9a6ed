//! The decision of GetOrFetch: return the stored entry, refresh it, or compute the value.

use crate::cache::{FetchMode, Outcome, policy::Verdict};

/// Decision of a GetOrFetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum Decision {
    /// Serves the stored entry.
    Serve(Outcome),
    /// Serves the stored entry, which is stale, and has it refreshed.
    ServeAndRefresh,
    /// Reports that nothing is cached.
    NotCached,
    /// Has a new value computed, and waits for it.
    Compute,
}

/// Decides by the state of the stored entry ([`Verdict::Expired`] if there is none, or if it was
/// not read) and by the caller's mode.
pub(in crate::cache) fn decide(verdict: Verdict, mode: FetchMode) -> Decision {
    match (verdict, mode) {
        (_, FetchMode::NoCache) => Decision::Compute,
        (Verdict::Fresh, _) => Decision::Serve(Outcome::Hit),
        (Verdict::Negative, _) => Decision::Serve(Outcome::Negative),
        (Verdict::Stale, FetchMode::Normal) => Decision::ServeAndRefresh,
        (Verdict::Stale, FetchMode::OnlyIfCached) => Decision::Serve(Outcome::Stale),
        (Verdict::StaleIfError | Verdict::Expired, FetchMode::Normal) => Decision::Compute,
        (Verdict::StaleIfError | Verdict::Expired, FetchMode::OnlyIfCached) => Decision::NotCached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_mode_has_its_decision() {
        use Decision::{Compute, NotCached, Serve, ServeAndRefresh};
        let (hit, negative, stale) =
            (Serve(Outcome::Hit), Serve(Outcome::Negative), Serve(Outcome::Stale));
        for (verdict, normal, only_if_cached) in [
            (Verdict::Fresh, hit, hit),
            (Verdict::Negative, negative, negative),
            (Verdict::Stale, ServeAndRefresh, stale),
            (Verdict::StaleIfError, Compute, NotCached),
            (Verdict::Expired, Compute, NotCached),
        ] {
            assert_eq!(decide(verdict, FetchMode::Normal), normal, "{verdict:?}");
            assert_eq!(decide(verdict, FetchMode::OnlyIfCached), only_if_cached, "{verdict:?}");
            assert_eq!(decide(verdict, FetchMode::NoCache), Compute, "{verdict:?}");
        }
    }
}
