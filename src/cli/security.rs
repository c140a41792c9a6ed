//! TLS and the token of the connection to a server.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use http::Uri;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::Interceptor,
    transport::{Certificate, ClientTlsConfig, Identity},
};

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

/// Adds the token to each call.
#[derive(Clone)]
pub(super) struct Credentials(Option<AsciiMetadataValue>);

impl SecurityArgs {
    /// TLS of a connection to `address`, or none.
    pub(super) fn tls(&self, address: &str) -> Result<Option<ClientTlsConfig>, TlsError> {
        let options = ClientTlsOptions {
            names: ["--tls-ca", "--cert", "--key"],
            ca: pem(self.tls_ca.as_deref()),
            cert: pem(self.cert.as_deref()),
            key: pem(self.key.as_deref()),
        };
        let has_any = options.ca.is_some() || options.cert.is_some() || options.key.is_some();
        if !(self.tls || has_any || address.starts_with(HTTPS)) {
            return Ok(None);
        }
        let contents = options.read()?;
        // The library below explains less.
        options.build(&contents)?;
        let mut tls = ClientTlsConfig::new();
        tls = match contents.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_native_roots(),
        };
        if let (Some(cert), Some(key)) = (contents.cert, contents.key) {
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        let name = self.tls_server_name.as_deref().filter(|name| !name.is_empty());
        Ok(Some(name.into_iter().fold(tls, ClientTlsConfig::domain_name)))
    }

    /// The token, which is not sent in plain text to another host.
    pub(super) fn credentials(&self, uri: &Uri, has_tls: bool) -> Result<Credentials, TokenError> {
        let token = self.token.as_ref().map(|token| token.expose_secret().trim());
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Ok(Credentials(None));
        };
        if !has_tls && !uri.host().is_some_and(is_loopback) {
            return Err(TokenError::PlainText);
        }
        let mut value: AsciiMetadataValue =
            format!("Bearer {token}").parse().map_err(|_| TokenError::Characters)?;
        value.set_sensitive(true);
        Ok(Credentials(Some(value)))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// The scheme of an address with TLS.
pub(super) const HTTPS: &str = "https://";

/// An empty path counts as unset, as every variable that is empty.
fn pem(path: Option<&Path>) -> Option<PemSource> {
    path.filter(|path| !path.as_os_str().is_empty()).map(|path| PemSource::File(path.to_owned()))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
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
    fn a_token_needs_tls_or_the_loopback_interface() {
        let args = with_token("t");
        for (uri, has_tls, is_sent) in [
            ("http://127.0.0.1:1", false, true),
            ("http://localhost:1", false, true),
            ("http://[::1]:1", false, true),
            ("http://10.0.0.1:1", false, false),
            ("http://localhost.example:1", false, false),
            ("https://10.0.0.1:1", true, true),
        ] {
            let found = args.credentials(&uri.parse().unwrap(), has_tls);
            assert_eq!(found.is_ok(), is_sent, "{uri}");
        }
    }

    #[test]
    fn a_token_is_sent_as_a_sensitive_header() {
        let uri = "http://localhost".parse().unwrap();
        let mut credentials = with_token(" t ").credentials(&uri, false).unwrap();
        let request = credentials.call(Request::new(())).unwrap();
        let value = request.metadata().get("authorization").unwrap();
        assert_eq!((value.to_str().unwrap(), value.is_sensitive()), ("Bearer t", true));
        let mut none = with_token(" ").credentials(&uri, false).unwrap();
        assert!(none.call(Request::new(())).unwrap().metadata().is_empty());
        assert!(with_token("a\nb").credentials(&uri, false).is_err());
    }

    #[test]
    fn an_address_with_https_has_tls() {
        let args = with_token("");
        assert!(args.tls("localhost:1").unwrap().is_none());
        assert!(args.tls("https://localhost:1").unwrap().is_some());
        let missing = SecurityArgs { cert: Some("/nonexistent".into()), ..args };
        let error = missing.tls("localhost:1").unwrap_err();
        assert_eq!(error.to_string(), "--cert: the file /nonexistent cannot be read");
    }
}
