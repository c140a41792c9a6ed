//! Results of the library with the names that the cases use. Durations are milliseconds.

use std::time::Duration;

use larder_client::{
    Change, Deleted, Error, ErrorKind, Failure, Incremented, Invalidated, Many, Outcome, Patched,
    Read, Tier, Touched, Write,
};

use crate::value::{Fields, Value};

pub fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

pub fn time(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |duration| Value::Float(duration.as_secs_f64() * 1e3))
}

fn optional(text: Option<&str>) -> Value {
    text.map_or(Value::Null, Value::text)
}

/// `DeadlineExceeded` as `DEADLINE_EXCEEDED`.
pub fn constant(name: &str) -> String {
    let mut text = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(character.to_ascii_uppercase());
    }
    text
}

pub fn error(error: &Error) -> Value {
    let mut classes = vec![Value::text("LarderError")];
    if error.kind() != ErrorKind::Other {
        classes.push(Value::Text(format!("{:?}", error.kind())));
    }
    map([
        ("class", Value::List(classes)),
        ("code", Value::Text(constant(&format!("{:?}", error.code())))),
        ("reason", Value::text(error.reason())),
        ("retry_after", time(error.retry_after())),
        ("message", Value::text(error.message())),
    ])
}

fn failure(given: Option<&Failure>) -> Value {
    match given {
        None => Value::Null,
        Some(Failure::Call(cause)) => error(cause),
        Some(Failure::Loader(cause)) => {
            let classes = vec![Value::text("LoaderFailed")];
            let message = ("message", Value::Text(cause.to_string()));
            map([("class", Value::List(classes)), message])
        }
        Some(other) => map([("message", Value::Text(other.to_string()))]),
    }
}

pub fn write(write: &Write) -> Value {
    match write {
        Write::Stored { version, ttl, .. } => map([
            ("stored", Value::Bool(true)),
            ("version", Value::text(&**version)),
            ("ttl", time(Some(*ttl))),
        ]),
        Write::NotStored { reason, degraded, error, .. } => map([
            ("stored", Value::Bool(false)),
            ("reason", Value::text(reason.as_str())),
            ("degraded", Value::Bool(*degraded)),
            ("error", failure(error.as_ref())),
        ]),
    }
}

pub fn read(read: &Read<Value>) -> Value {
    let outcome = match read.outcome {
        Outcome::Hit => "HIT",
        Outcome::Stale => "STALE",
        Outcome::Negative => "NEGATIVE",
        Outcome::Miss => "MISS",
    };
    let tier = read.tier.map(|tier| match tier {
        Tier::Near => "near",
        Tier::Store => "store",
        Tier::Origin => "origin",
        Tier::Client => "client",
        Tier::Loader => "loader",
        _ => "unknown",
    });
    map([
        ("outcome", Value::text(outcome)),
        ("found", Value::Bool(read.found())),
        ("value", read.value().cloned().unwrap_or(Value::Null)),
        ("version", optional(read.version.as_deref())),
        ("age", time(read.age)),
        ("ttl_remaining", time(read.ttl_remaining)),
        ("tags", Value::List(read.tags.iter().map(Value::text).collect())),
        ("tier", optional(tier)),
        ("degraded", Value::Bool(read.degraded)),
        ("error", failure(read.error.as_ref())),
        ("stored", read.stored.as_deref().map_or(Value::Null, write)),
        ("joined", Value::Bool(read.joined)),
    ])
}

pub fn many<T>(results: &Many<T>, one: impl Fn(&T) -> Value) -> Value {
    let results: Fields =
        results.iter().map(|(key, result)| (key.text().to_owned(), one(result))).collect();
    map([("results", Value::Map(results))])
}

pub fn deleted(deleted: &Deleted<Value>) -> Value {
    map([
        ("existed", Value::Bool(deleted.existed)),
        ("deleted", Value::Bool(deleted.deleted)),
        ("queued", Value::Bool(deleted.queued)),
        ("removed", deleted.removed.as_ref().map_or(Value::Null, read)),
    ])
}

pub fn touched(touched: &Touched) -> Value {
    map([
        ("found", Value::Bool(touched.found)),
        ("ttl", time(touched.ttl)),
        ("degraded", Value::Bool(touched.degraded)),
        ("error", failure(touched.error.as_ref())),
    ])
}

pub fn incremented(incremented: &Incremented) -> Value {
    map([
        ("value", incremented.value.map_or(Value::Null, |value| Value::Int(value.into()))),
        ("version", optional(incremented.version.as_deref())),
        ("ttl_remaining", time(incremented.ttl_remaining)),
    ])
}

pub fn patched(patched: &Patched) -> Value {
    let is =
        |applied, missing| [("applied", Value::Bool(applied)), ("missing", Value::Bool(missing))];
    let Patched::Applied { version, ttl, .. } = patched else {
        return map(is(false, matches!(patched, Patched::Missing)));
    };
    let [applied, missing] = is(true, false);
    map([applied, missing, ("version", Value::text(&**version)), ("ttl", time(Some(*ttl)))])
}

pub fn invalidated(invalidated: &Invalidated) -> Value {
    map([
        ("queued", Value::Bool(invalidated.queued)),
        ("namespace_invalidated", Value::Bool(invalidated.namespace_invalidated)),
        ("existed", Value::List(invalidated.existed.iter().copied().map(Value::Bool).collect())),
    ])
}

pub fn change(change: Change) -> Value {
    let texts = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::Text).collect());
    let event = |name: &str| ("event", Value::text(name));
    match change {
        Change::Ready { resumed } => map([event("ready"), ("resumed", Value::Bool(resumed))]),
        Change::Namespace => map([event("namespace")]),
        Change::Tags(tags) => map([event("tags"), ("tags", texts(tags))]),
        Change::Pattern(glob) => map([event("pattern"), ("glob", Value::Text(glob))]),
        Change::Keys(keys) => {
            let keys = keys.into_iter().map(|listed| listed.key).collect();
            map([event("keys"), ("keys", texts(keys))])
        }
        Change::Reset(_) => map([event("reset")]),
        other => map([event(&format!("{other:?}"))]),
    }
}
