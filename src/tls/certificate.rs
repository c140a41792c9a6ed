//! Dates of certificates.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::{parse_x509_certificate, time::ASN1Time};

use super::{
    TlsError,
    pem::{CERTIFICATE, NamedPem},
};

/// The time in which all certificates of a chain are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// The validity of a chain from `pem`, which must be valid now.
    pub(super) fn of(
        chain: &[CertificateDer<'_>],
        pem: NamedPem<'_>,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut whole = Self { not_before: SystemTime::UNIX_EPOCH, not_after: time(i64::MAX) };
        for certificate in chain {
            let (_, certificate) = parse_x509_certificate(certificate)
                .map_err(|error| pem.unusable(CERTIFICATE, &error))?;
            let validity = certificate.validity();
            let seconds = |time: ASN1Time| time.timestamp();
            whole.not_before = whole.not_before.max(time(seconds(validity.not_before)));
            whole.not_after = whole.not_after.min(time(seconds(validity.not_after)));
        }
        let (key, place) = (pem.key.to_owned(), pem.place());
        if now > whole.not_after {
            return Err(TlsError::Expired { key, place, at: whole.not_after });
        }
        if now < whole.not_before {
            return Err(TlsError::NotYetValid { key, place, from: whole.not_before });
        }
        Ok(whole)
    }
}

/// A time of Unix. One that the system cannot represent is far in the future.
fn time(seconds: i64) -> SystemTime {
    const LATEST: Duration = Duration::from_secs(250_000_000_000);
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LATEST);
    SystemTime::UNIX_EPOCH + since
}
