//! Changes of JSON values: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902).

use bytes::Bytes;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
    jsonptr::{Pointer, PointerBuf},
};
use serde_json::{Map, Value};

use crate::{
    cache::Error,
    model::{Entry, Kind, MAX_JSON_DEPTH, Namespace, Violation, parse_json},
};

/// Most operations of a JSON Patch.
const MAX_OPERATIONS: usize = 1000;
/// Bytes that the operations of a JSON Patch may copy and move, in parts of the largest value.
const MAX_MOVED_VALUES: usize = 4;

/// A change of a JSON value.
#[derive(Debug, Clone)]
pub enum Change {
    /// A JSON Merge Patch.
    Merge(Value),
    /// The operations of a JSON Patch.
    Operations(Vec<PatchOperation>),
}

/// Extent of a JSON value.
#[derive(Default)]
struct Extent {
    /// Arrays and objects within each other.
    depth: usize,
    /// About the length of its text.
    bytes: usize,
}

impl Change {
    /// A JSON Merge Patch. It may be at most as deep as a value.
    ///
    /// # Errors
    /// A violation of the field `merge_patch`.
    pub fn merge(text: &[u8]) -> Result<Self, Violation> {
        parse(text, "merge_patch").map(Self::Merge)
    }

    /// A JSON Patch with at most 1,000 operations. It may be at most as deep as a value.
    ///
    /// # Errors
    /// A violation of the field `json_patch`.
    pub fn operations(text: &[u8]) -> Result<Self, Violation> {
        let field = "json_patch";
        let Value::Array(operations) = parse(text, field)? else {
            return Err(Violation::new(field, "is not an array of operations"));
        };
        if operations.len() > MAX_OPERATIONS {
            let description =
                format!("has {} operations, the limit is {MAX_OPERATIONS}", operations.len());
            return Err(Violation::over_limit(field, description, MAX_OPERATIONS));
        }
        let operations = operations.into_iter().enumerate().map(|(index, members)| {
            operation(members)
                .map_err(|fault| Violation::new(field, fault).renamed(format!("{field}[{index}]")))
        });
        operations.collect::<Result<_, _>>().map(Self::Operations)
    }

    /// The changed value of an entry of `namespace`, which allows `max_bytes`.
    pub(super) fn apply(
        &self,
        entry: &Entry,
        namespace: &Namespace,
        max_bytes: usize,
    ) -> Result<Bytes, Error> {
        if entry.kind != Kind::Json {
            return Err(Error::NotJson);
        }
        // It was JSON when it was stored, but other clients of Redis may have changed it since.
        let mut value = parse_json(&entry.data).map_err(|_| Error::NotJson)?;
        match self {
            Self::Merge(patch) => json_patch::merge(&mut value, patch),
            Self::Operations(operations) => {
                apply_operations(&mut value, operations, max_bytes)?;
            }
        }
        let text = value.to_string();
        if text.len() > max_bytes {
            let size = text.len();
            let description = format!(
                "is {size} bytes long after the patch, the limit of namespace {namespace} is \
                 {max_bytes} (max_value_bytes)"
            );
            let violation = Violation::over_limit("value", description, max_bytes);
            return Err(Error::ValueTooLarge(violation));
        }
        Ok(text.into())
    }
}

fn parse(text: &[u8], field: &'static str) -> Result<Value, Violation> {
    parse_json(text).map_err(|error| match error {
        crate::model::InvalidJson::Syntax(_) => Violation::new(field, error.to_string()),
        crate::model::InvalidJson::TooDeep(_) => {
            Violation::over_limit(field, error.to_string(), MAX_JSON_DEPTH)
        }
    })
}

/// One operation of a JSON Patch; the error continues its name. By hand, because the types of
/// json_patch read numbers as floating point.
fn operation(members: Value) -> Result<PatchOperation, String> {
    let Value::Object(mut members) = members else {
        return Err("is not an object".to_owned());
    };
    let Some(Value::String(op)) = members.remove("op") else {
        return Err("has no text \"op\"".to_owned());
    };
    let path = pointer(&mut members, "path")?;
    let mut value = || members.remove("value").ok_or_else(|| "has no \"value\"".to_owned());
    Ok(match op.as_str() {
        "add" => PatchOperation::Add(AddOperation { path, value: value()? }),
        "replace" => PatchOperation::Replace(ReplaceOperation { path, value: value()? }),
        "test" => PatchOperation::Test(TestOperation { path, value: value()? }),
        "remove" => PatchOperation::Remove(RemoveOperation { path }),
        "move" => {
            PatchOperation::Move(MoveOperation { from: pointer(&mut members, "from")?, path })
        }
        "copy" => {
            PatchOperation::Copy(CopyOperation { from: pointer(&mut members, "from")?, path })
        }
        unknown => return Err(format!("has the unknown op {:?}", beginning(unknown))),
    })
}

fn pointer(members: &mut Map<String, Value>, name: &str) -> Result<PointerBuf, String> {
    match members.remove(name) {
        Some(Value::String(pointer)) => PointerBuf::parse(pointer)
            .map_err(|_| format!("has a {name:?} that is not a JSON Pointer (RFC 6901)")),
        Some(_) | None => Err(format!("has no text {name:?}")),
    }
}

/// Applies operations one by one. A few operations can copy a value into itself until it fills the
/// memory, or nest it until recursion overflows the stack, so both are checked before each of them.
fn apply_operations(
    value: &mut Value,
    operations: &[PatchOperation],
    max_bytes: usize,
) -> Result<(), Error> {
    let mut budget = max_bytes.saturating_mul(MAX_MOVED_VALUES);
    for (index, operation) in operations.iter().enumerate() {
        let fault = |fault: String| {
            Error::PatchNotApplicable(format!(
                "operation {index} at \"{}\": {fault}",
                beginning(operation.path().as_str())
            ))
        };
        let extent = match operation {
            PatchOperation::Add(operation) => Extent::of(&operation.value, usize::MAX),
            PatchOperation::Replace(operation) => Extent::of(&operation.value, usize::MAX),
            PatchOperation::Copy(operation) => moved(value, &operation.from, &mut budget)
                .ok_or_else(|| moves_too_much(max_bytes))?,
            PatchOperation::Move(operation) => moved(value, &operation.from, &mut budget)
                .ok_or_else(|| moves_too_much(max_bytes))?,
            PatchOperation::Remove(_) | PatchOperation::Test(_) => Extent::default(),
        };
        let depth = operation.path().count() + extent.depth;
        if extent.depth > 0 && depth > MAX_JSON_DEPTH {
            let description =
                format!("the result is nested {depth} levels deep, the limit is {MAX_JSON_DEPTH}");
            return Err(fault(description));
        }
        json_patch::patch_unsafe(value, std::slice::from_ref(operation))
            .map_err(|error| fault(error.kind.to_string()))?;
    }
    Ok(())
}

#[cold]
fn moves_too_much(max_bytes: usize) -> Error {
    let limit = max_bytes.saturating_mul(MAX_MOVED_VALUES);
    Error::PatchNotApplicable(format!(
        "its operations copy and move more than {limit} bytes, {MAX_MOVED_VALUES} times the \
         namespace's max_value_bytes"
    ))
}

/// Extent of the value that an operation copies or moves, whose bytes are taken from the budget.
/// `None` if the budget is not enough.
fn moved(value: &Value, from: &Pointer, budget: &mut usize) -> Option<Extent> {
    // A path that does not exist is reported by the operation itself.
    let Some(source) = value.pointer(from.as_str()) else { return Some(Extent::default()) };
    let extent = Extent::of(source, *budget);
    *budget = budget.checked_sub(extent.bytes)?;
    Some(extent)
}

/// The beginning of a text, for messages.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

impl Extent {
    /// Measures a value, whose depth is limited. Stops when it has counted more than `max_bytes`.
    fn of(value: &Value, max_bytes: usize) -> Self {
        let mut extent = Self::default();
        extent.visit(value, 0, max_bytes);
        extent
    }

    fn visit(&mut self, value: &Value, depth: usize, max_bytes: usize) {
        if self.bytes > max_bytes {
            return;
        }
        // The value and a comma.
        self.bytes += 2;
        match value {
            Value::Null | Value::Bool(_) => self.bytes += 4,
            Value::Number(number) => self.bytes += number.as_str().len(),
            Value::String(text) => self.bytes += text.len(),
            Value::Array(elements) => {
                self.depth = self.depth.max(depth + 1);
                elements.iter().for_each(|element| self.visit(element, depth + 1, max_bytes));
            }
            Value::Object(members) => {
                self.depth = self.depth.max(depth + 1);
                for (name, member) in members {
                    self.bytes += name.len() + 3;
                    self.visit(member, depth + 1, max_bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        cache::testing::{SECOND, entry, namespace},
        model::Entry,
    };

    /// The value after a patch, which may have `max_bytes`.
    fn patched(value: &str, patch: &Change, max_bytes: usize) -> Result<String, Error> {
        let data = value.to_owned().into();
        let entry = Entry { kind: Kind::Json, data, ..entry("", SECOND) };
        let changed = patch.apply(&entry, &namespace(), max_bytes)?;
        Ok(String::from_utf8(changed.to_vec()).unwrap())
    }

    fn merged(value: &str, patch: &str) -> String {
        patched(value, &Change::merge(patch.as_bytes()).unwrap(), 1000).unwrap()
    }

    fn operated(value: &str, patch: &str) -> Result<String, String> {
        let patch = Change::operations(patch.as_bytes()).unwrap();
        patched(value, &patch, 1000).map_err(|error| error.to_string())
    }

    #[test]
    fn the_result_may_be_as_large_as_the_limit() {
        let patch = Change::merge(br#"{"a":1}"#).unwrap();
        assert_eq!(patched("{}", &patch, 7).unwrap(), r#"{"a":1}"#);
        let error = patched("{}", &patch, 6).unwrap_err();
        assert!(matches!(error, Error::ValueTooLarge(_)), "{error:?}");
    }

    #[test]
    fn merge_patches_follow_the_examples_of_rfc_7396() {
        for (value, patch, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(merged(value, patch), expected, "{value} {patch}");
        }
    }

    #[test]
    fn operations_are_applied_in_order() {
        let value = r#"{"a":{"b":1},"list":[1,2]}"#;
        let patch = r#"[
            {"op":"test","path":"/a/b","value":1},
            {"op":"replace","path":"/a/b","value":null},
            {"op":"add","path":"/list/-","value":{"c~/d":true}},
            {"op":"copy","from":"/list/2","path":"/copied"},
            {"op":"move","from":"/list/0","path":"/list/1"},
            {"op":"remove","path":"/a"},
            {"op":"test","path":"/copied/c~0~1d","value":true}
        ]"#;
        let expected = r#"{"copied":{"c~/d":true},"list":[2,1,{"c~/d":true}]}"#;
        let changed: Value = operated(value, patch).unwrap().parse().unwrap();
        assert_eq!(changed, expected.parse::<Value>().unwrap());
        assert_eq!(operated(value, "[]").unwrap(), value);
        let whole = r#"[{"op":"add","path":"","value":[1]}]"#;
        assert_eq!(operated(value, whole).unwrap(), "[1]");
    }

    #[test]
    fn numbers_keep_their_digits() {
        let value = r#"{"price":1.10,"id":123456789012345678901234567890}"#;
        assert_eq!(merged(value, r#"{"x":0.10}"#), value.replace('}', r#","x":0.10}"#));
        let patch = r#"[{"op":"test","path":"/id","value":123456789012345678901234567890},
            {"op":"replace","path":"/price","value":2.50}]"#;
        assert_eq!(operated(value, patch).unwrap(), value.replace("1.10", "2.50"));
    }

    #[test]
    fn faults_name_the_operation() {
        for (operation, fault) in [
            (r#"{"op":"test","path":"/a","value":2}"#, "value did not match"),
            (r#"{"op":"test","path":"/a","value":1.0}"#, "value did not match"),
            (r#"{"op":"replace","path":"/x","value":2}"#, "path is invalid"),
            (r#"{"op":"remove","path":"/list/7"}"#, "path is invalid"),
            (r#"{"op":"add","path":"/x/y","value":2}"#, "path is invalid"),
            (r#"{"op":"move","from":"/x","path":"/y"}"#, "\"from\" path is invalid"),
        ] {
            let patch = format!(r#"[{{"op":"remove","path":"/list"}},{operation}]"#);
            let error = operated(r#"{"a":1,"list":[]}"#, &patch).unwrap_err();
            assert!(error.contains("operation 1 at \"/") && error.ends_with(fault), "{error}");
        }
    }

    #[test]
    fn patches_are_validated() {
        let violation = |patch: &str| Change::operations(patch.as_bytes()).unwrap_err();
        assert_eq!(violation("{}").to_string(), "json_patch is not an array of operations");
        for invalid in [
            r#"{"op":"grow","path":""}"#,
            r#"{"op":"add","path":""}"#,
            r#"{"op":"remove","path":"a"}"#,
            r#"{"op":"remove","path":"/~2"}"#,
            r#"{"op":"move","path":"/a"}"#,
            r#"{"op":"copy","path":"/a","from":1}"#,
            r#"{"path":"/a"}"#,
            r#"{"op":"remove"}"#,
            "1",
        ] {
            let violation = violation(&format!(r#"[{{"op":"remove","path":"/a"}},{invalid}]"#));
            assert_eq!(violation.field(), "json_patch[1]", "{violation}");
        }
        let many = format!("[{}]", [r#"{"op":"remove","path":"/a"}"#; 1001].join(","));
        assert_eq!(violation(&many).limit(), Some(1000));
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        let error = Change::merge(deep.as_bytes()).unwrap_err();
        assert_eq!((error.field(), error.limit()), ("merge_patch", Some(128)));
        assert_eq!(Change::merge(b"{").unwrap_err().field(), "merge_patch");
    }

    #[test]
    fn operations_cannot_grow_a_value_without_bound() {
        let double = r#"{"op":"copy","from":"","path":"/-"}"#;
        let error = operated("[1]", &format!("[{}]", [double; 100].join(","))).unwrap_err();
        assert!(error.contains("copy and move more than 4000 bytes"), "{error}");
        let add = r#"{"op":"add","path":"/-","value":"0123456789"}"#;
        let error = operated("[1]", &format!("[{}]", [add; 100].join(","))).unwrap_err();
        assert!(error.contains("the limit of namespace ns is 1000"), "{error}");
    }

    #[test]
    fn operations_cannot_nest_a_value_beyond_the_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let deepen = |depth| {
            let value = nested(depth);
            let path = "/0".repeat(63) + "/-";
            operated(&nested(64), &format!(r#"[{{"op":"add","path":"{path}","value":{value}}}]"#))
        };
        assert_eq!(deepen(64).unwrap(), nested(128));
        assert!(deepen(65).unwrap_err().contains("nested 129 levels deep, the limit is 128"));
        let copy = |depth: usize| {
            let path = "/0".repeat(depth - 1) + "/-";
            operated(&nested(depth), &format!(r#"[{{"op":"copy","from":"","path":"{path}"}}]"#))
        };
        assert_eq!(copy(64).unwrap(), nested(128));
        assert!(copy(65).unwrap_err().contains("nested 130 levels deep"));
    }
}
