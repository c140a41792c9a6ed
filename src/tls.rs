//! Certificates and keys in PEM, and the settings of TLS that are built from them.
//!
//! Files are read as a whole before anything is built from them, so that a pair that is being
//! replaced is compared with the one in use by its contents. The only crypto provider is ring.

mod certificate;
mod client;
mod error;
mod pem;
mod server;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

pub use certificate::Validity;
pub use client::{ClientPem, ClientTls, ClientTlsOptions};
pub use error::TlsError;
pub use pem::PemSource;
pub use server::{ClientCertificates, MinVersion, ServerPem, ServerTls, ServerTlsOptions};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
