//! One entry of a stream, and the event in it.

use std::{collections::BTreeMap, str};

use crate::{
    config::EventSourceConfig,
    model::{Event, json_member, parse_json},
};

/// An entry that is not acknowledged yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) state: State,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not applied yet.
    Read,
    /// The store has confirmed what it invalidates.
    Applied,
    /// It can never be applied, and why.
    Refused(String),
}

impl Entry {
    /// An entry as it is read.
    pub(super) fn new(id: String, fields: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        Self { id, fields, state: State::Read }
    }

    /// Name of the event.
    pub(super) fn event_name<'a>(
        &'a self,
        source: &'a EventSourceConfig,
    ) -> Result<&'a str, String> {
        if source.event.is_empty() { self.text(&source.event_field) } else { Ok(&source.event) }
    }

    /// The event with these attributes, as far as they are there.
    pub(super) fn event(
        &self,
        source: &EventSourceConfig,
        attributes: impl IntoIterator<Item = String>,
    ) -> Result<Event, String> {
        let data = match &*source.data_field {
            "" => None,
            field => {
                let text = self.text(field)?;
                let json = parse_json(text.as_bytes());
                Some(json.map_err(|error| format!("field {field} {error}"))?)
            }
        };
        let mut found = BTreeMap::new();
        for name in attributes {
            let value = match &data {
                Some(data) => json_member(data, &name),
                None if self.field(&name).is_none() => None,
                None => Some(self.text(&name)?.to_owned()),
            };
            found.extend(value.map(|value| (name, value)));
        }
        let name = self.event_name(source)?.to_owned();
        Event::new(name, found).map_err(|violation| violation.to_string())
    }

    fn field(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        fields.find(|(field, _)| field == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        let value = self.field(name).ok_or_else(|| format!("there is no field {name}"))?;
        str::from_utf8(value).map_err(|_| format!("field {name} is not UTF-8"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let owned = |(name, value): &(&str, &[u8])| (name.as_bytes().to_vec(), value.to_vec());
        Entry::new("1-0".to_owned(), fields.iter().map(owned).collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn fields_are_attributes() {
        let source = EventSourceConfig::default();
        let entry = entry(&[("event", b"changed"), ("id", b"7"), ("other", b"\xff")]);
        let event = entry.event(&source, names(&["id", "none"])).unwrap();
        assert_eq!((event.name(), event.attribute("id")), ("changed", Some("7")));
        assert_eq!(event.attribute("none"), None);
        assert_eq!(
            entry.event(&source, names(&["other"])).unwrap_err(),
            "field other is not UTF-8"
        );
    }

    #[test]
    fn members_of_a_json_field_are_attributes() {
        let source = EventSourceConfig {
            event: "row".to_owned(),
            data_field: "value".to_owned(),
            ..EventSourceConfig::default()
        };
        let row = entry(&[("key", b"x"), ("value", br#"{"after": {"id": 7}}"#)]);
        let event = row.event(&source, names(&["after.id", "key"])).unwrap();
        assert_eq!((event.name(), event.attribute("after.id")), ("row", Some("7")));
        assert_eq!(event.attribute("key"), None);
        let broken = entry(&[("value", b"{")]).event(&source, names(&[])).unwrap_err();
        assert!(broken.starts_with("field value is not valid JSON"), "{broken}");
        let missing = entry(&[]).event(&source, names(&[])).unwrap_err();
        assert_eq!(missing, "there is no field value");
    }

    #[test]
    fn an_entry_needs_a_name() {
        let source = EventSourceConfig::default();
        let missing = entry(&[("id", b"7")]).event_name(&source).unwrap_err();
        assert_eq!(missing, "there is no field event");
        let empty = entry(&[("event", b"")]).event(&source, names(&[])).unwrap_err();
        assert_eq!(empty, "name must be set");
    }
}
