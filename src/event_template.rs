//! Templates that make keys, tags and patterns of the attributes of an event.

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

use crate::model::{Event, Glob, MAX_ATTRIBUTE_NAME_BYTES, Violation, attribute_field, escaped};

/// A text such as `user:{user_id}`, in which `{name}` stands for the value of an attribute, and
/// `{after.id|before.id}` for that of the first that has one. `{{` and `}}` stand for braces.
#[derive(Clone, PartialEq, Eq)]
pub struct EventTemplate {
    text: String,
    pieces: Vec<Piece>,
}

/// Why a text is not a valid template. The message continues a sentence about the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidEventTemplate(String);

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// The first of these attributes that has a value.
    Attribute(Vec<String>),
}

impl EventTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The text is empty, a brace has no counterpart, or the name of an attribute is invalid.
    pub fn parse(text: &str) -> Result<Self, InvalidEventTemplate> {
        if text.is_empty() {
            return invalid("it must not be empty");
        }
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = rest[at..].split_at(1);
            if let Some(after) = after.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return invalid("it has a } without { (a literal one is written }})");
            }
            let Some((names, after)) =
                after.split_once('}').filter(|(name, _)| !name.contains('{'))
            else {
                return invalid("it has a { without } (a literal one is written {{)");
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(attribute(names)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// Parses a template of a glob.
    ///
    /// # Errors
    /// As [`Self::parse`], or a part is not a valid glob on its own, so that an attribute would be
    /// a member of a class or follow a `\`.
    pub fn parse_glob(text: &str) -> Result<Self, InvalidEventTemplate> {
        let template = Self::parse(text)?;
        let within =
            |violation: Violation| InvalidEventTemplate(format!("it {}", violation.description()));
        for piece in &template.pieces {
            if let Piece::Literal(literal) = piece {
                Glob::new(literal).map_err(|violation| {
                    let description = violation.description();
                    InvalidEventTemplate(format!("its part {literal:?} {description}"))
                })?;
            }
        }
        Glob::new(&template.sample()).map_err(within)?;
        Ok(template)
    }

    /// The attributes that it names.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let names = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Attribute(names) => Some(names),
        });
        names.flatten().map(String::as_str)
    }

    /// The expansion for attributes of one letter: no expansion is shorter.
    pub fn sample(&self) -> String {
        let text = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(literal) => literal,
            Piece::Attribute(_) => "x",
        });
        text.collect()
    }

    /// The text for an event.
    ///
    /// # Errors
    /// A violation of field `attributes.<name>`: it is missing or empty.
    pub fn expand(&self, event: &Event) -> Result<String, Violation> {
        self.expand_with(event, |value| Cow::Borrowed(value))
    }

    /// The glob for an event. Characters of attributes match only themselves.
    ///
    /// # Errors
    /// As [`Self::expand`], or the glob exceeds a limit.
    pub fn expand_glob(&self, event: &Event) -> Result<Glob, Violation> {
        Glob::new(&self.expand_with(event, |value| Cow::Owned(escaped(value)))?)
    }

    fn expand_with(
        &self,
        event: &Event,
        encode: impl Fn(&str) -> Cow<'_, str>,
    ) -> Result<String, Violation> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Attribute(names) => text.push_str(&encode(self.value(names, event)?)),
            }
        }
        Ok(text)
    }

    /// An empty value is none: `{id}*` would match everything.
    fn value<'e>(&self, names: &[String], event: &'e Event) -> Result<&'e str, Violation> {
        let values = || names.iter().filter_map(|name| event.attribute(name));
        if let Some(value) = values().find(|value| !value.is_empty()) {
            return Ok(value);
        }
        let fault = if values().next().is_some() { "must not be empty" } else { "must be set" };
        let others: String = names.iter().skip(1).map(|name| format!(", or {name}")).collect();
        let description = format!("{fault}{others}: {:?} needs it", self.text);
        let first = names.first().map(String::as_str).unwrap_or_default();
        Err(Violation::new("", description).renamed(attribute_field(first)))
    }
}

/// The attributes between two braces.
fn attribute(names: &str) -> Result<Piece, InvalidEventTemplate> {
    let names: Vec<String> = names.split('|').map(str::to_owned).collect();
    for name in &names {
        if name.is_empty() || name.len() > MAX_ATTRIBUTE_NAME_BYTES {
            return invalid(format!(
                "the name of an attribute has 1 to {MAX_ATTRIBUTE_NAME_BYTES} bytes, got {name:?}"
            ));
        }
        if name.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return invalid(format!("the name of an attribute has no spaces, got {name:?}"));
        }
    }
    Ok(Piece::Attribute(names))
}

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidEventTemplate> {
    Err(InvalidEventTemplate(message.into()))
}

impl fmt::Display for EventTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EventTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
