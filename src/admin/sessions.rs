//! Sessions of people after their login.

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use hashlink::LinkedHashMap;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::metric_list;

/// Most sessions. The oldest one ends for a new one.
pub(super) const MAX_SESSIONS: usize = 256;

/// Limits of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionLimits {
    /// Time after which it ends.
    pub(super) ttl: Duration,
    /// Time without a request after which it ends.
    pub(super) idle: Duration,
}

/// A session, for those that answer its requests.
#[derive(Debug, Clone)]
pub struct Session {
    csrf_token: Arc<str>,
    ended: CancellationToken,
}

/// A session that has begun.
pub(super) struct NewSession {
    /// The secret of its cookie.
    pub(super) id: String,
}

/// Sessions by the digests of their IDs, in the order of their begin.
pub(super) struct Sessions {
    open: Arc<Mutex<LinkedHashMap<[u8; 32], OpenSession>>>,
    ended: Counter<u64>,
}

struct OpenSession {
    began_at: Instant,
    used_at: Instant,
    session: Session,
    /// Ends the streams of the session when it is removed.
    _end: DropGuard,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Expired,
    Idle,
    Displaced,
    Logout,
    Reload,
}

impl Session {
    /// One with a token of its own.
    pub(super) fn new() -> Self {
        Self { csrf_token: random_text().into(), ended: CancellationToken::new() }
    }

    /// Cancelled when the session ends.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The token by which a request shows that a page of this session has made it.
    pub fn csrf_token(&self) -> &str {
        &self.csrf_token
    }

    /// Whether `token` is that of the session.
    pub(super) fn has_csrf_token(&self, token: &[u8]) -> bool {
        self.csrf_token.as_bytes().ct_eq(token).into()
    }
}

impl Sessions {
    /// None, and their metrics.
    pub(super) fn new(meter: &Meter) -> Self {
        let open = Arc::<Mutex<LinkedHashMap<_, _>>>::default();
        let shown = open.clone();
        metric_list::ADMIN_SESSIONS
            .observed_gauge(meter)
            .with_callback(move |observer| observer.observe(shown.lock().len() as u64, &[]))
            .build();
        let ended = metric_list::ADMIN_SESSIONS_ENDED.counter(meter);
        Self { open, ended }
    }

    /// Begins a session.
    pub(super) fn begin(&self, now: Instant, limits: SessionLimits) -> NewSession {
        let (id, session) = (random_text(), Session::new());
        let mut open = self.open.lock();
        self.remove_ended(&mut open, now, limits);
        while open.len() >= MAX_SESSIONS {
            open.pop_front();
            self.count(End::Displaced, 1);
        }
        let end = session.ended.clone().drop_guard();
        let session = OpenSession { began_at: now, used_at: now, session, _end: end };
        open.insert(digest(&id), session);
        NewSession { id }
    }

    /// The session with this ID, which is used now.
    pub(super) fn find(&self, id: &str, now: Instant, limits: SessionLimits) -> Option<Session> {
        let mut open = self.open.lock();
        self.remove_ended(&mut open, now, limits);
        let session = open.get_mut(&digest(id))?;
        session.used_at = now;
        Some(session.session.clone())
    }

    /// Ends those that are over by now.
    pub(super) fn expire(&self, now: Instant, limits: SessionLimits) {
        self.remove_ended(&mut self.open.lock(), now, limits);
    }

    /// Ends the session with this ID. Returns whether there was one.
    pub(super) fn end(&self, id: &str) -> bool {
        let is_ended = self.open.lock().remove(&digest(id)).is_some();
        self.count(End::Logout, u64::from(is_ended));
        is_ended
    }

    /// Ends all of them, because the tokens have changed.
    pub(super) fn end_all(&self) {
        let mut open = self.open.lock();
        self.count(End::Reload, open.len() as u64);
        open.clear();
    }

    /// There are few of them, and requests of people are rare.
    fn remove_ended(
        &self,
        open: &mut LinkedHashMap<[u8; 32], OpenSession>,
        now: Instant,
        limits: SessionLimits,
    ) {
        open.retain(|_, session| {
            let end = session.end(now, limits);
            end.into_iter().for_each(|end| self.count(end, 1));
            end.is_none()
        });
    }

    fn count(&self, end: End, number: u64) {
        let reason = match end {
            End::Expired => "expired",
            End::Idle => "idle",
            End::Displaced => "displaced",
            End::Logout => "logout",
            End::Reload => "reload",
        };
        if number > 0 {
            self.ended.add(number, &[KeyValue::new("reason", reason)]);
        }
    }
}

impl OpenSession {
    fn end(&self, now: Instant, limits: SessionLimits) -> Option<End> {
        if now.duration_since(self.began_at) >= limits.ttl {
            return Some(End::Expired);
        }
        (now.duration_since(self.used_at) >= limits.idle).then_some(End::Idle)
    }
}

/// 256 random bits.
pub(super) fn random_text() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMITS: SessionLimits =
        SessionLimits { ttl: Duration::from_secs(100), idle: Duration::from_secs(10) };

    fn sessions() -> Sessions {
        Sessions::new(&opentelemetry::global::meter("test"))
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_ends_after_its_lifetime_even_if_it_is_used() {
        let (sessions, begin) = (sessions(), Instant::now());
        let id = sessions.begin(begin, LIMITS).id;
        for second in 0..100 {
            assert!(sessions.find(&id, begin + seconds(second), LIMITS).is_some(), "{second}");
        }
        assert!(sessions.find(&id, begin + seconds(100), LIMITS).is_none());
    }

    #[test]
    fn an_unused_session_ends() {
        let (sessions, begin) = (sessions(), Instant::now());
        let (one, other) = (sessions.begin(begin, LIMITS).id, sessions.begin(begin, LIMITS).id);
        assert!(sessions.find(&one, begin + seconds(9), LIMITS).is_some());
        assert!(sessions.find(&other, begin + seconds(10), LIMITS).is_none());
        assert!(sessions.find(&one, begin + seconds(10), LIMITS).is_some());
    }

    #[test]
    fn the_oldest_session_ends_for_a_new_one() {
        let (sessions, now) = (sessions(), Instant::now());
        let ids: Vec<_> = (0..=MAX_SESSIONS).map(|_| sessions.begin(now, LIMITS).id).collect();
        assert!(sessions.find(&ids[0], now, LIMITS).is_none());
        assert!(ids[1..].iter().all(|id| sessions.find(id, now, LIMITS).is_some()));
    }

    #[test]
    fn sessions_have_ids_and_tokens_of_their_own() {
        let (sessions, now) = (sessions(), Instant::now());
        let ids = [(); 2].map(|()| sessions.begin(now, LIMITS).id);
        let [one, other] = ids.clone().map(|id| sessions.find(&id, now, LIMITS).unwrap());
        assert!(ids[0] != ids[1] && ids[0].len() == 43);
        assert!(one.has_csrf_token(one.csrf_token().as_bytes()));
        assert!(!one.has_csrf_token(other.csrf_token().as_bytes()) && !one.has_csrf_token(b""));
        assert!(sessions.end(&ids[0]) && !sessions.end(&ids[0]));
        assert!(sessions.find(&ids[0], now, LIMITS).is_none());
        assert!(sessions.find(&ids[1], now, LIMITS).is_some());
        sessions.end_all();
        assert!(sessions.find(&ids[1], now, LIMITS).is_none());
    }

    #[test]
    fn the_end_of_a_session_is_announced() {
        let (sessions, begin) = (sessions(), Instant::now());
        let ids = [(); 3].map(|()| sessions.begin(begin, LIMITS).id);
        let [idle, left, other] = ids.clone().map(|id| sessions.find(&id, begin, LIMITS).unwrap());
        assert!(sessions.end(&ids[1]) && left.ended().is_cancelled());
        assert!(sessions.find(&ids[2], begin + seconds(9), LIMITS).is_some());
        sessions.expire(begin + seconds(9), LIMITS);
        assert!(!idle.ended().is_cancelled());
        sessions.expire(begin + seconds(10), LIMITS);
        assert!(idle.ended().is_cancelled() && !other.ended().is_cancelled());
        sessions.end_all();
        assert!(other.ended().is_cancelled());
    }
}
