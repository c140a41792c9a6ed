//! An authority, and the certificates that it signs.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use x509_parser::time::ASN1Time;

use super::Error;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Days for which an authority is valid.
const AUTHORITY_DAYS: u32 = 3650;

/// A certificate and its key in PEM.
pub(super) struct PemPair {
    pub(super) certificate: String,
    pub(super) key: String,
}

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: PemPair,
}

/// A certificate to sign.
pub(super) enum Leaf {
    Server { hosts: Vec<String> },
    Client { name: String, uri: Option<String> },
}

impl Authority {
    /// An authority with a new key.
    pub(super) fn new() -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Larder development CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_days(&mut params, AUTHORITY_DAYS);
        let certificate = params.self_signed(&key)?.pem();
        Self::from_pem(PemPair { certificate, key: key.serialize_pem() }).map_err(Error::Sign)
    }

    /// An authority that was made before.
    pub(super) fn from_pem(pem: PemPair) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(&pem.key)?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&pem.certificate, key)?, pem })
    }

    /// Signs a certificate with a new key.
    pub(super) fn sign(&self, leaf: &Leaf, days: u32) -> Result<PemPair, Error> {
        let (names, common_name, purpose) = match leaf {
            Leaf::Server { hosts } => {
                let first = hosts.first().cloned().unwrap_or_default();
                (hosts.clone(), first, ExtendedKeyUsagePurpose::ServerAuth)
            }
            Leaf::Client { name, .. } => {
                (Vec::new(), name.clone(), ExtendedKeyUsagePurpose::ClientAuth)
            }
        };
        let unusable = |source| Error::Name { name: common_name.clone(), source };
        let mut params = CertificateParams::new(names).map_err(unusable)?;
        if let Leaf::Client { uri: Some(uri), .. } = leaf {
            let name = uri.as_str().try_into().map_err(unusable)?;
            params.subject_alt_names.push(SanType::URI(name));
        }
        params.distinguished_name.push(DnType::CommonName, common_name.as_str());
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_days(&mut params, days);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(PemPair { certificate, key: key.serialize_pem() })
    }
}

/// From an hour ago, as clocks differ.
fn set_days(params: &mut CertificateParams, days: u32) {
    let now = ASN1Time::now().to_datetime();
    params.not_before = now - Duration::from_secs(60 * 60);
    params.not_after = now + DAY * days;
}
