//! Handshakes: versions, ALPN, client certificates, peers without TLS.

use std::time::{Duration, Instant};

use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::pki::{BOTH, Pki, display, handshake};
use crate::support::{
    client::{Cache, get},
    server::{Larder, run},
    wait::{SOON, eventually},
};

/// Waits for a log line that contains all of `parts`.
pub(super) async fn line(larder: &Larder, parts: &[&str]) -> String {
    eventually(&format!("a log line with {parts:?}"), 3 * SOON, async || {
        let logs = larder.logs();
        let found = logs.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        found.map(str::to_owned)
    })
    .await
}

/// Sum of the series of a metric with a label.
pub(super) async fn metric(larder: &Larder, name: &str, label: &str) -> f64 {
    let answer = larder.admin("/metrics").await;
    let series = answer.body.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
    let labelled = series.filter(|line| line.contains(label));
    labelled.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Whether a gRPC client can make a call.
async fn calls(cache: Result<Cache, tonic::transport::Error>) -> bool {
    match cache {
        Ok(cache) => cache.get(get("k")).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_oldest_can_be_set() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let stream = handshake(&larder, &pki.client(None, &[version], &["h2"])).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(name));
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    }
    let cache = pki.connect(&larder, None).await.unwrap();
    cache.put("k", "v").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));

    let larder = pki.start(&[("LARDER_TLS__MIN_VERSION", "1.3")]).await;
    assert!(handshake(&larder, &pki.client(None, &[&TLS12], &["h2"])).await.is_err());
    assert!(handshake(&larder, &pki.client(None, &[&TLS13], &["h2"])).await.is_ok());
    line(&larder, &["a TLS handshake failed", "\"reason\":\"incompatible\"", "tls.min_version"])
        .await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused_by_alpn() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    assert!(handshake(&larder, &pki.client(None, BOTH, &["http/1.1"])).await.is_err());
    line(&larder, &["a TLS handshake failed", "\"reason\":\"alpn\"", "ALPN h2"]).await;
    // Without ALPN the first bytes decide.
    let stream = handshake(&larder, &pki.client(None, BOTH, &[])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let mut stream = handshake(&larder, &pki.client(None, BOTH, &[])).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    line(&larder, &["does not speak HTTP/2", "HTTP/1"]).await;
}

#[tokio::test]
async fn certificates_of_clients_are_required_or_optional() {
    let pki = Pki::new();
    let ca = display(&pki.path("ca.crt"));
    let valid = pki.sign("checkout", -1..10);
    let expired = pki.sign("checkout", -10..-1);
    // By an authority of the same name.
    let unknown = Pki::new().sign("checkout", -1..10);
    for (mode, without) in [("required", false), ("optional", true)] {
        let larder =
            pki.start(&[("LARDER_TLS__CLIENT_CA", &ca), ("LARDER_TLS__CLIENT_CERT", mode)]).await;
        assert_eq!(calls(pki.connect(&larder, None).await).await, without, "{mode}");
        assert!(calls(pki.connect(&larder, Some(&valid)).await).await, "{mode}");
        assert!(!calls(pki.connect(&larder, Some(&expired)).await).await, "{mode}");
        assert!(!calls(pki.connect(&larder, Some(&unknown)).await).await, "{mode}");
        for reason in ["expired_certificate", "unknown_authority"] {
            line(&larder, &["a TLS handshake failed", &format!("\"reason\":\"{reason}\"")]).await;
        }
        let label = "result=\"expired_certificate\"";
        assert!(metric(&larder, "larder_tls_handshakes_total", label).await >= 1.0, "{mode}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_revoked_is_refused_from_the_reload_on() {
    let pki = Pki::new();
    let (ca, crl) = (display(&pki.path("ca.crt")), display(&pki.path("revoked.pem")));
    let (kept, revoked) = (pki.sign("kept", -1..10), pki.sign("revoked", -1..10));
    pki.write("revoked.pem", &pki.revocation_list(&[]));
    let variables = [
        ("LARDER_TLS__CLIENT_CA", ca.as_str()),
        ("LARDER_TLS__CLIENT_CERT", "required"),
        ("LARDER_TLS__CRL", &crl),
    ];
    let larder = pki.start(&variables).await;
    let open = pki.connect(&larder, Some(&revoked)).await.unwrap();
    assert!(open.get(get("k")).await.is_ok());
    // A session that could be resumed does not help.
    let config = pki.client(Some(&revoked), &[&TLS13], &["h2"]);
    let mut resumable = handshake(&larder, &config).await.unwrap();
    resumable.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    resumable.read_u8().await.unwrap();

    pki.write("revoked.pem", &pki.revocation_list(&[&revoked]));
    line(&larder, &["a certificate was replaced", "\"certificate\":\"grpc\""]).await;
    assert!(!calls(pki.connect(&larder, Some(&revoked)).await).await);
    let _ = handshake(&larder, &config).await;
    line(&larder, &["a TLS handshake failed", "\"reason\":\"revoked_certificate\"", "tls.crl"])
        .await;
    assert!(calls(pki.connect(&larder, Some(&kept)).await).await);
    // Open connections go on.
    assert!(open.get(get("k")).await.is_ok());
}

#[tokio::test]
async fn plain_text_on_a_tls_port_and_tls_on_a_plain_one_are_named_in_one_line() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    for _ in 0..3 {
        let mut plain = TcpStream::connect(larder.address()).await.unwrap();
        plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
    }
    let found = line(&larder, &["a peer does not speak TLS", "\"protocol\":\"HTTP/2\""]).await;
    assert!(found.contains("this port speaks TLS, as tls.cert is set"), "{found}");
    assert_eq!(larder.logs().matches("does not speak TLS").count(), 1);

    let larder = Larder::memory().start().await;
    for _ in 0..3 {
        assert!(handshake(&larder, &pki.client(None, BOTH, &["h2"])).await.is_err());
    }
    let found = line(&larder, &["does not speak HTTP/2", "\"protocol\":\"TLS\""]).await;
    assert!(found.contains("set tls.cert and tls.key ([tls])"), "{found}");
    assert_eq!(larder.logs().matches("does not speak HTTP/2").count(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_server_is_named() {
    let pki = Pki::new();
    let larder = pki.start(&[]).await;
    assert!(handshake(&larder, &Pki::new().client(None, BOTH, &["h2"])).await.is_err());
    line(&larder, &["a TLS handshake failed", "\"reason\":\"rejected\"", "must trust"]).await;
}

#[tokio::test]
async fn a_slow_handshake_ends_in_time_and_does_not_delay_others() {
    let pki = Pki::new();
    let larder = pki.start(&[("LARDER_TLS__HANDSHAKE_TIMEOUT", "5s")]).await;
    let begun = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut peer = TcpStream::connect(larder.address()).await.unwrap();
        peer.write_all(&[0x16, 3, 1, 1, 0, 1, 0]).await.unwrap();
        slow.push(peer);
    }
    assert!(calls(pki.connect(&larder, None).await).await);
    for mut peer in slow {
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(3 * SOON, peer.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "a handshake without an end is closed");
    }
    assert!(begun.elapsed() >= Duration::from_secs(4));
    line(&larder, &["a TLS handshake failed", "\"reason\":\"timeout\""]).await;
}

#[tokio::test]
async fn the_admin_port_has_tls_of_its_own() {
    let pki = Pki::new();
    pki.write_pair("server", &pki.sign("localhost", -1..60));
    let larder = pki.server(Larder::memory(), "ADMIN__TLS").start().await;
    // The gRPC port has none.
    assert!(larder.client().await.get(get("k")).await.is_ok());
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let stream = TcpStream::connect(larder.admin_address()).await.unwrap();
    let connector = TlsConnector::from(pki.client(None, BOTH, &["http/1.1"]));
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&answer));

    let mut plain = TcpStream::connect(larder.admin_address()).await.unwrap();
    plain.write_all(request).await.unwrap();
    let _ = plain.read_to_end(&mut answer).await;
    let found = line(&larder, &["a peer does not speak TLS", "\"port\":\"admin\""]).await;
    assert!(found.contains("admin.tls.cert"), "{found}");
}

#[test]
fn files_that_cannot_be_used_are_mistakes_at_the_start() {
    let pki = Pki::new();
    let pair = pki.sign("localhost", -1..60);
    pki.write_pair("server", &pair);
    pki.write_pair("other", &pki.sign("localhost", -1..60));
    pki.write_pair("expired", &pki.sign("localhost", -9..-1));
    let file = |name: &str| display(&pki.path(name));
    let cases = [
        ("server.crt", "other.key", "tls.key: the key in the file"),
        ("server.crt", "missing.key", "tls.key: the file"),
        ("server.key", "server.key", "has no certificate in PEM"),
        ("expired.crt", "expired.key", "tls.cert: the certificate in the file"),
    ];
    for (cert, key, expected) in cases {
        let variables = [
            ("LARDER_TLS__CERT", file(cert)),
            ("LARDER_TLS__KEY", file(key)),
            ("LARDER_LISTEN", "127.0.0.1:0".to_owned()),
            ("LARDER_ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        for command in ["serve", "check-config"] {
            let output = run(&[command], &variables);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{command}: {error}");
            assert!(error.contains(expected), "{command}: {error}");
        }
    }
    // Keys are not shown.
    let variables =
        [("LARDER_TLS__CERT", pair.certificate.as_str()), ("LARDER_TLS__KEY", &pair.key)];
    let output = run(&["check-config"], &variables);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("key = \"***\""), "{shown}");
    assert!(!shown.contains("BEGIN"), "{shown}");
}
