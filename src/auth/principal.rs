//! Identified callers.

use std::{sync::Arc, time::SystemTime};

use super::grants::Grants;
use crate::quota::Quota;

/// An identified caller, or one without credentials.
#[derive(Debug)]
pub struct Principal {
    /// The name of its table in the configuration, or one with a slash, which no table has:
    /// `corp/alice` for a JSON Web Token of the issuer `corp`, `minted/checkout` for a token that
    /// `checkout` has minted.
    name: Arc<str>,
    /// The name in metrics, of which there is a bounded number: that of the table, or of the issuer
    /// of the token.
    label: Arc<str>,
    grants: Grants,
    /// Roles that limit how much it may use.
    limiting_roles: Vec<String>,
    quota: Option<Arc<Quota>>,
    expires_at: Option<SystemTime>,
    is_enforced: bool,
}

/// Name of callers without credentials.
pub(super) const ANONYMOUS: &str = "anonymous";

impl Principal {
    pub(super) fn new(name: &str, label: &str, grants: Grants) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            grants,
            limiting_roles: Vec::new(),
            quota: None,
            expires_at: None,
            is_enforced: true,
        }
    }

    pub(super) fn expiring_at(mut self, time: SystemTime) -> Self {
        self.expires_at = Some(time);
        self
    }

    pub(super) fn limited_by(mut self, roles: Vec<String>) -> Self {
        self.limiting_roles = roles;
        self
    }

    pub(super) fn with_quota(mut self, quota: Option<Arc<Quota>>) -> Self {
        self.quota = quota;
        self
    }

    pub(super) fn enforced(mut self, is_enforced: bool) -> Self {
        self.is_enforced = is_enforced;
        self
    }

    /// Its name, in logs.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its name in metrics.
    pub fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// How it was identified. `has_token`: whether the call has a bearer token, which counts more
    /// than a certificate.
    pub fn identity(&self, has_token: bool) -> &'static str {
        match (&*self.name, has_token) {
            (ANONYMOUS, _) => "none",
            (_, true) => "token",
            (_, false) => "certificate",
        }
    }

    /// Its permissions.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The roles that limit how much it may use.
    pub(super) fn limiting_roles(&self) -> &[String] {
        &self.limiting_roles
    }

    /// How much it may use; `None`: no such limits.
    pub fn quota(&self) -> Option<&Arc<Quota>> {
        self.quota.as_ref()
    }

    /// Whether calls without the permission are refused, and not only recorded.
    pub fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Whether its credential has expired.
    #[inline]
    pub(super) fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(|time| time <= SystemTime::now())
    }

    /// When its credential expires.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }
}
