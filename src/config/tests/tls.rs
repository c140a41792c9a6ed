use super::super::Config;
use super::{loaded, problems};
use crate::tls::{ClientCertificates, MinVersion, PemSource};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----";

#[test]
fn a_port_has_tls_if_it_has_a_certificate() {
    assert!(Config::default().grpc_tls().is_none() && Config::default().admin_tls().is_none());
    let file = "[tls]\ncert = '/c'\nkey = '/k'\nclient_ca = '/a'\nclient_cert = 'required'\n\
                crl = '/r'\nmin_version = '1.3'\n[admin.tls]\ncert = '/ac'\nkey = '/ak'";
    let config = loaded(file, &[]);
    let tls = config.grpc_tls().unwrap();
    assert_eq!(tls.cert, PemSource::File("/c".into()));
    assert_eq!(tls.client_certificates, ClientCertificates::Required);
    assert_eq!((tls.min_version, tls.section), (MinVersion::Tls13, "tls"));
    assert_eq!(config.admin_tls().unwrap().key, PemSource::File("/ak".into()));
    assert_eq!(loaded(&config.render(), &[]), config);
}

#[test]
fn variables_can_have_the_text_which_is_never_shown() {
    let env = [("LARDER_TLS__CERT", "/c"), ("LARDER_TLS__KEY", KEY)];
    let config = loaded("", &env);
    assert!(matches!(config.grpc_tls().unwrap().key, PemSource::Text(_)));
    let shown = format!("{}{config:?}", config.render());
    assert!(!shown.contains("SECRET") && shown.contains("key = \"***\""), "{shown}");
    let env = [("LARDER_ADMIN__TLS__CERT", "/c"), ("LARDER_ADMIN__TLS__KEY", "/k")];
    assert!(loaded("", &env).admin_tls().is_some());
}

#[test]
fn keys_that_need_others_are_mistakes_without_them() {
    for (file, expected) in [
        ("[tls]\ncert = '/c'", "tls.cert: needs tls.key, which is not set"),
        ("[admin.tls]\nkey = '/k'", "admin.tls.key: needs admin.tls.cert, which is not set"),
        (
            "[tls]\nclient_cert = 'required'\ncert = '/c'\nkey = '/k'",
            "tls.client_cert: needs tls.client_ca, which is not set",
        ),
        ("[tls]\ncrl = '/r'", "tls.crl: needs tls.client_ca, which is not set"),
        (
            "[tls]\ncert = '/c'\nkey = '/k'\nclient_ca = '/a'",
            "tls.client_ca: has no effect unless client_cert is \"optional\" or \"required\"",
        ),
        ("[tls]\nmin_version = '1.1'", "tls.min_version: expected \"1.2\" or \"1.3\", got \"1.1\""),
        ("[store]\nurl = 'rediss://h'\ntls_cert = '/c'", "store.tls_cert: needs store.tls_key"),
        ("[store]\nurl = 'redis://h'\ntls_ca = '/a'", "store.tls_ca: needs a store.url with TLS"),
        (
            "[store]\nurl = 'rediss://h/#insecure'\ntls_ca = '/a'",
            "store.tls_ca: needs a store.url with TLS",
        ),
    ] {
        let found = problems(file, &[]);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn a_reload_replaces_certificates_and_does_not_turn_tls_on() {
    let with = |cert| loaded(&format!("[tls]\ncert = '{cert}'\nkey = '/k'"), &[]);
    assert_eq!(with("/a").needs_restart(&with("/b")), [""; 0]);
    assert_eq!(with("/a").changed_keys(&with("/b")), ["tls.cert"]);
    assert_eq!(Config::default().needs_restart(&with("/a")), ["tls.cert", "tls.key"]);
}

#[test]
fn the_embedded_store_ignores_certificates() {
    let file = "[store]\nurl = 'rediss://h'\ntls_ca = '/a'";
    assert!(loaded(file, &[("LARDER_STORE", "memory")]).store.tls_ca.is_some());
}

#[test]
fn every_url_with_tls_takes_a_client_certificate() {
    for url in ["rediss://h", "valkeys://h", "rediss-sentinel://s/m", "rediss-cluster://h"] {
        let file = format!("[store]\nurl = '{url}'\ntls_cert = '/c'\ntls_key = '/k'");
        assert!(loaded(&file, &[]).store.tls_cert.is_some(), "{url}");
    }
}
