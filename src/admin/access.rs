//! Access to the admin port: by a token of the port or of a principal, or by a session of a person.

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

use super::{
    access_end::AccessEnd,
    attempts::Attempts,
    bearer::{self, Bearer, Judged},
    connection::PeerCertificate,
    cookies::CookieName,
    form::{CSRF, Form, MAX_FORM_BYTES},
    origin::is_same_origin,
    pages,
    refusals::{Refusal, Refusals, Refused},
    rules::{self, Rules},
    sessions::{NewSession, Session, Sessions},
};
use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    auth::Authenticator,
    config::Config,
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

/// Begins of the paths that browsers ask for by themselves while a page is open.
const WITHOUT_PERSON: [&str; 2] = ["/live", "/assets/"];

const CSRF_HEADER: &str = "x-csrf-token";
/// Stands for the address of a peer without one. No connection is without one.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Decides which requests the admin port answers. Without `admin.token`, all of them, and pages
/// with keys for principals only if `[auth]` is in force.
pub struct AdminAccess {
    rules: ArcSwapOption<Rules>,
    sessions: Sessions,
    /// That of all requests without credentials, while there is no token.
    open: ArcSwap<Session>,
    attempts: Attempts,
    authenticator: Arc<Authenticator>,
    refusals: Refusals,
    audit: AuditLog,
    is_tls: bool,
}

/// A request, for its refusal.
pub(super) struct Asked {
    action: String,
    peer: Option<SocketAddr>,
    /// Whether a person sees the answer.
    is_of_browser: bool,
}

impl AdminAccess {
    /// Follows `config`, asks `authenticator` for principals, and registers the metrics.
    pub fn new(
        config: &Config,
        authenticator: Arc<Authenticator>,
        meter: &Meter,
        audit: AuditLog,
    ) -> Arc<Self> {
        let access = Self {
            rules: ArcSwapOption::empty(),
            sessions: Sessions::new(meter),
            open: ArcSwap::from_pointee(Session::new(None)),
            attempts: Attempts::new(DefaultClock::default()),
            authenticator,
            refusals: Refusals::new(meter, audit.clone()),
            audit,
            // A reload does not turn TLS on or off.
            is_tls: config.admin.tls.cert.is_some(),
        };
        access.configure(config);
        Arc::new(access)
    }

    /// Replaces the configuration, after that of the authenticator. Sessions end if their token is
    /// no longer valid.
    pub fn configure(&self, config: &Config) {
        let before = self.rules.load_full();
        let mut rules = Rules::new(config);
        let changed = rules::changed(before.as_deref(), rules.as_ref());
        if let (Some(before), Some(rules), false) = (&before, &mut rules, changed.is_any()) {
            rules.end = before.end.clone();
        }
        if rules.is_some() {
            self.refusals.show();
        }
        self.rules.store(rules.map(Arc::new));
        if changed.is_any() {
            if let Some(before) = before {
                before.end.cancel();
            }
            let authenticator = &*self.authenticator;
            self.sessions.end_unless(|bearer| bearer.is_valid_after(changed, authenticator));
            self.open.swap(Arc::new(Session::new(None))).ended().cancel();
        }
    }

    /// Ends the sessions that are over by now. Without requests, nothing else does.
    pub fn expire_sessions(&self) {
        if let Some(rules) = self.rules() {
            self.sessions.expire(Instant::now(), rules.limits);
        }
    }

    /// The configuration in use; none if no credential is accepted.
    pub(super) fn rules(&self) -> Option<Arc<Rules>> {
        self.rules.load_full()
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The session of all requests without credentials, while there is no token.
    pub(super) fn open_session(&self) -> Session {
        Session::clone(&self.open.load())
    }

    /// The session of a request, which is in use then, if a person has made the request.
    pub(super) fn session(&self, rules: &Rules, request: &Request) -> Option<Session> {
        let (path, now) = (request.uri().path(), Instant::now());
        let is_use = !WITHOUT_PERSON.iter().any(|begin| path.starts_with(begin));
        let ids = CookieName::Session.values(request.headers(), self.is_tls);
        ids.iter().find_map(|id| match is_use {
            true => self.sessions.find(id, now, rules.limits),
            false => self.sessions.find_unused(id, now, rules.limits),
        })
    }

    /// Checks a token, unless too many were wrong.
    pub(super) async fn check_token(
        &self,
        rules: &Rules,
        token: &[u8],
        peer: Option<SocketAddr>,
    ) -> Result<Bearer, Refusal> {
        let address = peer.map_or(NO_ADDRESS, |peer| peer.ip());
        let judge = |may_wait| {
            let judged = || {
                let judged = rules.judge(token, &self.authenticator);
                let judged = if may_wait { judged } else { judged.settled() };
                (judged.verdict(), judged)
            };
            let attempt = self.attempts.attempt(address, judged);
            attempt.unwrap_or_else(|wait| Judged::Refused(Refused::Limited(wait).into()))
        };
        let mut judged = judge(true);
        if let Judged::Pending(keys) = judged {
            keys.wait().await;
            judged = judge(false);
        }
        judged.result()
    }

    /// Begins a session, in place of those of the request.
    pub(super) fn log_in(
        &self,
        rules: &Arc<Rules>,
        headers: &HeaderMap,
        bearer: Bearer,
        peer: Option<SocketAddr>,
    ) -> Result<NewSession, Refused> {
        self.end_sessions(headers);
        let caller = bearer.caller("token", peer);
        let session = self.sessions.begin(bearer, Instant::now(), rules.limits);
        // A reload since the check of the token has not seen the session.
        if !self.rules().is_some_and(|current| Arc::ptr_eq(&current, rules)) {
            self.sessions.end(&session.id);
            return Err(Refused::NoCredentials);
        }
        self.record_admin("POST /login", caller);
        Ok(session)
    }

    /// Ends the sessions of a request.
    pub(super) fn log_out(&self, headers: &HeaderMap, peer: Option<SocketAddr>) {
        if let Some(session) = self.end_sessions(headers)
            && let Some(bearer) = session.bearer()
        {
            self.record_admin("POST /logout", bearer.caller("session", peer));
        }
    }

    /// Returns one of them.
    fn end_sessions(&self, headers: &HeaderMap) -> Option<Session> {
        let ids = CookieName::Session.values(headers, self.is_tls);
        ids.iter().fold(None, |ended, id| self.sessions.end(id).or(ended))
    }

    fn record_admin(&self, action: &'static str, caller: AuditedCaller) {
        let mut record = Record::new(AuditEvent::Admin, action);
        record.caller(caller).code("OK");
        self.audit.record(record);
    }

    /// Counts, logs and records a refusal.
    pub(super) fn refuse(&self, refusal: &Refusal, action: String, peer: Option<SocketAddr>) {
        self.refusals.record(refusal, action, peer);
    }

    /// The answer to a refused request. A browser is led to the login if that helps.
    pub(super) fn refused(&self, refusal: &Refusal, asked: Asked) -> Response {
        let refused = refusal.refused();
        let is_login_needed = refused == Refused::NoCredentials
            || (refused == Refused::ForeignHost && self.rules().is_some());
        if is_login_needed && asked.is_of_browser {
            return Redirect::to(LOGIN).into_response();
        }
        self.refuse(refusal, asked.action, asked.peer);
        let mut response = format!("{}\n", refused.advice()).into_response();
        mark(&mut response, refused);
        response
    }

    /// Counts, logs and records a page that is refused. A first visit by a browser is none: its
    /// answer leads to the login.
    pub(super) fn refuse_page(&self, refusal: &Refusal, asked: Asked) {
        if refusal.refused() != Refused::NoCredentials || !asked.is_of_browser {
            self.refuse(refusal, asked.action, asked.peer);
        }
    }

    /// The operator with the client certificate of a request; none without one.
    ///
    /// # Errors
    /// It is that of a principal without the permission.
    pub(super) fn caller_with_certificate(
        &self,
        request: &Request,
    ) -> Result<Option<AuditedCaller>, Refusal> {
        let Some(PeerCertificate(der)) = request.extensions().get() else { return Ok(None) };
        bearer::caller_with_certificate(der, &self.authenticator, peer(request))
    }

    /// Whether a request has a bearer token or a session.
    pub(super) fn has_credentials(&self, rules: &Rules, request: &Request) -> bool {
        has_bearer(request.headers()) || self.session(rules, request).is_some()
    }

    /// Lets a request through that has a valid token or session, with its caller and its session
    /// among its extensions.
    pub(super) async fn admit(
        &self,
        rules: &Rules,
        mut request: Request,
    ) -> Result<Request, Refusal> {
        let peer = peer(&request);
        let authorization = request.headers().get(header::AUTHORIZATION);
        let token = authorization.map(|value| bearer_token(value.as_bytes()).map(<[u8]>::to_vec));
        // Without a token, a proxy may have put credentials of its own there.
        if let Some(token) = token.filter(|token| token.is_some() || rules.is_closed()) {
            let bearer = self.check_token(rules, &token.ok_or(Refused::Malformed)?, peer).await?;
            let end = AccessEnd::new(rules.end.clone(), bearer.expires_at());
            request.extensions_mut().insert(bearer.caller("token", peer));
            request.extensions_mut().insert(end);
            return Ok(request);
        }
        let session = self.session(rules, &request).ok_or(Refused::NoCredentials)?;
        let caller = session.bearer().map(|bearer| bearer.caller("session", peer));
        if !request.method().is_safe() {
            let checked = self.check_forgery(&session, request).await;
            request = checked.map_err(|refused| Refusal::of_caller(refused, caller.as_ref()))?;
        }
        request.extensions_mut().insert(caller.ok_or(Refused::NoCredentials)?);
        request.extensions_mut().insert(AccessEnd::new(session.ended().clone(), None));
        request.extensions_mut().insert(session);
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
        let (form, request) = Form::read(request, MAX_FORM_BYTES).await?;
        let token = form.field(CSRF).unwrap_or_default();
        is_valid(token.as_bytes()).then_some(request).ok_or(Refused::NoCsrfToken)
    }
}

impl Asked {
    /// That of a request.
    pub(super) fn of(request: &Request) -> Self {
        let (action, peer) = (action(request), peer(request));
        Self { action, peer, is_of_browser: is_of_browser(request) }
    }
}

/// Answers a request only if it may use the admin port. A layer for all routes, of which the probes
/// and the login are open, and without a token all but the logout. The routes have guards then.
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
    let is_open = !rules.is_closed() && ![LOGIN, LOGOUT].contains(&path);
    if is_open || [LIVEZ, READYZ].contains(&path) {
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
    let asked = Asked::of(&request);
    match access.admit(rules, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => access.refused(&refusal, asked),
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

/// Whether a request has a bearer token.
pub(super) fn has_bearer(headers: &HeaderMap) -> bool {
    let authorization = headers.get(header::AUTHORIZATION);
    authorization.is_some_and(|value| bearer_token(value.as_bytes()).is_some())
}

/// The address of the peer of a request.
pub(super) fn peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
}

/// The name of a request in the audit log, which is cut there.
fn action(request: &Request) -> String {
    const MAX_CHARACTERS: usize = 128;
    let action = format!("{} {}", request.method(), request.uri().path());
    action.chars().take(MAX_CHARACTERS).collect()
}

/// Whether a person sees the answer.
fn is_of_browser(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    is_read && accept.is_some_and(|accept| accept.contains("text/html"))
}
