//! Callers and what they may do.

// JSON Web Tokens: signatures, claims, keys that change.
mod jwt;
// Every call by every role in every namespace.
mod matrix;
// Modes, anonymous callers, reload, tokens of all kinds.
mod callers;
// Calls that must not show or touch a part that a rule denies.
mod visibility;
// Parts of namespaces, lists of namespaces, events.
mod scopes;

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tonic::{Request, Status, metadata::MetadataValue};

use crate::support::raw_call::{self, GRPC};

/// A token of a test, by a name.
fn token(name: &str) -> String {
    format!("test-token-of-more-than-32-characters-{name}")
}

/// As it is in the configuration.
fn digest(name: &str) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(token(name))))
}

/// A request with a token.
fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// The status of a call on a connection of its own. A stream ends after a moment.
async fn status_of(
    server: SocketAddr,
    method: &str,
    authorization: Option<&str>,
    message: &[u8],
) -> Status {
    let mut headers = GRPC.to_vec();
    headers.push(("grpc-timeout", if method.ends_with("Watch") { "300m" } else { "20S" }));
    headers.extend(authorization.map(|value| ("authorization", value)));
    let path = format!("/{method}");
    raw_call::send(server, "POST", &path, &headers, raw_call::framed(0, message)).await.status()
}
