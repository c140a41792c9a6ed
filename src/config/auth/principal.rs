//! Known callers: `[auth.principals.<name>]`.

use super::super::value::{list, list_of_type};
use super::super::visitor::{ConfigVisitor, Section};
use super::is_name;
use super::token::{TokenConfig, token};

/// Maximum number of tokens of one principal: the one in use, and those it replaces.
const MAX_TOKENS: usize = 16;

/// `[auth.principals.<name>]`: one caller, by its credentials.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalConfig {
    /// Alternative names of its client certificates: a URI such as `spiffe://prod/checkout`, or a
    /// DNS name.
    pub certificates: Vec<String>,
    /// Its tokens, of which each is valid. A reference leads to a token of 32 characters or more,
    /// or to its digest.
    pub tokens: Vec<TokenConfig>,
    /// Subjects of JSON Web Tokens: the name of the issuer, a slash, and the subject.
    pub jwt: Vec<String>,
    /// Names of its roles.
    pub roles: Vec<String>,
}

impl Section for PrincipalConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let names = list("URIs and DNS names of certificates", is_certificate_name);
        visitor.key("certificates", &mut self.certificates, names);
        let tokens = list_of_type(token(), MAX_TOKENS).or_empty();
        visitor.key("tokens", &mut self.tokens, tokens);
        let subjects = list("subjects such as \"corp/alice\", each after its issuer", is_subject);
        visitor.key("jwt", &mut self.jwt, subjects);
        visitor.key("roles", &mut self.roles, list("names of roles", is_name));
    }
}

fn is_certificate_name(text: &str) -> bool {
    (1..=2048).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_subject(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(issuer, subject)| is_name(issuer) && (1..=1024).contains(&subject.len()))
}
