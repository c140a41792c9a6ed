//! Bounds on log lines about events that peers and faults can repeat.
//!
//! [`RepeatedEvent`] is for events with a begin and an end, [`LogInterval`] for single ones.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines while the event lasts.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);
/// Time without the event after which it is over. It bounds the lines of an event that stops and
/// begins all the time.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// Decides which occurrences of an event are logged: the one with which it begins, one per minute
/// with a count while it lasts, and its end.
#[derive(Debug, Default)]
pub struct RepeatedEvent {
    /// None while the event does not last.
    lasting: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    began_at: Instant,
    last_at: Instant,
    logged_at: Instant,
    count: u64,
}

/// The figures of an event in its log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Occurrences since the event began.
    pub count: u64,
    /// Time from then to the last one, in seconds.
    pub seconds: u64,
}

/// Decides which occurrences of an event are logged: at most one per interval, with the number of
/// those since the last line.
#[derive(Debug)]
pub struct LogInterval {
    interval: Duration,
    logged_at: Option<Instant>,
    since: u64,
}

impl RepeatedEvent {
    /// Counts an occurrence. Returns what to log if a line is due.
    #[cold]
    pub fn occurred(&mut self) -> Option<Summary> {
        let now = Instant::now();
        let Some(lasting) = &mut self.lasting else {
            let begun = Lasting { began_at: now, last_at: now, logged_at: now, count: 1 };
            self.lasting = Some(begun);
            return Some(Summary { count: 1, seconds: 0 });
        };
        lasting.last_at = now;
        lasting.count += 1;
        if now - lasting.logged_at < REMINDER_INTERVAL {
            return None;
        }
        lasting.logged_at = now;
        Some(lasting.summary(now))
    }

    /// Whether the event lasts.
    pub fn is_lasting(&self) -> bool {
        self.lasting.is_some()
    }

    /// Ends the event if it was quiet for five seconds, and returns what to log then. To be called
    /// at intervals.
    pub fn ended(&mut self) -> Option<Summary> {
        self.ended_if(|last_at| last_at.elapsed() >= QUIET_TIME)
    }

    /// Ends the event if `has_ended` of its last occurrence, and returns what to log then.
    pub fn ended_if(&mut self, has_ended: impl FnOnce(Instant) -> bool) -> Option<Summary> {
        let ended = self.lasting.take_if(|lasting| has_ended(lasting.last_at));
        ended.map(|lasting| lasting.summary(lasting.last_at))
    }
}

impl LogInterval {
    /// Lines are at least `interval` apart.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, logged_at: None, since: 0 }
    }

    /// Whether the interval after the last line is over.
    pub fn is_over(&self) -> bool {
        self.logged_at.is_none_or(|logged_at| logged_at.elapsed() >= self.interval)
    }

    /// Counts an occurrence. Returns the number since the last line if one is due.
    #[cold]
    pub fn occurred(&mut self) -> Option<u64> {
        self.since += 1;
        let now = Instant::now();
        if self.logged_at.is_some_and(|logged_at| now - logged_at < self.interval) {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

impl Lasting {
    fn summary(&self, now: Instant) -> Summary {
        Summary { count: self.count, seconds: (now - self.began_at).as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_event_that_lasts_is_logged_at_its_begin_and_once_per_minute_and_at_its_end() {
        let mut event = RepeatedEvent::default();
        let mut lines = Vec::new();
        for _ in 0..150 {
            lines.extend(event.occurred());
            assert_eq!(event.ended(), None);
            tokio::time::advance(SECOND).await;
        }
        let expected = [(1, 0), (61, 60), (121, 120)];
        assert_eq!(lines, expected.map(|(count, seconds)| Summary { count, seconds }));
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(event.ended(), Some(Summary { count: 150, seconds: 149 }));
        assert_eq!(event.ended(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn single_events_are_counted_between_lines() {
        let mut log = LogInterval::new(60 * SECOND);
        assert_eq!((log.occurred(), log.occurred(), log.occurred()), (Some(1), None, None));
        tokio::time::advance(59 * SECOND).await;
        assert_eq!(log.occurred(), None);
        tokio::time::advance(SECOND).await;
        assert_eq!((log.occurred(), log.occurred()), (Some(4), None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_owner_can_decide_when_an_event_has_ended() {
        let mut event = RepeatedEvent::default();
        assert!(!event.is_lasting() && event.ended_if(|_| true).is_none());
        event.occurred();
        let begun = Instant::now();
        tokio::time::advance(SECOND).await;
        assert_eq!(event.ended_if(|last_at| last_at < begun), None);
        assert!(event.is_lasting());
        assert_eq!(
            event.ended_if(|last_at| last_at < Instant::now()),
            Some(Summary { count: 1, seconds: 0 })
        );
        assert!(!event.is_lasting());
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_flaps_causes_few_lines() {
        let mut event = RepeatedEvent::default();
        let mut lines = 0;
        for _ in 0..1000 {
            lines += usize::from(event.occurred().is_some());
            tokio::time::advance(SECOND / 10).await;
            lines += usize::from(event.ended().is_some());
        }
        assert_eq!(lines, 2, "the begin, and the first minute");
    }
}
