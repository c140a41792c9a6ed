//! Client certificates on the admin port.

use super::pki::{BOTH, Pki, display};
use crate::support::{
    client::{set, text},
    http::Http,
    server::Larder,
};

const CALLERS: &str = "[auth]\nanonymous = ['all']\n\
    [auth.principals.operator]\ncertificates = ['operator.internal']\nroles = ['operator']\n\
    [auth.principals.viewer]\ncertificates = ['viewer.internal']\nroles = ['viewer']\n\
    [auth.roles.all]\nallow = [{ verbs = ['*'], namespaces = ['*'] }]\n\
    [auth.roles.operator]\nallow = [{ verbs = ['admin'], namespaces = ['*'] }]\n\
    [auth.roles.viewer]\nallow = [{ verbs = ['stats'], namespaces = ['*'] }]\n";
const TOKEN: &str = "test-token-of-the-admin-port-0123456789";
const KEYS: &str = "/keys?namespace=ns";

fn fields(csrf: &str) -> [(&'static str, &str); 4] {
    [("action", "delete"), ("namespace", "ns"), ("key", "secret-key"), ("csrf", csrf)]
}

async fn server(pki: &Pki, admin: &str) -> Larder {
    pki.write_pair("server", &pki.sign("localhost", -1..60));
    let config = format!("[admin]\n{admin}\n{CALLERS}");
    let builder = pki.server(Larder::memory().config(&config), "ADMIN__TLS").env("TOKEN", TOKEN);
    let builder = builder.env("LARDER_ADMIN__TLS__CLIENT_CA", display(&pki.path("ca.crt")));
    builder.env("LARDER_ADMIN__TLS__CLIENT_CERT", "optional").start().await
}

#[tokio::test]
async fn a_certificate_of_an_operator_opens_pages_without_a_token_of_the_port() {
    let pki = Pki::new();
    let larder = server(&pki, "").await;
    let cache = larder.client().await;
    cache.set(set("secret-key", text("v"))).await.unwrap();
    let with = |name: Option<&str>| {
        let pair = name.map(|name| pki.sign(name, -1..10));
        Http::to(&larder).with_tls(pki.client(pair.as_ref(), BOTH, &[]))
    };
    for name in [None, Some("viewer.internal"), Some("other.internal")] {
        let http = with(name);
        assert_eq!(http.get("/replicas").await.status, 200, "{name:?}");
        assert_eq!(http.get(KEYS).await.status, 403, "{name:?}");
        let named = http.with_host("larder.example").get("/replicas").await;
        assert_eq!(named.status, 403, "{name:?}: {named:?}");
    }
    let metrics = with(None).get("/metrics").await.body;
    for refused in ["no_permission\"} 1", "no_credentials\"} 2"] {
        assert!(metrics.contains(&format!("reason=\"{refused}\n")), "{refused}: {metrics}");
    }
    assert!(larder.logs().contains("\"principal\":\"viewer\""), "{}", larder.logs());
    let http = with(Some("operator.internal"));
    let named = http.with_host("larder.example");
    let language = [("accept-language", "en".to_owned())];
    assert_eq!(named.send("GET", "/metrics", &language, "").await.status, 200);
    let keys = http.with_host("larder.example").get(KEYS).await;
    assert!(keys.status == 200 && keys.body.contains("secret-key"), "{keys:?}");
    assert!(!keys.body.contains("/logout"), "{keys:?}");
    let confirm = "/confirm?action=delete&namespace=ns&key=secret-key";
    let csrf = http.get(confirm).await.field("csrf");
    let own = vec![("origin", http.origin())];
    for (headers, csrf) in [(own.clone(), ""), (own.clone(), "x"), (vec![], csrf.as_str())] {
        let forged = http.form("/actions", &headers, &fields(csrf)).await;
        assert_eq!(forged.status, 403, "{forged:?}");
    }
    assert!(cache.read("secret-key").await.is_some());
    let done = http.form("/actions", &own, &fields(&csrf)).await;
    assert_eq!(done.status, 303, "{done:?}");
    assert!(cache.read("secret-key").await.is_none());
}

#[tokio::test]
async fn a_certificate_is_no_token_of_the_port() {
    let pki = Pki::new();
    let larder = server(&pki, "token = '${env:TOKEN}'").await;
    let pair = pki.sign("operator.internal", -1..10);
    let http = Http::to(&larder).with_tls(pki.client(Some(&pair), BOTH, &[]));
    assert_eq!(http.get(KEYS).await.status, 401);
    assert_eq!(http.bearer(KEYS, TOKEN).await.status, 200);
}
