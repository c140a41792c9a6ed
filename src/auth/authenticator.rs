//! Finds the principal of a call.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use opentelemetry::metrics::Meter;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    certificate_names::certificate_names,
    checked_credentials::CheckedCredentials,
    error::AuthError,
    grants::Grants,
    jwt::{self, Claims, Issuer, UnverifiedToken},
    key_refresh::{KeyRefresh, PendingKeys},
    minted::{self, MintError, MintRequest, MintedToken, Minter},
    principal::{ANONYMOUS, Principal},
    token,
};
use crate::{
    config::{AuthConfig, AuthMode, PrincipalQuotaConfig, RoleConfig},
    metric_list,
    model::bearer_token,
    quota::Quotas,
};

/// Credentials of a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallCredentials<'a> {
    /// The metadata `authorization`.
    pub authorization: Option<&'a [u8]>,
    /// The client certificate of the connection in DER, which was verified. Calls of one connection
    /// share its memory.
    pub certificate: Option<&'a Bytes>,
}

/// The principal of a call, or why there is none.
#[derive(Debug)]
pub enum Authenticated {
    /// Authentication is off.
    Off,
    /// The caller.
    Caller(Arc<Principal>),
    /// The credentials are not accepted.
    Refused(AuthError),
    /// The key of the token is unknown, and the keys of its issuer are about to be read.
    Pending(PendingKeys),
}

/// Finds the principals of calls by the configuration in use.
pub struct Authenticator {
    rules: Arc<ArcSwapOption<Rules>>,
    quotas: Arc<Quotas>,
}

/// The configuration in use, in the form in which it is looked up.
struct Rules {
    is_enforced: bool,
    /// None: callers without credentials are refused.
    anonymous: Option<Arc<Principal>>,
    tokens: HashMap<[u8; 32], Arc<Principal>>,
    certificates: HashMap<String, Arc<Principal>>,
    /// Principals of subjects, by issuer and subject: `corp/alice`.
    subjects: HashMap<String, Arc<Principal>>,
    roles: HashMap<String, RoleConfig>,
    quotas: Arc<Quotas>,
    issuers: Vec<(Arc<Issuer>, KeyRefresh)>,
    minter: Option<Minter>,
    checked: CheckedCredentials,
    /// Ends the tasks that read keys.
    _tasks: DropGuard,
}

impl Authenticator {
    /// Follows `config`, and registers the metrics. The quotas of callers are added to `quotas`.
    /// Must be called in a Tokio runtime.
    pub fn new(config: Option<&AuthConfig>, quotas: Arc<Quotas>, meter: &Meter) -> Self {
        jwt::install_provider();
        let authenticator = Self { rules: Arc::new(ArcSwapOption::empty()), quotas };
        authenticator.configure(config);
        let rules = authenticator.rules.clone();
        metric_list::AUTH_CREDENTIALS
            .observed_gauge(meter)
            .with_callback(move |observer| {
                let rules = rules.load();
                observer.observe(rules.as_ref().map_or(0, |rules| rules.checked.len() as u64), &[]);
            })
            .build();
        let rules = authenticator.rules.clone();
        metric_list::AUTH_KEYS_AGE
            .observed_level(meter)
            .with_callback(move |observer| {
                let rules = rules.load();
                let issuers = rules.iter().flat_map(|rules| &rules.issuers);
                for (issuer, refresh) in issuers {
                    let label = opentelemetry::KeyValue::new("issuer", issuer.name.clone());
                    if let Some(age) = refresh.age() {
                        observer.observe(age.as_secs_f64(), &[label]);
                    }
                }
            })
            .build();
        authenticator
    }

    /// Replaces the configuration. Credentials are checked again; keys of issuers that stay are
    /// kept. Must be called in a Tokio runtime.
    pub fn configure(&self, config: Option<&AuthConfig>) {
        let config = config.filter(|config| config.mode != AuthMode::Off);
        let before = self.rules.load_full();
        let rules = |config| Arc::new(Rules::new(config, &self.quotas, before.as_deref()));
        self.rules.store(config.map(rules));
    }

    /// Finds the principal of a call.
    #[inline]
    pub fn authenticate(&self, credentials: CallCredentials<'_>) -> Authenticated {
        match &*self.rules.load() {
            None => Authenticated::Off,
            Some(rules) => rules.authenticate(credentials),
        }
    }

    /// Finds the principal of a bearer token alone.
    pub fn authenticate_token(&self, token: &[u8]) -> Authenticated {
        match &*self.rules.load() {
            None => Authenticated::Off,
            Some(rules) => rules.authenticate_token(token),
        }
    }

    /// The principal of a verified client certificate in DER. It is not kept for other calls.
    pub fn principal_of_certificate(&self, der: &[u8]) -> Option<Arc<Principal>> {
        self.rules.load().as_ref()?.principal_of_certificate(der)
    }

    /// The principal that has a static token with this SHA-256.
    pub fn principal_of_digest(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        self.rules.load().as_ref()?.tokens.get(digest).cloned()
    }

    /// The principal of a call without credentials, in the shadow mode: it may do everything that
    /// callers without credentials may do, and the rest is recorded.
    pub fn shadow_principal(&self) -> Option<Arc<Principal>> {
        let rules = self.rules.load();
        let rules = rules.as_ref().filter(|rules| !rules.is_enforced)?;
        let none =
            || Arc::new(Principal::new(ANONYMOUS, ANONYMOUS, Grants::default()).enforced(false));
        Some(rules.anonymous.clone().unwrap_or_else(none))
    }

    /// Makes a token with a part of the permissions of `principal`.
    ///
    /// # Errors
    /// No tokens are minted, the lifetime or the permissions exceed a limit.
    pub fn mint(
        &self,
        principal: &Principal,
        request: MintRequest,
    ) -> Result<MintedToken, MintError> {
        let rules = self.rules.load();
        let minter = rules.as_ref().and_then(|rules| rules.minter.as_ref());
        minter.ok_or(MintError::NotConfigured)?.mint(principal, request)
    }
}

impl Rules {
    fn new(config: &AuthConfig, quotas: &Arc<Quotas>, before: Option<&Self>) -> Self {
        let is_enforced = config.mode == AuthMode::Enforce;
        let roles: HashMap<_, _> = config.roles.clone().into_iter().collect();
        let new_principal = |name: &str, own: &[String]| {
            let grants = Grants::of(own.iter().filter_map(|role| roles.get(role)));
            let principal = Principal::new(name, name, grants).enforced(is_enforced);
            let principal = principal.limited_by(limiting(&roles, own.iter().map(String::as_str)));
            Arc::new(with_quota(principal, &roles, quotas))
        };
        let (mut tokens, mut certificates, mut subjects) =
            (HashMap::new(), HashMap::new(), HashMap::new());
        for (name, principal) in &config.principals {
            let found = new_principal(name, &principal.roles);
            let digests = principal.tokens.iter().map(|token| *token.digest());
            tokens.extend(digests.map(|digest| (digest, found.clone())));
            let names = principal.certificates.iter().cloned();
            certificates.extend(names.map(|name| (name, found.clone())));
            let names = principal.jwt.iter().cloned();
            subjects.extend(names.map(|name| (name, found.clone())));
        }
        let anonymous =
            (!config.anonymous.is_empty()).then(|| new_principal(ANONYMOUS, &config.anonymous));
        let end = CancellationToken::new();
        let issuers = config.jwt.iter().map(|(name, config)| {
            let issuer = Arc::new(Issuer::new(name, config));
            let kept = before.into_iter().flat_map(|before| &before.issuers);
            let mut kept = kept.filter(|(other, _)| other.is_same_source(&issuer));
            if let Some((other, _)) = kept.next() {
                issuer.keys.store(other.keys.load_full());
            }
            let refresh = KeyRefresh::start(issuer.clone(), end.clone());
            (issuer, refresh)
        });
        Self {
            is_enforced,
            anonymous,
            tokens,
            certificates,
            subjects,
            roles,
            quotas: quotas.clone(),
            issuers: issuers.collect(),
            minter: config.minted.as_ref().map(Minter::new),
            checked: CheckedCredentials::new(),
            _tasks: end.drop_guard(),
        }
    }

    /// A token is for the call, and a certificate for all calls of the connection.
    fn authenticate(&self, credentials: CallCredentials<'_>) -> Authenticated {
        let CallCredentials { authorization, certificate } = credentials;
        if let Some(authorization) = authorization {
            let Some(token) = bearer_token(authorization) else {
                return Authenticated::Refused(AuthError::Malformed);
            };
            return self.authenticate_token(token);
        }
        let named = certificate.and_then(|certificate| self.of_certificate(certificate));
        match named.or_else(|| self.anonymous.clone()) {
            Some(principal) => Authenticated::Caller(principal),
            None => Authenticated::Refused(AuthError::NoCredentials),
        }
    }

    #[inline]
    fn authenticate_token(&self, token: &[u8]) -> Authenticated {
        let hash = self.checked.hash(token);
        match self.checked.of_token(hash) {
            Some(principal) => Authenticated::Caller(principal),
            None => self.check_token(token, hash),
        }
    }

    fn of_certificate(&self, certificate: &Bytes) -> Option<Arc<Principal>> {
        if let Some(known) = self.checked.of_certificate(certificate) {
            return known;
        }
        let principal = self.principal_of_certificate(certificate);
        self.checked.insert_certificate(certificate, principal.clone());
        principal
    }

    fn principal_of_certificate(&self, der: &[u8]) -> Option<Arc<Principal>> {
        let mut names = certificate_names(der).into_iter();
        names.find_map(|name| self.certificates.get(&name)).cloned()
    }

    #[cold]
    fn check_token(&self, token: &[u8], hash: u128) -> Authenticated {
        if let Some(principal) = self.tokens.get(&token::digest(token)) {
            self.checked.insert_token(hash, principal);
            return Authenticated::Caller(principal.clone());
        }
        let Some(text) = std::str::from_utf8(token).ok().filter(|text| text.contains('.')) else {
            return Authenticated::Refused(AuthError::UnknownToken);
        };
        match self.check_jwt(text) {
            Ok(principal) => {
                let principal = principal.enforced(self.is_enforced);
                let principal = Arc::new(with_quota(principal, &self.roles, &self.quotas));
                self.checked.insert_token(hash, &principal);
                Authenticated::Caller(principal)
            }
            Err((error, None)) => Authenticated::Refused(error),
            Err((_, Some(pending))) => Authenticated::Pending(pending),
        }
    }

    fn check_jwt(&self, text: &str) -> Result<Principal, (AuthError, Option<PendingKeys>)> {
        let token = UnverifiedToken::read(text).map_err(|error| (error, None))?;
        if token.issuer == minted::ISSUER {
            let minter = self.minter.as_ref().ok_or((AuthError::UnknownIssuer, None))?;
            return minter.verify(&token).map_err(|error| (error, None));
        }
        let mut issuers = self.issuers.iter();
        let issuer = issuers.find(|(issuer, _)| issuer.config.issuer == token.issuer);
        let (issuer, refresh) = issuer.ok_or((AuthError::UnknownIssuer, None))?;
        match issuer.verify(&token) {
            Ok(claims) => self.principal_of(issuer, &claims).map_err(|error| (error, None)),
            Err(error @ (AuthError::UnknownKey | AuthError::KeysUnavailable)) => {
                Err((error, refresh.request()))
            }
            Err(error) => Err((error, None)),
        }
    }

    fn principal_of(&self, issuer: &Issuer, claims: &Claims) -> Result<Principal, AuthError> {
        let config = &issuer.config;
        let subject = claims.text(&config.principal).ok_or(AuthError::MalformedToken)?;
        let subject = format!("{}/{subject}", issuer.name);
        let claimed =
            if config.roles.is_empty() { Vec::new() } else { claims.texts(&config.roles) };
        let names = || config.default_roles.iter().map(String::as_str).chain(claimed.clone());
        let roles = names().filter_map(|role| self.roles.get(role));
        let mut limits = limiting(&self.roles, names());
        let expires_at = claims.expiry(config.leeway).ok_or(AuthError::MalformedToken)?;
        let principal = match self.subjects.get(&subject) {
            Some(known) => {
                let grants = known.grants().clone().with(Grants::of(roles));
                limits.extend_from_slice(known.limiting_roles());
                Principal::new(known.name(), known.label(), grants)
            }
            None => Principal::new(&subject, &issuer.name, Grants::of(roles)),
        };
        Ok(principal.limited_by(limits).expiring_at(expires_at))
    }
}

/// Those of the roles that have a quota.
fn limiting<'a>(
    roles: &HashMap<String, RoleConfig>,
    names: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let limits = |name: &&str| roles.get(*name).is_some_and(|role| role.quota.is_some());
    names.filter(limits).map(str::to_owned).collect()
}

/// Gives a principal the quota of its roles. That of minted tokens is the quota of the principal
/// that made them.
fn with_quota(
    principal: Principal,
    roles: &HashMap<String, RoleConfig>,
    quotas: &Quotas,
) -> Principal {
    let limiting = principal.limiting_roles().iter();
    let limits = limiting.filter_map(|name| roles.get(name)?.quota.as_ref());
    let limits = limits.fold(PrincipalQuotaConfig::default(), |sum, quota| sum.or_more(quota));
    let minted = |name: &str| name.strip_prefix(minted::LABEL)?.strip_prefix('/').map(Arc::from);
    let mut owner = principal.name().clone();
    while let Some(name) = minted(&owner) {
        owner = name;
    }
    let quota = quotas.of_principal(&owner, principal.label(), limits);
    principal.with_quota(quota)
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
