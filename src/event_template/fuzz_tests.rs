//! Fuzz target of the templates of events.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::fuzzing::{Input, check};

/// A template on the first line, and attributes as `name=value`. Its expansion has the values as
/// they are. A glob has the meaning of its own wildcards only, whatever the values are.
#[test]
fn event_template() {
    check("event_template", |bytes| {
        let mut input = Input::new(bytes);
        let text = input.text();
        let mut attributes = std::collections::BTreeMap::new();
        while !input.is_empty() {
            let line = input.text();
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            attributes.insert(name.to_owned(), value.to_owned());
        }
        let Ok(event) = Event::new("e".to_owned(), attributes) else { return };
        if let Ok(template) = EventTemplate::parse(&text) {
            assert_eq!(EventTemplate::parse(&template.to_string()).as_ref(), Ok(&template));
            let is_complete = template.pieces.iter().all(|piece| match piece {
                Piece::Literal(_) => true,
                Piece::Attribute(names) => {
                    let mut values = names.iter().filter_map(|name| event.attribute(name));
                    values.any(|value| !value.is_empty())
                }
            });
            let expanded = template.expand(&event);
            assert_eq!(expanded.is_ok(), is_complete);
            let is_short = |text: &String| text.len() >= template.sample().len();
            assert!(expanded.as_ref().is_err() || expanded.as_ref().is_ok_and(is_short));
        }
        let Ok(template) = EventTemplate::parse_glob(&text) else { return };
        let Ok(glob) = template.expand_glob(&event) else { return };
        let has_wildcards = template.pieces.iter().any(|piece| match piece {
            Piece::Literal(literal) => literal.contains(['*', '?', '[', '\\']),
            Piece::Attribute(_) => false,
        });
        let expanded = template.expand(&event).unwrap();
        if !has_wildcards {
            assert!(glob.matches(&expanded) && glob.prefix() == expanded, "{text:?} {expanded:?}");
        }
        // An attribute in front bounds what is matched.
        if let [Piece::Attribute(names), ..] = &*template.pieces {
            let value = template.value(names, &event).unwrap();
            assert!(glob.prefix().starts_with(value), "{text:?} {value:?}");
        }
    });
}
