//! Why a page cannot be shown, or an action not be done.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::html;

use super::{layout, visitor::Visitor};
use crate::{admin::OperatorNeeded, cache, model::Violation};

/// Seconds after which to try again.
const RETRY_SECONDS: u64 = 5;

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A parameter or a field breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Violation),
    /// The cache refuses it.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// It would show keys, or change something, and the sender is not identified.
    #[error(
        "[auth] is in force: keys are shown, and something is changed, only after a login with the \
         token of a principal with the verb admin for all namespaces"
    )]
    NeedsLogin,
    /// There is no such page, action or job.
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// A bound is reached.
    #[error("{what} at once: {limit} at most. Try again in a moment")]
    Busy {
        /// The things of which there are too many.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Figures are not there in time.
    #[error(
        "the figures are not there after {} s: the store is slow, or many pages are asked for. Try \
         again in a moment",
        .0.as_secs()
    )]
    Late(Duration),
    /// The server stops, and the action has not ended.
    #[error("the server stops: the action may have been done in part")]
    Stopping,
    /// The file of a warm list cannot be read.
    #[error("the warm list cannot be read: {0}")]
    WarmList(#[from] std::io::Error),
}

impl Error {
    /// Checks whether keys and values may be shown, and whether something may be changed.
    ///
    /// # Errors
    /// [`Error::NeedsLogin`].
    pub(super) fn unless_operator(visitor: &Visitor) -> Result<(), Self> {
        if visitor.is_operator { Ok(()) } else { Err(Self::NeedsLogin) }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NeedsLogin => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Busy { .. } | Self::Late(_) | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::WarmList(_) => StatusCode::CONFLICT,
            Self::Cache(error) => match error {
                cache::Error::Invalid(_) | cache::Error::ValueTooLarge(_) => {
                    StatusCode::BAD_REQUEST
                }
                cache::Error::UnknownNamespace(_) => StatusCode::NOT_FOUND,
                cache::Error::NoOrigin(_)
                | cache::Error::NotJson
                | cache::Error::PatchNotApplicable(_)
                | cache::Error::Contended { .. }
                | cache::Error::NotAnInteger
                | cache::Error::Overflow => StatusCode::CONFLICT,
                cache::Error::StoreUnavailable(_)
                | cache::Error::EventNotApplied { .. }
                | cache::Error::Origin { .. }
                | cache::Error::TooManyWatched(_)
                | cache::Error::QuotaExceeded(_)
                | cache::Error::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            },
        }
    }

    /// The gRPC code of the same failure, for the audit log.
    pub(super) fn code(&self) -> &'static str {
        match self.status() {
            StatusCode::BAD_REQUEST => "INVALID_ARGUMENT",
            StatusCode::FORBIDDEN => "PERMISSION_DENIED",
            StatusCode::NOT_FOUND => "NOT_FOUND",
            StatusCode::CONFLICT => "FAILED_PRECONDITION",
            _ => "UNAVAILABLE",
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = html! {
            h1.unseen { "Error" }
            section.card.w12.message role="alert" {
                h2 { (status.canonical_reason().unwrap_or("Error")) }
                p { (self) }
                @if matches!(self, Self::NeedsLogin) { p { a href="/login" { "Log in" } } }
                p { a href="/" { "Overview" } }
            }
        };
        let mut response = layout::plain_page("Error", &body);
        *response.status_mut() = status;
        if matches!(self, Self::NeedsLogin) {
            response.extensions_mut().insert(OperatorNeeded);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from(RETRY_SECONDS);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}
