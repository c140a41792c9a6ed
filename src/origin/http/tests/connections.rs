use std::sync::{Arc, atomic::Ordering};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

use super::{server::*, *};

/// A certificate for `localhost`, and a server that shows it.
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
async fn a_port_without_a_server_refuses() {
    // Taken, so that nobody else listens there either.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://u:secret@{}/{{key}}?token=secret", socket.local_addr().unwrap());
    let error = ask_with(options(&url)).await.unwrap_err();
    assert_eq!(error, Error::new(ErrorKind::Unreachable, "connection refused"));
}

#[tokio::test]
async fn a_name_without_an_address_is_unreachable() {
    let error = ask_with(options("http://nowhere.invalid/{key}")).await.unwrap_err();
    assert_eq!(error, Error::new(ErrorKind::Unreachable, "its name cannot be resolved"));
}

#[tokio::test]
async fn connecting_has_a_limit_of_its_own() {
    let server = Server::silent().await;
    let (ca_pem, _) = certificate(&[]);
    let options = HttpOptions {
        connect_timeout: IMPATIENCE,
        ..https(&server, Some(ca_pem), HttpVersion::Auto)
    };
    let error = ask_with(options).await.unwrap_err();
    assert_eq!(error, Error::new(ErrorKind::Unreachable, "no connection in time"));
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::saying(|| with_body(404, &[], "no such user")).await;
    let origin = HttpOrigin::new(options(&server.url("/{key}"))).unwrap();
    for _ in 0..3 {
        origin.fetch(&order("k")).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn http2_is_spoken_without_tls_where_it_is_asked_for() {
    let server = Server::http(Speaks::Http2, None, |_| with_body(200, &[], "h2")).await;
    let options = HttpOptions { version: HttpVersion::Http2, ..options(&server.url("/{key}")) };
    let content = ask_with(options).await.unwrap().content;
    assert_eq!(content, FetchBody::Value { kind: Kind::Bytes, data: Bytes::from_static(b"h2") });
    assert_eq!(server.seen.lock()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn over_tls_the_version_is_agreed_on() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (offered, version, speaks) in [
        (both, HttpVersion::Auto, Speaks::Http2),
        (both, HttpVersion::Http1, Speaks::Http1),
        (both, HttpVersion::Http2, Speaks::Http2),
        (&[], HttpVersion::Auto, Speaks::Http1),
    ] {
        let (ca_pem, tls) = certificate(offered);
        let server = Server::http(speaks, Some(tls), |_| {
            with_body(200, &[("content-type", "text/plain")], "tls")
        })
        .await;
        let content = ask_with(https(&server, Some(ca_pem), version)).await.unwrap().content;
        assert_eq!(
            content,
            FetchBody::Value { kind: Kind::Text, data: Bytes::from_static(b"tls") }
        );
    }
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_asked() {
    let (_, tls) = certificate(&[]);
    let (other_pem, _) = certificate(&[]);
    let server = Server::http(Speaks::Http1, Some(tls), |_| answer(204, &[])).await;
    let error = ask_with(https(&server, Some(other_pem), HttpVersion::Auto)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.cause.starts_with("invalid peer certificate"), "{error}");
    assert!(server.seen.lock().is_empty());
}
