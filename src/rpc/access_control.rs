//! Identifies callers, and refuses calls that may not begin.

use std::{net::SocketAddr, sync::Arc};

use http::HeaderValue;
use tonic::Status;
use transport::ConnectionShare;

use super::{
    access::{Access, Caller},
    method::Method,
    permissions::Permission,
    status,
};
use crate::{
    auth::{
        AuthError, Authenticated, Authenticator, CallCredentials, MintError, MintRequest,
        MintedToken, PendingKeys, Principal, Refusal, Refusals,
    },
    quota::Quotas,
};

/// Label of callers that could not be identified, in metrics.
const UNIDENTIFIED: &str = "unidentified";

/// Identifies callers, and records the calls that are refused.
#[derive(Clone)]
pub struct AccessControl {
    authenticator: Arc<Authenticator>,
    refusals: Arc<Refusals>,
    quotas: Arc<Quotas>,
}

/// Whether a call may begin.
pub(super) enum Entry {
    /// It may.
    Open(Access),
    /// Not before the keys of an issuer are read.
    Pending(PendingKeys),
    Refused(Box<Status>),
}

impl AccessControl {
    /// Asks `authenticator` and `quotas`.
    pub fn new(
        authenticator: Arc<Authenticator>,
        refusals: Arc<Refusals>,
        quotas: Arc<Quotas>,
    ) -> Self {
        Self { authenticator, refusals, quotas }
    }

    /// Identifies the caller, and refuses it if it may not call the method at all. `may_wait`:
    /// whether the answer may be [`Entry::Pending`].
    #[inline]
    pub(super) fn enter(
        &self,
        method: Method,
        authorization: Option<&HeaderValue>,
        connection: &ConnectionShare,
        may_wait: bool,
    ) -> Entry {
        let permission = Permission::of(method);
        if permission == Permission::Public {
            return Entry::Open(Access::default());
        }
        let peer = connection.peer();
        let credentials = CallCredentials {
            authorization: authorization.map(HeaderValue::as_bytes),
            certificate: peer.certificate.as_ref(),
        };
        let principal = match self.authenticator.authenticate(credentials) {
            Authenticated::Off => return Entry::Open(Access::default()),
            Authenticated::Caller(principal) => principal,
            Authenticated::Pending(keys) if may_wait => return Entry::Pending(keys),
            Authenticated::Pending(keys) => match self.refuse(method, peer.address, keys.error()) {
                Ok(principal) => principal,
                Err(status) => return Entry::Refused(status),
            },
            Authenticated::Refused(error) => match self.refuse(method, peer.address, error) {
                Ok(principal) => principal,
                Err(status) => return Entry::Refused(status),
            },
        };
        let refusals = self.refusals.clone();
        let is_recorded = (!principal.is_enforced()).then(Arc::default);
        let caller = Caller { principal, method, peer: peer.address, refusals, is_recorded };
        match caller.check_method(permission) {
            Ok(()) => Entry::Open(Access { caller: Some(caller), quota: None }),
            Err(status) => Entry::Refused(status),
        }
    }

    /// Begins a call that may begin.
    ///
    /// # Errors
    /// The caller has used up its quota.
    #[inline]
    pub(super) fn begin(&self, method: Method, access: &mut Access) -> Result<(), Box<Status>> {
        if Permission::of(method) == Permission::Public {
            return Ok(());
        }
        let quota = access.principal().and_then(|principal| principal.quota());
        let begun = self.quotas.begin(quota, method.stays_open());
        access.quota = begun.map_err(|exceeded| Box::new(status::quota_exceeded(&exceeded)))?;
        Ok(())
    }

    /// Refuses a call without accepted credentials; in the shadow mode, it becomes one without any.
    #[cold]
    fn refuse(
        &self,
        method: Method,
        peer: SocketAddr,
        error: AuthError,
    ) -> Result<Arc<Principal>, Box<Status>> {
        let shadow = self.authenticator.shadow_principal();
        self.refusals.record(&Refusal {
            principal: None,
            label: UNIDENTIFIED,
            method: method.name(),
            missing: None,
            scope: None,
            index: None,
            reason: error.reason(),
            is_enforced: shadow.is_none(),
            peer,
        });
        shadow.ok_or_else(|| Box::new(status::unauthenticated(error)))
    }

    /// Makes a token with a part of the caller's permissions.
    pub(super) fn mint(
        &self,
        access: &Access,
        request: MintRequest,
    ) -> Result<MintedToken, Status> {
        let not_minted = |error| status::not_minted(&error);
        let Some(caller) = &access.caller else {
            return Err(not_minted(MintError::NotConfigured));
        };
        let verb = Permission::of(caller.method).verb();
        for namespaces in &request.namespaces {
            let grants = caller.principal.grants();
            if verb.is_some_and(|verb| !grants.allow_all(verb, namespaces)) {
                return Err(not_minted(MintError::NotCovered));
            }
        }
        self.authenticator.mint(&caller.principal, request).map_err(not_minted)
    }
}
