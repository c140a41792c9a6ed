//! Ports that other machines can reach.

use crate::support::{
    server::{Larder, run},
    tls::write_certificates,
};

const ANY_ADDRESS: (&str, &str) = ("LARDER_LISTEN", "0.0.0.0:0");

#[tokio::test]
async fn an_exposed_port_is_a_warning() {
    let server = Larder::memory().env(ANY_ADDRESS.0, ANY_ADDRESS.1).start().await;
    let log = server.logs();
    let warnings = log.lines().filter(|line| line.contains("other machines can reach a port"));
    let missing = warnings.filter(|line| line.contains(r#""port":"listen""#));
    let missing: Vec<_> = missing.filter_map(|line| line.split(r#""missing":""#).nth(1)).collect();
    assert_eq!(missing.len(), 2, "{log}");
    assert!(missing[0].starts_with("tls\"") && missing[1].starts_with("auth\""), "{missing:?}");
    let silent = Larder::memory().start().await;
    assert!(!silent.logs().contains("other machines"), "{}", silent.logs());
}

#[test]
fn an_exposed_port_is_an_error_with_strict_security() {
    let strict = ("LARDER_STRICT_SECURITY", "true");
    let output = run(&["serve"], &[ANY_ADDRESS, strict, ("LARDER_STORE", "memory")]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    let expected = "listen: expected [tls], [auth] or a loopback address";
    assert!(error.contains(expected) && error.contains("0.0.0.0:0"), "{error}");
}

#[tokio::test]
async fn an_exposed_admin_port_is_a_warning() {
    let server = Larder::memory().env("LARDER_ADMIN_LISTEN", "0.0.0.0:0").start().await;
    let log = server.logs();
    for missing in ["admin.tls", "admin.token"] {
        assert!(log.contains(&format!(r#""missing":"{missing}""#)), "{log}");
    }
}

#[test]
fn an_exposed_admin_port_needs_tls_and_a_token_with_strict_security() {
    let variables = [
        ("LARDER_STORE", "memory"),
        ("LARDER_LISTEN", "127.0.0.1:0"),
        ("LARDER_ADMIN_LISTEN", "0.0.0.0:0"),
        ("LARDER_STRICT_SECURITY", "true"),
    ];
    let error = String::from_utf8(run(&["check-config"], &variables).stderr).unwrap();
    let expected = "admin_listen: expected [admin.tls], admin.token or a loopback address";
    assert!(error.contains(expected), "{error}");
    let directory = tempfile::tempdir().unwrap();
    write_certificates(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (cert, key) = (path("server.pem"), path("server.key"));
    let digest = format!("sha256:{}", "0".repeat(64));
    let protected = [
        ("LARDER_ADMIN__TOKEN", digest.as_str()),
        ("LARDER_ADMIN__TLS__CERT", &cert),
        ("LARDER_ADMIN__TLS__KEY", &key),
    ];
    let output = run(&["check-config"], &[&variables[..], &protected[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
