//! Names as the server has them: those that it does not take as they are get encoded.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::Error;

const MAX_NAMESPACE_BYTES: usize = 64;
const HEAD_CHARACTERS: usize = 40;
const MAX_KEY_BYTES: usize = 1024;
const KEPT_KEY_BYTES: usize = 900;
const MAX_PARAMS: usize = 64;
const MAX_PARAM_BYTES: usize = 8 * 1024;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const fn is_plain(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-')
}

/// The longest begin of a text that has at most so many bytes, cut between two characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The name of a namespace as the server has it.
pub(crate) fn encode_namespace(name: &str) -> Result<String, Error> {
    let Some(first) = name.chars().next() else {
        return Err(Error::argument("namespace", "must not be empty"));
    };
    let is_valid = first.is_ascii_alphanumeric()
        && name.len() <= MAX_NAMESPACE_BYTES
        && name.chars().all(is_plain)
        && !name.starts_with("x--");
    if is_valid {
        return Ok(name.to_owned());
    }
    let head = name.chars().take(HEAD_CHARACTERS).map(|character| {
        let lower = character.to_ascii_lowercase();
        if is_plain(lower) { lower } else { '-' }
    });
    let digest = hex(&Sha256::digest(name.as_bytes())[..8]);
    Ok(format!("x--{}-{digest}", head.collect::<String>()))
}

/// A key as the server has it: a long one is cut and ends with its digest.
pub(crate) fn encode_key(key: Cow<'_, str>) -> Result<Cow<'_, str>, Error> {
    if key.is_empty() {
        return Err(Error::argument("key", "must not be empty"));
    }
    if key.len() <= MAX_KEY_BYTES {
        return Ok(key);
    }
    let kept = cut(&key, KEPT_KEY_BYTES);
    Ok(format!("{kept}#{}", hex(&Sha256::digest(key.as_bytes()))).into())
}

/// Params as the server has them: more than it takes become one digest.
pub(crate) fn encode_params(
    params: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Error> {
    if params.contains_key("") {
        return Err(Error::argument("params", "a name must not be empty"));
    }
    let bytes: usize = params.iter().map(|(name, value)| name.len() + value.len()).sum();
    if params.len() <= MAX_PARAMS && bytes <= MAX_PARAM_BYTES {
        return Ok(params);
    }
    let mut hash = Sha256::new();
    // A BTreeMap has the order of the UTF-8 of the names.
    for part in params.iter().flat_map(|(name, value)| [name, value]) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    Ok(BTreeMap::from([("digest".to_owned(), hex(&hash.finalize()))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_encoded_as_in_the_contract() {
        for (name, encoded) in [
            ("users", "users"),
            ("testCache", "x--testcache-31c3463f6768e21d"),
            ("a:b", "x--a-b-6783a31eabf68ccc"),
            ("x--users", "x--x--users-a9ccee4e0f3b0037"),
            ("\u{212a}", "x----2bc4fb873d7946d6"),
        ] {
            assert_eq!(encode_namespace(name).ok().as_deref(), Some(encoded));
        }
        assert!(encode_namespace("").is_err());
    }

    #[test]
    fn a_long_key_is_cut_between_characters() {
        let encoded = encode_key("é".repeat(513).into()).unwrap_or_default();
        assert!(encoded.starts_with(&"é".repeat(450)));
        assert_eq!(encoded.len(), 900 + 1 + 64);
    }
}
