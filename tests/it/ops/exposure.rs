//! Ports that other machines can reach.

use crate::support::server::{Larder, run};

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
