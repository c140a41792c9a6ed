//! The log of an origin that fails: when its failures begin, once a minute while they last, and
//! when it answers again.

use std::time::Duration;

use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};

use crate::{
    model::Namespace,
    origin::{Error, OriginErrorKind},
};

/// Time without a failure after which an answer ends the failures. It bounds the lines of an origin
/// that fails now and then.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// The events of one origin.
#[derive(Default)]
pub(super) struct OriginLog(Mutex<Events>);

#[derive(Default)]
struct Events {
    failures: RepeatedEvent,
    /// Fetches rejected while the circuit breaker is open, and failures that opened it again.
    breaker_open: RepeatedEvent,
    overloads: RepeatedEvent,
}

/// A line that is due.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Failing(Summary),
    BreakerOpen(Summary),
    Overloaded(Summary),
    Back(Summary),
    Answering(Summary),
    NoLongerOverloaded(Summary),
}

impl OriginLog {
    /// Records the failure of a fetch. `is_open`: the circuit breaker is open now.
    #[cold]
    pub(super) fn failed(&self, namespace: &Namespace, error: &Error, is_open: bool) {
        for line in self.lines_of_failure(&error.kind, is_open) {
            line.write(namespace, &error.to_string());
        }
    }

    /// Records an answer of the origin.
    pub(super) fn answered(&self, namespace: &Namespace) {
        for line in self.lines_of_answer() {
            line.write(namespace, "");
        }
    }

    fn lines_of_failure(&self, kind: &OriginErrorKind, is_open: bool) -> Vec<Line> {
        let mut events = self.0.lock();
        let mut lines = Vec::new();
        match kind {
            OriginErrorKind::Overloaded => {
                lines.extend(events.overloads.occurred().map(Line::Overloaded));
            }
            OriginErrorKind::BreakerOpen => {}
            // The caller's mistake, and a failure that was recorded before.
            OriginErrorKind::BadKey(_) | OriginErrorKind::BackedOff => return lines,
            OriginErrorKind::Unreachable
            | OriginErrorKind::Timeout
            | OriginErrorKind::Failed
            | OriginErrorKind::Refused
            | OriginErrorKind::Invalid
            | OriginErrorKind::TooLarge => {
                let line = events.failures.occurred().map(Line::Failing);
                // While the circuit breaker is open, its reminders are enough.
                lines.extend(line.filter(|_| !events.breaker_open.is_lasting()));
            }
        }
        if is_open {
            lines.extend(events.breaker_open.occurred().map(Line::BreakerOpen));
        }
        lines
    }

    fn lines_of_answer(&self) -> Vec<Line> {
        let mut events = self.0.lock();
        let is_quiet = |last_at: tokio::time::Instant| last_at.elapsed() >= QUIET_TIME;
        let mut lines = Vec::new();
        // The trial of a circuit breaker: nothing failed in the cooldown.
        if let Some(summary) = events.breaker_open.ended_if(|_| true) {
            lines.push(Line::Back(summary));
            events.failures = RepeatedEvent::default();
        }
        lines.extend(events.failures.ended_if(is_quiet).map(Line::Answering));
        lines.extend(events.overloads.ended_if(is_quiet).map(Line::NoLongerOverloaded));
        lines
    }
}

impl Line {
    fn write(self, namespace: &Namespace, cause: &str) {
        const FAILURE: &str = "check the origin's url and the service behind it; a timeout is \
                               bounded by the origin's timeout";
        const BREAKER: &str = "check the service behind the origin: it is tried again after the \
                                  origin's breaker_cooldown";
        const SHORTAGE: &str = "raise the origin's max_concurrency or max_queue, or lengthen TTLs";
        match self {
            Self::Failing(Summary { count, seconds }) => {
                tracing::warn!(%namespace, cause, count, seconds, remedy = FAILURE,
                    "fetches from the origin fail");
            }
            Self::BreakerOpen(Summary { count, seconds }) => {
                tracing::warn!(
                    %namespace, cause, count, seconds, remedy = BREAKER,
                    "the origin's circuit breaker is open after repeated failures"
                );
            }
            Self::Overloaded(Summary { count, seconds }) => {
                tracing::warn!(
                    %namespace, cause, count, seconds, remedy = SHORTAGE,
                    "too many fetches wait for the origin: fetches are rejected"
                );
            }
            Self::Back(Summary { count, seconds }) => {
                tracing::info!(%namespace, count, seconds, "the origin is asked again and answers");
            }
            Self::Answering(Summary { count, seconds }) => {
                tracing::info!(%namespace, count, seconds, "fetches from the origin succeed again");
            }
            Self::NoLongerOverloaded(Summary { count, seconds }) => {
                tracing::info!(%namespace, count, seconds, "fetches are no longer rejected");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn summary(count: u64, seconds: u64) -> Summary {
        Summary { count, seconds }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_logged_at_their_begin_and_their_end() {
        let log = OriginLog::default();
        let fail = || log.lines_of_failure(&OriginErrorKind::Failed, false);
        assert_eq!(fail(), [Line::Failing(summary(1, 0))]);
        assert_eq!(fail(), []);
        assert_eq!(log.lines_of_answer(), [], "it may fail again at once");
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(log.lines_of_answer(), [Line::Answering(summary(2, 0))]);
        assert_eq!(log.lines_of_answer(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_is_breaker_open_is_logged_once_a_minute_until_it_answers() {
        let log = OriginLog::default();
        let failed = log.lines_of_failure(&OriginErrorKind::Unreachable, true);
        assert_eq!(failed, [Line::Failing(summary(1, 0)), Line::BreakerOpen(summary(1, 0))]);
        let mut lines = Vec::new();
        for _ in 0..61 {
            tokio::time::advance(SECOND).await;
            lines.extend(log.lines_of_failure(&OriginErrorKind::BreakerOpen, true));
        }
        // A trial that fails.
        lines.extend(log.lines_of_failure(&OriginErrorKind::Timeout, true));
        assert_eq!(lines, [Line::BreakerOpen(summary(61, 60))]);
        assert_eq!(log.lines_of_answer(), [Line::Back(summary(63, 61))]);
        assert_eq!(log.lines_of_answer(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_logged_apart_from_failures() {
        let log = OriginLog::default();
        let rejected = log.lines_of_failure(&OriginErrorKind::Overloaded, false);
        assert_eq!(rejected, [Line::Overloaded(summary(1, 0))]);
        assert_eq!(log.lines_of_answer(), []);
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(log.lines_of_answer(), [Line::NoLongerOverloaded(summary(1, 0))]);
    }

    #[test]
    fn mistakes_of_callers_are_not_logged() {
        let log = OriginLog::default();
        let violation = crate::model::Violation::new("key", "is bad");
        assert_eq!(log.lines_of_failure(&OriginErrorKind::BadKey(violation), false), []);
        assert_eq!(log.lines_of_failure(&OriginErrorKind::BackedOff, false), []);
    }
}
