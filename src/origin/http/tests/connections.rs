//! Connections, TLS and HTTP versions.

use std::sync::{Arc, atomic::Ordering};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use super::{server::*, *};

/// A certificate for `localhost`, and an acceptor that uses it.
fn certificate(protocols: &[&[u8]]) -> (Vec<u8>, TlsAcceptor) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (cert.pem().into_bytes(), TlsAcceptor::from(Arc::new(config)))
}

fn https(server: &Server, ca_pem: Option<Vec<u8>>, version: HttpVersion) -> HttpOptions {
    let url = format!("https://localhost:{}/{{key}}", server.address.port());
    HttpOptions { ca_pem, version, ..options(&url) }
}

#[tokio::test]
async fn closed_port_is_unreachable() {
    // Bound without listening, so that no other process listens there.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://u:secret@{}/{{key}}?token=secret", socket.local_addr().unwrap());
    let error = fetch_with(options(&url)).await.unwrap_err();
    assert_eq!(error, Error::new(OriginErrorKind::Unreachable, "connection refused"));
}

#[tokio::test]
async fn unresolvable_name_is_unreachable() {
    let error = fetch_with(options("http://nowhere.invalid/{key}")).await.unwrap_err();
    assert_eq!(error, Error::new(OriginErrorKind::Unreachable, "the host name cannot be resolved"));
}

#[tokio::test]
async fn connecting_has_its_own_timeout() {
    let server = Server::silent().await;
    let (ca_pem, _) = certificate(&[]);
    let options =
        HttpOptions { connect_timeout: SHORT, ..https(&server, Some(ca_pem), HttpVersion::Auto) };
    let error = fetch_with(options).await.unwrap_err();
    assert_eq!(
        error,
        Error::new(OriginErrorKind::Unreachable, "no connection in time (origin.connect_timeout)")
    );
}

#[tokio::test]
async fn connections_are_reused() {
    let server = Server::answering(|| with_body(404, &[], "no such user")).await;
    let origin = HttpOrigin::new(options(&server.url("/{key}"))).unwrap();
    for _ in 0..3 {
        origin.fetch(&request("k")).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn http2_without_tls_can_be_configured() {
    let server = Server::http(Protocol::Http2, None, |_| with_body(200, &[], "h2")).await;
    let options = HttpOptions { version: HttpVersion::Http2, ..options(&server.url("/{key}")) };
    let body = fetch_with(options).await.unwrap().body;
    assert_eq!(body, FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"h2") });
    assert_eq!(server.seen.lock()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn version_is_negotiated_over_tls() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (offered, version, protocol) in [
        (both, HttpVersion::Auto, Protocol::Http2),
        (both, HttpVersion::Http1, Protocol::Http1),
        (both, HttpVersion::Http2, Protocol::Http2),
        (&[], HttpVersion::Auto, Protocol::Http1),
    ] {
        let (ca_pem, tls) = certificate(offered);
        let server = Server::http(protocol, Some(tls), |_| {
            with_body(200, &[("content-type", "text/plain")], "tls")
        })
        .await;
        let body = fetch_with(https(&server, Some(ca_pem), version)).await.unwrap().body;
        assert_eq!(body, FetchBody::Value { kind: Kind::Text, data: Bytes::from_static(b"tls") });
    }
}

#[tokio::test]
async fn untrusted_server_gets_no_request() {
    let (_, tls) = certificate(&[]);
    let (other_pem, _) = certificate(&[]);
    let server = Server::http(Protocol::Http1, Some(tls), |_| answer(204, &[])).await;
    let error = fetch_with(https(&server, Some(other_pem), HttpVersion::Auto)).await.unwrap_err();
    assert_eq!(error.kind, OriginErrorKind::Unreachable);
    assert!(error.cause.starts_with("invalid peer certificate"), "{error}");
    assert!(server.seen.lock().is_empty());
}
