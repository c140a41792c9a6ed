//! Tests of key sets, and of what is read before a signature is verified. `tests/it/auth/jwt.rs`
//! has those with signatures.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;

/// A point of P-256: the base point of the curve.
fn ec(id: Option<&str>) -> serde_json::Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": id,
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
        "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    })
}

fn parse(keys: &[serde_json::Value]) -> Result<KeySet, InvalidKeySet> {
    KeySet::parse(&json!({ "keys": keys }).to_string())
}

#[test]
fn keys_are_found_by_their_id_and_algorithm() {
    let rsa = json!({ "kty": "RSA", "kid": "r", "alg": "RS256", "n": "sXch", "e": "AQAB" });
    let set = parse(&[ec(Some("a")), ec(Some("b")), rsa]).unwrap();
    assert_eq!(set.len(), 3);
    let cases = [
        (Some("a"), Algorithm::ES256, None),
        (Some("a"), Algorithm::ES384, Some(AuthError::WrongAlgorithm)),
        (Some("a"), Algorithm::RS256, Some(AuthError::WrongAlgorithm)),
        (Some("r"), Algorithm::RS256, None),
        // The key is for another one of its family.
        (Some("r"), Algorithm::RS512, Some(AuthError::WrongAlgorithm)),
        (Some("c"), Algorithm::ES256, Some(AuthError::UnknownKey)),
        // Without an id, one key of the family must be the only one.
        (None, Algorithm::RS256, None),
        (None, Algorithm::ES256, Some(AuthError::UnknownKey)),
        (None, Algorithm::EdDSA, Some(AuthError::UnknownKey)),
    ];
    for (id, algorithm, error) in cases {
        assert_eq!(set.find(id, algorithm).err(), error, "{id:?} {algorithm:?}");
    }
}

#[test]
fn keys_for_other_purposes_are_left_out() {
    let mut encryption = ec(Some("e"));
    encryption["use"] = json!("enc");
    let secret = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0" });
    let unknown = json!({ "kty": "PQ", "kid": "q" });
    let set = parse(&[encryption.clone(), secret.clone(), unknown, ec(Some("a"))]).unwrap();
    assert_eq!(set.len(), 1);
    assert!(matches!(parse(&[encryption, secret]), Err(InvalidKeySet::NoKey(2))));
}

#[test]
fn texts_that_are_no_key_set_are_refused() {
    assert!(matches!(KeySet::parse("{"), Err(InvalidKeySet::Json(_))));
    assert!(matches!(KeySet::parse("[]"), Err(InvalidKeySet::NoList)));
    assert!(matches!(KeySet::parse(r#"{"keys":[]}"#), Err(InvalidKeySet::NoKey(0))));
    let many: Vec<_> = (0..101).map(|number| ec(Some(&number.to_string()))).collect();
    assert!(matches!(parse(&many), Err(InvalidKeySet::TooMany(101))));
}

#[test]
fn a_token_is_read_before_it_is_verified() {
    let part = |value: &serde_json::Value| {
        data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes())
    };
    let token = |header, claims| format!("{}.{}.c2ln", part(&header), part(&claims));
    let read = token(json!({ "alg": "ES256", "kid": "k" }), json!({ "iss": "i", "sub": 7 }));
    let read = UnverifiedToken::read(&read).unwrap();
    assert_eq!((read.issuer.as_str(), read.key_id()), ("i", Some("k")));
    assert_eq!(read.algorithm(), Algorithm::ES256);
    let cases = [
        (token(json!({ "alg": "none" }), json!({ "iss": "i" })), AuthError::WrongAlgorithm),
        (token(json!({ "alg": "ES256" }), json!({ "sub": "i" })), AuthError::MalformedToken),
        (token(json!({ "alg": "ES256" }), json!({ "iss": 7 })), AuthError::MalformedToken),
        ("a.b".to_owned(), AuthError::MalformedToken),
        ("..".to_owned(), AuthError::WrongAlgorithm),
        (String::new(), AuthError::MalformedToken),
    ];
    for (text, error) in cases {
        assert_eq!(UnverifiedToken::read(&text).err(), Some(error), "{text}");
    }
}
