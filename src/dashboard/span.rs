//! The time that the figures of a page cover.

use std::time::Duration;

use super::query::Query;
use crate::stats::history::HistorySpan;

const MINUTE: Duration = Duration::from_secs(60);

/// The time before now that a page shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Span {
    #[default]
    Hour,
    Day,
    Week,
}

impl Span {
    pub(super) const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];
    /// Name of the parameter.
    pub(super) const FIELD: &'static str = "span";

    /// That of a request. Any other text is the default: it comes from links only.
    pub(super) fn of(query: &Query) -> Self {
        let name = query.text(Self::FIELD);
        Self::ALL.into_iter().find(|span| span.name() == name).unwrap_or_default()
    }

    /// Its value in a link.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    /// Its name for people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Hour => "1 h",
            Self::Day => "24 h",
            Self::Week => "7 d",
        }
    }

    /// The time between two updates of a page that shows it.
    pub(super) fn update_interval(self) -> Duration {
        match self {
            Self::Hour => Duration::from_secs(5),
            Self::Day => Duration::from_secs(15),
            Self::Week => MINUTE,
        }
    }

    /// Its steps.
    pub(super) fn history(self) -> HistorySpan {
        match self {
            Self::Hour => HistorySpan::Hour,
            Self::Day => HistorySpan::Day,
            Self::Week => HistorySpan::Week,
        }
    }

    /// Its length.
    pub(super) fn length(self) -> Duration {
        match self {
            Self::Hour => 60 * MINUTE,
            Self::Day => 24 * 60 * MINUTE,
            Self::Week => 7 * 24 * 60 * MINUTE,
        }
    }
}
