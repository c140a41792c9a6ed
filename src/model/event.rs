//! Events of the business, from which invalidations follow.

use std::collections::BTreeMap;

use super::Violation;

/// Maximum length of the name of an event, in bytes.
pub const MAX_EVENT_NAME_BYTES: usize = 255;
/// Maximum number of attributes of an event.
pub const MAX_EVENT_ATTRIBUTES: usize = 64;
/// Maximum length of the name of an attribute, in bytes.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 128;
/// Maximum length of the value of an attribute, in bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 1024;

/// An event of the business: a name, and attributes with what it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    name: String,
    attributes: BTreeMap<String, String>,
}

impl Event {
    /// Checks the name and the attributes.
    ///
    /// # Errors
    /// A violation of field `name`, `attributes` or `attributes.<name>`.
    pub fn new(name: String, attributes: BTreeMap<String, String>) -> Result<Self, Violation> {
        check_event_name(&name)?;
        if attributes.len() > MAX_EVENT_ATTRIBUTES {
            let description =
                format!("has {} elements, the limit is {MAX_EVENT_ATTRIBUTES}", attributes.len());
            return Err(Violation::over_limit("attributes", description, MAX_EVENT_ATTRIBUTES));
        }
        for (name, value) in &attributes {
            if name.is_empty() {
                return Err(Violation::new("attributes", "must not have an empty name"));
            }
            if name.len() > MAX_ATTRIBUTE_NAME_BYTES {
                let description = format!(
                    "has a name of {} bytes, the limit is {MAX_ATTRIBUTE_NAME_BYTES}",
                    name.len()
                );
                let limit = MAX_ATTRIBUTE_NAME_BYTES;
                return Err(Violation::over_limit("attributes", description, limit));
            }
            if value.len() > MAX_ATTRIBUTE_BYTES {
                let description =
                    format!("is {} bytes long, the limit is {MAX_ATTRIBUTE_BYTES}", value.len());
                let violation = Violation::over_limit("", description, MAX_ATTRIBUTE_BYTES);
                return Err(violation.renamed(attribute_field(name)));
            }
        }
        Ok(Self { name, attributes })
    }

    /// Name of the event, such as `points_changed`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All attributes by name.
    pub fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// Checks the name of an event.
///
/// # Errors
/// A violation of field `name`: it is empty, too long, or has a control character.
pub fn check_event_name(name: &str) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::new("name", "must be set"));
    }
    if name.len() > MAX_EVENT_NAME_BYTES {
        let description =
            format!("is {} bytes long, the limit is {MAX_EVENT_NAME_BYTES}", name.len());
        return Err(Violation::over_limit("name", description, MAX_EVENT_NAME_BYTES));
    }
    if name.contains(char::is_control) {
        return Err(Violation::new("name", "must not have control characters"));
    }
    Ok(())
}

/// The path of an attribute's field.
pub fn attribute_field(name: &str) -> String {
    format!("attributes.{name}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn event(name: &str, attributes: &[(&str, &str)]) -> Result<Event, Violation> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Event::new(name.to_owned(), attributes.iter().map(owned).collect())
    }

    #[test]
    fn bounds_are_named() {
        let long = "x".repeat(1025);
        let fault = |result: Result<Event, Violation>| {
            let violation = result.unwrap_err();
            (violation.to_string(), violation.limit())
        };
        let cases = [
            (event("", &[]), "name must be set", None),
            (event("a\nb", &[]), "name must not have control characters", None),
            (event(&long[..256], &[]), "name is 256 bytes long, the limit is 255", Some(255)),
            (event("e", &[("", "x")]), "attributes must not have an empty name", None),
            (
                event("e", &[(&long[..129], "x")]),
                "attributes has a name of 129 bytes, the limit is 128",
                Some(128),
            ),
            (
                event("e", &[("id", &long)]),
                "attributes.id is 1025 bytes long, the limit is 1024",
                Some(1024),
            ),
        ];
        for (result, message, limit) in cases {
            assert_eq!(fault(result), (message.to_owned(), limit));
        }
        let names: Vec<String> = (0..65).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (&**name, "x")).collect();
        assert_eq!(fault(event("e", &many)).0, "attributes has 65 elements, the limit is 64");
        assert!(event(&long[..255], &many[..64]).is_ok());
    }
}
