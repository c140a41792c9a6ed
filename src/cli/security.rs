//! TLS and the token of the connection to a server.

use std::path::{Path, PathBuf};

use clap::Args;
use larder_client::ClientBuilder;
use secrecy::{ExposeSecret as _, SecretString};

use super::target::HTTPS;
use crate::tls::{ClientTlsOptions, PemSource, TlsError};

/// How to connect with TLS, and with which token.
#[derive(Clone, Debug, Args)]
pub(super) struct SecurityArgs {
    /// Connect with TLS, and trust the authorities of the system; so does an https:// address
    #[arg(long)]
    tls: bool,
    /// Connect with TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE", env = "LARDER_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,
    /// Name in the certificate of the server, if it is not the host of the address
    #[arg(long, value_name = "NAME", env = "LARDER_TLS_SERVER_NAME", hide_env_values = true)]
    tls_server_name: Option<String>,
    /// Connect with TLS, and present the certificate in this PEM file
    #[arg(
        id = "client_cert",
        long = "cert",
        value_name = "FILE",
        env = "LARDER_CERT",
        hide_env_values = true
    )]
    cert: Option<PathBuf>,
    /// PEM file with the key of the certificate
    // Another id than that of the key of an entry.
    #[arg(
        id = "client_key",
        long = "key",
        value_name = "FILE",
        env = "LARDER_KEY",
        hide_env_values = true
    )]
    key: Option<PathBuf>,
    /// Token to send, with TLS or to this host only; the variable keeps it out of the list of
    /// processes
    #[arg(long, value_name = "TOKEN", env = "LARDER_TOKEN", hide_env_values = true)]
    token: Option<SecretString>,
}

/// Why a token is not sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the token is sent with TLS or to this host only: pass --tls, --tls-ca or https://")]
    PlainText,
    #[error("the token has characters that no header can have")]
    Characters,
}

impl SecurityArgs {
    /// Whether a connection to `address` has TLS.
    pub(super) fn has_tls(&self, address: &str) -> bool {
        let files = [&self.tls_ca, &self.cert, &self.key];
        let has_any = files.into_iter().any(|path| named(path.as_deref()).is_some());
        self.tls || has_any || address.starts_with(HTTPS)
    }

    /// Adds TLS to the options of a client.
    pub(super) fn secure(&self, mut options: ClientBuilder) -> Result<ClientBuilder, TlsError> {
        let [ca, cert, key] =
            [&self.tls_ca, &self.cert, &self.key].map(|path| named(path.as_deref()));
        let file = |path: Option<&Path>| path.map(|path| PemSource::File(path.to_owned()));
        let files = ClientTlsOptions {
            names: ["--tls-ca", "--cert", "--key"],
            ca: file(ca),
            cert: file(cert),
            key: file(key),
        };
        // The client library has other names for these options.
        files.build(&files.read()?)?;
        options = options.tls(true);
        if let Some(ca) = ca {
            options = options.ca_file(ca);
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            options = options.cert_file(cert).key_file(key);
        }
        let name = self.tls_server_name.as_deref().filter(|name| !name.is_empty());
        Ok(name.into_iter().fold(options, ClientBuilder::server_name))
    }

    /// The token to send.
    pub(super) fn token(&self) -> Result<Option<&str>, TokenError> {
        let token = self.token.as_ref().map(|token| token.expose_secret().trim());
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        Ok(Some(token))
    }
}

/// An empty path counts as unset, as every variable that is empty.
fn named(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with_token(token: &str) -> SecurityArgs {
        SecurityArgs {
            tls: false,
            tls_ca: None,
            tls_server_name: None,
            cert: None,
            key: None,
            token: Some(token.to_owned().into()),
        }
    }

    #[test]
    fn a_token_has_characters_of_a_header() {
        assert_eq!(with_token(" t ").token().unwrap(), Some("t"));
        assert_eq!(with_token(" ").token().unwrap(), None);
        assert!(with_token("a\nb").token().is_err() && with_token("a b").token().is_err());
    }

    #[test]
    fn an_address_with_https_has_tls() {
        let args = with_token("");
        assert!(!args.has_tls("localhost:1") && args.has_tls("https://localhost:1"));
        let missing = SecurityArgs { cert: Some("/nonexistent".into()), ..args };
        assert!(missing.has_tls("localhost:1"));
        let error = missing.secure(larder_client::Client::from_env()).unwrap_err();
        assert_eq!(error.to_string(), "--cert: the file /nonexistent cannot be read");
    }
}
