use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::super::Config;
use super::{loaded, problems};

const TOKEN: &str = "a-token-of-more-than-32-characters";
const OTHER: &str = "another-token-of-more-than-32-characters";
const ENV: [(&str, &str); 2] = [("TOKEN", TOKEN), ("OTHER", OTHER)];

fn digests(config: &Config) -> Vec<[u8; 32]> {
    config.admin.token.iter().map(|token| *token.digest()).collect()
}

#[test]
fn the_port_has_no_token_by_default() {
    let config = Config::default();
    assert!(config.admin.token.is_empty());
    assert_eq!(config.admin.session_ttl, Duration::from_secs(8 * 3600));
    assert_eq!(config.admin.session_idle, Duration::from_secs(1800));
    for file in ["[admin]\ntoken = ''", "[admin]\ntoken = []"] {
        assert_eq!(loaded(file, &[]), config, "{file}");
    }
}

#[test]
fn a_token_is_one_text_or_a_list() {
    let [one, other]: [[u8; 32]; 2] = [TOKEN, OTHER].map(|token| Sha256::digest(token).into());
    let digest = format!("sha256:{}", HEXLOWER.encode(&one));
    for (token, expected) in [
        ("'${env:TOKEN}'", &[one][..]),
        ("['${env:TOKEN}']", &[one]),
        (&format!("'{digest}'"), &[one]),
        ("['${env:TOKEN}', '${env:OTHER}']", &[one, other]),
        (&format!("['${{env:OTHER}}', '{digest}']"), &[other, one]),
    ] {
        let config = loaded(&format!("[admin]\ntoken = {token}"), &ENV);
        assert_eq!(digests(&config), expected, "{token}");
        // A digest is not shown either.
        if !token.contains("sha256") {
            assert_eq!(loaded(&config.render(), &ENV), config, "{token}");
        }
        let shown = format!("{}{config:?}", config.render());
        assert!(!shown.contains(TOKEN) && !shown.contains(OTHER), "{shown}");
    }
    let variable = ("LARDER_ADMIN__TOKEN", "${env:TOKEN}, ${env:OTHER}");
    assert_eq!(digests(&loaded("", &[ENV[0], ENV[1], variable])), [one, other]);
}

#[test]
fn a_token_in_plain_text_or_a_weak_one_is_a_mistake() {
    let many = format!("[{}]", ["'${env:TOKEN}'"; 17].join(", "));
    for (token, expected) in [
        (format!("'{TOKEN}'"), "admin.token: expected sha256: and the digest of a token"),
        ("'sha256:12'".to_owned(), "admin.token: expected 64 hexadecimal digits after sha256:"),
        ("'${env:MISSING}'".to_owned(), "admin.token: the variable MISSING is not set"),
        ("'${env:SHORT}'".to_owned(), "admin.token: expected a random text of at least 32"),
        (
            "['${env:TOKEN}', '${env:SHORT}']".to_owned(),
            "admin.token: item 1: expected a random text of at least 32",
        ),
        (many, "admin.token: expected a list of 1 to 16 items, got 17"),
        ("17".to_owned(), "admin.token: expected a list of 1 to 16 items, got 17"),
    ] {
        let env = [ENV[0], ("SHORT", "short")];
        let found = problems(&format!("[admin]\ntoken = {token}"), &env);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{token}: {found:?}");
        assert!(!found[0].contains(TOKEN), "{found:?}");
    }
}

#[test]
fn a_reload_applies_tokens_and_the_limits_of_sessions() {
    let file = "[admin]\ntoken = '${env:TOKEN}'\nsession_ttl = '1h'\nsession_idle = '1m'";
    let config = loaded(file, &ENV);
    let changed = ["admin.session_idle", "admin.session_ttl", "admin.token"];
    assert_eq!(Config::default().changed_keys(&config), changed);
    assert_eq!(Config::default().needs_restart(&config), [""; 0]);
}
