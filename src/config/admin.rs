//! Settings of the admin port: `[admin]`.

use std::collections::BTreeMap;
use std::time::Duration;

use config::{Value, ValueKind};

use super::TlsConfig;
use super::auth::{TokenConfig, token};
use super::diagnostics::Diagnostics;
use super::value::{DAY, HOUR, SECOND, ValueType, duration, list_of_type, value_type};
use super::visitor::{ConfigVisitor, Section};

/// Key of the tokens.
const TOKEN: &str = "admin.token";
/// Maximum number of tokens: the one in use, and those it replaces.
const MAX_TOKENS: usize = 16;

/// `[admin]`: the admin port.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// TLS of the port.
    pub tls: TlsConfig,
    /// Tokens, of which each is valid. With one, every request but `/livez` and `/readyz` needs
    /// it, a session, or the token of a principal with the verb `admin`; without one, every peer
    /// may use the port. One token needs no list; in a variable, they are separated by commas. A
    /// change ends the sessions of these tokens.
    pub token: Vec<TokenConfig>,
    /// Time after which a session ends.
    pub session_ttl: Duration,
    /// Time without a request after which a session ends.
    pub session_idle: Duration,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            tls: TlsConfig::default(),
            token: Vec::new(),
            session_ttl: Duration::from_secs(8 * 3600),
            session_idle: Duration::from_secs(30 * 60),
        }
    }
}

impl Section for AdminConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("token", &mut self.token, tokens());
        visitor.key("session_ttl", &mut self.session_ttl, duration(SECOND, 7 * DAY));
        visitor.key("session_idle", &mut self.session_idle, duration(SECOND, 24 * HOUR));
        visitor.section("tls", &mut self.tls);
    }
}

impl AdminConfig {
    /// Reads the tokens from variables and files.
    pub(super) fn resolve(
        &mut self,
        env: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) {
        let several = self.token.len() > 1;
        for (index, token) in self.token.iter_mut().enumerate() {
            if let Err(problem) = token.resolve(env) {
                let problem = if several { format!("item {index}: {problem}") } else { problem };
                diagnostics.reject(TOKEN, problem);
            }
        }
    }

    /// Whether a reload applies `key`.
    pub(super) fn is_reloaded(key: &str) -> bool {
        matches!(key, TOKEN | "admin.session_ttl" | "admin.session_idle")
    }
}

/// A token, or a list of tokens. An empty text or list is none. In a variable, tokens are separated
/// by commas.
fn tokens() -> impl ValueType<Value = Vec<TokenConfig>> {
    let parse = |raw: &ValueKind| {
        if matches!(raw, ValueKind::Array(items) if items.is_empty()) {
            return Ok(Vec::new());
        }
        list_of_type(token(), MAX_TOKENS).parse(raw)
    };
    value_type(
        move |raw| {
            if let ValueKind::String(text) = raw {
                let items = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
                return parse(&ValueKind::Array(items.map(Value::from).collect()));
            }
            parse(raw)
        },
        |tokens: &Vec<TokenConfig>| match tokens.as_slice() {
            [one] => token().render(one),
            _ => list_of_type(token(), MAX_TOKENS).render(tokens),
        },
    )
}
