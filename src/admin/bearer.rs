//! Bearers of the tokens that open the admin port: one of `admin.token`, or that of a principal
//! with the verb `admin` in all namespaces.

use std::{net::SocketAddr, sync::Arc, time::SystemTime};

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    attempts::Verdict,
    refusals::{Refusal, Refused},
};
use crate::{
    audit::AuditedCaller,
    auth::{AuthError, Authenticated, Authenticator, PendingKeys, Principal},
    model::Verb,
};

/// Name of all that have a token of `admin.token`, in the audit log.
const ADMIN: &str = "admin";

/// The sender of a token that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Bearer {
    /// Its name, as records of calls have it.
    principal: Arc<str>,
    credential: Credential,
}

/// The part of a credential by which it is judged again. It contains no secret.
#[derive(Debug, Clone, Copy)]
enum Credential {
    /// One of `admin.token`.
    Port,
    /// The digest of a static token of a principal.
    Static([u8; 32]),
    /// The end of a token that expires: one that was minted, or a JSON Web Token.
    Expiring(SystemTime),
}

/// The result of looking at a token.
pub(super) enum Judged {
    Accepted(Bearer),
    Refused(Refusal),
    /// There is none before the keys of the issuer are read.
    Pending(PendingKeys),
}

/// The credentials that a reload has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    /// `admin.token`.
    pub(super) tokens: bool,
    /// `[auth]`.
    pub(super) auth: bool,
}

impl Bearer {
    /// That of a token of `admin.token`.
    pub(super) fn of_port() -> Self {
        Self { principal: ADMIN.into(), credential: Credential::Port }
    }

    /// That of a token that expires.
    #[cfg(test)]
    pub(super) fn until(time: SystemTime) -> Self {
        Self { principal: ADMIN.into(), credential: Credential::Expiring(time) }
    }

    /// Judges the token of a principal.
    pub(super) fn of_principal(token: &[u8], authenticator: &Authenticator) -> Judged {
        match authenticator.authenticate_token(token) {
            // A token is verified by whole seconds, and a session by the exact time.
            Authenticated::Caller(principal) if has_expired(&principal) => {
                Judged::Refused(Refused::Expired.into())
            }
            Authenticated::Caller(principal) if is_operator(&principal) => {
                let credential = match principal.expires_at() {
                    Some(time) => Credential::Expiring(time),
                    None => Credential::Static(Sha256::digest(token).into()),
                };
                Judged::Accepted(Self { principal: principal.name().clone(), credential })
            }
            Authenticated::Caller(principal) => {
                Judged::Refused(Refusal::of_principal(principal.name().clone()))
            }
            Authenticated::Refused(error) => Judged::Refused(refused(error).into()),
            Authenticated::Pending(keys) => Judged::Pending(keys),
            // A reload has turned it off since.
            Authenticated::Off => Judged::Refused(Refused::UnknownToken.into()),
        }
    }

    /// The caller of a request. `identity`: how it was identified.
    pub(super) fn caller(&self, identity: &'static str, peer: Option<SocketAddr>) -> AuditedCaller {
        let principal = Some(self.principal.clone());
        AuditedCaller { principal, identity: Some(identity), is_identified: true, peer }
    }

    /// When its token expires; none for one that does not.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        let Credential::Expiring(time) = self.credential else { return None };
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        Instant::now().checked_add(left)
    }

    /// Whether its token is still valid after a reload. One that carries its permissions is not
    /// kept, and cannot be checked by other rules.
    pub(super) fn is_valid_after(&self, changed: Changed, authenticator: &Authenticator) -> bool {
        match &self.credential {
            Credential::Port => !changed.tokens,
            Credential::Static(digest) => {
                let found = authenticator.principal_of_digest(digest);
                found.is_some_and(|it| it.name() == &self.principal && is_operator(&it))
            }
            Credential::Expiring(_) => !changed.auth,
        }
    }
}

impl Judged {
    /// The meaning for the limits of wrong tokens. A token of a principal without the permission is
    /// no guess, and no reason to be exempt. One whose keys cannot be read is not judged at all.
    pub(super) fn verdict(&self) -> Verdict {
        const OPEN: [Refused; 2] = [Refused::NoPermission, Refused::KeysUnavailable];
        match self {
            Self::Accepted(_) => Verdict::Right,
            Self::Refused(refusal) if !OPEN.contains(&refusal.refused()) => Verdict::Wrong,
            Self::Refused(_) | Self::Pending(_) => Verdict::Open,
        }
    }

    /// The sender, without a wait for keys.
    ///
    /// # Errors
    /// The token is not accepted.
    pub(super) fn result(self) -> Result<Bearer, Refusal> {
        match self {
            Self::Accepted(bearer) => Ok(bearer),
            Self::Refused(refusal) => Err(refusal),
            Self::Pending(keys) => Err(refused(keys.error()).into()),
        }
    }

    /// The same without a wait for keys.
    pub(super) fn settled(self) -> Self {
        self.result().map_or_else(Self::Refused, Self::Accepted)
    }
}

impl Changed {
    /// Whether there is anything.
    pub(super) fn is_any(self) -> bool {
        self.tokens || self.auth
    }
}

/// The caller with a verified client certificate in DER; none if it is of no principal.
///
/// # Errors
/// It is that of a principal without the permission.
pub(super) fn caller_with_certificate(
    der: &[u8],
    authenticator: &Authenticator,
    peer: Option<SocketAddr>,
) -> Result<Option<AuditedCaller>, Refusal> {
    let Some(found) = authenticator.principal_of_certificate(der) else { return Ok(None) };
    let name = found.name().clone();
    if !is_operator(&found) {
        return Err(Refusal::of_principal(name));
    }
    let (principal, identity) = (Some(name), Some("certificate"));
    Ok(Some(AuditedCaller { principal, identity, is_identified: true, peer }))
}

fn has_expired(principal: &Principal) -> bool {
    principal.expires_at().is_some_and(|time| time <= SystemTime::now())
}

/// Whether a principal may use the whole port: its metrics and pages concern all namespaces, as the
/// calls of `AdminService` that need the verb for the server.
fn is_operator(principal: &Principal) -> bool {
    principal.is_enforced() && principal.grants().allow_everywhere(Verb::Admin)
}

/// The refusal of a credential that is not accepted.
fn refused(error: AuthError) -> Refused {
    match error {
        AuthError::Expired => Refused::Expired,
        AuthError::KeysUnavailable => Refused::KeysUnavailable,
        AuthError::NoCredentials
        | AuthError::Malformed
        | AuthError::UnknownToken
        | AuthError::MalformedToken
        | AuthError::UnknownIssuer
        | AuthError::WrongAlgorithm
        | AuthError::UnknownKey
        | AuthError::WrongSignature
        | AuthError::WrongAudience
        | AuthError::NotYetValid => Refused::UnknownToken,
    }
}
