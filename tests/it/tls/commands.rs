//! `larder certs`, and the commands that call a server with TLS.

use crate::support::server::{Larder, run};

/// Certificates for a server and a client, made by the binary.
fn certs() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().display().to_string();
    let arguments = ["certs", "--out", &out, "--client", "checkout=spiffe://dev/checkout"];
    let output = run(&arguments, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("grpcurl -cacert") && shown.contains("LARDER_TLS__CERT="), "{shown}");
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_for_development_serve_a_session_of_the_commands() {
    let directory = certs();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let larder = Larder::memory()
        .env("LARDER_TLS__CERT", file("server.crt"))
        .env("LARDER_TLS__KEY", file("server.key"))
        .env("LARDER_TLS__CLIENT_CA", file("ca.crt"))
        .env("LARDER_TLS__CLIENT_CERT", "required")
        .start()
        .await;
    let address = larder.address().to_string();
    let (ca, cert, key) =
        (file("ca.crt"), file("client-checkout.crt"), file("client-checkout.key"));
    let tls = ["--address", &address, "--tls-ca", &ca, "--cert", &cert, "--key", &key];
    let ran = |command: &[&str], tls: &[&str]| {
        let arguments: Vec<&str> = command.iter().chain(tls).copied().collect();
        let output = run(&arguments, &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), error)
    };
    for command in [&["set", "ns", "k", "v"][..], &["get", "ns", "k"], &["stats"], &["healthcheck"]]
    {
        let (is_done, _, error) = ran(command, &tls);
        assert!(is_done, "{command:?}: {error}");
    }
    // Without the client's certificate, without the authority, and without TLS.
    for (tls, words) in [
        (&tls[..4], ""),
        (&["--address", &address, "--tls"], "certificate"),
        (&["--address", &address], "if the server has TLS, pass --tls-ca or --tls"),
    ] {
        for command in [&["healthcheck"][..], &["get", "ns", "k"], &["stats"]] {
            let (is_done, _, error) = ran(command, tls);
            assert!(!is_done && error.contains(words), "{command:?} {tls:?}: {error}");
        }
    }
    // By variables.
    let variables = [
        ("LARDER_ADDRESS", address.as_str()),
        ("LARDER_TLS_CA", &ca),
        ("LARDER_CERT", &cert),
        ("LARDER_KEY", &key),
        ("LARDER_TOKEN", "secret"),
    ];
    let output = run(&["get", "ns", "k"], &variables);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), "v");
}

#[test]
fn a_token_is_not_sent_in_plain_text_to_another_host() {
    let arguments = ["get", "ns", "k", "--address", "192.0.2.1:50051", "--timeout", "1s"];
    let output = run(&arguments, &[("LARDER_TOKEN", "secret")]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("the token is sent with TLS or to this host only"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}
