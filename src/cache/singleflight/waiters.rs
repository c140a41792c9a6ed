//! The waiters of one flight.

use std::{collections::VecDeque, time::Duration};

use tokio::sync::oneshot;

use super::{flight_result::FlightResult, span::FlightSpan};
use crate::model::Timestamp;

/// No entry is fresh for longer.
const END_OF_TIME: Timestamp = Timestamp(u64::MAX);

/// Which values a waiter accepts.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cache) struct Requirement {
    /// How stale a value is accepted; `None` accepts what the namespace allows.
    pub(in crate::cache) max_stale: Option<Duration>,
    /// Only a computation that begins after the waiter joined is accepted.
    pub(in crate::cache) force_refresh: bool,
    /// An entry that is fresh no longer than until this time is not accepted.
    pub(in crate::cache) fresher_than: Timestamp,
    /// The caller's own read of the store has failed.
    pub(in crate::cache) skip_store: bool,
}

/// A caller that waits for the value, or a background refresh.
pub(super) struct Waiter<P> {
    pub(super) requirement: Requirement,
    pub(super) span: FlightSpan,
    pub(super) kind: WaiterKind<P>,
}

/// A caller, or a background refresh.
pub(super) enum WaiterKind<P> {
    /// A caller.
    Caller(oneshot::Sender<FlightResult>),
    /// A refresh whose result no caller waits for. It occupies a waiter's slot.
    Background { _permit: P },
}

/// Waiters in the order in which they joined.
pub(super) struct WaiterQueue<P>(VecDeque<Waiter<P>>);

// === impl Waiter ===

impl<P> Waiter<P> {
    /// Whether a caller waits, or did until it left.
    pub(super) fn is_caller(&self) -> bool {
        matches!(self.kind, WaiterKind::Caller(_))
    }

    fn has_left(&self) -> bool {
        matches!(&self.kind, WaiterKind::Caller(sender) if sender.is_closed())
    }

    /// Gives the waiter its result. Returns the result if the caller has left.
    fn notify(self, result: FlightResult) -> Option<FlightResult> {
        match self.kind {
            WaiterKind::Caller(sender) => sender.send(result).err(),
            WaiterKind::Background { .. } => None,
        }
    }
}

impl Requirement {
    /// Whether an entry that is fresh until `fresh_until`, computed at any time, is accepted.
    pub(super) fn accepts(&self, fresh_until: Timestamp) -> bool {
        !self.force_refresh && self.fresher_than < fresh_until
    }
}

// === impl WaiterQueue ===

impl<P> Default for WaiterQueue<P> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<P> WaiterQueue<P> {
    pub(super) fn push(&mut self, waiter: Waiter<P>) {
        self.0.push_back(waiter);
    }

    /// Adds the waiters of another queue, which is empty afterwards.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn first(&self) -> Option<&Waiter<P>> {
        self.0.front()
    }

    /// Removes callers that have left.
    pub(super) fn remove_left(&mut self) {
        self.0.retain(|waiter| !waiter.has_left());
    }

    /// Removes background refreshes.
    pub(super) fn remove_background(&mut self) {
        self.0.retain(Waiter::is_caller);
    }

    pub(super) fn has_caller(&self) -> bool {
        self.0.iter().any(Waiter::is_caller)
    }

    /// Whether the reads of all waiters have failed.
    pub(super) fn all_skip_store(&self) -> bool {
        self.0.iter().all(|waiter| waiter.requirement.skip_store)
    }

    /// An entry that is fresh for longer than this time is accepted by at least one waiter.
    pub(super) fn fresher_than(&self) -> Timestamp {
        let needed = |requirement: &Requirement| {
            if requirement.force_refresh { END_OF_TIME } else { requirement.fresher_than }
        };
        let waiters = self.0.iter();
        waiters.map(|waiter| needed(&waiter.requirement)).min().unwrap_or_default()
    }

    /// Gives the result to the first caller that has not left.
    pub(super) fn notify_first(&mut self, mut result: FlightResult) {
        while let Some(waiter) = self.0.pop_front() {
            match waiter.notify(result) {
                None => return,
                Some(refused) => result = refused,
            }
        }
    }

    /// Gives a result to every waiter for which there is one.
    pub(super) fn notify_all(
        &mut self,
        mut result: impl FnMut(&Requirement) -> Option<FlightResult>,
    ) {
        self.notify_up_to(self.len(), |_, requirement| result(requirement));
    }

    /// Gives a result to every caller; background refreshes stay.
    pub(super) fn notify_callers(&mut self, mut result: impl FnMut() -> FlightResult) {
        let (callers, others) =
            std::mem::take(&mut self.0).into_iter().partition(Waiter::is_caller);
        self.0 = callers;
        self.notify_all(|_| Some(result()));
        self.0.extend::<VecDeque<Waiter<P>>>(others);
    }

    /// Gives a result to every waiter among the first `count` for which there is one; the others
    /// stay. `result` gets the waiter's index.
    pub(super) fn notify_up_to(
        &mut self,
        count: usize,
        mut result: impl FnMut(usize, &Requirement) -> Option<FlightResult>,
    ) {
        for (index, waiter) in std::mem::take(&mut self.0).into_iter().enumerate() {
            let result = if index < count { result(index, &waiter.requirement) } else { None };
            match result {
                Some(result) => drop(waiter.notify(result)),
                None => self.0.push_back(waiter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ErrorKind;

    type Receiver = oneshot::Receiver<FlightResult>;

    fn caller(requirement: Requirement) -> (Waiter<()>, Receiver) {
        let (sender, receiver) = oneshot::channel();
        let kind = WaiterKind::Caller(sender);
        (Waiter { requirement, span: FlightSpan::default(), kind }, receiver)
    }

    fn background() -> Waiter<()> {
        let kind = WaiterKind::Background { _permit: () };
        Waiter { requirement: Requirement::default(), span: FlightSpan::default(), kind }
    }

    /// A queue of callers, with a background refresh in second place.
    fn queue() -> (WaiterQueue<()>, [Receiver; 3]) {
        let [(a, first), (b, second), (c, third)] = std::array::from_fn(|index| {
            let fresher_than = Timestamp(10 * (index as u64 + 1));
            caller(Requirement { fresher_than, ..Requirement::default() })
        });
        let mut queue = WaiterQueue::default();
        [a, background(), b, c].into_iter().for_each(|waiter| queue.push(waiter));
        (queue, [first, second, third])
    }

    fn failure() -> FlightResult {
        FlightResult::StoreFailed(ErrorKind::Refused.into())
    }

    fn notified(receivers: &mut [Receiver]) -> Vec<bool> {
        receivers.iter_mut().map(|receiver| receiver.try_recv().is_ok()).collect()
    }

    #[test]
    fn the_first_caller_that_is_there_is_notified() {
        let (mut queue, [first, second, third]) = queue();
        drop(first);
        queue.0.remove(1);
        queue.notify_first(failure());
        assert_eq!(notified(&mut [second, third]), [true, false]);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_result_that_does_not_suit_leaves_the_waiter() {
        let (mut queue, mut receivers) = queue();
        let accepted = Timestamp(20);
        queue.notify_all(|requirement| requirement.accepts(accepted).then(failure));
        assert_eq!(notified(&mut receivers), [true, false, false]);
        assert_eq!((queue.len(), queue.has_caller()), (2, true), "the refresh is satisfied too");
    }

    #[test]
    fn callers_are_notified_and_background_refreshes_stay() {
        let (mut queue, mut receivers) = queue();
        queue.notify_callers(failure);
        assert_eq!(notified(&mut receivers), [true, true, true]);
        assert_eq!((queue.len(), queue.has_caller()), (1, false));
        queue.remove_background();
        assert!(queue.is_empty());
    }

    #[test]
    fn only_the_first_are_notified() {
        let (mut queue, mut receivers) = queue();
        let mut seen = Vec::new();
        queue.notify_up_to(3, |index, requirement| {
            seen.push((index, requirement.fresher_than.0));
            Some(failure())
        });
        assert_eq!(seen, [(0, 10), (1, 0), (2, 20)]);
        assert_eq!(notified(&mut receivers), [true, true, false]);
        assert_eq!(queue.first().map(|waiter| waiter.requirement.fresher_than.0), Some(30));
    }

    #[test]
    fn callers_that_left_are_removed() {
        let (mut queue, [first, _second, third]) = queue();
        drop((first, third));
        queue.remove_left();
        assert_eq!((queue.len(), queue.has_caller()), (2, true));
        queue.clear();
        assert!(queue.is_empty());
    }

    #[test]
    fn the_least_demanding_waiter_decides_which_entry_is_good_enough() {
        assert_eq!(WaiterQueue::<()>::default().fresher_than(), Timestamp(0));
        let mut queue = WaiterQueue::default();
        let forced = Requirement { force_refresh: true, ..Requirement::default() };
        queue.push(caller(forced).0);
        assert_eq!(queue.fresher_than(), END_OF_TIME);
        queue.push(caller(Requirement { fresher_than: Timestamp(7), ..forced }).0);
        assert_eq!(queue.fresher_than(), END_OF_TIME);
        let early = Requirement { fresher_than: Timestamp(7), ..Requirement::default() };
        queue.push(caller(early).0);
        assert_eq!(queue.fresher_than(), Timestamp(7));
        assert!(early.accepts(Timestamp(8)) && !early.accepts(Timestamp(7)));
        assert!(!forced.accepts(END_OF_TIME));
    }

    #[test]
    fn the_store_is_skipped_only_if_all_waiters_skip_it() {
        let mut queue = WaiterQueue::default();
        let skip = Requirement { skip_store: true, ..Requirement::default() };
        queue.push(caller(skip).0);
        assert!(queue.all_skip_store());
        queue.push(caller(Requirement::default()).0);
        assert!(!queue.all_skip_store());
    }
}
