use std::path::PathBuf;

use config::ValueKind;

use super::super::toml::quoted;
use super::{ValueType, as_text, mismatch};

/// The path of a file; an empty text stands for none.
pub(crate) fn optional_path() -> OptionalPath {
    OptionalPath
}

pub(crate) struct OptionalPath;

impl ValueType for OptionalPath {
    type Value = Option<PathBuf>;

    fn parse(&self, raw: &ValueKind) -> Result<Option<PathBuf>, String> {
        let text = as_text(raw).ok_or_else(|| mismatch("the path of a file", raw))?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn render(&self, value: &Option<PathBuf>) -> String {
        // A path that was read from a text can be written as one.
        quoted(&value.as_ref().map_or_else(String::new, |path| path.display().to_string()))
    }
}
