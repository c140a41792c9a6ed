//! Fuzz targets of tokens.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use serde_json::{Value, json};

use super::*;
use crate::{
    auth::{grants::Scope, jwt::KeySet},
    config::{JwtConfig, MintedConfig, SecretTemplate},
    fuzzing::{Input, check},
    model::Verb,
};

const SECRET: &str = "a-key-of-more-than-32-characters";

/// One issuer with an EC key and an RSA key, and a key for minted tokens.
fn rules() -> Rules {
    jwt::install_provider();
    let keys = json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "kid": "a",
          "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
          "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU" },
        { "kty": "RSA", "kid": "r", "n": "sXch", "e": "AQAB" },
    ]});
    let issuer = JwtConfig {
        issuer: "issuer".to_owned(),
        audience: vec!["larder".to_owned()],
        roles: "roles".to_owned(),
        ..JwtConfig::default()
    };
    let key = SecretTemplate::new(SECRET, &Default::default()).unwrap();
    let minted = MintedConfig { keys: vec![key], max_ttl: Duration::from_secs(600) };
    let config = AuthConfig { mode: AuthMode::Enforce, minted: Some(minted), ..Default::default() };
    let quotas = Quotas::new(&SdkMeterProvider::default().meter("test"));
    let mut rules = Rules::new(&config, &quotas, None);
    let issuer = Arc::new(Issuer::new("corp", &issuer));
    issuer.replace_keys(KeySet::parse(&keys.to_string()).unwrap());
    let refresh = KeyRefresh::start(issuer.clone(), CancellationToken::new());
    rules.issuers.push((issuer, refresh));
    rules
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The metadata `authorization`: as it is, or with a header and claims that are given as JSON and
/// signed with a key that the server does not have. No caller is identified by it.
#[test]
fn bearer_token() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let rules = rules();
    check("bearer_token", move |bytes| {
        let mut input = Input::new(bytes);
        let how = input.byte();
        let authorization = match how % 3 {
            0 => input.rest().to_vec(),
            1 => {
                let (header, claims, end) = (input.line(), input.line(), input.rest());
                let parts = [header, claims, end].map(|part| BASE64URL_NOPAD.encode(part));
                format!("Bearer {}", parts.join(".")).into_bytes()
            }
            _ => {
                let Ok(claims) = serde_json::from_slice::<Value>(input.line()) else { return };
                let header = Header { kid: Some(input.text()), ..Header::new(Algorithm::HS256) };
                let key = EncodingKey::from_secret(input.rest());
                let Ok(token) = jsonwebtoken::encode(&header, &claims, &key) else { return };
                format!("bearer {token}").into_bytes()
            }
        };
        let credentials =
            CallCredentials { authorization: Some(&authorization), certificate: None };
        let authenticated = rules.authenticate(credentials);
        let is_refused = match authenticated {
            Authenticated::Refused(_) | Authenticated::Pending(_) => true,
            Authenticated::Caller(_) | Authenticated::Off => false,
        };
        assert!(is_refused, "{}", authorization.escape_ascii());
    });
}

/// Claims of a token whose signature was verified. They give no verbs and namespaces that they
/// do not name, and no time is too large for them.
#[test]
fn token_claims() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let rules = rules();
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let id = data_encoding::HEXLOWER.encode(&token::digest(SECRET.as_bytes())[..8]);
    check("token_claims", move |bytes| {
        let Ok(mut claims) = serde_json::from_slice::<Value>(bytes) else { return };
        if let Ok(claims) = serde_json::from_value::<Claims>(claims.clone())
            && let Ok(principal) = rules.principal_of(&rules.issuers[0].0, &claims)
        {
            assert!(principal.name().starts_with("corp/"));
            assert!(principal.expires_at().is_some_and(|at| at >= SystemTime::UNIX_EPOCH));
        }
        let Value::Object(members) = &mut claims else { return };
        members.insert("iss".to_owned(), minted::ISSUER.into());
        members.insert("aud".to_owned(), "larder".into());
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let Ok(principal) = rules.check_jwt(&token) else { return };
        assert!(principal.name().starts_with("minted/") && !principal.has_expired());
        let granted = claims["verbs"].to_string();
        for verb in Verb::ALL {
            let is_named = granted.contains(verb.name());
            assert!(is_named || !principal.grants().allow_anywhere(verb), "{verb} {granted}");
            let is_all = claims["namespaces"].to_string().contains('*');
            let is_allowed = principal.grants().allow(verb, "another", Scope::ALL);
            assert!(is_all || !is_allowed || claims["namespaces"].to_string().contains("another"));
        }
    });
}

/// A JSON Web Key Set. One that is accepted has keys.
#[test]
fn key_set() {
    jwt::install_provider();
    check("key_set", |bytes| {
        let Ok(set) = KeySet::parse(&String::from_utf8_lossy(bytes)) else { return };
        assert!(set.len() > 0 && set.is_same(&set));
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            assert!(set.find(None, algorithm).is_err());
        }
    });
}
