//! Keys with arguments in their text.

use std::collections::{BTreeMap, BTreeSet};

use super::forms::{KeyForm, Shown};
use crate::Error;

/// Texts, and the names of the arguments between them.
pub(super) struct Template<'a> {
    source: &'a str,
    literals: Vec<String>,
    fields: Vec<&'a str>,
}

/// The text of a call.
pub(super) struct Rendered {
    pub(super) text: String,
    /// The arguments that the text shows clearly.
    pub(super) clear: BTreeSet<String>,
}

fn wrong(source: &str, why: &str) -> Error {
    Error::argument("template", format!("{source:?} has {why}"))
}

impl<'a> Template<'a> {
    /// # Errors
    ///
    /// A brace is without its other.
    pub(super) fn parse(source: &'a str) -> Result<Self, Error> {
        let unpaired = || wrong(source, "a brace without its other");
        let (mut literals, mut fields) = (Vec::new(), Vec::new());
        let mut literal = String::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                literal.push_str(&rest[..1]);
                rest = after;
                continue;
            }
            let field = rest.strip_prefix('{').ok_or_else(unpaired)?;
            let (name, after) = field.split_once('}').ok_or_else(unpaired)?;
            if name.contains('{') {
                return Err(unpaired());
            }
            literals.push(std::mem::take(&mut literal));
            fields.push(name);
            rest = after;
        }
        literal.push_str(rest);
        literals.push(literal);
        Ok(Self { source, literals, fields })
    }

    /// # Errors
    ///
    /// A field is no argument.
    pub(super) fn render(&self, forms: &BTreeMap<String, KeyForm>) -> Result<Rendered, Error> {
        let between = self.literals.get(1..self.fields.len()).unwrap_or_default();
        let is_open = between.iter().any(String::is_empty);
        let separators = between.concat();
        let mut text = self.literals[0].clone();
        let (mut clear, mut unclear) = (BTreeSet::new(), BTreeSet::new());
        for (name, literal) in self.fields.iter().zip(&self.literals[1..]) {
            let Some(form) = forms.get(*name) else {
                let why = format!("the field {{{name}}}, which is not an argument");
                return Err(wrong(self.source, &why));
            };
            let (shown, is_own) = match form.shown() {
                Shown::Json(json) => (json, true),
                Shown::Text(shown) => (shown, !looks_typed(shown)),
                Shown::Tagged(shown) => (shown, false),
            };
            // `a:b` is the text of two pairs for `{x}:{y}`, if values may have a colon.
            let is_split = is_open || shown.chars().any(|one| separators.contains(one));
            let kept = if is_own && !is_split { &mut clear } else { &mut unclear };
            kept.insert((*name).to_owned());
            text.push_str(shown);
            text.push_str(literal);
        }
        clear.retain(|name| !unclear.contains(name));
        Ok(Rendered { text, clear })
    }
}

/// Whether a text is the form of a value that is no text: an equal text must not share its key.
fn looks_typed(text: &str) -> bool {
    if matches!(text, "null" | "true" | "false") || text.starts_with(['[', '{']) {
        return true;
    }
    let is_number = |text: &str| {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        [whole, fraction].iter().all(|part| {
            !part.is_empty() && part.bytes().all(|character| character.is_ascii_digit())
        })
    };
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('e') {
        Some((number, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            is_number(number) && !digits.contains('.') && is_number(digits)
        }
        None => text.contains('.') && is_number(text),
    }
}

#[cfg(test)]
mod tests {
    use super::looks_typed;

    #[test]
    fn text_like_another_value_is_found() {
        for text in ["null", "true", "1.5", "-0.1", "1e7", "1.5e-7", "-1e+21", "[1]", "{"] {
            assert!(looks_typed(text), "{text}");
        }
        for text in ["", "7", "-7", "a", "1.", ".5", "e7", "1e", "1e1.5", "1.2.3", "nulls"] {
            assert!(!looks_typed(text), "{text}");
        }
    }
}
