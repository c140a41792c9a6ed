//! JSON texts: validity, depth and parts.

use std::slice;

use serde::{Deserialize as _, de::IgnoredAny};
use serde_json::Value;

/// Most arrays and objects within each other in a JSON value. Common parsers refuse deeper texts,
/// or overflow their stack.
pub const MAX_JSON_DEPTH: usize = 128;

/// Why a text is not accepted as JSON. The message continues a sentence about the text.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJson {
    /// The text breaks the syntax.
    #[error("is not valid JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    /// The text is nested too deeply.
    #[error("is nested {0} levels deep, the limit is {MAX_JSON_DEPTH}")]
    TooDeep(usize),
}

/// Checks the syntax and the depth of a JSON text. The caller has checked that it is UTF-8.
///
/// # Errors
/// The text is not JSON, or deeper than [`MAX_JSON_DEPTH`].
pub fn check_json(text: &[u8]) -> Result<(), InvalidJson> {
    // The parser has no limit for values that it skips, and needs no stack for them.
    serde_json::from_slice::<IgnoredAny>(text)?;
    // A text with so few brackets cannot be deeper. Counting them is much faster than the scan.
    let opening = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if opening > MAX_JSON_DEPTH {
        let depth = depth(text);
        if depth > MAX_JSON_DEPTH {
            return Err(InvalidJson::TooDeep(depth));
        }
    }
    Ok(())
}

/// Parses a JSON text. Numbers keep their digits, and objects their order.
///
/// # Errors
/// As [`check_json`].
pub fn parse_json(text: &[u8]) -> Result<Value, InvalidJson> {
    check_json(text)?;
    let mut parser = serde_json::Deserializer::from_slice(text);
    // Its own limit is one level lower.
    parser.disable_recursion_limit();
    Ok(Value::deserialize(&mut parser)?)
}

/// Depth of a valid JSON text.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a string whose opening quote has been read.
fn skip_string(bytes: &mut slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn nested(open: &str, inner: &str, close: &str, depth: usize) -> String {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    }

    #[test]
    fn depth_is_limited() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[[],{\"]\":", "}]")] {
            let levels = open.matches(['[', '{']).count() - open.matches("[]").count();
            let allowed = MAX_JSON_DEPTH / levels;
            check_json(nested(open, "1", close, allowed).as_bytes()).unwrap();
            let error = check_json(nested(open, "[1]", close, allowed).as_bytes()).unwrap_err();
            let expected = "is nested 129 levels deep, the limit is 128";
            assert_eq!(error.to_string(), expected, "{open}");
        }
        let hostile = nested("[", "", "]", 500_000);
        assert!(matches!(check_json(hostile.as_bytes()), Err(InvalidJson::TooDeep(500_000))));
    }

    #[test]
    fn deepest_values_are_parsed() {
        let deepest = nested("[", "1", "]", MAX_JSON_DEPTH);
        assert_eq!(parse_json(deepest.as_bytes()).unwrap().to_string(), deepest);
        let deeper = nested("[", "1", "]", MAX_JSON_DEPTH + 1);
        assert!(matches!(parse_json(deeper.as_bytes()), Err(InvalidJson::TooDeep(129))));
        assert!(matches!(parse_json(b"[1] 2"), Err(InvalidJson::Syntax(_))));
    }

    #[test]
    fn parsed_values_keep_their_digits_and_their_order() {
        let text = r#"{"z":1.10,"a":123456789012345678901234567890,"m":[0.1e+400,-0],"é":"\""}"#;
        assert_eq!(parse_json(text.as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn brackets_in_strings_and_siblings_are_not_depth() {
        let wide = format!("[{}0]", "[],{},".repeat(1000));
        let text = format!("\"{}\\\"{}\\\\\"", "[".repeat(200), "{".repeat(200));
        for json in [wide, format!("[{text},{text}]"), text] {
            check_json(json.as_bytes()).unwrap();
        }
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "{", "[1,]", "NaN", "[]]", "\u{feff}{}"] {
            assert!(matches!(check_json(text.as_bytes()), Err(InvalidJson::Syntax(_))), "{text}");
        }
    }
}
