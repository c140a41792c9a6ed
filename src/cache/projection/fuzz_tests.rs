//! Fuzz target of JSON Pointers.

#![allow(clippy::expect_used)]

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::{
    cache::testing::{SECOND, entry},
    fuzzing::{Input, check},
    model::{Entry, Timestamp},
};

/// A value on the first line, and pointers on the others. The parts are those at the pointers, and
/// valid JSON.
#[test]
fn json_pointers() {
    check("json_pointers", |bytes| {
        let mut input = Input::new(bytes);
        let data = Bytes::copy_from_slice(input.line());
        let mut pointers = Vec::new();
        while !input.is_empty() && pointers.len() < 8 {
            pointers.push(input.text());
        }
        let value = parse_json(&data).ok();
        let entry = Entry { kind: Kind::Json, data, ..entry("", SECOND) };
        let content = Content::Parts(pointers.clone());
        let found = Found::fresh(entry, Timestamp(0));
        let projected = Projection { if_version_not: None, content }.of(Some(&found));
        match value {
            None => assert!(projected.is_err()),
            Some(value) => {
                let expected = pointers.iter().map(|pointer| part(&value, pointer));
                let expected = expected.map(|part| part.map(ToString::to_string)).collect();
                assert_eq!(projected.expect("JSON"), Projected::Parts(expected));
            }
        }
    });
}

/// RFC 6901, section 4.
fn part<'v>(value: &'v Value, pointer: &str) -> Option<&'v Value> {
    if pointer.is_empty() {
        return Some(value);
    }
    let rest = pointer.strip_prefix('/')?;
    rest.split('/').try_fold(value, |value, token| {
        let token = token.replace("~1", "/").replace("~0", "~");
        match value {
            Value::Object(members) => members.get(&token),
            Value::Array(elements) => {
                let is_index = token.bytes().all(|byte| byte.is_ascii_digit())
                    && (token == "0" || !token.starts_with('0'));
                elements.get(token.parse::<usize>().ok().filter(|_| is_index)?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    })
}
