//! The audit log of callers with certificates, and of certificates that are replaced.

use serde_json::Value;

use super::{
    handshakes::line,
    pki::{Pki, display},
};
use crate::support::{client::delete, server::Larder};

const CALLERS: &str = "[audit]\nto = \"stderr\"\n[auth.principals.checkout]\n\
    certificates = [\"checkout.internal\"]\nroles = [\"all\"]\n\
    [auth.roles.all]\nallow = [{ verbs = [\"*\"], namespaces = [\"*\"] }]\n";

async fn record(larder: &Larder, parts: &[&str]) -> Value {
    serde_json::from_str(&line(larder, parts).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_identify_callers_and_their_replacement_is_recorded() {
    let pki = Pki::new();
    pki.write_pair("server", &pki.sign("localhost", -1..60));
    let builder = pki.server(Larder::memory().config(CALLERS), "TLS");
    let builder = builder.env("LARDER_TLS__CLIENT_CA", display(&pki.path("ca.crt")));
    let larder = builder.env("LARDER_TLS__CLIENT_CERT", "optional").start().await;
    let pair = pki.sign("checkout.internal", -1..10);
    let cache = pki.connect(&larder, Some(&pair)).await.unwrap();
    cache.delete(delete("k")).await.unwrap();
    let deleted = record(&larder, &["\"event\":\"delete\""]).await;
    let caller = [&deleted["principal"], &deleted["identity"]];
    assert_eq!(caller, ["checkout", "certificate"]);
    let stranger = pki.connect(&larder, None).await.unwrap();
    stranger.delete(delete("k")).await.unwrap_err();
    let refused = record(&larder, &["\"event\":\"refused\""]).await;
    assert_eq!(refused["reason"], "NO_CREDENTIALS");

    pki.write_pair("server", &pki.sign("localhost", -1..60));
    let replaced = record(&larder, &["\"action\":\"certificate\"", "\"code\":\"OK\""]).await;
    assert_eq!([&replaced["event"], &replaced["certificate"]], ["reload", "grpc"]);
    pki.write("server.crt", "no certificate");
    let failed = ["\"action\":\"certificate\"", "\"code\":\"FAILED_PRECONDITION\""];
    assert!(record(&larder, &failed).await["error"].is_string());
}
