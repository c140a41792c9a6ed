use std::collections::BTreeMap;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::{
    auth::grants::Scope,
    config::{PrincipalConfig, RuleConfig},
    model::Verb,
};

const SPIFFE: &str = "spiffe://prod/checkout";

/// `checkout`, with a certificate, may read `shop`.
fn config(mode: AuthMode) -> AuthConfig {
    let verbs = [Verb::Read].into_iter().collect();
    let namespaces = vec!["shop".parse().unwrap()];
    let rule = RuleConfig { verbs, namespaces, keys: String::new() };
    let role = RoleConfig { allow: vec![rule], ..RoleConfig::default() };
    let principal = PrincipalConfig {
        certificates: vec![SPIFFE.to_owned()],
        roles: vec!["reader".to_owned()],
        ..PrincipalConfig::default()
    };
    AuthConfig {
        mode,
        roles: BTreeMap::from([("reader".to_owned(), role)]),
        principals: BTreeMap::from([("checkout".to_owned(), principal)]),
        ..AuthConfig::default()
    }
}

fn authenticator(config: Option<&AuthConfig>) -> Authenticator {
    let meter = SdkMeterProvider::default().meter("test");
    Authenticator::new(config, Quotas::new(&meter), &meter)
}

fn certificate(names: &[&str]) -> Bytes {
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(rcgen::SanType::URI((*name).try_into().unwrap()));
    }
    let key = KeyPair::generate().unwrap();
    Bytes::copy_from_slice(params.self_signed(&key).unwrap().der())
}

fn caller(authenticated: Authenticated) -> Result<Arc<Principal>, AuthError> {
    match authenticated {
        Authenticated::Caller(principal) => Ok(principal),
        Authenticated::Refused(error) => Err(error),
        other @ (Authenticated::Off | Authenticated::Pending(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_names_its_principal() {
    let authenticator = authenticator(Some(&config(AuthMode::Enforce)));
    let of = |certificate: &Bytes| {
        let credentials = CallCredentials { certificate: Some(certificate), authorization: None };
        caller(authenticator.authenticate(credentials))
    };
    let known = certificate(&["spiffe://prod/other", SPIFFE]);
    for _ in 0..2 {
        let principal = of(&known).unwrap();
        assert_eq!(&**principal.name(), "checkout");
        assert!(principal.grants().allow(Verb::Read, "shop", Scope::ALL));
        assert!(principal.is_enforced());
    }
    for unknown in [certificate(&["spiffe://prod/other"]), certificate(&[])] {
        assert_eq!(of(&unknown).unwrap_err(), AuthError::NoCredentials);
    }
    // A token counts more than the connection.
    let credentials =
        CallCredentials { certificate: Some(&known), authorization: Some(b"Bearer unknown") };
    let refused = caller(authenticator.authenticate(credentials)).unwrap_err();
    assert_eq!(refused, AuthError::UnknownToken);
}

#[tokio::test]
async fn a_reload_replaces_principals_that_were_looked_up() {
    let authenticator = authenticator(Some(&config(AuthMode::Enforce)));
    let known = certificate(&[SPIFFE]);
    let credentials = CallCredentials { certificate: Some(&known), authorization: None };
    assert!(caller(authenticator.authenticate(credentials)).is_ok());
    authenticator.configure(Some(&AuthConfig::default()));
    let refused = caller(authenticator.authenticate(credentials)).unwrap_err();
    assert_eq!(refused, AuthError::NoCredentials);
    authenticator.configure(None);
    assert!(matches!(authenticator.authenticate(credentials), Authenticated::Off));
}

#[tokio::test]
async fn the_mode_decides_whether_permissions_are_enforced() {
    let known = certificate(&[SPIFFE]);
    let credentials = CallCredentials { certificate: Some(&known), authorization: None };
    let shadow = authenticator(Some(&config(AuthMode::Shadow)));
    assert!(!caller(shadow.authenticate(credentials)).unwrap().is_enforced());
    assert!(!shadow.shadow_principal().unwrap().is_enforced());
    let enforced = authenticator(Some(&config(AuthMode::Enforce)));
    assert!(enforced.shadow_principal().is_none());
    let off = authenticator(Some(&config(AuthMode::Off)));
    assert!(matches!(off.authenticate(credentials), Authenticated::Off));
}
