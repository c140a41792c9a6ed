//! Minted tokens: short-lived tokens that a principal makes for others, with a part of its own
//! permissions. They carry these permissions, so that no replica has to look them up.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::HEXLOWER;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    error::AuthError,
    grants::{Grants, Rule},
    jwt::{Claims, Expected, UnverifiedToken},
    principal::Principal,
    token,
};
use crate::{
    config::MintedConfig,
    model::{NamespacePattern, Verb, VerbSet},
};

/// The claim `iss` of minted tokens, which no other issuer can have.
pub(super) const ISSUER: &str = "larder-minted";
const AUDIENCE: &str = "larder";
/// Name of minted tokens in metrics, and begin of the names of their principals.
pub(super) const LABEL: &str = "minted";
/// Most namespaces of one token: it is sent with every call.
const MAX_NAMESPACES: usize = 16;

/// The permissions and the lifetime of a token.
#[derive(Debug, Clone)]
pub struct MintRequest {
    /// The verbs.
    pub verbs: VerbSet,
    /// The namespaces.
    pub namespaces: Vec<NamespacePattern>,
    /// The begin of the keys; empty: all keys.
    pub keys: String,
    /// The lifetime.
    pub ttl: Duration,
}

/// A new token.
pub struct MintedToken {
    secret: SecretString,
    /// When it expires.
    pub expires_at: SystemTime,
}

/// Why no token is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// `[auth.minted]` has no keys.
    #[error("this server mints no tokens: [auth.minted] is not configured")]
    NotConfigured,
    /// The lifetime is too long.
    #[error("ttl is longer than {} s, the limit (auth.minted.max_ttl)", .0.as_secs())]
    TtlTooLong(Duration),
    /// There are no verbs or no namespaces, or too many.
    #[error("a token needs one verb or more, and 1 to {MAX_NAMESPACES} namespaces")]
    Scope,
    /// The caller may not do all that the token would allow.
    #[error("a token cannot allow more than one rule of its caller's roles does")]
    NotCovered,
    /// The token could not be signed.
    #[error("the token could not be signed")]
    Failed,
}

/// Makes and verifies minted tokens.
pub(super) struct Minter {
    keys: Vec<SigningKey>,
    max_ttl: Duration,
}

struct SigningKey {
    id: String,
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl Minter {
    pub(super) fn new(config: &MintedConfig) -> Self {
        let keys = config.secrets().map(|secret| {
            let secret = secret.expose_secret().as_bytes();
            SigningKey {
                id: HEXLOWER.encode(&token::digest(secret)[..8]),
                signing: EncodingKey::from_secret(secret),
                verifying: DecodingKey::from_secret(secret),
            }
        });
        Self { keys: keys.collect(), max_ttl: config.max_ttl }
    }

    pub(super) fn mint(
        &self,
        principal: &Principal,
        request: MintRequest,
    ) -> Result<MintedToken, MintError> {
        let MintRequest { verbs, namespaces, keys, ttl } = request;
        let Some(key) = self.keys.first() else { return Err(MintError::NotConfigured) };
        if ttl > self.max_ttl {
            return Err(MintError::TtlTooLong(self.max_ttl));
        }
        if verbs.is_empty() || namespaces.is_empty() || namespaces.len() > MAX_NAMESPACES {
            return Err(MintError::Scope);
        }
        let rule = Rule { verbs, namespaces, keys: keys.into() };
        if !principal.grants().cover(&rule) {
            return Err(MintError::NotCovered);
        }
        let now = SystemTime::now();
        // A token of a token does not outlive it.
        let expires_at = principal.expires_at().map_or(now + ttl, |end| end.min(now + ttl));
        let seconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let namespaces: Vec<_> = rule.namespaces.iter().map(ToString::to_string).collect();
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": &**principal.name(),
            "iat": seconds(now),
            "exp": seconds(expires_at),
            "verbs": rule.verbs.iter().map(Verb::name).collect::<Vec<_>>(),
            "namespaces": namespaces,
            "keys": rule.keys,
            "limits": principal.limiting_roles(),
        });
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
        let secret = jsonwebtoken::encode(&header, &claims, &key.signing);
        let secret = secret.map_err(|_| MintError::Failed)?.into();
        Ok(MintedToken { secret, expires_at })
    }

    pub(super) fn verify(&self, token: &UnverifiedToken<'_>) -> Result<Principal, AuthError> {
        if token.algorithm() != Algorithm::HS256 {
            return Err(AuthError::WrongAlgorithm);
        }
        let id = token.key_id().ok_or(AuthError::UnknownKey)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(AuthError::UnknownKey)?;
        let audience = [AUDIENCE.to_owned()];
        let expected = Expected { issuer: ISSUER, audience: &audience, leeway: Duration::ZERO };
        let claims = token.verify(&key.verifying, &expected)?;
        principal_of(&claims).ok_or(AuthError::MalformedToken)
    }
}

fn principal_of(claims: &Claims) -> Option<Principal> {
    let verbs: VerbSet =
        claims.texts("verbs").into_iter().map(str::parse).collect::<Result<_, _>>().ok()?;
    let namespaces = claims.texts("namespaces").into_iter().map(str::parse);
    let rule = Rule {
        verbs,
        namespaces: namespaces.collect::<Result<_, _>>().ok()?,
        keys: claims.text("keys").unwrap_or_default().into(),
    };
    let name = format!("{LABEL}/{}", claims.text("sub")?);
    let roles = claims.texts("limits").into_iter().map(str::to_owned).collect();
    let principal = Principal::new(&name, LABEL, Grants::of_rule(rule)).limited_by(roles);
    Some(principal.expiring_at(claims.expiry(Duration::ZERO)?))
}

impl MintedToken {
    /// The token.
    pub fn secret(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MintedToken(***)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        auth::{
            grants::{Scope, tests::rule},
            jwt,
        },
        config::SecretTemplate,
    };

    fn minter(keys: &[&str]) -> Minter {
        jwt::install_provider();
        let keys = keys.iter().map(|key| SecretTemplate::new(key, &Default::default()).unwrap());
        let max_ttl = Duration::from_secs(600);
        Minter::new(&MintedConfig { keys: keys.collect(), max_ttl })
    }

    fn principal(grants: &str) -> Principal {
        Principal::new("checkout", "checkout", Grants::of_rule(rule(grants)))
    }

    fn request(scope: &str, ttl: u64) -> MintRequest {
        let Rule { verbs, namespaces, keys } = rule(scope);
        MintRequest { verbs, namespaces, keys: keys.into(), ttl: Duration::from_secs(ttl) }
    }

    fn verify(minter: &Minter, token: &str) -> Result<Principal, AuthError> {
        minter.verify(&UnverifiedToken::read(token)?)
    }

    #[test]
    fn a_token_has_the_permissions_it_was_made_with() {
        let minter = minter(&["k1"]);
        let token = minter.mint(&principal("read,write shop*"), request("read shop a:", 60));
        let token = token.unwrap();
        let bearer = verify(&minter, token.secret()).unwrap();
        assert_eq!(&**bearer.name(), "minted/checkout");
        assert!(bearer.grants().allow(Verb::Read, "shop", Scope::Key("a:1")));
        assert!(!bearer.grants().allow(Verb::Read, "shop", Scope::Key("b:1")));
        assert!(!bearer.grants().allow(Verb::Write, "shop", Scope::Key("a:1")));
        assert!(!bearer.has_expired());
    }

    #[test]
    fn no_token_allows_more_than_its_caller_may() {
        let (minter, caller) = (minter(&["k1"]), principal("read,admin shop"));
        for scope in ["write shop", "read shop*", "read *", "read,write shop"] {
            let refused = minter.mint(&caller, request(scope, 60)).unwrap_err();
            assert_eq!(refused, MintError::NotCovered, "{scope}");
        }
        let long = minter.mint(&caller, request("read shop", 601)).unwrap_err();
        assert_eq!(long, MintError::TtlTooLong(Duration::from_secs(600)));
        let none = MintRequest { namespaces: Vec::new(), ..request("read shop", 60) };
        assert_eq!(minter.mint(&caller, none).unwrap_err(), MintError::Scope);
    }

    #[test]
    fn a_token_of_a_token_does_not_outlive_it() {
        let minter = minter(&["k1"]);
        let soon = SystemTime::now() + Duration::from_secs(5);
        let caller = principal("read shop").expiring_at(soon);
        let token = minter.mint(&caller, request("read shop", 600)).unwrap();
        assert_eq!(token.expires_at, soon);
    }

    #[test]
    fn keys_are_rotated_and_others_are_refused() {
        let (old, both, new) = (minter(&["old"]), minter(&["new", "old"]), minter(&["new"]));
        let caller = principal("read shop");
        let by_old = old.mint(&caller, request("read shop", 60)).unwrap();
        let by_new = both.mint(&caller, request("read shop", 60)).unwrap();
        assert!(verify(&both, by_old.secret()).is_ok() && verify(&both, by_new.secret()).is_ok());
        assert!(verify(&new, by_new.secret()).is_ok());
        assert_eq!(verify(&new, by_old.secret()).unwrap_err(), AuthError::UnknownKey);
    }

    #[test]
    fn changed_tokens_are_refused() {
        let minter = minter(&["k1"]);
        let token = minter.mint(&principal("read shop"), request("read shop", 60)).unwrap();
        let mut parts: Vec<String> = token.secret().split('.').map(str::to_owned).collect();
        let claims = data_encoding::BASE64URL_NOPAD.decode(parts[1].as_bytes()).unwrap();
        let claims = String::from_utf8(claims).unwrap().replace("shop", "user");
        parts[1] = data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes());
        assert_eq!(verify(&minter, &parts.join(".")).unwrap_err(), AuthError::WrongSignature);
    }
}
