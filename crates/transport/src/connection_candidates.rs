//! The connections that may be displaced, the best candidates first.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::IpAddr,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
};

use crate::connection_table::{Class, CoarseClock, ConnectionState, Order};

/// Connections that may be displaced, by address.
#[derive(Default)]
pub(crate) struct Candidates {
    groups: HashMap<IpAddr, Group>,
    /// Addresses that have candidates, the one with the most connections first. The number is out
    /// of date if candidates were taken since.
    queues: [BinaryHeap<(usize, IpAddr)>; Class::ALL.len()],
    total: usize,
    /// The first id of the newest connections.
    newest: u64,
}

#[derive(Default)]
struct Group {
    connections: usize,
    /// The best candidate last.
    members: [Vec<Candidate>; Class::ALL.len()],
}

struct Candidate {
    state: Arc<ConnectionState>,
    active_at: u64,
}

// === impl Candidates ===

impl Candidates {
    pub(crate) fn new(open: Vec<Arc<ConnectionState>>, newest: u64, clock: &CoarseClock) -> Self {
        let mut candidates = Self { newest, ..Self::default() };
        for state in open {
            // One that makes room already no longer counts.
            if state.order.load(SeqCst) != Order::None as u8 {
                continue;
            }
            let class = state.class(newest);
            if class == Class::Busy {
                // So that the end of a long stream is not taken for its begin.
                state.active_at.store(clock.now(), Relaxed);
            }
            let active_at = state.active_at.load(Relaxed);
            let group = candidates.groups.entry(state.address).or_default();
            group.connections += 1;
            candidates.total += 1;
            group.members[class as usize].push(Candidate { state, active_at });
        }
        for (address, group) in &mut candidates.groups {
            for (members, queue) in group.members.iter_mut().zip(&mut candidates.queues) {
                if !members.is_empty() {
                    let by_age = |one: &Candidate| Reverse((one.active_at, one.state.id));
                    members.sort_unstable_by_key(by_age);
                    queue.push((group.connections, *address));
                }
            }
        }
        candidates
    }

    /// Takes the best candidate for a connection of `address`; of `None`: for any.
    pub(crate) fn take(
        &mut self,
        address: Option<IpAddr>,
    ) -> Option<(Class, Arc<ConnectionState>)> {
        let own = address.and_then(|own| self.groups.get(&own));
        let own = own.map_or(0, |group| group.connections);
        for class in Class::ALL {
            if let Some(state) = self.take_of(class, address, own) {
                if let Some(address) = address {
                    self.groups.entry(address).or_default().connections += 1;
                }
                return Some((class, state));
            }
        }
        None
    }

    /// `own` is the number of connections of `address`.
    fn take_of(
        &mut self,
        class: Class,
        address: Option<IpAddr>,
        own: usize,
    ) -> Option<Arc<ConnectionState>> {
        let queue = &mut self.queues[class as usize];
        while let Some((connections, of)) = queue.pop() {
            let group = self.groups.get_mut(&of)?;
            if group.connections != connections {
                queue.push((group.connections, of));
                continue;
            }
            let is_allowed = match class {
                Class::Silent | Class::Idle | Class::New => group.connections >= own,
                Class::Busy => {
                    group.connections * 2 > self.total && address.is_some_and(|own| own != of)
                }
            };
            let taken = if is_allowed { group.take(class, self.newest) } else { None };
            if !group.members[class as usize].is_empty() {
                queue.push((group.connections, of));
            }
            if taken.is_some() || !is_allowed {
                return taken;
            }
        }
        None
    }
}

// === impl Group ===

impl Group {
    /// The best candidate that still is one.
    fn take(&mut self, class: Class, newest: u64) -> Option<Arc<ConnectionState>> {
        while let Some(Candidate { state, active_at }) = self.members[class as usize].pop() {
            let is_unchanged = !state.has_ended.load(SeqCst)
                && state.class(newest) == class
                && (class == Class::Busy || state.active_at.load(Relaxed) == active_at);
            if is_unchanged {
                self.connections = self.connections.saturating_sub(1);
                return Some(state);
            }
        }
        None
    }
}
