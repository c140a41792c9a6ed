//! Ports that others can reach, and their protection.

use std::net::SocketAddr;

use super::{AuthMode, Config, diagnostics::Diagnostics};
use crate::tls::ClientCertificates;

/// The key that protects the admin port. The other protections are tables.
const ADMIN_TOKEN: &str = "admin.token";

/// A port that other machines can reach, without a protection that it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// Key of its address.
    pub port: &'static str,
    /// Its address.
    pub address: SocketAddr,
    /// The table or the key that would protect it.
    pub missing: &'static str,
    /// The consequence.
    pub risk: &'static str,
}

impl Exposure {
    /// The missing table or key, as it is written in a file.
    fn written(&self) -> String {
        if self.missing == ADMIN_TOKEN {
            return self.missing.to_owned();
        }
        format!("[{}]", self.missing)
    }
}

impl Config {
    /// The ports that other machines can reach and that lack a protection.
    pub fn exposures(&self) -> Vec<Exposure> {
        let is_enforced = self.auth.as_ref().is_some_and(|auth| auth.mode == AuthMode::Enforce);
        let has_certificates = self.admin.tls.client_cert == ClientCertificates::Required;
        let has_credentials = has_certificates || !self.admin.token.is_empty();
        let plain = "what is sent can be read and changed on the way";
        let (grpc, admin) = (self.listen, self.admin_listen);
        let missing = [
            ("listen", grpc, self.tls.cert.is_some(), "tls", plain),
            ("listen", grpc, is_enforced, "auth", "every caller may do everything"),
            ("admin_listen", admin, self.admin.tls.cert.is_some(), "admin.tls", plain),
            ("admin_listen", admin, has_credentials, ADMIN_TOKEN, "every peer may use the port"),
        ];
        let missing = missing.into_iter().filter(|(_, address, is_protected, ..)| {
            !is_protected && !address.ip().to_canonical().is_loopback()
        });
        let exposures = missing.map(|(port, address, _, missing, risk)| Exposure {
            port,
            address,
            missing,
            risk,
        });
        exposures.collect()
    }

    /// Refuses exposed ports if `strict_security` is on.
    pub(super) fn check_exposures(&self, diagnostics: &mut Diagnostics) {
        if !self.strict_security {
            return;
        }
        let exposures = self.exposures();
        for (port, address) in [("listen", self.listen), ("admin_listen", self.admin_listen)] {
            let of_port = exposures.iter().filter(|exposure| exposure.port == port);
            let tables: Vec<_> = of_port.map(Exposure::written).collect();
            if !tables.is_empty() {
                let message = format!(
                    "expected {} or a loopback address, as strict_security is on, got {address}",
                    tables.join(", ")
                );
                diagnostics.conflict(port, "strict_security", message);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{AuthConfig, TokenConfig};

    fn missing(config: &Config) -> Vec<&'static str> {
        config.exposures().iter().map(|exposure| exposure.missing).collect()
    }

    #[test]
    fn ports_on_loopback_are_not_exposed() {
        let mut config = Config::default();
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            (config.listen, config.admin_listen) =
                (address.parse().unwrap(), address.parse().unwrap());
            assert_eq!(missing(&config), [""; 0], "{address}");
        }
    }

    #[test]
    fn other_ports_need_tls_and_permissions() {
        let mut config = Config::default();
        for address in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1"] {
            config.listen = address.parse().unwrap();
            assert_eq!(missing(&config), ["tls", "auth"], "{address}");
        }
        for (mode, missed) in [
            (AuthMode::Off, &["tls", "auth"][..]),
            (AuthMode::Shadow, &["tls", "auth"]),
            (AuthMode::Enforce, &["tls"]),
        ] {
            config.auth = Some(AuthConfig { mode, ..AuthConfig::default() });
            assert_eq!(missing(&config), missed, "{mode:?}");
        }
        config.admin_listen = "0.0.0.0:2".parse().unwrap();
        assert_eq!(missing(&config), ["tls", "admin.tls", "admin.token"]);
        config.admin.tls.client_cert = ClientCertificates::Optional;
        assert_eq!(missing(&config), ["tls", "admin.tls", "admin.token"]);
        config.admin.tls.client_cert = ClientCertificates::Required;
        assert_eq!(missing(&config), ["tls", "admin.tls"]);
        config.admin.tls.client_cert = ClientCertificates::None;
        config.admin.token = vec![TokenConfig::of("a token of the test")];
        assert_eq!(missing(&config), ["tls", "admin.tls"]);
    }
}
