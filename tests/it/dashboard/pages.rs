//! Every page, and the headers that protect it.

use nix::sys::signal::Signal;

use super::{Http, PAGES, address, page};
use crate::support::{
    client::{delete, json, set, text},
    origin::Origin,
    server::Larder,
    targets::{invalidate, tags},
    wait::{SOON, eventually},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' \
                      data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

on_both_stores!(every_page_is_there_and_protected, |env| {
    for index in 0..200 {
        let key = format!("k{}", index % 10);
        env.cache.put(&key, "v").await;
        env.cache.read(&key).await;
        env.cache.read(&format!("missing{index}")).await;
    }
    let http = Http::to(&env.larder);
    let entry = address("/entry", &[("namespace", "ns"), ("key", "k1")]);
    let keys = address("/keys", &[("namespace", "ns"), ("glob", "k*")]);
    let further = ["/namespaces/ns", "/namespaces/ns?span=7d", &entry, &keys];
    for path in PAGES.into_iter().chain(further) {
        let answer = http.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("content-security-policy"), POLICY, "{path}");
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        let body = &answer.body;
        // The policy would refuse a style or a script within the page.
        for unwanted in [" style=", "<style", "javascript:", " onclick", "http://", "https://"] {
            assert!(!body.contains(unwanted), "{path}: {unwanted}");
        }
        assert_eq!(body.matches("<script").count(), 1, "{path}");
        assert!(body.contains("<script src=\"/assets/dashboard.js\" defer>"), "{path}");
    }
});

on_both_stores!(the_overview_shows_what_the_cache_does, |env| {
    for index in 0..30 {
        env.cache.put(&format!("k{index}"), "v").await;
    }
    for index in 0..40 {
        env.cache.read(&format!("k{index}")).await;
    }
    let overview = page(&env, "/").await;
    for expected in ["Hit rate", "75.0 %", "p99 of a hit", "Computations saved", "Needs attention"]
    {
        assert!(overview.contains(expected), "{expected}: {overview}");
    }
    assert!(overview.contains("href=\"/namespaces/ns?span=1h\""), "{overview}");
    // The fleet has counted for seconds: the time before would only make the rates smaller, and
    // there is no other time to compare with.
    for path in ["/", "/?span=7d"] {
        let young = page(&env, path).await;
        let mean = young.split("mean ").nth(1).and_then(|text| text.split("/s").next()).unwrap();
        assert!(mean.parse::<f64>().unwrap() > 0.4, "{path}: {mean}");
        assert!(!young.contains("as in 24 h") && !young.contains("as in all time"), "{young}");
    }
    let namespace = page(&env, "/namespaces/ns").await;
    assert!(namespace.contains("75.0 %") && namespace.contains("stale_while_revalidate"));
    assert!(namespace.contains("all 30 entries"), "{namespace}");
});

on_both_stores!(a_namespace_of_which_nothing_is_known_is_not_there, |env| {
    let shown = async || Http::to(&env.larder).get("/namespaces/ns").await;
    let unknown = shown().await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    assert!(unknown.body.contains("no entries, no counts and no configuration"), "{unknown:?}");
    env.cache.read("missing").await;
    assert_eq!(shown().await.status, 200, "it was used");
});

on_both_stores!(findings_of_the_analysis_are_on_all_pages, |env| {
    for index in 0..1000 {
        env.cache.read(&format!("missing{index}")).await;
    }
    let target = "/analysis?namespace=ns#ns.low_hit_rate";
    for path in ["/", "/namespaces"] {
        let shown = eventually("the analysis is made", SOON, async || {
            let body = page(&env, path).await;
            body.contains(target).then_some(body)
        })
        .await;
        let chip = format!("<a class=\"chip mid\" href=\"{target}\" title=\"Warning\">");
        assert!(shown.contains(&chip), "{shown}");
    }
    let overview = page(&env, "/").await;
    let item = "<span class=\"unseen\">Warning: </span><a href=\"/namespaces/ns\">ns</a>: \
                low hit rate";
    assert!(overview.contains(item), "{overview}");
    assert!(overview.contains("the cache answers 0.0 % of 1.0 k reads"), "{overview}");
    let analysis = page(&env, "/analysis?namespace=ns").await;
    assert!(analysis.contains("<li id=\"ns.low_hit_rate\">"), "{analysis}");
    assert!(analysis.contains("<b>Warning</b>"), "{analysis}");
});

on_both_stores!(an_entry_shows_why_a_read_is_answered_as_it_is, |env| {
    let shown = async |key: &str| {
        page(&env, &address("/entry", &[("namespace", "ns"), ("key", key)])).await
    };
    env.cache.set(set("k", json("{\"a\":1}"))).await.unwrap();
    let fresh = shown("k").await;
    assert!(fresh.contains("Fresh: a read returns it"), "{fresh}");
    assert!(fresh.contains("{&quot;a&quot;:1}") && fresh.contains("JSON"), "{fresh}");
    assert!(shown("missing").await.contains("There is no entry"));
    let mut request = set("tagged", text("v"));
    request.tags = vec!["red".to_owned()];
    env.cache.set(request).await.unwrap();
    invalidate(&env.cache, &[tags(&["red"])]).await;
    let banned = shown("tagged").await;
    let is_gone = banned.contains("There is no entry");
    assert!(is_gone || banned.contains("invalidated after it was written"), "{banned}");
});

#[tokio::test]
async fn an_entry_of_another_source_is_not_shown_as_old() {
    let origin = Origin::start().await;
    let config = |path: &str| format!("[namespaces.ns.origin]\nurl = '{}'\n", origin.url(path));
    let larder = Larder::memory().config(&config("/a/{key}")).start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    cache.fetched("k").await;
    let entry = address("/entry", &[("namespace", "ns"), ("key", "k")]);
    assert!(http.get(&entry).await.body.contains("Fresh: a read returns it"));
    larder.rewrite_config(&config("/b/{key}"));
    larder.signal(Signal::SIGHUP);
    let shown = eventually("the other origin applies", SOON, async || {
        let body = http.get(&entry).await.body;
        (!body.contains("Fresh: a read returns it")).then_some(body)
    })
    .await;
    assert!(shown.contains("It was fetched from another URL"), "{shown}");
    assert!(!shown.contains("Its TTL ended"), "{shown}");
}

/// More records than two pages have.
const DELETES: usize = 450;

#[tokio::test]
async fn older_records_of_the_audit_log_are_on_further_pages() {
    let audit = [("LARDER_AUDIT__TO", "stderr"), ("LARDER_AUDIT__KEYS", "plain")];
    let larder = Larder::memory().envs(&audit).start().await;
    let (http, cache) = (Http::to(&larder), larder.client().await);
    for index in 0..DELETES {
        cache.delete(delete(&format!("key-{index:03}"))).await.unwrap();
    }
    eventually("all are recorded", SOON, async || {
        http.get("/audit?event=delete").await.body.contains("key-449").then_some(())
    })
    .await;
    let (mut path, mut seen) = ("/audit?event=delete".to_owned(), Vec::new());
    for expected in [200, 200, 50] {
        let body = http.get(&path).await.body;
        let keys = body.split("<bdi>key-").skip(1).filter_map(|part| part.get(..3));
        let before = seen.len();
        seen.extend(keys.map(|key| key.parse::<usize>().unwrap()));
        assert_eq!(seen.len() - before, expected, "{path}: {body}");
        assert_eq!(body.contains("Newest records"), before > 0, "{path}: {body}");
        let next = body.split("rel=\"next\" href=\"").nth(1);
        path = next.and_then(|next| next.split('"').next()).unwrap_or("").replace("&amp;", "&");
    }
    assert!(seen.iter().copied().eq((0..DELETES).rev()), "{seen:?}");
    let malformed = http.get("/audit?before=x").await;
    assert_eq!(malformed.status, 400, "{malformed:?}");
}

#[tokio::test]
async fn files_of_the_pages_are_in_the_binary() {
    let larder = Larder::memory().start().await;
    let http = Http::to(&larder);
    for (path, kind) in [
        ("/assets/dashboard.css", "text/css; charset=utf-8"),
        ("/assets/dashboard.js", "text/javascript; charset=utf-8"),
        ("/assets/icon.svg", "image/svg+xml"),
    ] {
        let file = http.get(path).await;
        assert_eq!((file.status, file.header("content-type")), (200, kind), "{path}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        assert!(!file.body.contains("@import") && !file.body.contains("url(http"), "{path}");
    }
    assert_eq!(http.get("/assets/other.css").await.status, 404);
    assert_eq!(http.get("/jobs/1").await.status, 404);
    assert_eq!(http.get("/live?page=nothing").await.status, 404);
}
