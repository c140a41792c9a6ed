//! Refusals, as JSON with a status.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{cache, model::Violation};

/// Seconds after which a request can be repeated: the store is probed about twice a second.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    /// The invalid field; empty for the request as a whole.
    field: String,
    message: String,
    /// Positions of the events that are not applied.
    failed_events: Option<Vec<usize>>,
}

impl Fault {
    fn new(status: StatusCode, field: &str, message: String) -> Self {
        Self { status, field: field.to_owned(), message, failed_events: None }
    }

    /// A part of the request breaks a rule.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, field, message.into())
    }

    /// As [`Self::invalid`]. What the cache calls the name is the type.
    pub(super) fn from_violation(violation: &Violation) -> Self {
        let field = if violation.field() == "name" { "type" } else { violation.field() };
        Self::invalid(field, violation.description())
    }

    pub(super) fn too_large(message: String) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "", message)
    }

    pub(super) fn unsupported(message: String) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message)
    }

    /// The event was refused before anything was invalidated.
    pub(super) fn refused(error: &cache::Error) -> Self {
        if let cache::Error::Invalid(violation) = error {
            return Self::from_violation(violation);
        }
        Self::invalid("", error.to_string())
    }

    /// Some events are not applied.
    pub(super) fn not_applied(error: cache::Error, failed: Vec<usize>) -> Self {
        let fault = Self::new(StatusCode::SERVICE_UNAVAILABLE, "", error.to_string());
        Self { failed_events: Some(failed), ..fault }
    }

    /// The same fault in a part of the request.
    pub(super) fn within(mut self, part: &str) -> Self {
        self.field.insert_str(0, part);
        self
    }

    fn body(&self) -> Value {
        let mut error = json!({ "field": self.field, "message": self.message });
        if let Some(failed) = &self.failed_events {
            error["failed_events"] = json!(failed);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, content_type, self.body().to_string()).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}
