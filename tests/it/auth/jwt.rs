//! JSON Web Tokens: signatures, claims, keys that change.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use larder::pb::v1::{GetRequest, cache_service_client::CacheServiceClient};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use super::with_token;
use crate::{
    admin_access::{Browser, principal, send_login, token_of},
    support::{http::Http, server::Larder, status::expect_error, wait::eventually},
};

const ISSUER: &str = "https://idp.example";
/// A key for tests, and of no other use.
const RSA_KEY: &[u8] = include_bytes!("rsa_key.der");

/// A key of the issuer.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    /// A shared secret, which no issuer here has.
    Secret(Vec<u8>),
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::from_der(RSA_KEY).unwrap())
    }

    fn ec() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
            Self::Secret(_) => "HS256",
        }
    }

    fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, text).unwrap().as_ref().to_vec(),
            Self::Ed(key) => key.sign(text).as_ref().to_vec(),
            Self::Secret(secret) => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
                ring::hmac::sign(&key, text).as_ref().to_vec()
            }
        }
    }

    fn jwk(&self, id: &str) -> Value {
        let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        match self {
            Self::Rsa(key) => {
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "kid": id, "n": encode(&n), "e": encode(&e) })
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": encode(x), "y": encode(y) })
            }
            Self::Ed(key) => {
                let x = encode(key.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": x })
            }
            Self::Secret(_) => unreachable!("it is not public"),
        }
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "kid": id }), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let text = format!("{}.{}", part(header), part(claims));
        let signature = BASE64URL_NOPAD.encode(&self.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a caller that may read.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": ["other", "larder"], "sub": "alice", "exp": now() + 600,
        "groups": ["reader", "unknown"],
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// A server with an issuer, whose keys are in a file.
struct Issuer {
    server: Larder,
    keys: PathBuf,
    _directory: TempDir,
}

impl Issuer {
    async fn start(keys: &[Value]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwks.json");
        publish(&path, keys);
        let toml = format!(
            "[auth.jwt.corp]\nissuer = \"{ISSUER}\"\naudience = \"larder\"\nkeys = {path:?}\n\
             roles = \"groups\"\nleeway = \"1s\"\n\
             [auth.roles.reader]\nallow = [{{ verbs = [\"read\"], namespaces = [\"shop\"] }}]\n\
             [auth.roles.admin]\nallow = [{{ verbs = [\"*\"], namespaces = [\"*\"] }}]\n\
             [auth.principals.robot]\njwt = [\"corp/robot\"]\nroles = [\"admin\"]\n",
        );
        let server = Larder::memory().config(&toml).start().await;
        Self { server, keys: path, _directory: directory }
    }

    async fn get(&self, namespace: &str, token: &str) -> Result<(), tonic::Status> {
        let mut client =
            CacheServiceClient::connect(format!("http://{}", self.server.address())).await.unwrap();
        let message =
            GetRequest { namespace: namespace.into(), key: "k".into(), ..Default::default() };
        client.get(with_token(message, token)).await.map(drop)
    }

    async fn expect_refusal(&self, token: &str, reason: &str) {
        expect_error(self.get("shop", token).await, Code::Unauthenticated, reason);
    }
}

/// Writes the keys as a rename does, which no reader sees in part.
fn publish(path: &PathBuf, keys: &[Value]) {
    let new = path.with_extension("new");
    fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    fs::rename(new, path).unwrap();
}

#[tokio::test]
async fn tokens_of_all_algorithms_are_verified() {
    let keys = [Key::rsa(), Key::ec(), Key::ed()];
    let jwks: Vec<_> = keys.iter().map(|key| key.jwk(key.algorithm())).collect();
    let issuer = Issuer::start(&jwks).await;
    for key in &keys {
        let token = key.token(key.algorithm(), &claims());
        issuer.get("shop", &token).await.unwrap();
        // Looked up now.
        issuer.get("shop", &token).await.unwrap();
        let other = issuer.get("user", &token).await;
        expect_error(other, Code::PermissionDenied, "PERMISSION_DENIED");
        let mut forged = token.clone().into_bytes();
        let middle = token.rfind('.').unwrap() + 10;
        forged[middle] = if forged[middle] == b'A' { b'B' } else { b'A' };
        issuer.expect_refusal(&String::from_utf8(forged).unwrap(), "WRONG_SIGNATURE").await;
    }
}

#[tokio::test]
async fn tokens_with_wrong_claims_are_refused() {
    let key = Key::ec();
    let issuer = Issuer::start(&[key.jwk("k1")]).await;
    let cases = [
        (with(claims(), "exp", json!(now() - 60)), "TOKEN_EXPIRED"),
        (with(claims(), "nbf", json!(now() + 60)), "TOKEN_NOT_YET_VALID"),
        (with(claims(), "aud", json!("billing")), "WRONG_AUDIENCE"),
        (with(claims(), "aud", json!([])), "WRONG_AUDIENCE"),
        (with(claims(), "iss", json!("https://evil.example")), "UNKNOWN_ISSUER"),
        (without(claims(), "exp"), "MALFORMED_TOKEN"),
        (without(claims(), "aud"), "MALFORMED_TOKEN"),
        (without(claims(), "iss"), "MALFORMED_TOKEN"),
        (without(claims(), "sub"), "MALFORMED_TOKEN"),
    ];
    for (claims, reason) in cases {
        issuer.expect_refusal(&key.token("k1", &claims), reason).await;
    }
    issuer.expect_refusal("a.b.c", "MALFORMED_TOKEN").await;
    issuer.expect_refusal("no-token-that-anyone-has", "UNKNOWN_TOKEN").await;
}

#[tokio::test]
async fn tokens_with_the_wrong_algorithm_or_key_are_refused() {
    let (key, other) = (Key::rsa(), Key::ec());
    let issuer = Issuer::start(&[key.jwk("k1"), other.jwk("k2")]).await;
    // The public key as a shared secret: every text in which it is published.
    let jwk = key.jwk("k1");
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned()] {
        let forged = Key::Secret(secret.into_bytes()).token("k1", &claims());
        issuer.expect_refusal(&forged, "WRONG_ALGORITHM").await;
    }
    for algorithm in ["none", "None", "HS512", "ES512", ""] {
        let header = json!({ "alg": algorithm, "kid": "k1" });
        issuer.expect_refusal(&key.token_with(&header, &claims()), "WRONG_ALGORITHM").await;
    }
    // The key of another algorithm.
    let header = json!({ "alg": "ES256", "kid": "k1" });
    issuer.expect_refusal(&other.token_with(&header, &claims()), "WRONG_ALGORITHM").await;
    issuer.expect_refusal(&Key::ec().token("k2", &claims()), "WRONG_SIGNATURE").await;
    issuer.expect_refusal(&other.token("k3", &claims()), "UNKNOWN_KEY").await;
    // Without an id, the only key of its kind counts.
    issuer.get("shop", &other.token_with(&json!({ "alg": "ES256" }), &claims())).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_when_it_expires() {
    let key = Key::ed();
    let issuer = Issuer::start(&[key.jwk("k1")]).await;
    let token = key.token("k1", &with(claims(), "exp", json!(now() + 3)));
    issuer.get("shop", &token).await.unwrap();
    eventually("the token expires", Duration::from_secs(20), async || {
        let status = issuer.get("shop", &token).await.err()?;
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        Some(())
    })
    .await;
    issuer.expect_refusal(&token, "TOKEN_EXPIRED").await;
}

#[tokio::test]
async fn a_subject_can_have_roles_of_the_configuration() {
    let key = Key::ec();
    let issuer = Issuer::start(&[key.jwk("k1")]).await;
    let robot = key.token("k1", &with(without(claims(), "groups"), "sub", json!("robot")));
    issuer.get("user", &robot).await.unwrap();
    let nobody = key.token("k1", &without(claims(), "groups"));
    let refused = issuer.get("shop", &nobody).await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_token_opens_the_dashboard_and_a_login_waits_for_a_new_key() {
    let (old, new) = (Key::ec(), Key::ed());
    let issuer = Issuer::start(&[old.jwk("old")]).await;
    let http = Http::to(&issuer.server);
    let operator = with(claims(), "groups", json!(["admin"]));
    let browser = Browser::log_in_with(&http, &old.token("old", &operator)).await;
    assert_eq!(browser.get("/invalidations").await.status, 200);
    assert_eq!(http.bearer("/replicas", &old.token("old", &claims())).await.status, 403);
    let expired = old.token("old", &with(operator.clone(), "exp", json!(now() - 60)));
    let answer = http.bearer("/replicas", &expired).await;
    assert!(answer.status == 401 && answer.body.contains("has expired"), "{answer:?}");
    publish(&issuer.keys, &[new.jwk("new")]);
    let login = send_login(&http, &new.token("new", &operator)).await;
    assert_eq!(login.status, 303, "{login:?}");
}

#[tokio::test]
async fn tokens_whose_keys_cannot_be_read_lock_no_address_out() {
    let operator = principal("operator", "operator");
    let config = format!(
        "[auth]\n{operator}[auth.jwt.corp]\nissuer = \"{ISSUER}\"\naudience = \"larder\"\n\
         keys = \"http://127.0.0.1:1/jwks\"\n\
         [auth.roles.operator]\nallow = [{{ verbs = ['admin'], namespaces = ['*'] }}]\n"
    );
    let larder = Larder::memory().config(&config).start().await;
    let (http, key) = (Http::to(&larder), Key::ed());
    // More often than wrong tokens are looked at.
    for number in 0..15 {
        let token = key.token("new", &with(claims(), "jti", json!(number)));
        let answer = http.bearer("/replicas", &token).await;
        assert_eq!(answer.status, 503, "{number}: {answer:?}");
        let login = send_login(&http, &token).await;
        assert_eq!(login.status, 503, "{number}: {login:?}");
    }
    assert_eq!(http.bearer("/replicas", &token_of("operator")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_change_during_load_without_a_refused_call() {
    let (old, new) = (Key::ec(), Key::ec());
    let issuer = Issuer::start(&[old.jwk("old")]).await;
    let call = async |key: &Key, id: &str, number: u64| {
        let claims = with(claims(), "jti", json!(number));
        issuer.get("shop", &key.token(id, &claims)).await
    };
    for number in 0..50 {
        call(&old, "old", number).await.unwrap();
    }
    publish(&issuer.keys, &[old.jwk("old"), new.jwk("new")]);
    // At once, before the keys are read again: the first of these calls wait for that.
    for number in 0..50 {
        call(&new, "new", number).await.unwrap();
        call(&old, "old", 100 + number).await.unwrap();
    }
    publish(&issuer.keys, &[new.jwk("new")]);
    eventually("tokens of the old key are refused", Duration::from_secs(30), async || {
        call(&old, "old", 1000).await.err()
    })
    .await;
    call(&new, "new", 2000).await.unwrap();
}

#[tokio::test]
async fn keys_that_cannot_be_read_keep_the_ones_in_use() {
    let key = Key::ec();
    let issuer = Issuer::start(&[key.jwk("k1")]).await;
    issuer.get("shop", &key.token("k1", &claims())).await.unwrap();
    fs::write(&issuer.keys, "{ no JSON").unwrap();
    eventually("the fault is logged", Duration::from_secs(30), async || {
        issuer.server.logs().contains("the keys of the issuer cannot be read").then_some(())
    })
    .await;
    issuer.get("shop", &key.token("k1", &with(claims(), "jti", json!(1)))).await.unwrap();
}
