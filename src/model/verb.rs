//! Verbs: kinds of calls that a role can allow.

use std::{fmt, str::FromStr};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verb {
    /// Reads entries, and lists keys.
    Read,
    /// Takes, renews, abandons and fills leases, and fetches from the origin.
    Fetch,
    /// Writes and changes entries.
    Write,
    /// Deletes entries by their keys.
    Delete,
    /// Invalidates by tag, pattern and namespace.
    Invalidate,
    /// Watches changes.
    Watch,
    /// Reads statistics.
    Stats,
    /// Publishes and lists events of the business.
    Events,
    /// Operates the server.
    Admin,
    /// Reads the descriptors of the services.
    Reflect,
}

/// A set of verbs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct VerbSet(u16);

/// The text names no verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", Verb::NAMES)]
pub struct UnknownVerb;

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Fetch,
        Self::Write,
        Self::Delete,
        Self::Invalidate,
        Self::Watch,
        Self::Stats,
        Self::Events,
        Self::Admin,
        Self::Reflect,
    ];

    /// Their names, for error messages.
    pub const NAMES: &str =
        "read, fetch, write, delete, invalidate, watch, stats, events, admin and reflect";

    /// The name in the configuration, in errors and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Fetch => "fetch",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Invalidate => "invalidate",
            Self::Watch => "watch",
            Self::Stats => "stats",
            Self::Events => "events",
            Self::Admin => "admin",
            Self::Reflect => "reflect",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(name: &str) -> Result<Self, UnknownVerb> {
        Self::ALL.into_iter().find(|verb| verb.name() == name).ok_or(UnknownVerb)
    }
}

impl VerbSet {
    /// Whether `verb` is in the set.
    #[inline]
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }

    /// The verbs in the set.
    pub fn iter(self) -> impl Iterator<Item = Verb> {
        Verb::ALL.into_iter().filter(move |verb| self.contains(*verb))
    }

    /// Whether all of `other` is in the set.
    pub fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether it has no verb.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Verb> for VerbSet {
    fn from_iter<I: IntoIterator<Item = Verb>>(verbs: I) -> Self {
        Self(verbs.into_iter().fold(0, |set, verb| set | (1 << verb as u8)))
    }
}

impl fmt::Debug for VerbSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_have_the_names_of_the_messages() {
        for verb in Verb::ALL {
            assert_eq!(verb.name().parse(), Ok(verb));
            assert!(Verb::NAMES.contains(verb.name()), "{verb}");
        }
        assert_eq!("READ".parse::<Verb>(), Err(UnknownVerb));
        assert_eq!("".parse::<Verb>(), Err(UnknownVerb));
    }

    #[test]
    fn sets_have_what_they_were_made_of() {
        for verb in Verb::ALL {
            let set = VerbSet::from_iter([verb]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [verb]);
            assert!(Verb::ALL.into_iter().collect::<VerbSet>().contains_all(set));
            assert!(!VerbSet::default().contains_all(set));
        }
        assert!(VerbSet::default().is_empty());
    }
}
