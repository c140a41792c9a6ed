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

use super::bearer::Bearer;
use crate::metric_list;

/// Most sessions. The oldest one ends for a new one.
pub(super) const MAX_SESSIONS: usize = 256;

/// Limits of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionLimits {
    /// Time after which it ends.
    pub(super) ttl: Duration,
    /// Time after which it ends without a request of its person.
    pub(super) idle: Duration,
}

/// A session, for those that answer its requests.
#[derive(Debug, Clone)]
pub struct Session {
    csrf_token: Arc<str>,
    /// None for the one of requests without credentials.
    bearer: Option<Arc<Bearer>>,
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
    /// When its token expires.
    until: Option<Instant>,
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
    /// One with a token of its own against forged requests. `bearer`: the sender of the login.
    pub(super) fn new(bearer: Option<Bearer>) -> Self {
        Self {
            csrf_token: random_text().into(),
            bearer: bearer.map(Arc::new),
            ended: CancellationToken::new(),
        }
    }

    /// The sender of the login.
    pub(super) fn bearer(&self) -> Option<&Bearer> {
        self.bearer.as_deref()
    }

    /// Whether a login has begun it, so that a logout can end it.
    pub fn has_login(&self) -> bool {
        self.bearer.is_some()
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

    /// Begins the session of a login.
    pub(super) fn begin(&self, bearer: Bearer, now: Instant, limits: SessionLimits) -> NewSession {
        let (id, until) = (random_text(), bearer.expires_at());
        let session = Session::new(Some(bearer));
        let mut open = self.open.lock();
        self.remove_ended(&mut open, now, limits);
        while open.len() >= MAX_SESSIONS {
            open.pop_front();
            self.count(End::Displaced, 1);
        }
        let end = session.ended.clone().drop_guard();
        let session = OpenSession { began_at: now, used_at: now, until, session, _end: end };
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

    /// The session with this ID, for a request that its browser makes without a person.
    pub(super) fn find_unused(
        &self,
        id: &str,
        now: Instant,
        limits: SessionLimits,
    ) -> Option<Session> {
        let mut open = self.open.lock();
        self.remove_ended(&mut open, now, limits);
        open.get(&digest(id)).map(|session| session.session.clone())
    }

    /// Ends those that are over by now.
    pub(super) fn expire(&self, now: Instant, limits: SessionLimits) {
        self.remove_ended(&mut self.open.lock(), now, limits);
    }

    /// Ends the session with this ID. Returns it if there was one.
    pub(super) fn end(&self, id: &str) -> Option<Session> {
        let ended = self.open.lock().remove(&digest(id));
        self.count(End::Logout, u64::from(ended.is_some()));
        ended.map(|ended| ended.session)
    }

    /// Ends those whose token a reload has made invalid.
    pub(super) fn end_unless(&self, is_valid: impl Fn(&Bearer) -> bool) {
        let mut open = self.open.lock();
        let before = open.len();
        open.retain(|_, session| session.session.bearer().is_some_and(&is_valid));
        self.count(End::Reload, before.saturating_sub(open.len()) as u64);
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
        let has_expired = self.until.is_some_and(|until| until <= now);
        if has_expired || now.duration_since(self.began_at) >= limits.ttl {
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
    use std::time::SystemTime;

    use super::*;

    const LIMITS: SessionLimits =
        SessionLimits { ttl: Duration::from_secs(100), idle: Duration::from_secs(10) };

    fn sessions() -> Sessions {
        Sessions::new(&opentelemetry::global::meter("test"))
    }

    /// The ID of a new session.
    fn begun(sessions: &Sessions, at: Instant) -> String {
        sessions.begin(Bearer::of_port(), at, LIMITS).id
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_session_ends_after_its_lifetime_even_if_it_is_used() {
        let (sessions, begin) = (sessions(), Instant::now());
        let id = begun(&sessions, begin);
        for second in 0..100 {
            assert!(sessions.find(&id, begin + seconds(second), LIMITS).is_some(), "{second}");
        }
        assert!(sessions.find(&id, begin + seconds(100), LIMITS).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_with_its_token() {
        let (sessions, begin) = (sessions(), Instant::now());
        let bearer = Bearer::until(SystemTime::now() + seconds(8));
        let expiring = sessions.begin(bearer, begin, LIMITS).id;
        let other = begun(&sessions, begin);
        assert!(sessions.find(&expiring, begin + seconds(7), LIMITS).is_some());
        assert!(sessions.find(&other, begin + seconds(8), LIMITS).is_some());
        assert!(sessions.find(&expiring, begin + seconds(8), LIMITS).is_none());
        let unlimited = Bearer::until(SystemTime::UNIX_EPOCH + seconds(i64::MAX as u64));
        sessions.begin(unlimited, begin, LIMITS);
    }

    #[test]
    fn sessions_with_valid_tokens_outlive_a_reload() {
        let (sessions, now) = (sessions(), Instant::now());
        let kept = begun(&sessions, now);
        let ended = sessions.begin(Bearer::until(SystemTime::now() + seconds(99)), now, LIMITS).id;
        sessions.end_unless(|bearer| bearer.expires_at().is_none());
        assert!(sessions.find(&kept, now, LIMITS).is_some());
        assert!(sessions.find(&ended, now, LIMITS).is_none());
    }

    #[test]
    fn an_unused_session_ends() {
        let (sessions, begin) = (sessions(), Instant::now());
        let (one, other) = (begun(&sessions, begin), begun(&sessions, begin));
        assert!(sessions.find(&one, begin + seconds(9), LIMITS).is_some());
        assert!(sessions.find(&other, begin + seconds(10), LIMITS).is_none());
        assert!(sessions.find(&one, begin + seconds(10), LIMITS).is_some());
    }

    #[test]
    fn requests_without_a_person_do_not_keep_a_session() {
        let (sessions, begin) = (sessions(), Instant::now());
        let id = begun(&sessions, begin);
        assert!(sessions.find_unused(&id, begin + seconds(9), LIMITS).is_some());
        assert!(sessions.find_unused(&id, begin + seconds(10), LIMITS).is_none());
        assert!(sessions.find(&id, begin + seconds(9), LIMITS).is_none(), "it is over");
    }

    #[test]
    fn the_oldest_session_ends_for_a_new_one() {
        let (sessions, now) = (sessions(), Instant::now());
        let ids: Vec<_> = (0..=MAX_SESSIONS).map(|_| begun(&sessions, now)).collect();
        assert!(sessions.find(&ids[0], now, LIMITS).is_none());
        assert!(ids[1..].iter().all(|id| sessions.find(id, now, LIMITS).is_some()));
    }

    #[test]
    fn sessions_have_ids_and_tokens_of_their_own() {
        let (sessions, now) = (sessions(), Instant::now());
        let ids = [(); 2].map(|()| begun(&sessions, now));
        let [one, other] = ids.clone().map(|id| sessions.find(&id, now, LIMITS).unwrap());
        assert!(ids[0] != ids[1] && ids[0].len() == 43);
        assert!(one.has_csrf_token(one.csrf_token().as_bytes()));
        assert!(!one.has_csrf_token(other.csrf_token().as_bytes()) && !one.has_csrf_token(b""));
        assert!(sessions.end(&ids[0]).is_some() && sessions.end(&ids[0]).is_none());
        assert!(sessions.find(&ids[0], now, LIMITS).is_none());
        assert!(sessions.find(&ids[1], now, LIMITS).is_some());
        sessions.end_unless(|_| false);
        assert!(sessions.find(&ids[1], now, LIMITS).is_none());
    }

    #[test]
    fn the_end_of_a_session_is_announced() {
        let (sessions, begin) = (sessions(), Instant::now());
        let ids = [(); 3].map(|()| begun(&sessions, begin));
        let [idle, left, other] = ids.clone().map(|id| sessions.find(&id, begin, LIMITS).unwrap());
        assert!(sessions.end(&ids[1]).is_some() && left.ended().is_cancelled());
        assert!(sessions.find(&ids[2], begin + seconds(9), LIMITS).is_some());
        sessions.expire(begin + seconds(9), LIMITS);
        assert!(!idle.ended().is_cancelled());
        sessions.expire(begin + seconds(10), LIMITS);
        assert!(idle.ended().is_cancelled() && !other.ended().is_cancelled());
        sessions.end_unless(|_| false);
        assert!(other.ended().is_cancelled());
    }
}
