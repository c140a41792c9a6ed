//! Guards the routes of a port without `admin.token`: every peer may use them, but no page of
//! another web site, whatever the browser of the peer has open.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::{
    access::{AdminAccess, Asked, has_bearer},
    access_end::AccessEnd,
    pages,
    refusals::{Refusal, Refused},
};
use crate::audit::AuditedCaller;

/// Headers that browsers send, and programs do not. With a name of its own for the port, a page
/// makes requests of the same origin, which have neither of the first two if they only read. No
/// page can remove the last one.
const OF_BROWSERS: [HeaderName; 3] =
    [header::ORIGIN, HeaderName::from_static("sec-fetch-site"), header::ACCEPT_LANGUAGE];

/// Marks the answer of a page that needs an operator, and whose sender is none. An extension of
/// responses.
#[derive(Debug, Clone, Copy)]
pub struct OperatorNeeded;

/// A request that may go on.
struct Admitted {
    request: Request,
    /// Why it is refused by what needs an operator; none for an operator.
    lacks: Option<Refusal>,
}

/// Answers a request for a page. A layer for the pages, below that for the credentials.
pub(super) async fn guard_pages(
    State(access): State<Arc<AdminAccess>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request);
    let mut response = match admit(&access, request).await {
        Ok(Admitted { request, lacks }) => {
            let response = next.run(request).await;
            if let Some(lacks) = lacks
                && response.extensions().get::<OperatorNeeded>().is_some()
            {
                access.refuse_page(&lacks, asked);
            }
            response
        }
        Err(refusal) => access.refused(&refusal, asked),
    };
    pages::protect(response.headers_mut());
    response
}

/// Answers a request of a program, such as a scrape. A layer for the routes that are no pages.
pub(super) async fn guard_programs(
    State(access): State<Arc<AdminAccess>>,
    request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request);
    match admit_program(&access, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => access.refused(&refusal, asked),
    }
}

/// Lets a request through whose credentials are valid, or one that has none and that no other web
/// site can have made.
async fn admit(access: &AdminAccess, mut request: Request) -> Result<Admitted, Refusal> {
    if request.extensions().get::<AuditedCaller>().is_some() {
        return Ok(Admitted { request, lacks: None });
    }
    let mut caller = Ok(None);
    if let Some(rules) = access.rules() {
        // If the port is closed, a reload has set a token since.
        if rules.is_closed() || access.has_credentials(&rules, &request) {
            let request = access.admit(&rules, request).await?;
            return Ok(Admitted { request, lacks: None });
        }
        caller = access.caller_with_certificate(&request);
    }
    let (caller, lacks) = match caller {
        Ok(Some(caller)) => (Some(caller), None),
        Ok(None) => (None, Some(Refused::NoCredentials.into())),
        Err(refusal) => (None, Some(refusal)),
    };
    // A browser presents a certificate to the port only by a name that the port has proved.
    if caller.is_none() && !is_own_host(request.headers()) {
        return Err(Refused::ForeignHost.into());
    }
    let session = access.open_session();
    if !request.method().is_safe() {
        let checked = access.check_forgery(&session, request).await;
        request = checked.map_err(|refused| Refusal::of_caller(refused, caller.as_ref()))?;
    }
    request.extensions_mut().insert(AccessEnd::new(session.ended().clone(), None));
    request.extensions_mut().insert(session);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    Ok(Admitted { request, lacks })
}

/// Lets a request of a program through. Without credentials, no browser may have made it by a name
/// that any web site can have. With them, it has its caller.
async fn admit_program(access: &AdminAccess, mut request: Request) -> Result<Request, Refusal> {
    if request.extensions().get::<AuditedCaller>().is_some() {
        return Ok(request);
    }
    let mut caller = None;
    if let Some(rules) = access.rules() {
        let is_judged = rules.has_principals() && has_bearer(request.headers());
        if rules.is_closed() || is_judged {
            return access.admit(&rules, request).await;
        }
        // It needs no permission: another principal is as good as none.
        caller = access.caller_with_certificate(&request).ok().flatten();
    }
    let headers = request.headers();
    let is_of_browser = OF_BROWSERS.iter().any(|name| headers.contains_key(name));
    if caller.is_none() && is_of_browser && !is_own_host(headers) {
        return Err(Refused::ForeignHost.into());
    }
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
