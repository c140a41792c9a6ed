//! Callers and what they may do: `[auth]`.

mod check;
mod jwt;
mod principal;
mod role;
mod token;

use std::collections::BTreeMap;

use super::diagnostics::Diagnostics;
use super::toml::join;
use super::value::{choice, list};
use super::visitor::{ConfigVisitor, Section};

pub(super) use check::check_auth;
pub use jwt::JwtConfig;
pub use principal::PrincipalConfig;
pub use role::{RoleConfig, RuleConfig};
pub use token::{MintedConfig, TokenConfig};
pub(super) use token::{resolved_secret, token};

/// Whether calls are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthMode {
    /// Every caller may do everything.
    Off,
    /// As `Off`, but calls that `Enforce` would refuse are counted and logged.
    Shadow,
    /// Calls without the permission are refused.
    #[default]
    Enforce,
}

/// `[auth]`: callers and what they may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AuthConfig {
    /// Whether calls without permission are refused, or with `"shadow"` only counted and logged.
    pub mode: AuthMode,
    /// Roles of callers without credentials. Empty: such calls are refused.
    pub anonymous: Vec<String>,
    /// Known callers, by name.
    pub principals: BTreeMap<String, PrincipalConfig>,
    /// Issuers of JSON Web Tokens, by a name of their own.
    pub jwt: BTreeMap<String, JwtConfig>,
    /// Tokens that this server issues; `None`: none.
    pub minted: Option<MintedConfig>,
    /// Roles, by name.
    pub roles: BTreeMap<String, RoleConfig>,
}

impl Section for AuthConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let modes =
            &[("off", AuthMode::Off), ("shadow", AuthMode::Shadow), ("enforce", AuthMode::Enforce)];
        visitor.key("mode", &mut self.mode, choice(modes));
        visitor.key("anonymous", &mut self.anonymous, list("names of roles", is_name));
        visitor.sections("principals", &mut self.principals, &PrincipalConfig::default());
        visitor.sections("jwt", &mut self.jwt, &JwtConfig::default());
        visitor.optional("minted", &mut self.minted, &MintedConfig::default());
        visitor.sections("roles", &mut self.roles, &RoleConfig::default());
    }
}

impl AuthConfig {
    /// Reads the secrets from variables and files.
    pub(super) fn resolve(
        &mut self,
        env: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) {
        for (name, principal) in &mut self.principals {
            let path = join(&join("auth.principals", name), "tokens");
            for (index, token) in principal.tokens.iter_mut().enumerate() {
                if let Err(problem) = token.resolve(env) {
                    diagnostics.reject(&path, format!("item {index}: {problem}"));
                }
            }
        }
        if let Some(minted) = &mut self.minted {
            minted.resolve(env, diagnostics);
        }
    }
}

/// Whether `text` can name a principal, a role or an issuer.
fn is_name(text: &str) -> bool {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}
