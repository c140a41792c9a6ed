//! Guards the pages of a port without `admin.token`: every peer may open them, but no page of
//! another web site, whatever the browser of the peer has open.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::{
    access::{AdminAccess, Asked},
    access_end::AccessEnd,
    pages,
    refusals::{Refusal, Refused},
};
use crate::audit::AuditedCaller;

/// Answers a request for a page. A layer for the pages, below that for the credentials.
pub(super) async fn guard_pages(
    State(access): State<Arc<AdminAccess>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request);
    let mut response = match admit(&access, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => access.refused(&refusal, asked),
    };
    pages::protect(response.headers_mut());
    response
}

/// Lets a request through whose credentials are valid, or one that has none and that no other web
/// site can have made.
async fn admit(access: &AdminAccess, mut request: Request) -> Result<Request, Refusal> {
    if request.extensions().get::<AuditedCaller>().is_some() {
        return Ok(request);
    }
    let mut caller = None;
    if let Some(rules) = access.rules() {
        // If the port is closed, a reload has set a token since.
        if rules.is_closed() || access.has_credentials(&rules, request.headers()) {
            return access.admit(&rules, request).await;
        }
        caller = access.caller_with_certificate(&request);
    }
    // A browser presents a certificate to the port only by a name that the port has proved.
    if caller.is_none() && !is_own_host(request.headers()) {
        return Err(Refused::ForeignHost.into());
    }
    let session = access.open_session();
    if !request.method().is_safe() {
        request = access.check_forgery(&session, request).await?;
    }
    request.extensions_mut().insert(AccessEnd::new(session.ended().clone(), None));
    request.extensions_mut().insert(session);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    Ok(request)
}

/// Whether no web site of others can have the name in the header `Host`. A site whose name leads to
/// this port for a moment would have the same origin as the pages (DNS rebinding).
fn is_own_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name.parse::<IpAddr>().is_ok() || !name.trim_end_matches('.').contains('.')
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_sites_are_refused() {
        for (host, expected) in [
            ("127.0.0.1:9464", true),
            ("10.1.2.3", true),
            ("[::1]:9464", true),
            ("localhost:9464", true),
            ("localhost.", true),
            ("larder", true),
            ("larder.example:9464", false),
            ("127.0.0.1.example", false),
            ("a b", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            assert_eq!(is_own_host(&headers), expected, "{host}");
        }
        assert!(!is_own_host(&HeaderMap::new()));
    }
}
