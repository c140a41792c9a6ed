//! Issuers of JSON Web Tokens: `[auth.jwt.<name>]`.

use std::time::Duration;

use super::super::value::{HOUR, SECOND, duration, list, text, url_text};
use super::super::visitor::{ConfigVisitor, Section};
use super::is_name;

/// `[auth.jwt.<name>]`: one issuer, and how its tokens are read.
#[derive(Clone, Debug, PartialEq)]
pub struct JwtConfig {
    /// The claim `iss` of its tokens. It is required.
    pub issuer: String,
    /// Values of which the claim `aud` must have one. It is required.
    pub audience: Vec<String>,
    /// Its public keys, a JSON Web Key Set of at most 1 MiB. Plain HTTP is accepted for this
    /// machine only. It is required.
    pub keys: String,
    /// Time between two reads of the keys at a URL.
    pub refresh: Duration,
    /// The claim with the name of the caller.
    pub principal: String,
    /// The claim with roles: a list, or a text with spaces between them. Empty: none has.
    pub roles: String,
    /// Roles of all callers with a token of this issuer.
    pub default_roles: Vec<String>,
    /// Tolerated difference between the clocks of the issuer and of this server.
    pub leeway: Duration,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            keys: String::new(),
            refresh: Duration::from_secs(300),
            principal: "sub".to_owned(),
            roles: String::new(),
            default_roles: Vec::new(),
            leeway: Duration::from_secs(30),
        }
    }
}

impl Section for JwtConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let is_set = |text: &str| !text.is_empty();
        visitor.key("issuer", &mut self.issuer, text("the claim iss of the tokens", is_set));
        let audience = list("values of the claim aud", |text| !text.trim().is_empty());
        visitor.key("audience", &mut self.audience, audience);
        let keys = url_text("the path of a file, or an https:// URL", is_set);
        visitor.key("keys", &mut self.keys, keys);
        visitor.key("refresh", &mut self.refresh, duration(SECOND, 24 * HOUR));
        visitor.key("principal", &mut self.principal, text("the name of a claim", is_set));
        visitor.key("roles", &mut self.roles, text("the name of a claim", |_| true));
        visitor.key("default_roles", &mut self.default_roles, list("names of roles", is_name));
        visitor.key("leeway", &mut self.leeway, duration(Duration::ZERO, 300 * SECOND));
    }
}
