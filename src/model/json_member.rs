//! Members of JSON objects by their dotted paths.

use serde_json::Value;

/// The text of a member: `after.id` is the member `id` of the member `after`. A member whose own
/// name has the dots comes first. None for arrays, objects and null.
pub fn json_member(json: &Value, path: &str) -> Option<String> {
    let object = json.as_object()?;
    let text = object.get(path).and_then(scalar);
    text.or_else(|| {
        let mut splits = path.match_indices('.');
        splits.find_map(|(at, _)| json_member(object.get(&path[..at])?, &path[at + 1..]))
    })
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // With the digits of the document.
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_found_by_their_paths() {
        let json = r#"{"id": 12345678901234567890.10, "ok": true, "none": null, "list": [1],
            "after": {"id": "é", "address": {"city": "b"}}, "after.id": "whole", "a.b": {"c": 1},
            "a": {"b": {"c": 2, "d": 3}}}"#;
        let json: Value = serde_json::from_str(json).unwrap();
        for (path, expected) in [
            ("id", Some("12345678901234567890.10")),
            ("ok", Some("true")),
            ("none", None),
            ("list", None),
            ("list.0", None),
            ("after", None),
            ("after.id", Some("whole")),
            ("after.address.city", Some("b")),
            ("a.b.c", Some("2")),
            ("a.b.d", Some("3")),
            ("", None),
            (".", None),
            ("after.", None),
        ] {
            assert_eq!(json_member(&json, path).as_deref(), expected, "{path}");
        }
        assert_eq!(json_member(&Value::Bool(true), "id"), None);
    }
}
