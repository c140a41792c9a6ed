//! The login of people: a form for the token, and a session in its place.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use subtle::ConstantTimeEq as _;

use super::{
    access::{self, AdminAccess, HOME, LOGIN, LOGOUT},
    cookies::CookieName,
    form::{CSRF, Form, MAX_LOGIN_BYTES},
    origin::is_same_origin,
    pages,
    refusals::{Refusal, Refused},
    rules::Rules,
    sessions::{NewSession, random_text},
};

/// Name of the field with the token.
const TOKEN: &str = "token";
/// Name of the login in the audit log.
const ACTION: &str = "POST /login";

/// The routes of the login and the logout.
pub(super) fn router(access: Arc<AdminAccess>) -> Router {
    Router::new()
        .route(LOGIN, get(form).post(log_in))
        .route(LOGOUT, post(log_out))
        .with_state(access)
}

async fn form(State(access): State<Arc<AdminAccess>>, request: Request) -> Response {
    let Some(rules) = access.rules() else { return StatusCode::NOT_FOUND.into_response() };
    if access.session(&rules, &request).is_some() {
        return Redirect::to(HOME).into_response();
    }
    login_page(&access, &rules, request.headers(), None)
}

async fn log_in(State(access): State<Arc<AdminAccess>>, request: Request) -> Response {
    let Some(rules) = access.rules() else { return StatusCode::NOT_FOUND.into_response() };
    let (headers, peer) = (request.headers().clone(), access::peer(&request));
    match checked(&access, &rules, request).await {
        Ok(NewSession { id }) => {
            let mut response = Redirect::to(HOME).into_response();
            let cookies = [
                CookieName::Session.set(&id, access.is_tls()),
                CookieName::Login.remove(access.is_tls()),
            ];
            cookies.into_iter().for_each(|cookie| add_cookie(&mut response, cookie));
            response
        }
        Err(refusal) => {
            access.refuse(&refusal, ACTION.to_owned(), peer);
            let refused = refusal.refused();
            let mut response = login_page(&access, &rules, &headers, Some(refused));
            access::mark(&mut response, refused);
            response
        }
    }
}

/// Begins a session if the form is of this server and its token is valid.
async fn checked(
    access: &AdminAccess,
    rules: &Arc<Rules>,
    request: Request,
) -> Result<NewSession, Refusal> {
    let peer = access::peer(&request);
    if !is_same_origin(request.headers(), access.is_tls()) {
        return Err(Refused::CrossOrigin.into());
    }
    if !Form::is_in(request.headers()) {
        return Err(Refused::BadForm.into());
    }
    let (form, request) = Form::read(request, MAX_LOGIN_BYTES).await?;
    let (headers, secret) = (request.headers().clone(), form.field(CSRF).unwrap_or_default());
    let secrets = login_secrets(access, &headers);
    if !secrets.iter().any(|known| known.as_bytes().ct_eq(secret.as_bytes()).into()) {
        return Err(Refused::NoCsrfToken.into());
    }
    let token = form.field(TOKEN).unwrap_or_default();
    let bearer = access.check_token(rules, token.trim().as_bytes(), peer).await?;
    Ok(access.log_in(rules, &headers, bearer, peer)?)
}

async fn log_out(State(access): State<Arc<AdminAccess>>, request: Request) -> Response {
    access.log_out(request.headers(), access::peer(&request));
    let mut response = Redirect::to(LOGIN).into_response();
    add_cookie(&mut response, CookieName::Session.remove(access.is_tls()));
    response
}

/// The form with the secret of the browser's cookie, or with a new one: a second tab keeps the form
/// of the first one valid.
fn login_page(
    access: &AdminAccess,
    rules: &Rules,
    headers: &HeaderMap,
    refused: Option<Refused>,
) -> Response {
    let known = login_secrets(access, headers).into_iter().next();
    let secret = known.unwrap_or_else(random_text);
    let mut response = pages::login(accepted(rules), &secret, refused);
    add_cookie(&mut response, CookieName::Login.set(&secret, access.is_tls()));
    response
}

/// The tokens that the form accepts.
fn accepted(rules: &Rules) -> &'static str {
    match (rules.is_closed(), rules.has_principals()) {
        (true, false) => "Token of the admin port",
        (true, true) => "Token of the admin port, or of a principal with the verb admin",
        (false, _) => "Token of a principal with the verb admin",
    }
}

/// The secrets of the browser's cookies that have the form of ours.
fn login_secrets(access: &AdminAccess, headers: &HeaderMap) -> Vec<String> {
    const CHARACTERS: usize = 43;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let mut values = CookieName::Login.values(headers, access.is_tls());
    values.retain(|value| value.len() == CHARACTERS && value.bytes().all(is_allowed));
    values
}

fn add_cookie(response: &mut Response, cookie: Option<HeaderValue>) {
    if let Some(cookie) = cookie {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
