//! Projection: what of a found value a read returns.

use super::{Error, Found, Outcome};
use crate::model::{Kind, Version, parse_json};

/// The parts of a value that a read returns.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    /// The version of the value that the caller has.
    pub if_version_not: Option<Version>,
    /// The content to return if the version differs.
    pub content: Content,
}

/// A part of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    #[default]
    Whole,
    /// Nothing.
    Nothing,
    /// The parts of a JSON value at these JSON Pointers (RFC 6901).
    Parts(Vec<String>),
}

/// The content that a read returns in place of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projected {
    /// The value.
    Whole,
    /// Nothing: the caller has this version.
    NotModified,
    /// Nothing: the caller wants no value, or there is none.
    Nothing,
    /// A JSON text per pointer; `None` if the value has no such part.
    Parts(Vec<Option<String>>),
}

impl Projection {
    /// The part of an entry that the caller wants.
    ///
    /// # Errors
    /// [`Error::NotJson`].
    pub fn of(&self, found: Option<&Found>) -> Result<Projected, Error> {
        let Some(found) = found else { return Ok(Projected::Nothing) };
        if self.if_version_not == Some(found.entry.version) {
            return Ok(Projected::NotModified);
        }
        match &self.content {
            Content::Whole => Ok(Projected::Whole),
            Content::Nothing => Ok(Projected::Nothing),
            Content::Parts(_) if found.outcome == Outcome::Negative => Ok(Projected::Nothing),
            Content::Parts(pointers) => parts(found, pointers).map(Projected::Parts),
        }
    }
}

fn parts(found: &Found, pointers: &[String]) -> Result<Vec<Option<String>>, Error> {
    if found.entry.kind != Kind::Json {
        return Err(Error::NotJson);
    }
    // It was JSON when it was stored, but other clients of Redis may have changed it since.
    let value = parse_json(&found.entry.data).map_err(|_| Error::NotJson)?;
    let part = |pointer: &String| value.pointer(pointer).map(ToString::to_string);
    Ok(pointers.iter().map(part).collect())
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, entry},
        model::{Entry, Timestamp},
    };

    fn found(kind: Kind, value: &'static str) -> Found {
        let entry = Entry { kind, version: Version(7), ..entry(value, SECOND) };
        Found::fresh(entry, Timestamp(0))
    }

    fn parts_of(value: &'static str, pointers: &[&str]) -> Result<Projected, Error> {
        let content = Content::Parts(pointers.iter().map(|&pointer| pointer.to_owned()).collect());
        Projection { if_version_not: None, content }.of(Some(&found(Kind::Json, value)))
    }

    #[test]
    fn the_version_that_the_caller_has_is_not_returned_again() {
        for content in [Content::Whole, Content::Nothing, Content::Parts(vec!["/a".to_owned()])] {
            for kind in [Kind::Text, Kind::Json, Kind::Negative] {
                let same =
                    Projection { if_version_not: Some(Version(7)), content: content.clone() };
                assert_eq!(same.of(Some(&found(kind, "{}"))).unwrap(), Projected::NotModified);
                assert_eq!(same.of(None).unwrap(), Projected::Nothing);
            }
        }
        let other = |content| Projection { if_version_not: Some(Version(8)), content };
        let text = found(Kind::Text, "v");
        assert_eq!(other(Content::Whole).of(Some(&text)).unwrap(), Projected::Whole);
        assert_eq!(other(Content::Nothing).of(Some(&text)).unwrap(), Projected::Nothing);
    }

    #[test]
    fn parts_are_distinguished_from_null_and_keep_the_order_of_the_request() {
        let value = r#" {"b": [1, {"c": 1.50}], "a/b": null, "m~n": "x", "": true} "#;
        let pointers = ["/a~1b", "/b/1", "/nope", "/m~0n", "/b/1/c", "/b/-", "/b/01", "/", ""];
        let all = r#"{"b":[1,{"c":1.50}],"a/b":null,"m~n":"x","":true}"#;
        let expected = [
            Some("null"),
            Some(r#"{"c":1.50}"#),
            None,
            Some("\"x\""),
            Some("1.50"),
            None,
            None,
            Some("true"),
            Some(all),
        ];
        let expected = expected.map(|part| part.map(str::to_owned)).to_vec();
        assert_eq!(parts_of(value, &pointers).unwrap(), Projected::Parts(expected));
    }

    #[test]
    fn only_json_has_parts() {
        assert!(matches!(parts_of("{", &["/a"]), Err(Error::NotJson)));
        let content = Content::Parts(vec![String::new()]);
        let projection = Projection { if_version_not: None, content };
        let of = |kind| projection.of(Some(&found(kind, "{}")));
        assert!(matches!(of(Kind::Text), Err(Error::NotJson)));
        assert!(matches!(of(Kind::Bytes), Err(Error::NotJson)));
        assert_eq!(of(Kind::Negative).unwrap(), Projected::Nothing);
    }
}
