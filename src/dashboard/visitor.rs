//! The sender of a request, and its permissions.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

use super::Dashboard;
use crate::{
    admin::{AccessEnd, LongAnswer, Session},
    audit::AuditedCaller,
    config::AuthMode,
};

/// The sender of a request.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// For the audit log.
    pub(super) caller: AuditedCaller,
    /// The token that forms must have; none for a bearer of a token, which needs no form.
    pub(super) csrf_token: Option<String>,
    /// Whether there is a session that can be ended.
    pub(super) has_session: bool,
    /// Whether keys and values are shown, and whether something can be changed.
    pub(super) is_operator: bool,
    /// When the permission ends.
    pub(super) end: Option<AccessEnd>,
    pub(super) long_answer: LongAnswer,
}

impl FromRequestParts<Arc<Dashboard>> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        dashboard: &Arc<Dashboard>,
    ) -> Result<Self, Infallible> {
        let extensions = &parts.extensions;
        let caller = extensions.get::<AuditedCaller>().cloned();
        // Credentials that the port accepts are those of operators. Without `[auth]`, each sender
        // is one.
        let config = dashboard.config.load();
        let is_restricted = config.auth.as_ref().is_some_and(|auth| auth.mode == AuthMode::Enforce);
        let is_operator = caller.is_some() || !is_restricted;
        let has_session = extensions.get::<Session>().is_some_and(Session::has_login);
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let csrf_token = extensions.get::<Session>().map(|session| session.csrf_token().to_owned());
        Ok(Self {
            caller: caller.unwrap_or_else(|| AuditedCaller { peer, ..AuditedCaller::default() }),
            csrf_token,
            has_session,
            is_operator,
            end: extensions.get::<AccessEnd>().cloned(),
            long_answer: extensions.get::<LongAnswer>().cloned().unwrap_or_default(),
        })
    }
}
