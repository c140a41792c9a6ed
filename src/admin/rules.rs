//! The configuration of the access to the admin port.

use tokio_util::sync::CancellationToken;

use super::{
    bearer::{Bearer, Changed, Judged},
    refusals::Refused,
    sessions::SessionLimits,
    tokens::Tokens,
};
use crate::{
    auth::Authenticator,
    config::{AuthConfig, AuthMode, Config},
};

/// The credentials that are accepted, and the limits of sessions.
pub(super) struct Rules {
    /// Those of `admin.token`; none without one.
    tokens: Option<Tokens>,
    /// The callers whose tokens are accepted; none unless permissions are enforced.
    auth: Option<AuthConfig>,
    /// Limits of sessions.
    pub(super) limits: SessionLimits,
    /// Cancelled when credentials change.
    pub(super) end: CancellationToken,
}

impl Rules {
    /// The configured ones; none if no credential is accepted.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let tokens = Tokens::new(&config.admin.token);
        let auth = config.auth.clone().filter(|auth| auth.mode == AuthMode::Enforce);
        let (ttl, idle) = (config.admin.session_ttl, config.admin.session_idle);
        let limits = SessionLimits { ttl, idle };
        (tokens.is_some() || auth.is_some()).then(|| Self {
            tokens,
            auth,
            limits,
            end: CancellationToken::new(),
        })
    }

    /// Whether all requests but the probes need a credential. Otherwise only pages with keys do.
    pub(super) fn is_closed(&self) -> bool {
        self.tokens.is_some()
    }

    /// Whether tokens of principals are accepted.
    pub(super) fn has_principals(&self) -> bool {
        self.auth.is_some()
    }

    /// Looks at a token.
    pub(super) fn judge(&self, token: &[u8], authenticator: &Authenticator) -> Judged {
        if self.tokens.as_ref().is_some_and(|tokens| tokens.contains(token)) {
            return Judged::Accepted(Bearer::of_port());
        }
        if self.has_principals() {
            return Bearer::of_principal(token, authenticator);
        }
        Judged::Refused(Refused::UnknownToken.into())
    }
}

/// The credentials that differ in two configurations.
pub(super) fn changed(before: Option<&Rules>, after: Option<&Rules>) -> Changed {
    Changed {
        tokens: before.and_then(|it| it.tokens.as_ref()) != after.and_then(|it| it.tokens.as_ref()),
        auth: before.and_then(|it| it.auth.as_ref()) != after.and_then(|it| it.auth.as_ref()),
    }
}
