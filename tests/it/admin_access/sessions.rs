//! How sessions end.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{Browser, Http, TOKEN, send_login, server};
use crate::support::{
    server::Larder,
    wait::{SOON, eventually, throughout},
};

/// Number of sessions that have ended for this reason.
pub(super) async fn ended(http: &Http, reason: &str) -> u64 {
    let metrics = http.bearer("/metrics", TOKEN).await;
    assert_eq!(metrics.status, 200);
    let name = format!("larder_admin_sessions_ended_total{{reason=\"{reason}\"}} ");
    metrics.body.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

async fn cookie(http: &Http) -> [(&'static str, String); 1] {
    let login = send_login(http, TOKEN).await;
    [("cookie", login.cookie("larder_session").expect("a cookie").0)]
}

#[tokio::test]
async fn a_session_expires_while_it_is_used() {
    let larder = server("session_ttl = '2s'\n").await;
    let http = Http::to(&larder);
    let cookie = cookie(&http).await;
    eventually("it expires", SOON, async || {
        (http.send("GET", "/", &cookie, "").await.status == 401).then_some(())
    })
    .await;
    assert_eq!((ended(&http, "expired").await, ended(&http, "idle").await), (1, 0));
}

#[tokio::test]
async fn a_session_without_requests_ends() {
    let larder = server("session_idle = '1s'\n").await;
    let http = Http::to(&larder);
    let cookie = cookie(&http).await;
    throughout(Duration::from_millis(1100), async || {
        assert_eq!(http.bearer("/metrics", TOKEN).await.status, 200);
    })
    .await;
    assert_eq!(http.send("GET", "/", &cookie, "").await.status, 401);
    assert_eq!((ended(&http, "idle").await, ended(&http, "expired").await), (1, 0));
}

#[tokio::test]
async fn the_oldest_session_ends_for_one_above_the_limit() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let (first, second) = (cookie(&http).await, cookie(&http).await);
    for _ in 2..256 {
        cookie(&http).await;
    }
    for cookie in [&first, &second] {
        assert_eq!(http.send("GET", "/", cookie, "").await.status, 200);
    }
    let last = cookie(&http).await;
    assert_eq!(http.send("GET", "/", &first, "").await.status, 401);
    for cookie in [&second, &last] {
        assert_eq!(http.send("GET", "/", cookie, "").await.status, 200);
    }
    assert_eq!(ended(&http, "displaced").await, 1);
}

#[tokio::test]
async fn a_login_ends_the_session_before_it() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let before = Browser::log_in(&http).await;
    let cookie = format!("{}; larder_login={}", before.cookie, super::SECRET);
    let headers = [("cookie", cookie), ("origin", http.origin())];
    let login = http.form("/login", &headers, &[("csrf", super::SECRET), ("token", TOKEN)]).await;
    let after = login.cookie("larder_session").unwrap().0;
    assert_ne!(after, before.cookie);
    assert_eq!(before.get("/").await.status, 401);
    assert_eq!(http.send("GET", "/", &[("cookie", after)], "").await.status, 200);
}

/// Applies `[admin]` and the tables after it, as the reload with this number.
pub(super) async fn reload(larder: &Larder, admin: &str, count: usize) {
    larder.rewrite_config(&format!("[admin]\n{admin}\n"));
    larder.signal(Signal::SIGHUP);
    eventually("the configuration is applied", SOON, async || {
        (larder.logs().matches("was read again").count() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn other_tokens_end_all_sessions() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let sessions = [Browser::log_in(&http).await, Browser::log_in(&http).await];
    reload(&larder, "token = '${env:TOKEN}'\nsession_ttl = '1h'", 1).await;
    for session in &sessions {
        assert_eq!(session.get("/").await.status, 200, "the token is the same");
    }
    reload(&larder, "token = ['${env:TOKEN}', '${env:OTHER}']", 2).await;
    for session in &sessions {
        assert_eq!(session.get("/").await.status, 401);
    }
    assert_eq!(ended(&http, "reload").await, 2);
}
