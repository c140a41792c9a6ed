//! The leases of the fake.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::store::Place;

/// Why a lease is no longer held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Expired,
    Invalidated,
    Superseded,
}

struct Held {
    token: Bytes,
    expires_at: Duration,
    /// Tags that were invalidated since it was granted: values with them are refused.
    banned: HashSet<String>,
}

/// Rejects fills for a while.
struct HoldOff {
    until: Duration,
    concerns: Concerns,
}

pub(crate) type Concerns = Box<dyn Fn(&Place, &[String]) -> bool + Send>;

/// Ended leases whose reason is remembered.
const REMEMBERED: usize = 10_000;

/// The leases of the fake. Times are by its clock.
#[derive(Default)]
pub(crate) struct Leases {
    held: HashMap<Place, Held>,
    ended: VecDeque<(Bytes, Lost)>,
    backoffs: HashMap<Place, (Duration, String)>,
    hold_offs: Vec<HoldOff>,
    tokens: u128,
}

impl Leases {
    /// When the lease of the entry ends, if there is one.
    pub(crate) fn busy(&mut self, place: &Place, now: Duration) -> Option<Duration> {
        let expires_at = self.held.get(place)?.expires_at;
        if now < expires_at {
            return Some(expires_at);
        }
        self.end(place, Lost::Expired);
        None
    }

    /// The rest of the back-off after a failed computation, and its cause.
    pub(crate) fn backoff(&self, place: &Place, now: Duration) -> Option<(Duration, String)> {
        let (until, cause) = self.backoffs.get(place)?;
        (now < *until).then(|| (*until - now, cause.clone()))
    }

    pub(crate) fn grant(&mut self, place: &Place, expires_at: Duration) -> Bytes {
        self.tokens += 1;
        let token = Bytes::copy_from_slice(&self.tokens.to_be_bytes());
        let held = Held { token: token.clone(), expires_at, banned: HashSet::new() };
        self.held.insert(place.clone(), held);
        token
    }

    /// Why a fill of the lease is refused.
    pub(crate) fn refusal(
        &mut self,
        place: &Place,
        token: &Bytes,
        tags: &[String],
        now: Duration,
    ) -> Option<Lost> {
        self.busy(place, now);
        let Some(held) = self.held.get(place).filter(|held| held.token == *token) else {
            let ended = self.ended.iter().rev().find(|(ended, _)| ended == token);
            return Some(ended.map_or(Lost::Expired, |(_, why)| *why));
        };
        self.hold_offs.retain(|each| now < each.until);
        let is_refused = tags.iter().any(|tag| held.banned.contains(tag))
            || self.hold_offs.iter().any(|each| (each.concerns)(place, tags));
        is_refused.then_some(Lost::Invalidated)
    }

    pub(crate) fn renew(&mut self, place: &Place, expires_at: Duration) {
        if let Some(held) = self.held.get_mut(place) {
            held.expires_at = expires_at;
        }
    }

    /// Releases the lease: with a back-off, or for the next caller.
    pub(crate) fn abandon(
        &mut self,
        place: &Place,
        token: &Bytes,
        backoff: Option<(Duration, String)>,
    ) {
        if self.held.get(place).is_none_or(|held| held.token != *token) {
            return;
        }
        if let Some(backoff) = backoff {
            self.backoffs.insert(place.clone(), backoff);
        }
        self.end(place, Lost::Expired);
    }

    fn end(&mut self, place: &Place, why: Lost) {
        if let Some(held) = self.held.remove(place) {
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back((held.token, why));
        }
    }

    /// The entry was written, deleted or invalidated: its lease is void.
    pub(crate) fn void(&mut self, place: &Place, why: Lost) {
        self.end(place, why);
        self.backoffs.remove(place);
    }

    /// Voids the leases for which `concerns` is true.
    pub(crate) fn void_where(&mut self, concerns: impl Fn(&Place) -> bool) {
        let places: Vec<_> = self.held.keys().filter(|place| concerns(place)).cloned().collect();
        for place in places {
            self.end(&place, Lost::Invalidated);
        }
    }

    pub(crate) fn ban_tags(&mut self, namespace: &str, tags: &[String]) {
        let concerned = self.held.iter_mut().filter(|(place, _)| place.namespace == namespace);
        for (_, held) in concerned {
            held.banned.extend(tags.iter().cloned());
        }
    }

    /// Rejects fills until then.
    pub(crate) fn hold_off(&mut self, until: Duration, concerns: Concerns) {
        self.hold_offs.push(HoldOff { until, concerns });
    }
}
