//! Access to the admin port: by a token, or by the session of a person.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use governor::clock::DefaultClock;
use opentelemetry::metrics::Meter;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    attempts::{Attempt, Attempts},
    cookies::CookieName,
    form::{CSRF, Form},
    origin::is_same_origin,
    pages,
    refusals::{Refusals, Refused},
    sessions::{NewSession, Session, SessionLimits, Sessions},
    tokens::Tokens,
};
use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    config::AdminConfig,
    model::{AuditEvent, bearer_token},
};

/// Path of the form of the login.
pub(super) const LOGIN: &str = "/login";
/// Path that ends a session.
pub(super) const LOGOUT: &str = "/logout";
/// Path of the first page.
pub(super) const HOME: &str = "/";
/// Paths of probes, which are answered without credentials.
pub(super) const LIVEZ: &str = "/livez";
pub(super) const READYZ: &str = "/readyz";

const CSRF_HEADER: &str = "x-csrf-token";
/// Name of all that have the token, in the audit log.
const PRINCIPAL: &str = "admin";
/// Stands for the address of a peer without one. No connection is without one.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Decides which requests the admin port answers. Without a token, all of them.
pub struct AdminAccess {
    rules: ArcSwapOption<Rules>,
    sessions: Sessions,
    /// That of all requests while there is no token.
    open: ArcSwap<Session>,
    attempts: Attempts,
    refusals: Refusals,
    audit: AuditLog,
    is_tls: bool,
}

/// The configuration in use.
pub(super) struct Rules {
    tokens: Tokens,
    limits: SessionLimits,
    /// Cancelled when the tokens change.
    end: CancellationToken,
}

/// When the permission of a request ends, for answers that last. An extension of requests.
#[derive(Debug, Clone)]
pub struct AccessEnd(pub CancellationToken);

impl AdminAccess {
    /// Follows `config`, and registers the metrics.
    pub fn new(config: &AdminConfig, meter: &Meter, audit: AuditLog) -> Arc<Self> {
        let access = Self {
            rules: ArcSwapOption::empty(),
            sessions: Sessions::new(meter),
            open: ArcSwap::from_pointee(Session::new()),
            attempts: Attempts::new(DefaultClock::default()),
            refusals: Refusals::new(meter, audit.clone()),
            audit,
            // A reload does not turn TLS on or off.
            is_tls: config.tls.cert.is_some(),
        };
        access.configure(config);
        Arc::new(access)
    }

    /// Replaces the configuration. With other tokens than before, all sessions end.
    pub fn configure(&self, config: &AdminConfig) {
        let limits = SessionLimits { ttl: config.session_ttl, idle: config.session_idle };
        let before = self.rules.load_full();
        let tokens = Tokens::new(&config.token);
        let is_same = before.as_ref().map(|rules| &rules.tokens) == tokens.as_ref();
        let kept = before.as_ref().filter(|_| is_same).map(|rules| rules.end.clone());
        let end = kept.unwrap_or_default();
        let rules = tokens.map(|tokens| Arc::new(Rules { tokens, limits, end }));
        if rules.is_some() {
            self.refusals.show();
        }
        self.rules.store(rules);
        if !is_same {
            if let Some(before) = before {
                before.end.cancel();
            }
            self.sessions.end_all();
            self.open.swap(Arc::new(Session::new())).ended().cancel();
        }
    }

    /// Ends the sessions that are over by now. Without requests, nothing else does.
    pub fn expire_sessions(&self) {
        if let Some(rules) = self.rules() {
            self.sessions.expire(Instant::now(), rules.limits);
        }
    }

    /// The configuration in use; none without a token.
    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.load_full()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The session of all requests while there is no token.
    pub(super) fn open_session(&self) -> Session {
        Session::clone(&self.open.load())
    }

    /// The session of a request.
    pub(super) fn session(&self, rules: &Rules, headers: &HeaderMap) -> Option<Session> {
        let ids = CookieName::Session.values(headers, self.is_tls);
        ids.iter().find_map(|id| self.sessions.find(id, Instant::now(), rules.limits))
    }

    /// Checks a token, unless too many were wrong.
    pub(super) fn check_token(
        &self,
        rules: &Rules,
        token: &[u8],
        peer: Option<SocketAddr>,
    ) -> Result<(), Refused> {
        let address = peer.map_or(NO_ADDRESS, |peer| peer.ip());
        match self.attempts.attempt(address, || rules.tokens.contains(token)) {
            Attempt::Accepted => Ok(()),
            Attempt::Failed => Err(Refused::UnknownToken),
            Attempt::Limited(wait) => Err(Refused::Limited(wait)),
        }
    }

    /// Begins a session, in place of those of the request.
    pub(super) fn log_in(
        &self,
        rules: &Rules,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> NewSession {
        self.end_sessions(headers);
        let session = self.sessions.begin(Instant::now(), rules.limits);
        self.record_admin("POST /login", "token", peer);
        session
    }

    /// Ends the sessions of a request.
    pub(super) fn log_out(&self, headers: &HeaderMap, peer: Option<SocketAddr>) {
        if self.end_sessions(headers) {
            self.record_admin("POST /logout", "session", peer);
        }
    }

    fn end_sessions(&self, headers: &HeaderMap) -> bool {
        let ids = CookieName::Session.values(headers, self.is_tls);
        ids.iter().filter(|id| self.sessions.end(id)).count() > 0
    }

    fn record_admin(&self, action: &'static str, how: &'static str, peer: Option<SocketAddr>) {
        let mut record = Record::new(AuditEvent::Admin, action);
        record.caller(caller(how, peer)).code("OK");
        self.audit.record(record);
    }

    /// Counts, logs and records a refusal.
    pub(super) fn refuse(&self, refused: Refused, action: String, peer: Option<SocketAddr>) {
        self.refusals.record(refused, action, peer);
    }

    /// Lets a request through that has a valid token or session, with its caller and its session
    /// among its extensions.
    async fn admit(&self, rules: &Rules, mut request: Request) -> Result<Request, Refused> {
        let peer = peer(&request);
        if let Some(authorization) = request.headers().get(header::AUTHORIZATION) {
            let token = bearer_token(authorization.as_bytes()).ok_or(Refused::Malformed)?;
            self.check_token(rules, token, peer)?;
            request.extensions_mut().insert(caller("token", peer));
            request.extensions_mut().insert(AccessEnd(rules.end.clone()));
            return Ok(request);
        }
        let session = self.session(rules, request.headers()).ok_or(Refused::NoCredentials)?;
        if !request.method().is_safe() {
            request = self.check_forgery(&session, request).await?;
        }
        request.extensions_mut().insert(AccessEnd(session.ended().clone()));
        request.extensions_mut().insert(session);
        request.extensions_mut().insert(caller("session", peer));
        Ok(request)
    }

    /// Refuses a request that a browser sends for a page of another origin.
    pub(super) async fn check_forgery(
        &self,
        session: &Session,
        request: Request,
    ) -> Result<Request, Refused> {
        if !is_same_origin(request.headers(), self.is_tls) {
            return Err(Refused::CrossOrigin);
        }
        let is_valid = |token: &[u8]| session.has_csrf_token(token);
        if let Some(token) = request.headers().get(CSRF_HEADER) {
            return is_valid(token.as_bytes()).then_some(request).ok_or(Refused::NoCsrfToken);
        }
        if !Form::is_in(request.headers()) {
            return Err(Refused::NoCsrfToken);
        }
        let (form, request) = Form::read(request).await?;
        let token = form.field(CSRF).unwrap_or_default();
        is_valid(token.as_bytes()).then_some(request).ok_or(Refused::NoCsrfToken)
    }
}

/// Answers a request only if it may use the admin port. A layer for all routes, of which the probes
/// and the login are open.
pub(super) async fn require_credentials(
    State(access): State<Arc<AdminAccess>>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let Some(rules) = access.rules() else {
        // There is nothing to log in for.
        if [LOGIN, LOGOUT].contains(&path) {
            return StatusCode::NOT_FOUND.into_response();
        }
        return next.run(request).await;
    };
    if [LIVEZ, READYZ].contains(&path) {
        return next.run(request).await;
    }
    let mut response = if path == LOGIN {
        next.run(request).await
    } else {
        admitted(&access, &rules, request, next).await
    };
    pages::protect(response.headers_mut());
    response
}

async fn admitted(access: &AdminAccess, rules: &Rules, request: Request, next: Next) -> Response {
    let (action, peer) = (action(&request), peer(&request));
    let is_of_browser = is_of_browser(&request);
    match access.admit(rules, request).await {
        Ok(request) => next.run(request).await,
        Err(Refused::NoCredentials) if is_of_browser => Redirect::to(LOGIN).into_response(),
        Err(refused) => {
            access.refuse(refused, action, peer);
            let mut response = format!("{}\n", refused.advice()).into_response();
            mark(&mut response, refused);
            response
        }
    }
}

/// Gives an answer the status of a refusal, and its headers.
pub(super) fn mark(response: &mut Response, refused: Refused) {
    *response.status_mut() = refused.status();
    let headers = response.headers_mut();
    if refused.status() == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = refused.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

/// The address of the peer of a request.
pub(super) fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The name of a request in the audit log, which is cut there.
pub(super) fn action(request: &Request) -> String {
    const MAX_CHARACTERS: usize = 128;
    let action = format!("{} {}", request.method(), request.uri().path());
    action.chars().take(MAX_CHARACTERS).collect()
}

/// A caller whose credentials are accepted.
fn caller(identity: &'static str, peer: Option<SocketAddr>) -> AuditedCaller {
    let principal = Some(PRINCIPAL.into());
    AuditedCaller { principal, identity: Some(identity), is_identified: true, peer }
}

/// Whether a person sees the answer.
fn is_of_browser(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    is_read && accept.is_some_and(|accept| accept.contains("text/html"))
}
