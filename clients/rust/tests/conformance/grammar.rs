//! Values, durations and expectations of the cases, as clients/conformance/README.md has them.

use std::{collections::HashMap, time::Duration};

use crate::value::{Fields, Value};

pub type Bound = HashMap<String, Value>;

/// Fields of a result that are durations, in milliseconds.
const TIMES: [&str; 4] = ["ttl", "ttl_remaining", "age", "retry_after"];
/// Tolerance of durations, in milliseconds.
const CLOSE: f64 = 1.5;
const TAGS: [&str; 11] = [
    "$bytes",
    "$int",
    "$number",
    "$repeat",
    "$concat",
    "$keys",
    "$keys_sorted",
    "$params",
    "$items",
    "$raw",
    "$var",
];
/// Arguments of types that JSON lacks.
const SPECIAL: [&str; 8] =
    ["$set", "$datetime", "$date", "$time", "$uuid", "$decimal", "$own_form", "$opaque"];
const MATCHERS: [&str; 6] = ["$between", "$any", "$not", "$has", "$begins", "$exactly"];

/// A result that is not as expected.
pub type Mismatch = String;

/// The milliseconds of a duration such as `250ms`.
pub fn milliseconds(value: &Value) -> Option<f64> {
    let text = value.as_text()?;
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3600e3,
        "d" => 86400e3,
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * unit)
}

/// The duration of a text; what is negative is zero.
pub fn duration(value: &Value) -> Option<Duration> {
    milliseconds(value).map(|ms| Duration::from_secs_f64((ms / 1e3).max(0.0)))
}

fn tag(value: &Value) -> Option<(&str, &Value)> {
    let fields = value.as_map().filter(|fields| fields.len() == 1)?;
    fields.iter().next().map(|(name, given)| (name.as_str(), given))
}

fn part(given: &Value, index: usize) -> Value {
    given.as_list().and_then(|parts| parts.get(index)).cloned().unwrap_or(Value::Null)
}

fn numbered(prefix: &Value, count: &Value) -> Vec<String> {
    let prefix = prefix.as_text().unwrap_or_default();
    (0..count.as_int().unwrap_or_default()).map(|number| format!("{prefix}{number}")).collect()
}

/// The value that a tagged form such as `{$bytes: ...}` stands for.
pub fn expand(value: &Value, bound: &Bound) -> Value {
    match value {
        Value::List(items) => Value::List(items.iter().map(|item| expand(item, bound)).collect()),
        Value::Text(text) if text == "$each" => bound.get("$each").cloned().unwrap_or(Value::Null),
        Value::Map(fields) => match tag(value) {
            Some((name, given)) if TAGS.contains(&name) => tagged(name, given, bound),
            Some((name, given)) if SPECIAL.contains(&name) => {
                Value::Special(name.to_owned(), Box::new(expand(given, bound)))
            }
            _ => Value::Map(
                fields.iter().map(|(name, item)| (name.clone(), expand(item, bound))).collect(),
            ),
        },
        other => other.clone(),
    }
}

fn tagged(name: &str, given: &Value, bound: &Bound) -> Value {
    let text = given.as_text().unwrap_or_default();
    match name {
        "$bytes" => {
            Value::Data(data_encoding::BASE64.decode(text.as_bytes()).expect("base64").into())
        }
        "$int" => Value::Int(text.parse().expect("an integer")),
        "$number" => Value::Float(text.parse().expect("nan, inf or -inf")),
        "$repeat" => {
            let times = part(given, 1).as_int().unwrap_or_default();
            let text = part(given, 0);
            Value::text(text.as_text().unwrap_or_default().repeat(times as usize))
        }
        "$concat" => {
            let parts = given.as_list().unwrap_or_default().iter();
            let texts = parts
                .map(|part| expand(part, bound).as_text().map(str::to_owned).unwrap_or_default());
            Value::Text(texts.collect())
        }
        "$keys" | "$keys_sorted" => {
            let mut keys = numbered(&part(given, 0), &part(given, 1));
            if name == "$keys_sorted" {
                keys.sort();
            }
            Value::List(keys.into_iter().map(Value::Text).collect())
        }
        "$params" => {
            let names = numbered(&part(given, 0), &part(given, 1));
            Value::Map(names.into_iter().map(|name| (name, part(given, 2))).collect())
        }
        "$items" => {
            let get = |name| given.field(name).cloned().unwrap_or(Value::Null);
            let value = expand(&get("value"), bound);
            let names = numbered(&get("prefix"), &get("count"));
            Value::Map(names.into_iter().map(|name| (name, value.clone())).collect())
        }
        "$raw" => given.clone(),
        "$var" => bound.get(text).cloned().unwrap_or(Value::Null),
        _ => unreachable!("{name}"),
    }
}

fn amount(value: &Value) -> Result<f64, Mismatch> {
    match value {
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        other => milliseconds(other).ok_or_else(|| format!("{other} is not a number")),
    }
}

fn match_by(
    tag: &str,
    given: &Value,
    actual: &Value,
    place: &str,
    bound: &Bound,
) -> Result<(), Mismatch> {
    let wanted = expand(given, bound);
    let text = wanted.as_text().unwrap_or_default();
    let fits = match tag {
        "$between" => {
            let (low, high) = (amount(&part(given, 0))?, amount(&part(given, 1))?);
            let found = amount(actual)?;
            found >= low - CLOSE && found <= high + CLOSE
        }
        "$any" => !matches!(actual, Value::Null) && actual.as_text() != Some(""),
        "$not" => wanted != *actual,
        "$has" => actual.as_text().is_some_and(|actual| actual.contains(text)),
        "$begins" => actual.as_text().is_some_and(|actual| actual.starts_with(text)),
        "$exactly" => match actual {
            Value::Null => wanted == Value::Map(Fields::new()),
            actual => wanted == *actual,
        },
        _ => unreachable!("{tag}"),
    };
    if fits { Ok(()) } else { Err(format!("{place}: {actual} does not fit {tag} {given}")) }
}

/// A result must be as expected: a map names some of its fields.
pub fn check(expected: &Value, actual: &Value, place: &str, bound: &Bound) -> Result<(), Mismatch> {
    let found = tag(expected);
    if let Some((name, given)) = found.filter(|(name, _)| MATCHERS.contains(name)) {
        return match_by(name, given, actual, place, bound);
    }
    let field = place.rsplit('.').next().unwrap_or(place);
    if TIMES.contains(&field) && milliseconds(expected).is_some() {
        let both = Value::List(vec![expected.clone(), expected.clone()]);
        return match_by("$between", &both, actual, place, bound);
    }
    if field == "class" {
        // A class and those that it extends.
        let classes = actual.as_list().unwrap_or_default();
        return if classes.contains(expected) {
            Ok(())
        } else {
            Err(format!("{place}: {actual} does not have {expected}"))
        };
    }
    let is_tagged = found.is_some_and(|(name, _)| TAGS.contains(&name));
    if let (Value::Map(fields), true, false) = (expected, field != "value", is_tagged) {
        if actual.as_map().is_none() {
            return Err(format!("{place}: {actual} has no fields"));
        }
        for (name, item) in fields {
            let own = actual.field(name).unwrap_or(&Value::Null);
            check(item, own, &format!("{place}.{name}"), bound)?;
        }
        return Ok(());
    }
    let wanted = expand(expected, bound);
    if let (Value::List(items), true) = (&wanted, field != "value")
        && items.iter().any(|item| item.as_map().is_some())
    {
        let own = actual.as_list().unwrap_or_default();
        if own.len() != items.len() {
            return Err(format!("{place}: {actual}, not {wanted}"));
        }
        return items
            .iter()
            .zip(own)
            .enumerate()
            .try_for_each(|(at, (item, own))| check(item, own, &format!("{place}.{at}"), bound));
    }
    if wanted == *actual { Ok(()) } else { Err(format!("{place}: {actual}, not {wanted}")) }
}

/// Checks the result of a step. Results of several calls are a list or a map by key.
pub fn check_step(expected: &Value, actual: &Value, bound: &Bound) -> Result<(), Mismatch> {
    let every: Vec<&Value> = match (actual, actual.field("results")) {
        (Value::List(items), _) => items.iter().collect(),
        (_, Some(Value::Map(results))) => results.values().collect(),
        _ => return check(expected, actual, "result", bound),
    };
    for (name, item) in expected.as_map().into_iter().flatten() {
        match name.as_str() {
            "count" => check(item, &Value::Int(every.len() as i128), "count", bound)?,
            "all" => every.iter().try_for_each(|one| check(item, one, "result", bound))?,
            "results" => {
                check(item, actual.field("results").unwrap_or(&Value::Null), "results", bound)?;
            }
            "matching" => {
                for one in item.as_list().unwrap_or_default() {
                    let of = one.field("of").unwrap_or(&Value::Null);
                    let fit = |each: &&&Value| check(of, each, "result", bound).is_ok();
                    let found = Value::Int(every.iter().filter(fit).count() as i128);
                    let count = one.field("count").unwrap_or(&Value::Null);
                    check(count, &found, &format!("number of {of}"), bound)?;
                }
            }
            name => return Err(format!("no expectation {name} of several results")),
        }
    }
    Ok(())
}
