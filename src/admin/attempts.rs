//! Limits of wrong tokens.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock, Reference},
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use hashlink::LruCache;
use parking_lot::Mutex;

/// Failures of one address at once. After them, two can follow in each pause.
const FAILURES: NonZeroU32 = NonZeroU32::new(10).unwrap();
const PAUSE: Duration = Duration::from_secs(6);
/// Failures of all addresses at once. After them, two can follow in each pause.
const ALL_FAILURES: NonZeroU32 = NonZeroU32::new(100).unwrap();
const ALL_PAUSE: Duration = Duration::from_secs(1);
/// Addresses that are distinguished. The one that was used least recently is forgotten for a new
/// one. The limit in all bounds how often failures cause that.
const MAX_ADDRESSES: usize = 4096;
/// Time for which an address with a valid token is exempt from the limit in all. Wrong tokens of
/// other addresses do not shut it out.
const EXEMPT: Duration = Duration::from_secs(3600);
/// Bits of an IPv6 address that its owner cannot choose.
const NETWORK_BITS: u32 = 64;

/// The meaning of an attempt for the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The token is valid.
    Right,
    /// The token is not valid.
    Wrong,
    /// It does not count: the token is of no use here, or cannot be judged yet.
    Open,
}

/// Counts failures, of each address and in all.
pub(super) struct Attempts<C: Clock = DefaultClock> {
    clock: C,
    state: Mutex<State<C>>,
}

struct State<C: Clock> {
    all: Failures<C>,
    addresses: LruCache<IpAddr, Address<C>>,
}

struct Address<C: Clock> {
    failures: Failures<C>,
    accepted_at: Option<C::Instant>,
}

/// A limit on failures. An attempt that does not fail does not count.
struct Failures<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    limited_until: Option<C::Instant>,
}

impl<C: Clock + Clone> Attempts<C> {
    pub(super) fn new(clock: C) -> Self {
        let all = Failures::new(ALL_FAILURES, ALL_PAUSE, &clock);
        let state = Mutex::new(State { all, addresses: LruCache::new(MAX_ADDRESSES) });
        Self { clock, state }
    }

    /// Tries a token by `check`, unless too many failed. Then neither the result nor its time
    /// depends on the token.
    ///
    /// # Errors
    /// It was not looked at. The next attempt is possible after this time.
    pub(super) fn attempt<T>(
        &self,
        peer: IpAddr,
        check: impl FnOnce() -> (Verdict, T),
    ) -> Result<T, Duration> {
        let (peer, now) = (network(peer), self.clock.now());
        let mut state = self.state.lock();
        let State { all, addresses } = &mut *state;
        let known = addresses.get(&peer);
        let is_exempt = known.as_ref().is_some_and(|address| {
            let accepted_at = address.accepted_at;
            accepted_at.is_some_and(|accepted_at| since(now, accepted_at) < EXEMPT)
        });
        let limits = [known.and_then(|address| address.failures.wait(now)), all.wait(now)];
        let limit = if is_exempt { limits[0] } else { limits[0].max(limits[1]) };
        if let Some(wait) = limit {
            return Err(wait);
        }
        let (verdict, result) = check();
        if verdict == Verdict::Open {
            return Ok(result);
        }
        if !addresses.contains_key(&peer) {
            let failures = Failures::new(FAILURES, PAUSE, &self.clock);
            addresses.insert(peer, Address { failures, accepted_at: None });
        }
        // It was inserted if it was not there.
        let Some(address) = addresses.get_mut(&peer) else { return Ok(result) };
        if verdict == Verdict::Right {
            address.accepted_at = Some(now);
            return Ok(result);
        }
        address.failures.count();
        all.count();
        Ok(result)
    }
}

impl<C: Clock + Clone> Failures<C> {
    fn new(at_once: NonZeroU32, pause: Duration, clock: &C) -> Self {
        let quota = Quota::with_period(pause).unwrap_or_else(|| Quota::per_second(at_once));
        let limiter = RateLimiter::direct_with_clock(quota.allow_burst(at_once), clock.clone());
        Self { limiter, limited_until: None }
    }

    /// Time until the next attempt; none if it is possible now.
    fn wait(&self, now: C::Instant) -> Option<Duration> {
        let wait = since(self.limited_until?, now);
        (!wait.is_zero()).then_some(wait)
    }

    fn count(&mut self) {
        if let Err(limited) = self.limiter.check() {
            self.limited_until = Some(limited.earliest_possible());
        }
    }
}

fn since<T: Reference>(later: T, earlier: T) -> Duration {
    later.duration_since(earlier).into()
}

/// The part of an address that its owner cannot choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (u128::BITS - NETWORK_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    const WRONG: fn() -> (Verdict, bool) = || (Verdict::Wrong, false);
    const RIGHT: fn() -> (Verdict, bool) = || (Verdict::Right, true);
    const OPEN: fn() -> (Verdict, bool) = || (Verdict::Open, false);

    fn attempts() -> (Attempts<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Attempts::new(clock.clone()), clock)
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    /// Number of wrong tokens that are looked at.
    fn failures(attempts: &Attempts<FakeRelativeClock>, peer: IpAddr) -> usize {
        (0..1000).take_while(|_| attempts.attempt(peer, WRONG) == Ok(false)).count()
    }

    #[test]
    fn an_address_is_limited_and_a_right_token_is_not_looked_at_then() {
        let (attempts, clock) = attempts();
        assert_eq!(failures(&attempts, v4(1)), 11);
        let unseen = || -> (Verdict, bool) { panic!("the token is looked at") };
        let limited = attempts.attempt(v4(1), unseen);
        assert_eq!(limited, Err(PAUSE));
        assert_eq!(attempts.attempt(v4(2), RIGHT), Ok(true), "another address");
        clock.advance(PAUSE / 2);
        assert_eq!(attempts.attempt(v4(1), unseen), Err(PAUSE / 2));
        clock.advance(PAUSE / 2);
        assert_eq!(attempts.attempt(v4(1), RIGHT), Ok(true));
        assert_eq!(failures(&attempts, v4(1)), 2);
        clock.advance(PAUSE);
        assert_eq!(failures(&attempts, v4(1)), 2);
    }

    #[test]
    fn right_tokens_do_not_count() {
        let (attempts, _) = attempts();
        for _ in 0..1000 {
            assert_eq!(attempts.attempt(v4(1), RIGHT), Ok(true));
        }
        assert_eq!(failures(&attempts, v4(1)), 11);
    }

    #[test]
    fn open_attempts_neither_count_nor_exempt_but_are_limited() {
        let (attempts, _) = attempts();
        for _ in 0..1000 {
            assert_eq!(attempts.attempt(v4(1), OPEN), Ok(false));
        }
        assert_eq!(failures(&attempts, v4(1)), 11);
        assert_eq!(attempts.attempt(v4(1), OPEN), Err(PAUSE));
        assert_eq!(attempts.attempt(v4(2), OPEN), Ok(false));
        for number in 100..190 {
            assert_eq!(attempts.attempt(v4(number), WRONG), Ok(false));
        }
        assert_eq!(attempts.attempt(v4(2), RIGHT), Err(ALL_PAUSE), "it is not exempt");
    }

    #[test]
    fn all_addresses_are_limited_but_for_those_with_a_right_token() {
        let (attempts, clock) = attempts();
        assert_eq!(attempts.attempt(v4(1), RIGHT), Ok(true));
        let failed =
            (100..1000).take_while(|&number| attempts.attempt(v4(number), WRONG) == Ok(false));
        assert_eq!(failed.count(), 101);
        assert_eq!(attempts.attempt(v4(2), RIGHT), Err(ALL_PAUSE));
        assert_eq!(attempts.attempt(v4(1), RIGHT), Ok(true));
        // The limit of the address applies to it as well.
        assert_eq!(failures(&attempts, v4(1)), 11);
        clock.advance(2 * PAUSE);
        assert_eq!(attempts.attempt(v4(2), RIGHT), Ok(true));
    }

    #[test]
    fn the_exemption_ends() {
        let (attempts, clock) = attempts();
        assert_eq!(attempts.attempt(v4(1), RIGHT), Ok(true));
        clock.advance(EXEMPT);
        for number in 100..201 {
            assert_eq!(attempts.attempt(v4(number), WRONG), Ok(false));
        }
        assert_eq!(attempts.attempt(v4(1), RIGHT), Err(ALL_PAUSE));
    }

    #[test]
    fn addresses_of_one_network_count_together() {
        let (attempts, _) = attempts();
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(failures(&attempts, of("2001:db8:1:2::1")), 11);
        let limited = |peer| attempts.attempt(peer, RIGHT).is_err();
        assert!(limited(of("2001:db8:1:2:ffff::9")));
        assert!(!limited(of("2001:db8:1:3::1")));
        assert_eq!(failures(&attempts, of("::ffff:10.0.0.1")), 11);
        assert!(limited(of("10.0.0.1")) && !limited(of("10.0.0.2")));
    }

    #[test]
    fn the_number_of_addresses_is_bounded() {
        let (attempts, _) = attempts();
        for number in 0..10_000 {
            assert_eq!(attempts.attempt(v4(number), RIGHT), Ok(true));
        }
        assert_eq!(attempts.state.lock().addresses.len(), MAX_ADDRESSES);
    }
}
