//! Requests to the admin port that are refused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::StatusCode;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::{
    audit::{AuditLog, AuditedCaller, Record},
    metric_list,
    model::{AuditEvent, Verb},
};

/// Time between two log lines for the same reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It has neither a token nor a session.
    NoCredentials,
    /// Its token is not valid.
    UnknownToken,
    /// Its token has expired.
    Expired,
    /// The keys of the issuer of its token could not be read yet.
    KeysUnavailable,
    /// The principal of its token has not the permission.
    NoPermission,
    /// Its header `Authorization` has no bearer token.
    Malformed,
    /// Too many tokens were not valid. The next attempt is possible after this time.
    Limited(Duration),
    /// A page of another origin has made it.
    CrossOrigin,
    /// It has not the token of its session or form against forged requests.
    NoCsrfToken,
    /// Its form is too long, or cannot be read.
    BadForm,
    /// Its header `Host` is a name that any web site could have, and a browser has made it.
    ForeignHost,
}

impl Refused {
    const ALL: [Self; 11] = [
        Self::NoCredentials,
        Self::UnknownToken,
        Self::Expired,
        Self::KeysUnavailable,
        Self::NoPermission,
        Self::Malformed,
        Self::Limited(Duration::ZERO),
        Self::CrossOrigin,
        Self::NoCsrfToken,
        Self::BadForm,
        Self::ForeignHost,
    ];

    /// The name in metrics, the log and the audit log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::UnknownToken => "unknown_token",
            Self::Expired => "expired_token",
            Self::KeysUnavailable => "keys_unavailable",
            Self::NoPermission => "no_permission",
            Self::Malformed => "malformed",
            Self::Limited(_) => "limited",
            Self::CrossOrigin => "cross_origin",
            Self::NoCsrfToken => "no_csrf_token",
            Self::BadForm => "bad_form",
            Self::ForeignHost => "foreign_host",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::NoCredentials | Self::UnknownToken | Self::Expired | Self::Malformed => {
                StatusCode::UNAUTHORIZED
            }
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoPermission | Self::CrossOrigin | Self::NoCsrfToken | Self::ForeignHost => {
                StatusCode::FORBIDDEN
            }
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadForm => StatusCode::BAD_REQUEST,
        }
    }

    /// Advice for the caller.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "the admin port needs a token: send it as Authorization: Bearer <token>, or log in \
                 with a browser at /login"
            }
            Self::UnknownToken => {
                "the token is not one of admin.token, and not valid for a principal of [auth]"
            }
            Self::Expired => "the token has expired: send a newer one",
            Self::KeysUnavailable => {
                "the keys of the token's issuer could not be read yet: try again in a moment"
            }
            Self::NoPermission => {
                "the token is valid, but its principal does not have the verb admin for all \
                 namespaces: give it a role that allows it for *, and none that denies it"
            }
            Self::Malformed => "expected Authorization: Bearer <token>",
            Self::Limited(_) => "too many tokens were wrong: wait before the next attempt",
            Self::CrossOrigin => {
                "a request of a session must come from a page of this server: its Origin or \
                 Sec-Fetch-Site is of another one, or missing"
            }
            Self::NoCsrfToken => {
                "a request of a session that changes something needs the session's token, in the \
                 header X-CSRF-Token or the form field csrf: load the page again"
            }
            Self::BadForm => {
                "the form cannot be read, or is too long: that of the login has at most 16 KiB, \
                 and others 256 KiB"
            }
            Self::ForeignHost => {
                "without a login, the port answers browsers for addresses, localhost and names \
                 without a dot only: open it by one of these, or set admin.token"
            }
        }
    }

    /// Seconds until the next attempt.
    pub(super) fn retry_after(self) -> Option<u64> {
        let Self::Limited(wait) = self else { return None };
        Some(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
    }
}

/// A refused request.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    refused: Refused,
    /// The principal of its credentials, if they are valid.
    principal: Option<Arc<str>>,
}

impl Refusal {
    /// That of a principal without the permission.
    pub(super) fn of_principal(name: Arc<str>) -> Self {
        Self { refused: Refused::NoPermission, principal: Some(name) }
    }

    /// That of a request whose credentials are valid.
    pub(super) fn of_caller(refused: Refused, caller: Option<&AuditedCaller>) -> Self {
        Self { refused, principal: caller.and_then(|caller| caller.principal.clone()) }
    }

    /// Its reason.
    pub(super) fn refused(&self) -> Refused {
        self.refused
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self { refused, principal: None }
    }
}

/// Counts and logs refusals, and records them in the audit log.
pub(super) struct Refusals {
    counter: Counter<u64>,
    audit: AuditLog,
    log: Mutex<Vec<(&'static str, LogInterval)>>,
}

impl Refusals {
    pub(super) fn new(meter: &Meter, audit: AuditLog) -> Self {
        let counter = metric_list::ADMIN_REFUSALS.counter(meter);
        let intervals =
            Refused::ALL.map(|refused| (refused.reason(), LogInterval::new(LOG_INTERVAL)));
        Self { counter, audit, log: Mutex::new(intervals.into()) }
    }

    /// Shows every reason in the metrics: an alert compares with the zero.
    pub(super) fn show(&self) {
        for refused in Refused::ALL {
            self.counter.add(0, &[KeyValue::new("reason", refused.reason())]);
        }
    }

    /// Records a refusal. Attempts over the limit are not in the audit log, as their number has no
    /// bound.
    pub(super) fn record(&self, refusal: &Refusal, action: String, peer: Option<SocketAddr>) {
        let Refusal { refused, principal } = refusal;
        let (reason, is_identified) = (refused.reason(), principal.is_some());
        self.counter.add(1, &[KeyValue::new("reason", reason)]);
        if !matches!(refused, Refused::Limited(_)) {
            let mut record = Record::new(AuditEvent::Refused, action);
            let principal = principal.clone();
            record.caller(AuditedCaller { principal, identity: None, is_identified, peer });
            if *refused == Refused::NoPermission {
                record.text("verb", Verb::Admin.name());
            }
            record.text("reason", reason).code(match refused.status() {
                StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
                StatusCode::FORBIDDEN => "PERMISSION_DENIED",
                StatusCode::SERVICE_UNAVAILABLE => "UNAVAILABLE",
                _ => "INVALID_ARGUMENT",
            });
            self.audit.record(record);
        }
        let due = {
            let mut log = self.log.lock();
            let interval = log.iter_mut().find(|(of, _)| *of == reason);
            interval.and_then(|(_, interval)| interval.occurred())
        };
        if let Some(count) = due {
            let peer = peer.map(|peer| peer.to_string());
            tracing::warn!(
                target: "larder::admin",
                reason,
                principal = principal.as_deref(),
                peer,
                count,
                remedy = refused.advice(),
                "requests to the admin port are refused"
            );
        }
    }
}
