//! Modes, anonymous callers, reload, tokens of all kinds.

use std::time::Duration;

use larder::pb::v1::{
    GetRequest, MintTokenRequest, admin_service_client::AdminServiceClient,
    cache_service_client::CacheServiceClient,
};
use nix::sys::signal::Signal;
use prost::Message as _;
use tonic::{Code, Status};

use super::{digest, status_of, token, with_token};
use crate::support::{
    server::{Larder, run},
    status::expect_error,
    wait::eventually,
};

const GET: &str = "larder.v1.CacheService/Get";

/// A caller `checkout` that may do everything in `shop`, and settings before it.
fn config(settings: &str, tokens: &str) -> String {
    format!(
        "[auth]\n{settings}\n[auth.principals.checkout]\ntokens = [{tokens}]\nroles = [\"shop\"]\n\
         [auth.roles.shop]\nallow = [{{ verbs = [\"*\"], namespaces = [\"shop\"] }}]\n\
         [auth.roles.public]\nallow = [{{ verbs = [\"read\"], namespaces = [\"open\"] }}]\n",
    )
}

fn checkout(settings: &str) -> String {
    config(settings, &format!("{:?}", digest("checkout")))
}

fn get(namespace: &str) -> Vec<u8> {
    GetRequest { namespace: namespace.into(), key: "k".into(), ..Default::default() }
        .encode_to_vec()
}

async fn get_as(server: &Larder, token: Option<&str>, namespace: &str) -> Status {
    let bearer = token.map(|token| format!("Bearer {token}"));
    status_of(server.address(), GET, bearer.as_deref(), &get(namespace)).await
}

fn expect(status: Status, code: Code, reason: &str) {
    expect_error::<()>(Err(status), code, reason);
}

#[tokio::test]
async fn a_token_identifies_its_caller_and_other_credentials_are_refused() {
    let server = Larder::memory().config(&checkout("")).start().await;
    let own = token("checkout");
    assert_eq!(get_as(&server, Some(&own), "shop").await.code(), Code::Ok);
    expect(get_as(&server, Some(&own), "user").await, Code::PermissionDenied, "PERMISSION_DENIED");
    expect(get_as(&server, None, "shop").await, Code::Unauthenticated, "NO_CREDENTIALS");
    let unknown = get_as(&server, Some(&token("another")), "shop").await;
    expect(unknown, Code::Unauthenticated, "UNKNOWN_TOKEN");
    for (header, reason) in [
        (format!("bearer {own}"), None),
        (format!("BEARER  {own} "), None),
        (own.clone(), Some("MALFORMED_CREDENTIALS")),
        ("Basic dXNlcjpwYXNz".to_owned(), Some("MALFORMED_CREDENTIALS")),
        ("Bearer ".to_owned(), Some("MALFORMED_CREDENTIALS")),
        (format!("Bearer {}", digest("checkout")), Some("UNKNOWN_TOKEN")),
    ] {
        let status = status_of(server.address(), GET, Some(&header), &get("shop")).await;
        match reason {
            None => assert_eq!(status.code(), Code::Ok, "{header}"),
            Some(reason) => expect(status, Code::Unauthenticated, reason),
        }
    }
    let log = server.logs();
    assert!(!log.contains(&own), "the token is in the log");
    assert!(log.contains("calls are refused"), "{log}");
    let metrics = server.admin("/metrics").await.body;
    assert!(metrics.contains("larder_auth_refusals_total"), "{metrics}");
    assert!(!metrics.contains(&own), "the token is in the metrics");
}

#[tokio::test]
async fn probes_need_no_credentials() {
    let server = Larder::memory().config(&checkout("")).start().await;
    let status = status_of(server.address(), "grpc.health.v1.Health/Check", None, &[]).await;
    assert_eq!(status.code(), Code::Ok);
    let output = run(&["healthcheck", "--address", &server.address().to_string()], &[]);
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn callers_without_credentials_have_the_roles_of_anonymous_ones() {
    let server = Larder::memory().config(&checkout("anonymous = [\"public\"]")).start().await;
    assert_eq!(get_as(&server, None, "open").await.code(), Code::Ok);
    expect(get_as(&server, None, "shop").await, Code::PermissionDenied, "PERMISSION_DENIED");
    // A wrong token is not the same as none.
    let unknown = get_as(&server, Some(&token("another")), "open").await;
    expect(unknown, Code::Unauthenticated, "UNKNOWN_TOKEN");
}

#[tokio::test]
async fn the_shadow_mode_records_and_refuses_nothing() {
    let server = Larder::memory().config(&checkout("mode = \"shadow\"")).start().await;
    for (token, namespace) in [
        (None, "shop"),
        (Some(token("another")), "shop"),
        (Some(token("checkout")), "user"),
        (Some(token("checkout")), "shop"),
    ] {
        let status = get_as(&server, token.as_deref(), namespace).await;
        assert_eq!(status.code(), Code::Ok, "{token:?} {namespace}");
    }
    let metrics = server.admin("/metrics").await.body;
    let refusals: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("larder_auth_refusals_total")).collect();
    let count = |parts: [&str; 2]| {
        let found = refusals.iter().find(|line| parts.iter().all(|part| line.contains(part)));
        found.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    let shadow = "mode=\"shadow\"";
    assert_eq!(count(["reason=\"NO_CREDENTIALS\"", shadow]).as_deref(), Some("1"), "{refusals:?}");
    assert_eq!(count(["reason=\"UNKNOWN_TOKEN\"", shadow]).as_deref(), Some("1"), "{refusals:?}");
    assert_eq!(count(["principal=\"checkout\"", shadow]).as_deref(), Some("1"), "{refusals:?}");
    assert!(server.logs().contains("calls would be refused"), "{}", server.logs());
}

#[tokio::test]
async fn the_mode_off_needs_no_credentials() {
    let server = Larder::memory().config(&checkout("mode = \"off\"")).start().await;
    assert_eq!(get_as(&server, Some("anything"), "user").await.code(), Code::Ok);
    assert_eq!(get_as(&server, None, "user").await.code(), Code::Ok);
}

#[tokio::test]
async fn a_reload_replaces_the_rules_and_a_broken_one_changes_nothing() {
    let server = Larder::memory().config(&checkout("")).start().await;
    let (old, new) = (token("checkout"), token("next"));
    assert_eq!(get_as(&server, Some(&old), "shop").await.code(), Code::Ok);
    // Both are valid while tokens are replaced.
    let both = format!("{:?}, {:?}", digest("checkout"), digest("next"));
    server.rewrite_config(&config("", &both));
    server.signal(Signal::SIGHUP);
    eventually("the new token is accepted", Duration::from_secs(10), async || {
        (get_as(&server, Some(&new), "shop").await.code() == Code::Ok).then_some(())
    })
    .await;
    assert_eq!(get_as(&server, Some(&old), "shop").await.code(), Code::Ok);
    server.rewrite_config(&config("anonymous = [\"no-such-role\"]", &both));
    server.signal(Signal::SIGHUP);
    eventually("the broken rules are logged", Duration::from_secs(10), async || {
        server.logs().contains("the configuration stays as it was").then_some(())
    })
    .await;
    assert_eq!(get_as(&server, Some(&old), "shop").await.code(), Code::Ok);
    server.rewrite_config(&config("", &format!("{:?}", digest("next"))));
    server.signal(Signal::SIGHUP);
    eventually("the old token is refused", Duration::from_secs(10), async || {
        let status = get_as(&server, Some(&old), "shop").await;
        (status.code() == Code::Unauthenticated).then_some(())
    })
    .await;
    assert_eq!(get_as(&server, Some(&new), "shop").await.code(), Code::Ok);
}

#[tokio::test]
async fn a_minted_token_has_a_part_of_the_permissions() {
    let toml = checkout("") + "[auth.minted]\nkeys = [\"${env:KEY}\"]\nmax_ttl = \"10m\"\n";
    let key = "a-key-of-more-than-32-characters-for-tokens";
    let server = Larder::memory().env("KEY", key).config(&toml).start().await;
    // Every server with the key accepts the token.
    let other = Larder::memory().env("KEY", key).config(&toml).start().await;
    let mut admin =
        AdminServiceClient::connect(format!("http://{}", server.address())).await.unwrap();
    let mut mint = async |namespaces: &[&str], seconds| {
        let request = MintTokenRequest {
            verbs: vec!["read".into()],
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
            key_prefix: "public:".into(),
            ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        };
        let minted = admin.mint_token(with_token(request, &token("checkout"))).await;
        minted.map(|response| response.into_inner())
    };
    let minted = mint(&["shop"], 60).await.unwrap();
    assert!(minted.expires_at.is_some());
    let mut client =
        CacheServiceClient::connect(format!("http://{}", other.address())).await.unwrap();
    let mut read = async |key: &str| {
        let message =
            GetRequest { namespace: "shop".into(), key: key.into(), ..Default::default() };
        client.get(with_token(message, &minted.token)).await
    };
    read("public:1").await.unwrap();
    expect_error(read("private:1").await, Code::PermissionDenied, "PERMISSION_DENIED");
    expect_error(mint(&["user"], 60).await, Code::PermissionDenied, "PERMISSION_DENIED");
    expect_error(mint(&["shop", "*"], 60).await, Code::PermissionDenied, "PERMISSION_DENIED");
    expect_error(mint(&["shop"], 601).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(mint(&[], 60).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert!(!server.logs().contains(&minted.token), "the token is in the log");
}

#[test]
fn new_tokens_fit_the_configuration() {
    let output = run(&["token", "new"], &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let token = text.lines().find_map(|line| line.strip_prefix("token:  ")).unwrap();
    let digest = text.lines().find_map(|line| line.strip_prefix("digest: ")).unwrap();
    assert!(token.starts_with("larder_") && token.len() == 50, "{text}");
    use sha2::Digest as _;
    let expected = data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(token));
    assert_eq!(digest, format!("sha256:{expected}"));
}
