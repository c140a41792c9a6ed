//! Why certificates and keys cannot be used.

use std::{io, time::SystemTime};

use humantime::format_rfc3339_seconds;

/// Why certificates and keys cannot be used. Each names the key of the configuration, and the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{key}: {place} cannot be read")]
    Read {
        /// The key of the configuration.
        key: String,
        /// The file.
        place: String,
        /// Error of the system.
        source: io::Error,
    },
    /// There is none of the wanted items in the PEM.
    #[error("{key}: {place} has no {what} in PEM")]
    Missing {
        /// The key of the configuration.
        key: String,
        /// The file.
        place: String,
        /// The wanted item.
        what: &'static str,
    },
    /// An item cannot be used.
    #[error("{key}: the {what} in {place} cannot be used: {problem}")]
    Unusable {
        /// The key of the configuration.
        key: String,
        /// The file.
        place: String,
        /// The item.
        what: &'static str,
        /// Words of the library, which repeat nothing of the content.
        problem: String,
    },
    /// A key of another certificate.
    #[error("{key}: the key in {place} does not belong to the certificate in {certificate}")]
    OtherKey {
        /// The key of the configuration.
        key: String,
        /// The file of the key.
        place: String,
        /// The file of the certificate.
        certificate: String,
    },
    /// A certificate of the chain has expired.
    #[error("{key}: the certificate in {place} expired at {}", format_rfc3339_seconds(*at))]
    Expired {
        /// The key of the configuration.
        key: String,
        /// The file.
        place: String,
        /// When it expired.
        at: SystemTime,
    },
    /// A certificate of the chain is not valid yet.
    #[error(
        "{key}: the certificate in {place} is not valid before {}: check the clock",
        format_rfc3339_seconds(*from)
    )]
    NotYetValid {
        /// The key of the configuration.
        key: String,
        /// The file.
        place: String,
        /// When it becomes valid.
        from: SystemTime,
    },
}
