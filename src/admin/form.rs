//! Reads small forms.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, header},
};
use url::form_urlencoded;

use super::refusals::Refused;

/// Name of the field against forged requests.
pub(super) const CSRF: &str = "csrf";
/// Largest form of the login, in bytes: a token of 4,096 characters, each as `%2F`, and the other
/// fields.
pub(super) const MAX_LOGIN_BYTES: usize = 16 * 1024;
/// Largest form of a session, in bytes: an action that has a confirmation. Its fields are in the
/// address of that, of at most 64 KiB, and can be three times as long in a form.
pub const MAX_FORM_BYTES: usize = 256 * 1024;
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// The fields of a form.
pub(super) struct Form(Bytes);

impl Form {
    /// Whether the headers are those of a form.
    pub(super) fn is_in(headers: &HeaderMap) -> bool {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next());
        kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE))
    }

    /// Reads the form of a request, of at most `limit` bytes, and puts its body back.
    pub(super) async fn read(request: Request, limit: usize) -> Result<(Self, Request), Refused> {
        let (parts, body) = request.into_parts();
        let bytes = to_bytes(body, limit).await.map_err(|_| Refused::BadForm)?;
        let request = Request::from_parts(parts, Body::from(bytes.clone()));
        Ok((Self(bytes), request))
    }

    /// The first field with this name.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let mut fields = form_urlencoded::parse(&self.0);
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
    }
}
