//! Fuzz target of client certificates.

use super::*;
use crate::fuzzing::check;

/// Any bytes have names, or none. Each name is a part of the certificate.
#[test]
fn certificate() {
    check("certificate", |der| {
        for name in certificate_names(der) {
            let is_part = der.windows(name.len()).any(|part| part == name.as_bytes());
            assert!(name.is_empty() || is_part, "{name:?}");
        }
    });
}
