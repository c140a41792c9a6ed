use config::ValueKind;

use super::super::HeaderTemplate;
use super::super::toml::quoted;
use super::ValueType;

/// The value of a header. Its messages never repeat it, as it may be a secret.
pub(crate) fn header() -> Header {
    Header
}

pub(crate) struct Header;

impl ValueType for Header {
    type Value = HeaderTemplate;

    fn parse(&self, raw: &ValueKind) -> Result<HeaderTemplate, String> {
        if let ValueKind::String(text) = raw {
            return HeaderTemplate::unresolved(text.trim()).map_err(|error| error.to_string());
        }
        Err("expected a text in quotes, got something else".to_owned())
    }

    fn render(&self, value: &HeaderTemplate) -> String {
        quoted(&value.to_string())
    }
}
