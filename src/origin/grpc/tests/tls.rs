//! TLS, and validation of the options.

use http::{HeaderName, HeaderValue};
use tonic::transport::{Identity, ServerTlsConfig};

use super::support::{Script, TestServer, options, origin_with, request, text};
use crate::origin::{
    Origin as _, OriginErrorKind,
    grpc::{GrpcBuildError, GrpcOptions, GrpcOrigin},
};

/// A certificate authority, and a server identity signed by it.
fn certificates(name: &str) -> (Vec<u8>, Identity) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap().pem();
    (authority.into_bytes(), Identity::from_pem(server, server_key.serialize_pem()))
}

fn tls_options(host: &str, ca_pem: Vec<u8>) -> GrpcOptions {
    let url = format!("https://{host}:50052").parse().unwrap();
    GrpcOptions { url, ca_pem: Some(ca_pem), ..options() }
}

#[tokio::test]
async fn certificate_must_match_name_and_authority() {
    let (authority, identity) = certificates("origin.test");
    let (other_authority, _) = certificates("origin.test");
    let tls = ServerTlsConfig::new().identity(identity);
    let server =
        TestServer::start_at("127.0.0.1:0", Script::always(Ok(text("v"))), Some(tls)).await;
    // The address comes from the test's resolver; the name is only that of the certificate.
    let (origin, _resolver) =
        origin_with(tls_options("origin.test", authority.clone()), &[&server]);
    assert!(origin.fetch(&request("k")).await.is_ok());
    for options in
        [tls_options("origin.test", other_authority), tls_options("other.test", authority)]
    {
        let (origin, _resolver) = origin_with(options, &[&server]);
        let error = origin.fetch(&request("k")).await.unwrap_err();
        assert_eq!(error.kind, OriginErrorKind::Unreachable);
        assert!(error.cause.contains("certificate"), "{error}");
    }
    assert_eq!(server.fetches(), 1);
}

#[tokio::test]
async fn invalid_options_are_rejected() {
    let build = |change: &dyn Fn(&mut GrpcOptions)| {
        let mut options = options();
        change(&mut options);
        GrpcOrigin::new(options).err()
    };
    assert!(build(&|_| {}).is_none());
    for url in ["ftp://h:1", "http://h:1/path", "http://user@h:1", "http://h:1?q", "unix:/tmp/x"] {
        let error = build(&|options| options.url = url.parse().unwrap());
        assert!(matches!(error, Some(GrpcBuildError::Url(_))), "{url}: {error:?}");
    }
    for url in ["http://h", "https://h", "http://[::1]:1/"] {
        assert!(build(&|options| options.url = url.parse().unwrap()).is_none(), "{url}");
    }
    for name in ["grpc-timeout", "te", "content-type"] {
        let name = HeaderName::from_static(name);
        let error = build(&|options| {
            _ = options.metadata.insert(name.clone(), HeaderValue::from_static("v"))
        });
        assert!(matches!(error, Some(GrpcBuildError::Metadata(_))), "{name}");
    }
    for pem in [&b""[..], b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
        let error = build(&|options| {
            options.url = "https://h".parse().unwrap();
            options.ca_pem = Some(pem.to_vec());
        });
        assert!(matches!(error, Some(GrpcBuildError::Authorities)), "{error:?}");
    }
}
