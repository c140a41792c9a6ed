//! The login, the logout, and forged requests.

use std::{fs, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::Value;

use super::{Answer, Browser, Http, SECRET, TOKEN, WRONG, builder, send_login, server};
use crate::support::{
    tls::write_certificates,
    wait::{SOON, eventually},
};

const EVENT: &str = r#"{"specversion":"1.0","type":"sale","id":"1","source":"/s"}"#;

/// Headers that protect a page.
fn assert_protected(answer: &Answer) {
    let policy = answer.header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    assert!(!answer.body.contains("<script"), "{}", answer.body);
}

#[tokio::test]
async fn a_person_logs_in_and_out() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let page = http.get("/login").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_protected(&page);
    let (cookie, attributes) = page.cookie("larder_login").unwrap();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Strict", "Path=/"]);
    let secret = page.field("csrf");
    assert_eq!(cookie, format!("larder_login={secret}"));
    // A second page keeps the form of the first one valid.
    let again = http.send("GET", "/login", &[("cookie", cookie.clone())], "").await;
    assert_eq!(again.field("csrf"), secret);

    let headers = [("cookie", cookie), ("origin", http.origin())];
    let wrong = http.form("/login", &headers, &[("csrf", &secret), ("token", WRONG)]).await;
    assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, "Bearer"));
    assert!(wrong.body.contains("The token is not valid.") && !wrong.body.contains(WRONG));
    assert_protected(&wrong);
    let fields = [("csrf", secret.as_str()), ("token", TOKEN)];
    let login = http.form("/login", &headers, &fields).await;
    assert_eq!((login.status, login.header("location")), (303, "/"));
    let (cookie, attributes) = login.cookie("larder_session").unwrap();
    assert_eq!(attributes, ["HttpOnly", "SameSite=Strict", "Path=/"]);

    let headers = [("cookie", cookie.clone())];
    let home = http.send("GET", "/", &headers, "").await;
    assert!(home.status == 200 && home.body.contains("action=\"/logout\""), "{home:?}");
    let metrics = http.send("GET", "/metrics", &headers, "").await;
    assert!(metrics.body.contains("\nlarder_admin_sessions 1\n"), "{metrics:?}");
    let login = http.send("GET", "/login", &headers, "").await;
    assert_eq!((login.status, login.header("location")), (303, "/"), "there is a session");

    let csrf = home.field("csrf");
    let headers = [("cookie", cookie.clone()), ("origin", http.origin())];
    let logout = http.form("/logout", &headers, &[("csrf", &csrf)]).await;
    assert_eq!((logout.status, logout.header("location")), (303, "/login"));
    let (removed, attributes) = logout.cookie("larder_session").unwrap();
    assert_eq!(removed, "larder_session=");
    assert!(attributes.contains(&"Max-Age=0".to_owned()), "{attributes:?}");
    assert_eq!(http.send("GET", "/metrics", &headers, "").await.status, 401);
    let logs = larder.logs();
    let secrets = [TOKEN, WRONG, &secret, &csrf, cookie.split('=').nth(1).unwrap()];
    assert!(secrets.iter().all(|secret| !logs.contains(secret)), "{logs}");
}

#[tokio::test]
async fn browsers_without_a_session_are_sent_to_the_login() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let accept = |types: &str| [("accept", types.to_owned())];
    for path in ["/", "/metrics", "/nothing"] {
        let answer = http.send("GET", path, &accept("text/html,*/*;q=0.8"), "").await;
        assert_eq!((answer.status, answer.header("location")), (303, "/login"), "{path}");
        assert_eq!(http.send("GET", path, &accept("*/*"), "").await.status, 401, "{path}");
    }
    assert_eq!(http.send("POST", "/events", &accept("text/html"), "").await.status, 401);
    let stale = [("accept", "text/html".to_owned()), ("cookie", "larder_session=x".to_owned())];
    assert_eq!(http.send("GET", "/", &stale, "").await.status, 303);
    // A wrong token is not helped by a session.
    let browser = Browser::log_in(&http).await;
    let mut headers = browser.headers();
    headers.push(("authorization", format!("Bearer {WRONG}")));
    assert_eq!(http.send("GET", "/metrics", &headers, "").await.status, 401);
}

#[tokio::test]
async fn a_forged_login_is_refused_and_its_token_not_tried() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let (cookie, own) = (format!("larder_login={SECRET}"), http.origin());
    let other = SECRET.replace('0', "1");
    let text = |text: &str| text.to_owned();
    for (headers, secret) in [
        (vec![("cookie", cookie.clone())], SECRET),
        (vec![("cookie", cookie.clone()), ("origin", text("http://evil.example"))], SECRET),
        (vec![("cookie", cookie.clone()), ("origin", text("null"))], SECRET),
        (vec![("cookie", cookie.clone()), ("sec-fetch-site", text("cross-site"))], SECRET),
        (
            vec![
                ("cookie", cookie.clone()),
                ("origin", own.clone()),
                ("sec-fetch-site", text("same-site")),
            ],
            SECRET,
        ),
        (vec![("origin", own.clone())], SECRET),
        (vec![("cookie", cookie.clone()), ("origin", own.clone())], other.as_str()),
        (vec![("cookie", cookie.clone()), ("origin", own.clone())], ""),
        (vec![("cookie", text("larder_login=")), ("origin", own.clone())], ""),
    ] {
        // More often than wrong tokens are looked at.
        for token in [WRONG, WRONG, TOKEN] {
            let fields = [("csrf", secret), ("token", token)];
            let answer = http.form("/login", &headers, &fields).await;
            assert_eq!(answer.status, 403, "{headers:?} {answer:?}");
            assert!(answer.cookie("larder_session").is_none());
            assert!(answer.body.contains("The form is out of date"), "{answer:?}");
        }
    }
    let headers = [("cookie", cookie), ("origin", own)];
    let answer = http.send("POST", "/login", &headers, "{}").await;
    assert_eq!(answer.status, 400, "no form");
    let long = "x".repeat(17 * 1024);
    let answer = http.form("/login", &headers, &[("csrf", SECRET), ("token", &long)]).await;
    assert_eq!(answer.status, 400, "a long form");
    assert_eq!(send_login(&http, TOKEN).await.status, 303);
    let metrics = http.bearer("/metrics", TOKEN).await.body;
    let none = "larder_admin_refusals_total{reason=\"unknown_token\"} 0\n";
    assert!(metrics.contains(none), "{metrics}");
}

#[tokio::test]
async fn a_session_changes_things_only_by_its_own_pages() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let browser = Browser::log_in(&http).await;
    let kind = ("content-type", "application/cloudevents+json".to_owned());
    let (cookie, own) = (("cookie", browser.cookie.clone()), ("origin", http.origin()));
    let csrf = ("x-csrf-token", browser.csrf.clone());
    let of_another = Browser::log_in(&http).await.csrf;
    let site = |site: &str| ("sec-fetch-site", site.to_owned());
    for (headers, expected) in [
        (vec![], 403),
        (vec![own.clone()], 403),
        (vec![csrf.clone()], 403),
        (vec![own.clone(), ("x-csrf-token", of_another)], 403),
        (vec![own.clone(), ("x-csrf-token", String::new())], 403),
        (vec![csrf.clone(), ("origin", "http://evil.example".to_owned())], 403),
        (vec![csrf.clone(), ("origin", "null".to_owned())], 403),
        (vec![csrf.clone(), own.clone(), site("cross-site")], 403),
        (vec![csrf.clone(), site("none")], 403),
        (vec![csrf.clone(), own.clone()], 200),
        (vec![csrf.clone(), site("same-origin")], 200),
        (vec![csrf.clone(), own.clone(), site("same-origin")], 200),
    ] {
        let mut all = vec![kind.clone(), cookie.clone()];
        all.extend(headers.clone());
        let answer = http.send("POST", "/events", &all, EVENT).await;
        assert_eq!(answer.status, expected, "{headers:?} {answer:?}");
    }
    // The token alone is nothing without the cookie.
    let answer = http.send("POST", "/events", &[kind, csrf, own.clone()], EVENT).await;
    assert_eq!(answer.status, 401);
    let forged = http.form("/logout", &[cookie.clone(), own], &[("csrf", SECRET)]).await;
    assert_eq!(forged.status, 403);
    assert_eq!(browser.get("/").await.status, 200, "it goes on");
    assert_eq!(browser.log_out().await.status, 303);
}

#[tokio::test]
async fn with_tls_cookies_are_of_this_host_and_sent_by_tls_only() {
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let config = format!(
        "[admin]\ntoken = '${{env:TOKEN}}'\n[admin.tls]\ncert = '{}'\nkey = '{}'\n",
        path("server.pem"),
        path("server.key")
    );
    let larder = builder().config(&config).start().await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("authority.pem")).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let http = Http::to(&larder).with_tls(Arc::new(client));
    assert_eq!(http.get("/metrics").await.status, 401);
    let secure = ["HttpOnly", "SameSite=Strict", "Secure", "Path=/"];
    let (cookie, attributes) = http.get("/login").await.cookie("larder_login").unwrap();
    assert!(cookie.starts_with("__Host-larder_login="), "{cookie}");
    assert_eq!(attributes, secure);
    let (cookie, attributes) = send_login(&http, TOKEN).await.cookie("larder_session").unwrap();
    assert!(cookie.starts_with("__Host-larder_session="), "{cookie}");
    assert_eq!(attributes, secure);
    let plain = cookie.trim_start_matches("__Host-").to_owned();
    assert_eq!(http.send("GET", "/", &[("cookie", plain)], "").await.status, 401);

    let browser = Browser::log_in(&http).await;
    let mut headers = browser.headers_of_change();
    headers.push(("content-type", "application/cloudevents+json".to_owned()));
    assert_eq!(http.send("POST", "/events", &headers, EVENT).await.status, 200);
    headers[1].1 = http.origin().replace("https", "http");
    assert_eq!(http.send("POST", "/events", &headers, EVENT).await.status, 403);
    assert_eq!(browser.log_out().await.status, 303);
}

#[tokio::test]
async fn the_audit_log_has_logins_logouts_and_refusals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let config = format!("[admin]\ntoken = '${{env:TOKEN}}'\n[audit]\nto = '{}'\n", path.display());
    let larder = builder().config(&config).start().await;
    let http = Http::to(&larder);
    http.get("/metrics").await;
    http.bearer("/metrics", WRONG).await;
    send_login(&http, WRONG).await;
    let browser = Browser::log_in(&http).await;
    let kind = ("content-type", "application/cloudevents+json".to_owned());
    let mut headers = browser.headers_of_change();
    headers.push(kind.clone());
    http.send("POST", "/events", &headers, EVENT).await;
    let bearer = [kind, ("authorization", format!("Bearer {TOKEN}"))];
    http.send("POST", "/events", &bearer, EVENT).await;
    browser.log_out().await;
    let expected = [
        ("refused", "GET /metrics", "", "no_credentials", "UNAUTHENTICATED"),
        ("refused", "GET /metrics", "", "unknown_token", "UNAUTHENTICATED"),
        ("refused", "POST /login", "", "unknown_token", "UNAUTHENTICATED"),
        ("admin", "POST /login", "token", "", "OK"),
        ("event", "POST /events", "session", "", "OK"),
        ("event", "POST /events", "token", "", "OK"),
        ("admin", "POST /logout", "session", "", "OK"),
    ];
    let text = eventually("all of them are written", SOON, async || {
        let text = fs::read_to_string(&path).unwrap_or_default();
        // The start is a record as well.
        (text.matches('\n').count() == expected.len() + 1).then_some(text)
    })
    .await;
    let records = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    for (record, expected) in records.zip(expected) {
        let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        let found = ["event", "action", "identity", "reason", "code"].map(field);
        assert_eq!(found, <[&str; 5]>::from(expected), "{record}");
        assert!(field("peer").starts_with("127.0.0.1:"), "{record}");
    }
    assert!(![TOKEN, WRONG, &browser.csrf].iter().any(|secret| text.contains(secret)), "{text}");
}
