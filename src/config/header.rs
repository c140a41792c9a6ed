//! Headers of requests to origins.

use config::ValueKind;

use super::secret_template::SecretTemplate;
use super::toml::quoted;
use super::value::{ValueType, value_type};

/// The value of a header. Its messages never repeat it, because it may be a secret.
pub(super) fn header() -> impl ValueType<Value = SecretTemplate> {
    value_type(
        |raw| {
            if let ValueKind::String(text) = raw {
                return SecretTemplate::unresolved(text.trim()).map_err(|error| error.to_string());
            }
            Err("expected a text in quotes, got something else".to_owned())
        },
        |header: &SecretTemplate| quoted(&header.to_string()),
    )
}

/// Headers of the connection, of the message or of Larder, which operators cannot set.
const RESERVED: [&str; 18] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Checks that operators may set a header of this name. `grpc` applies the rules of gRPC metadata.
pub(super) fn check_name(name: &str, grpc: bool) -> Result<(), &'static str> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("expected the name of a header, got characters that are not allowed in one");
    }
    let name = name.to_ascii_lowercase();
    if RESERVED.contains(&name.as_str()) {
        return Err("expected another header, as Larder controls this one");
    }
    if !grpc {
        return Ok(());
    }
    if name.starts_with("grpc-") || name == "content-type" {
        return Err("expected another header, as gRPC controls this one");
    }
    if name.ends_with("-bin") {
        return Err("expected another header, as gRPC treats names that end with -bin as binary");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.bytes().all(allowed) {
        Ok(())
    } else {
        Err("expected a name of a-z, 0-9, '-', '_' and '.', as in gRPC")
    }
}
