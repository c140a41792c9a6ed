//! A replica's copy of the log of one namespace. Answers about the log can arrive in another order
//! than they were given, because several connections carry them.

use tokio::time::Instant;

use super::memory::AccountedBytes;
use crate::{
    model::Timestamp,
    store::redis::{
        ban_log::{BanLog, LogPart},
        marker::{self, Position},
    },
};

/// A replica's copy of a log.
pub(super) struct Known {
    /// The epoch in which the log was read; none if it was not.
    pub(super) epoch: Option<u64>,
    pub(super) log: BanLog,
    /// When the log was asked for last. The copy has all bans of that time.
    pub(super) asked_at: Instant,
    pub(super) memory: AccountedBytes,
    /// Number of changes of the copy.
    version: u64,
}

/// State of the copy when a part of the log was asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::store::redis) struct Asked {
    pub(in crate::store::redis) epoch: u64,
    /// The newest known ban, from which on the log is asked for.
    pub(in crate::store::redis) head: Position,
    at: Instant,
    version: u64,
}

impl Known {
    /// Nothing is known.
    pub(super) fn nothing(memory: AccountedBytes) -> Self {
        Self { epoch: None, log: BanLog::default(), asked_at: Instant::now(), memory, version: 0 }
    }

    /// State of the copy in `epoch`, for a request for the rest of the log.
    pub(super) fn ask(&self, epoch: u64) -> Asked {
        let is_known = self.epoch == Some(epoch);
        let head = if is_known { self.log.head() } else { Position::default() };
        Asked { epoch, head, at: Instant::now(), version: self.version }
    }

    /// Whether the log was read in `epoch`, up to this number at least.
    pub(super) fn is_known_until(&self, sequence: u64, epoch: u64) -> bool {
        self.epoch == Some(epoch) && self.log.head().sequence >= sequence
    }

    /// Whether the log is known in `epoch`, and has the ban.
    pub(super) fn has(&self, epoch: u64, ban: Position) -> bool {
        self.epoch == Some(epoch) && self.log.is_known(ban)
    }

    /// Whether the log was asked for in `epoch`, at `time` or later.
    pub(super) fn is_of(&self, time: Instant, epoch: u64) -> bool {
        self.epoch == Some(epoch) && self.asked_at >= time
    }

    /// The marker at the newest ban; none if it is there already. A marker of a lost log begins a
    /// generation.
    pub(super) fn moved(&self, marker: &[u8]) -> Option<Vec<u8>> {
        let (at, head) = (Position::of_marker(marker), self.log.head());
        match self.log.is_known(at) {
            false => Some(marker::random(head)),
            true => (at.sequence < head.sequence).then(|| marker::moved(marker, head)),
        }
    }

    /// Adds an answer. Nothing happens if another one has overtaken it, or if it continues a log
    /// that is not known any more.
    pub(super) fn learn(&mut self, asked: Asked, part: LogPart, now: Timestamp) {
        if self.epoch.is_some_and(|epoch| epoch > asked.epoch) {
            return;
        }
        let is_same_epoch = self.epoch == Some(asked.epoch);
        if part.is_all() {
            let is_older = part.head().sequence < self.log.head().sequence;
            // If nothing was learned meanwhile, the log was set back.
            let is_overtaken = self.version != asked.version && is_older;
            if is_same_epoch && (is_overtaken || asked.at < self.asked_at) {
                return;
            }
        } else if !is_same_epoch || !self.log.is_known(asked.head) {
            return;
        }
        if !is_same_epoch {
            self.log = BanLog::default();
        }
        self.log.apply(part, now);
        self.epoch = Some(asked.epoch);
        self.asked_at = if is_same_epoch { self.asked_at.max(asked.at) } else { asked.at };
        self.version += 1;
        self.account();
    }

    /// Forgets the log.
    pub(super) fn forget(&mut self) {
        self.epoch = None;
        self.log = BanLog::default();
        self.version += 1;
        self.account();
    }

    /// Accounts for what the log takes now.
    fn account(&mut self) {
        self.memory.set(self.log.memory());
    }
}

#[cfg(test)]
mod tests {
    use super::{super::memory::MemoryAccount, *};

    const NOW: Timestamp = Timestamp(1_000);

    fn position(sequence: u64) -> Position {
        Position { sequence, id: [7; 16] }
    }

    fn nothing() -> Known {
        Known::nothing(MemoryAccount::new(1 << 20).accounted())
    }

    /// A part of the log of bans of the tags `t1`, `t2` and so on.
    fn part(is_all: bool, numbers: std::ops::RangeInclusive<u64>) -> LogPart {
        LogPart::of_tags(is_all, position(*numbers.end()), numbers)
    }

    fn bans(known: &Known, number: u64) -> bool {
        known.log.table().bans(0, "k", &[format!("t{number}")])
    }

    #[test]
    fn an_answer_with_the_whole_log_does_not_undo_a_later_one() {
        let mut known = nothing();
        let (first, second) = (known.ask(1), known.ask(1));
        known.learn(second, part(true, 1..=2), NOW);
        known.learn(first, part(true, 1..=1), NOW);
        assert_eq!(known.log.head(), position(2));
        assert!(known.has(1, position(2)) && bans(&known, 2));
        let empty = LogPart::of_tags(true, Position::default(), std::iter::empty());
        known.learn(first, empty, NOW);
        assert!(bans(&known, 1) && bans(&known, 2), "as for an answer without any ban");
    }

    #[test]
    fn a_log_that_was_set_back_replaces_what_was_known() {
        let mut known = nothing();
        known.learn(known.ask(1), part(true, 1..=3), NOW);
        known.learn(known.ask(1), part(true, 1..=1), NOW);
        assert_eq!(known.log.head(), position(1));
        assert!(!bans(&known, 2));
    }

    #[test]
    fn a_continuation_of_what_was_forgotten_is_not_taken_for_the_whole() {
        let mut known = nothing();
        known.learn(known.ask(1), part(true, 1..=3), NOW);
        let asked = known.ask(1);
        known.forget();
        known.learn(asked, part(false, 4..=4), NOW);
        assert!(!known.has(1, position(4)));
        // Or of what was learned again, of a log that was set back.
        known.learn(known.ask(1), part(true, 1..=2), NOW);
        known.learn(asked, part(false, 4..=4), NOW);
        assert_eq!(known.log.head(), position(2));
    }

    #[test]
    fn an_answer_of_an_earlier_epoch_changes_nothing() {
        let mut known = nothing();
        let earlier = known.ask(1);
        known.learn(known.ask(2), part(true, 1..=1), NOW);
        known.learn(earlier, part(true, 1..=5), NOW);
        assert!(known.has(2, position(1)) && !bans(&known, 5));
    }
}
