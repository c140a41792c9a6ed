//! Principals with the verb `admin`.

use super::{
    Browser, Http, TOKEN, WRONG, builder, digest, minted, principal, send_login,
    sessions::{ended, reload},
    token_of,
};
use crate::support::{
    server::{Builder, Larder},
    wait::{SOON, eventually},
};

const EVENT: &str = r#"{"specversion":"1.0","type":"sale","id":"1","source":"/s"}"#;
const PORT: &str = "[admin]\ntoken = '${env:TOKEN}'\n";
const ROLES: &str = "[auth.minted]\nkeys = ['${env:KEY}']\n\
    [auth.roles.operator]\nallow = [{ verbs = ['admin'], namespaces = ['*'] }]\n\
    [auth.roles.viewer]\nallow = [{ verbs = ['stats', 'read'], namespaces = ['*'] }]\n\
    [auth.roles.partial]\nallow = [{ verbs = ['*'], namespaces = ['*'] }]\n\
    deny = [{ verbs = ['admin'], namespaces = ['secret'] }]\n";

fn with_key() -> Builder {
    builder().env("KEY", "a-key-of-more-than-32-characters-for-tokens")
}

/// Principals with the name of their role.
fn auth(mode: &str) -> String {
    let principals = ["operator", "viewer", "partial"].map(|name| principal(name, name));
    format!("[auth]\nmode = '{mode}'\n{}{ROLES}", principals.concat())
}

async fn closed() -> Larder {
    with_key().config(&format!("{PORT}{}", auth("enforce"))).start().await
}

#[tokio::test]
async fn a_principal_with_the_verb_for_all_namespaces_may_use_the_port() {
    let larder = closed().await;
    let http = Http::to(&larder);
    let [operator, viewer, partial] = ["operator", "viewer", "partial"].map(token_of);
    for (token, expected) in [
        (TOKEN, 200),
        (operator.as_str(), 200),
        (viewer.as_str(), 403),
        (partial.as_str(), 403),
        (WRONG, 401),
        ("a.b.c", 401),
    ] {
        for path in ["/metrics", "/keys"] {
            let answer = http.bearer(path, token).await;
            assert_eq!(answer.status, expected, "{token} {path}: {answer:?}");
            let is_explained = answer.body.contains("does not have the verb admin");
            assert_eq!(is_explained, expected == 403, "{answer:?}");
        }
    }
    let form = http.get("/login").await;
    assert!(form.body.contains("or of a principal with the verb admin"), "{form:?}");
    let refused = send_login(&http, &viewer).await;
    assert!(refused.status == 403 && refused.cookie("larder_session").is_none(), "{refused:?}");
    assert!(refused.body.contains("does not have the verb admin"), "{refused:?}");

    let browser = Browser::log_in_with(&http, &operator).await;
    let kind = ("content-type", "application/cloudevents+json".to_owned());
    let mut headers = browser.headers();
    headers.push(kind.clone());
    let forged = http.send("POST", "/events", &headers, EVENT).await;
    assert_eq!(forged.status, 403, "{forged:?}");
    let mut headers = browser.headers_of_change();
    headers.push(kind);
    assert_eq!(http.send("POST", "/events", &headers, EVENT).await.status, 200);
    let metrics = browser.get("/metrics").await.body;
    let refusals = "larder_admin_refusals_total{reason=\"no_permission\"} 5\n";
    assert!(metrics.contains(refusals), "{metrics}");
    assert_eq!(browser.log_out().await.status, 303);
    assert_eq!(browser.get("/metrics").await.status, 401);
    let logs = larder.logs();
    assert!(!logs.contains(&operator) && !logs.contains(&viewer), "{logs}");
}

#[tokio::test]
async fn principals_are_of_no_use_unless_permissions_are_enforced() {
    let operator = token_of("operator");
    for mode in ["shadow", "off"] {
        let open = with_key().config(&auth(mode)).start().await;
        let http = Http::to(&open);
        assert_eq!(http.get("/login").await.status, 404, "{mode}");
        for token in [operator.as_str(), WRONG] {
            assert_eq!(http.bearer("/keys", token).await.status, 200, "{mode} {token}");
        }
        let closed = with_key().config(&format!("{PORT}{}", auth(mode))).start().await;
        let http = Http::to(&closed);
        assert_eq!(http.bearer("/metrics", &operator).await.status, 401, "{mode}");
        assert_eq!(send_login(&http, &operator).await.status, 401, "{mode}");
        assert_eq!(send_login(&http, TOKEN).await.status, 303, "{mode}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_slowed_down_without_a_token_of_the_port_too() {
    let larder = with_key().config(&auth("enforce")).start().await;
    let http = Http::to(&larder);
    for _ in 0..30 {
        let answer = http.bearer("/replicas", &token_of("viewer")).await;
        assert_eq!(answer.status, 403, "it is no wrong token: {answer:?}");
    }
    // The limit lasts for seconds: on a busy machine, it may be over between two requests.
    eventually("neither a right token nor a login is looked at", 3 * SOON, async || {
        for wrong in [WRONG, "a.b.c"].into_iter().cycle().take(1000) {
            let status = http.bearer("/replicas", wrong).await.status;
            assert!([401, 429].contains(&status), "{status}");
            if status == 429 {
                break;
            }
        }
        let right = http.bearer("/replicas", &token_of("operator")).await.status;
        let login = send_login(&http, &token_of("operator")).await;
        (right == 429 && login.status == 429).then_some(())
    })
    .await;
    assert_eq!(http.get("/replicas").await.status, 200, "without credentials");
    let other = http.from([127, 0, 0, 2]);
    assert_eq!(other.bearer("/replicas", &token_of("operator")).await.status, 200);
}

#[tokio::test]
async fn a_session_ends_when_its_token_expires() {
    let larder = closed().await;
    let http = Http::to(&larder);
    let token = minted(&larder, "operator", 4).await;
    let browser = Browser::log_in_with(&http, &token).await;
    assert_eq!(http.bearer("/metrics", &token).await.status, 200);
    eventually("it ends", SOON, async || {
        (browser.get("/metrics").await.status == 401).then_some(())
    })
    .await;
    assert_eq!((ended(&http, "expired").await, ended(&http, "idle").await), (1, 0));
    let expired = http.bearer("/metrics", &token).await;
    assert!(expired.status == 401 && expired.body.contains("has expired"), "{expired:?}");
    let login = send_login(&http, &token).await;
    assert!(login.status == 401 && login.body.contains("has expired"), "{login:?}");
}

#[tokio::test]
async fn a_reload_ends_the_sessions_whose_token_is_no_longer_valid() {
    const NAMES: [&str; 3] = ["removed", "rotated", "demoted"];
    let config = |principals: &[String]| {
        format!("token = '${{env:TOKEN}}'\n[auth]\n{}{ROLES}", principals.concat())
    };
    let all = NAMES.map(|name| principal(name, "operator"));
    let first = format!("[admin]\n{}", config(&all));
    let larder = with_key().config(&first).start().await;
    let http = Http::to(&larder);
    let mut sessions = vec![Browser::log_in(&http).await];
    for name in NAMES {
        sessions.push(Browser::log_in_with(&http, &token_of(name)).await);
    }
    sessions.push(Browser::log_in_with(&http, &minted(&larder, "removed", 600).await).await);
    let statuses = async || {
        let mut statuses = Vec::new();
        for session in &sessions {
            statuses.push(session.get("/metrics").await.status);
        }
        statuses
    };
    reload(&larder, &format!("session_ttl = '1h'\n{}", config(&all)), 1).await;
    assert_eq!(statuses().await, [200; 5], "no credential has changed");

    let [removed, rotated, demoted] = all;
    let next = principal("next", "operator");
    reload(&larder, &config(&[removed, rotated.clone(), demoted.clone(), next]), 2).await;
    assert_eq!(statuses().await, [200, 200, 200, 200, 401], "a token with its own permissions");
    reload(&larder, &config(&[rotated.clone(), demoted.clone()]), 3).await;
    assert_eq!(statuses().await, [200, 401, 200, 200, 401]);
    let (old, new) = (token_of("rotated"), token_of("new"));
    let rotated = rotated.replace(&digest(&old), &digest(&new));
    reload(&larder, &config(&[rotated.clone(), demoted]), 4).await;
    assert_eq!(statuses().await, [200, 401, 401, 200, 401]);
    assert_eq!(http.bearer("/metrics", &new).await.status, 200);
    let last = [rotated, principal("demoted", "partial")];
    reload(&larder, &config(&last), 5).await;
    assert_eq!(statuses().await, [200, 401, 401, 401, 401]);
    assert_eq!(ended(&http, "reload").await, 4);
    assert_eq!(http.bearer("/metrics", &token_of("demoted")).await.status, 403);

    // Other tokens of the port end only their own sessions.
    let session = Browser::log_in_with(&http, &new).await;
    reload(&larder, &config(&last).replace("TOKEN", "OTHER"), 6).await;
    assert_eq!(statuses().await, [401; 5]);
    assert_eq!(session.get("/metrics").await.status, 200);
}
