//! Log lines about an event that any peer can repeat: one when it begins, one per minute with a
//! count while it lasts, and one when it is over.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines while the event lasts.
const REMINDER_INTERVAL: Duration = Duration::from_secs(60);
/// Time without the event after which it is over. It bounds the lines of an event that stops and
/// begins all the time.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// Decides which occurrences of an event are worth a line.
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

/// What a line says about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Occurrences since the event began.
    pub count: u64,
    /// Time since then, in seconds.
    pub seconds: u64,
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

    /// Returns what to log if the event has just ended. To be called at intervals.
    pub fn ended(&mut self) -> Option<Summary> {
        let now = Instant::now();
        let has_ended = |lasting: &mut Lasting| now - lasting.last_at >= QUIET_TIME;
        self.lasting.take_if(has_ended).map(|lasting| lasting.summary(lasting.last_at))
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
