//! Which of the primaries that sentinels name is the right one.

use std::time::Duration;

use tokio::time::Instant;

/// Time after which most sentinels are right although their configuration is older than the one
/// that is known: they were set up anew. Those that are late learn a newer one from one another
/// within about two seconds.
const RESET_TIME: Duration = Duration::from_secs(10);

/// The answer of a sentinel: the primary that it names, or none if it does not have the service.
pub(super) type Answer = Option<Primary>;

/// A primary as a sentinel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Primary {
    pub(in super::super) host: String,
    pub(in super::super) port: u16,
    /// Configuration epoch of the service: each failover raises it. Zero if it is not reported.
    pub(super) epoch: u64,
    /// Whether the sentinel cannot reach it (`s_down`, `o_down`).
    pub(in super::super) is_down: bool,
}

/// The primary that was chosen last.
#[derive(Debug, Default)]
pub(super) struct Choice {
    primary: Option<Primary>,
    /// Since when the answers are older than what is known.
    behind_since: Option<Instant>,
}

// === impl Primary ===

impl Primary {
    /// Host and port.
    pub(in super::super) fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn is_server(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

// === impl Choice ===

impl Choice {
    pub(super) fn primary(&self) -> Option<&Primary> {
        self.primary.as_ref()
    }

    /// Takes the answers of some of `sentinels` at `now`. Returns whether another primary is named
    /// than before, or the same one after another.
    pub(super) fn take(&mut self, answers: &[Primary], sentinels: usize, now: Instant) -> bool {
        let votes = |named: &Primary| answers.iter().filter(|other| other.is_server(named)).count();
        let is_known = |named: &Primary| self.primary.as_ref().is_some_and(|k| k.is_server(named));
        let order = |named: &&Primary| (named.epoch, votes(named), is_known(named));
        let Some(newest) = answers.iter().max_by_key(order) else { return false };
        let Some(known) = &mut self.primary else {
            self.primary = Some(newest.clone());
            return false;
        };
        if newest.epoch < known.epoch {
            let since = *self.behind_since.get_or_insert(now);
            if 2 * votes(newest) <= sentinels || now.duration_since(since) < RESET_TIME {
                return false;
            }
        }
        self.behind_since = None;
        let is_moved = !known.is_server(newest) || newest.epoch > known.epoch;
        known.clone_from(newest);
        is_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(port: u16, epoch: u64) -> Primary {
        Primary { host: "h".to_owned(), port, epoch, is_down: false }
    }

    fn choice_of(port: u16, epoch: u64) -> Choice {
        Choice { primary: Some(named(port, epoch)), behind_since: None }
    }

    fn port(choice: &Choice) -> Option<u16> {
        choice.primary().map(|primary| primary.port)
    }

    #[test]
    fn the_newest_configuration_counts_and_then_the_majority() {
        let now = Instant::now();
        for (answers, expected) in [
            (vec![named(1, 0), named(1, 0), named(2, 1)], 2),
            (vec![named(2, 1), named(1, 0)], 2),
            (vec![named(1, 3), named(2, 3), named(2, 3)], 2),
            (vec![named(1, 0)], 1),
        ] {
            let mut choice = Choice::default();
            assert!(!choice.take(&answers, 3, now), "the first is no other one");
            assert_eq!(port(&choice), Some(expected), "{answers:?}");
        }
        assert!(!Choice::default().take(&[], 3, now));
    }

    #[test]
    fn another_primary_or_a_later_failover_is_a_move() {
        let now = Instant::now();
        let mut choice = choice_of(1, 4);
        assert!(!choice.take(&[named(1, 4), named(1, 4)], 3, now));
        assert!(choice.take(&[named(1, 4), named(2, 5)], 3, now));
        assert!(choice.take(&[named(2, 7)], 3, now), "demoted and promoted in between");
        assert_eq!(port(&choice), Some(2));
        // Sentinels that do not report the epoch.
        let mut choice = choice_of(1, 0);
        assert!(!choice.take(&[named(1, 0), named(2, 0)], 3, now), "one each");
        assert!(choice.take(&[named(2, 0), named(1, 0), named(2, 0)], 3, now));
    }

    #[test]
    fn late_sentinels_are_not_believed_unless_they_were_set_up_anew() {
        let began_at = Instant::now();
        let mut choice = choice_of(2, 5);
        let late = [named(1, 4), named(1, 4)];
        for passed in [Duration::ZERO, RESET_TIME / 2] {
            assert!(!choice.take(&late, 3, began_at + passed));
            assert_eq!(port(&choice), Some(2));
        }
        // A newer answer ends the time.
        assert!(!choice.take(&[named(2, 5)], 3, began_at + RESET_TIME));
        assert!(!choice.take(&late, 3, began_at + RESET_TIME));
        assert!(!choice.take(&late[..1], 3, began_at + 3 * RESET_TIME), "no majority");
        assert!(choice.take(&late, 3, began_at + 3 * RESET_TIME));
        assert_eq!(port(&choice), Some(1));
    }

    #[test]
    fn addresses_of_both_families_are_shown_with_their_port() {
        let primary = |host: &str| Primary { host: host.to_owned(), ..named(7, 0) };
        assert_eq!(primary("h.example").address(), "h.example:7");
        assert_eq!(primary("::1").address(), "[::1]:7");
    }
}
