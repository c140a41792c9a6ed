//! The names in a client certificate.

use x509_parser::{extensions::GeneralName, prelude::parse_x509_certificate};

/// The URIs and DNS names among the alternative names of a certificate in DER, in its order. The
/// common name is none: it has no type (RFC 9525, 1.4).
pub(super) fn certificate_names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| {
        if let GeneralName::URI(name) | GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        None
    };
    names.value.general_names.iter().filter_map(name).collect()
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn uris_and_dns_names_are_read_and_the_common_name_is_not() {
        let mut params = CertificateParams::new(vec!["checkout.shop".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "root");
        let spiffe = "spiffe://prod/checkout";
        params.subject_alt_names.push(SanType::URI(spiffe.try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        assert_eq!(certificate_names(certificate.der()), ["checkout.shop", spiffe]);
        assert!(certificate_names(b"no certificate").is_empty());
    }
}
