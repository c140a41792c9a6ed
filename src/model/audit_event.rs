//! Kinds of events in the audit log.

use std::{fmt, str::FromStr};

/// A kind of event in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum AuditEvent {
    /// A call whose caller is not identified or lacks the permission.
    Refused,
    /// An invalidation by key, tag, pattern or namespace.
    Invalidate,
    /// A delete of entries by their keys.
    Delete,
    /// An event of the business.
    Event,
    /// A call of an operator that changes something.
    Admin,
    /// A call of an operator that reads something.
    Inspect,
    /// A configuration or a certificate that is read again.
    Reload,
    /// The start and the stop of the server.
    Server,
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditEvents(u8);

/// The text names no kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", AuditEvent::NAMES)]
pub struct UnknownAuditEvent;

impl AuditEvent {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Refused,
        Self::Invalidate,
        Self::Delete,
        Self::Event,
        Self::Admin,
        Self::Inspect,
        Self::Reload,
        Self::Server,
    ];

    /// Their names, for error messages.
    pub const NAMES: &str = "refused, invalidate, delete, event, admin, inspect, reload and server";

    /// The name in the configuration, in records and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Invalidate => "invalidate",
            Self::Delete => "delete",
            Self::Event => "event",
            Self::Admin => "admin",
            Self::Inspect => "inspect",
            Self::Reload => "reload",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AuditEvent {
    type Err = UnknownAuditEvent;

    fn from_str(name: &str) -> Result<Self, UnknownAuditEvent> {
        Self::ALL.into_iter().find(|event| event.name() == name).ok_or(UnknownAuditEvent)
    }
}

impl AuditEvents {
    /// Whether `event` is in the set.
    #[inline]
    pub fn contains(self, event: AuditEvent) -> bool {
        self.0 & (1 << event as u8) != 0
    }
}

impl FromIterator<AuditEvent> for AuditEvents {
    fn from_iter<I: IntoIterator<Item = AuditEvent>>(events: I) -> Self {
        Self(events.into_iter().fold(0, |set, event| set | (1 << event as u8)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_the_messages() {
        for event in AuditEvent::ALL {
            assert_eq!(event.name().parse(), Ok(event));
            assert!(AuditEvent::NAMES.contains(event.name()), "{event}");
        }
        assert_eq!("DELETE".parse::<AuditEvent>(), Err(UnknownAuditEvent));
    }

    #[test]
    fn sets_have_the_kinds_that_they_are_made_of() {
        for event in AuditEvent::ALL {
            let set = AuditEvents::from_iter([event]);
            let found = AuditEvent::ALL.into_iter().filter(|other| set.contains(*other));
            assert_eq!(found.collect::<Vec<_>>(), [event]);
        }
    }
}
