//! The functions of the cases about keys of calls.

use std::{collections::HashMap, sync::Arc, time::Duration};

use larder_client::{CallKey, EncodeError, FetchError, FetchOptions, KeyForm, Namespace, ToKey};
use parking_lot::Mutex;

use crate::{
    data,
    ops::{Arguments, Failed},
    value::{Fields, Value},
};

/// How often each function has run.
pub type Runs = Arc<Mutex<HashMap<String, i128>>>;

impl ToKey for Value {
    fn to_key(&self) -> Result<KeyForm, EncodeError> {
        match self {
            Self::Null => ().to_key(),
            Self::Bool(value) => value.to_key(),
            Self::Int(value) => value.to_key(),
            Self::Float(value) => value.to_key(),
            Self::Text(value) => value.to_key(),
            Self::Data(value) => value.to_key(),
            Self::List(items) => items.to_key(),
            Self::Map(fields) => fields.to_key(),
            Self::Special(kind, value) => {
                let text = value.as_text().unwrap_or_default();
                let members = value.as_list().unwrap_or_default();
                Ok(match kind.as_str() {
                    "$set" => KeyForm::set(
                        members.iter().map(Self::to_key).collect::<Result<Vec<_>, _>>()?,
                    ),
                    "$datetime" => KeyForm::date_time(text),
                    "$date" => KeyForm::date(text),
                    "$time" => KeyForm::time(text),
                    "$uuid" => KeyForm::uuid(text),
                    "$decimal" => KeyForm::decimal(text),
                    "$own_form" => value.to_key()?,
                    _ => return Err(EncodeError::new("cannot be part of a key")),
                })
            }
        }
    }
}

/// The arguments of a call, by the names and the defaults of the function.
fn bound(arguments: &Arguments, names: &[(&str, Value)]) -> Fields {
    let positional = arguments.get("positional").and_then(Value::as_list).unwrap_or_default();
    let named = arguments.get("named");
    let value = |(index, (name, default)): (usize, &(&str, Value))| {
        let given = positional.get(index).or_else(|| named.and_then(|named| named.field(name)));
        ((*name).to_owned(), given.unwrap_or(default).clone())
    };
    names.iter().enumerate().map(value).collect()
}

fn key(name: &str, given: &Fields) -> CallKey {
    let made = match name {
        "user" => CallKey::template("user:{user_id}"),
        "pair" => CallKey::template("{a}:{b}"),
        _ => CallKey::of(name.to_owned()),
    };
    // A connection is not a part of the key.
    let parts = given.iter().filter(|(argument, _)| (name, argument.as_str()) != ("g", "db"));
    parts.fold(made, |made, (name, value)| made.arg(name, value))
}

/// Calls a function of the cases.
pub async fn call(
    on: &Namespace<Value>,
    arguments: &Arguments,
    runs: &Runs,
) -> Result<Value, Failed> {
    let name = arguments.get("function").and_then(Value::as_text).unwrap_or_default().to_owned();
    let names: &[(&str, Value)] = match name.as_str() {
        "f" => &[("a", Value::Null), ("b", Value::Int(2)), ("c", Value::Null)],
        "v" => &[("value", Value::Null)],
        "user" => &[("user_id", Value::Null), ("page", Value::Int(1))],
        "g" => &[("a", Value::Null), ("db", Value::Null)],
        "pair" => &[("a", Value::Null), ("b", Value::Null)],
        _ => return Err(Failed::Runner(format!("no function {name}"))),
    };
    let given = bound(arguments, names);
    let key = key(&name, &given).key()?;
    let (own, counted) = (name.clone(), Arc::clone(runs));
    let load = || async move {
        *counted.lock().entry(own.clone()).or_default() += 1;
        let value = if own == "f" { Value::Map(given) } else { Value::Null };
        Ok::<_, std::convert::Infallible>(value)
    };
    let options = FetchOptions::default().ttl(Duration::from_secs(60));
    let read = on.get_or_fetch_with(key, options, load).await.map_err(|error| match error {
        FetchError::Cache(error) => Failed::Library(error),
        FetchError::Loader(never) => match *never {},
    })?;
    let value = read.value().cloned().unwrap_or(Value::Null);
    let count = runs.lock().get(&name).copied().unwrap_or_default();
    Ok(data::map([("value", value), ("runs", Value::Int(count))]))
}
