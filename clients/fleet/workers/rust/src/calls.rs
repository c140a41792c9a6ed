//! Keys of function calls, and the values of their entries.

use std::collections::BTreeMap;

use larder_client::{CallKey, Key, Namespace, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;

/// A call of a function, with arguments by position and by name.
#[derive(Deserialize)]
pub struct Call {
    function: String,
    positional: Vec<Value>,
    named: BTreeMap<String, Value>,
}

impl Call {
    /// The entry of the call. Rust has no arguments by name and no defaults: all are given.
    fn key(&self) -> Result<Key<'static>, Failure> {
        let (key, names, defaults): (_, &[&str], Vec<(&str, Value)>) = match &*self.function {
            "report" => (
                CallKey::of("report"),
                &["year", "region", "filters"],
                vec![("region", json!("eu")), ("filters", Value::Null)],
            ),
            "user" => (
                CallKey::template("user:{user_id}"),
                &["user_id", "page"],
                vec![("page", json!(1))],
            ),
            "pair" => (CallKey::template("{a}:{b}"), &["a", "b"], vec![]),
            other => return Err(format!("there is no function {other}").into()),
        };
        let mut given: BTreeMap<&str, Value> = defaults.into_iter().collect();
        given.extend(names.iter().copied().zip(self.positional.iter().cloned()));
        given.extend(self.named.iter().map(|(name, value)| (&**name, value.clone())));
        let key = given.iter().fold(key, |key, (name, value)| key.arg(*name, value));
        Ok(key.key()?)
    }
}

/// The keys of calls.
pub fn keys(calls: &[Call]) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for call in calls {
        let key = call.key()?;
        found.push(json!({"key": key.text(), "params": key.params()}));
    }
    Ok(found.into())
}

/// Stores values as those of calls.
pub async fn write(
    entries: &Namespace<Value>,
    calls: &[Call],
    values: &[Value],
) -> Result<Value, Failure> {
    let mut stored = Vec::new();
    for (call, value) in calls.iter().zip(values) {
        stored.push(entries.set(call.key()?, value).await?.is_stored());
    }
    Ok(stored.into())
}

/// The values of calls.
pub async fn read(entries: &Namespace<Value>, calls: &[Call]) -> Result<Value, Failure> {
    let mut found = Vec::new();
    for call in calls {
        let read = entries.get(call.key()?).await?;
        let error = read.error.as_ref().map(|error| format!("{error:?}"));
        found.push(json!({
            "outcome": name(read.outcome), "value": read.value(), "error": error,
        }));
    }
    Ok(found.into())
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "HIT",
        Outcome::Stale => "STALE",
        Outcome::Negative => "NEGATIVE",
        Outcome::Miss => "MISS",
    }
}
