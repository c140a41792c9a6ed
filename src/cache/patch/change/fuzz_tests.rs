//! Fuzz target of changes of JSON values, against a plain model of the two RFCs.

#![allow(clippy::expect_used, clippy::wildcard_enum_match_arm)]

use super::*;
use crate::{
    cache::testing::{SECOND, entry, namespace},
    fuzzing::{Input, check},
};

/// Largest value of the namespace.
const MAX_BYTES: usize = 100;

/// A value on the first line and a patch on the second one. The result is that of the model, and
/// within the limits of size and depth.
#[test]
fn json_patch() {
    check("json_patch", |bytes| {
        let mut input = Input::new(bytes);
        let (text, patch) = (input.line(), input.rest());
        let data = Bytes::copy_from_slice(text);
        let stored = Entry { kind: Kind::Json, data, ..entry("", SECOND) };
        if let Ok(change) = Change::merge(patch) {
            let expected = parse_json(text).ok().map(|value| {
                merged(value, &serde_json::from_slice(patch).expect("a value within the depth"))
            });
            compare(&change, &stored, expected);
        }
        if let Ok(change) = Change::operations(patch) {
            let operations: Value = serde_json::from_slice(patch).expect("an accepted patch");
            let mut operations = operations.as_array().expect("a list").iter();
            let expected =
                parse_json(text).ok().and_then(|value| operations.try_fold(value, applied));
            compare(&change, &stored, expected);
        }
    });
}

fn compare(change: &Change, stored: &Entry, expected: Option<Value>) {
    match (change.apply(stored, &namespace(), MAX_BYTES), expected) {
        (Ok(text), expected) => {
            assert!(text.len() <= MAX_BYTES);
            let value = parse_json(&text).expect("a value that can be stored");
            assert_eq!(Some(value), expected);
        }
        // The limits of size, depth and work.
        (Err(error), Some(expected)) => {
            let text = expected.to_string();
            let message = error.to_string();
            let is_limit = ["limit of", "the limit is", "copy and move more"]
                .iter()
                .any(|part| message.contains(part));
            assert!(is_limit, "{message}, expected {text}");
        }
        (Err(_), None) => {}
    }
}

/// RFC 7396, section 2.
fn merged(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut members = if let Value::Object(members) = target { members } else { Map::new() };
    for (name, value) in patch {
        let old = members.remove(name).unwrap_or(Value::Null);
        if !value.is_null() {
            members.insert(name.clone(), merged(old, value));
        }
    }
    Value::Object(members)
}

/// RFC 6902, section 4; `None` if the operation fails.
fn applied(mut value: Value, operation: &Value) -> Option<Value> {
    let text = |name: &str| operation[name].as_str();
    let path = tokens(text("path")?);
    match text("op")? {
        "add" => add(&mut value, &path, operation["value"].clone())?,
        "remove" => drop(remove(&mut value, &path)?),
        "replace" => *find(&mut value, &path)? = operation["value"].clone(),
        "move" => {
            let from = tokens(text("from")?);
            if path.len() > from.len() && path.starts_with(&from) {
                return None;
            }
            let moved = remove(&mut value, &from)?;
            add(&mut value, &path, moved)?;
        }
        "copy" => {
            let copied = find(&mut value, &tokens(text("from")?))?.clone();
            add(&mut value, &path, copied)?;
        }
        "test" => (*find(&mut value, &path)? == operation["value"]).then_some(())?,
        _ => return None,
    }
    Some(value)
}

fn tokens(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect()
}

/// The position of an element, or of the end if `token` is that.
fn position(token: &str) -> Option<usize> {
    let is_number = token.bytes().all(|byte| byte.is_ascii_digit()) && !token.is_empty();
    (is_number && (token == "0" || !token.starts_with('0'))).then(|| token.parse().ok())?
}

fn find<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    let Some((token, rest)) = path.split_first() else { return Some(value) };
    match value {
        Value::Object(members) => find(members.get_mut(token)?, rest),
        Value::Array(elements) => find(elements.get_mut(position(token)?)?, rest),
        _ => None,
    }
}

fn add(value: &mut Value, path: &[String], added: Value) -> Option<()> {
    let Some((token, above)) = path.split_last() else {
        *value = added;
        return Some(());
    };
    match find(value, above)? {
        Value::Object(members) => drop(members.insert(token.clone(), added)),
        Value::Array(elements) => {
            let at = if token == "-" { elements.len() } else { position(token)? };
            (at <= elements.len()).then(|| elements.insert(at, added))?;
        }
        _ => return None,
    }
    Some(())
}

fn remove(value: &mut Value, path: &[String]) -> Option<Value> {
    let (token, above) = path.split_last()?;
    match find(value, above)? {
        Value::Object(members) => members.remove(token),
        Value::Array(elements) => {
            let at = position(token).filter(|at| *at < elements.len())?;
            Some(elements.remove(at))
        }
        _ => None,
    }
}
