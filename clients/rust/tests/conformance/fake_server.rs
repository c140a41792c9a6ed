//! The fake of the library as the server of a case.

use std::{collections::BTreeMap, time::Duration};

use larder_client::{
    pb::{self, target::Target as Kind},
    testing::{FakeCall, FakeFailure, FakeLarder, FakeNamespace},
};

use crate::{
    data::map,
    value::{Fields, Value},
};

pub const FAKE: [&str; 4] = ["server", "calls", "pass_on", "near_cache"];

/// Delay of the calls of a paused server: longer than all deadlines.
const PAUSE: Duration = Duration::from_secs(3600);

fn settings(given: &Fields, mut settings: FakeNamespace) -> FakeNamespace {
    for (name, value) in given {
        let number = value.as_int().unwrap_or_default();
        let time = Duration::from_millis(number as u64);
        match name.as_str() {
            "ttl" => settings.ttl = time,
            "max_ttl" => settings.max_ttl = time,
            "stale_while_revalidate" => settings.stale_while_revalidate = time,
            "stale_if_error" => settings.stale_if_error = time,
            "lease_ttl" => settings.lease_ttl = time,
            "lease_wait" => settings.lease_wait = time,
            "abandon_backoff" => settings.backoff = time,
            "max_value_bytes" => settings.max_value_bytes = number as usize,
            _ => {}
        }
    }
    settings
}

fn user(attributes: &BTreeMap<String, String>) -> Result<&str, String> {
    let user = attributes.get("user").map(String::as_str);
    user.ok_or_else(|| "the event has no attribute user".to_owned())
}

fn target(kind: Kind) -> Vec<pb::Target> {
    vec![pb::Target { target: Some(kind) }]
}

/// A fake with the configuration of the cases.
pub fn configured(configuration: &Fields) -> FakeLarder {
    let fake = FakeLarder::new();
    let standard = configuration.get("").and_then(Value::as_map).cloned().unwrap_or_default();
    let standard = settings(&standard, FakeNamespace::default());
    for (name, own) in configuration {
        let own = own.as_map().cloned().unwrap_or_default();
        fake.configure(name, settings(&own, standard.clone()));
    }
    let namespace = || "events".to_owned();
    fake.on_event("user_changed", move |attributes| {
        let tags = vec![format!("user-{}", user(attributes)?)];
        Ok(target(Kind::Tags(pb::TagTarget { namespace: namespace(), tags })))
    });
    fake.on_event("user_moved", move |attributes| {
        let glob = format!("{}:*", user(attributes)?);
        Ok(target(Kind::Pattern(pb::PatternTarget { namespace: namespace(), glob })))
    });
    fake
}

/// Sets the state of the server.
pub fn set_state(fake: &FakeLarder, state: &str) {
    fake.recover();
    match state {
        "stop" => {
            fake.fail(FakeFailure::default());
            fake.break_watches();
        }
        "pause" => fake.delay(PAUSE),
        _ => {}
    }
}

fn params(params: BTreeMap<String, String>) -> Value {
    Value::Map(params.into_iter().map(|(name, value)| (name, Value::Text(value))).collect())
}

/// A request as the control program has it, of the calls that the cases look at.
fn request(call: &FakeCall) -> Option<Value> {
    Some(match call.method {
        "Get" => {
            let request: pb::GetRequest = call.decode()?;
            map([
                ("namespace", Value::Text(request.namespace)),
                ("key", Value::Text(request.key)),
                ("params", params(request.params)),
                ("omit_value", Value::Bool(request.omit_value)),
            ])
        }
        "GetOrFetch" => {
            let request: pb::GetOrFetchRequest = call.decode()?;
            map([("key", Value::Text(request.key)), ("params", params(request.params))])
        }
        "Set" => {
            let request: pb::SetRequest = call.decode()?;
            let seconds = |ttl: prost_types::Duration| {
                let seconds = ttl.seconds as f64 + f64::from(ttl.nanos) / 1e9;
                Value::Text(format!("{seconds}s"))
            };
            let value = match request.value.and_then(|value| value.kind)? {
                pb::value::Kind::Text(text) => ("text", Value::Text(text)),
                pb::value::Kind::Json(json) => ("json", Value::Text(json)),
                pb::value::Kind::Data(data) => {
                    ("data", Value::Text(data_encoding::BASE64.encode(&data)))
                }
            };
            map([("value", map([value])), ("ttl", request.ttl.map_or(Value::Null, seconds))])
        }
        "Abandon" => {
            let request: pb::AbandonRequest = call.decode()?;
            let reason = ("reason", Value::Text(request.reason));
            map([reason, ("pass_on", Value::Bool(request.pass_on))])
        }
        _ => Value::Map(Fields::new()),
    })
}

/// The calls of a method, or all.
pub fn calls(fake: &FakeLarder, method: Option<&str>) -> Value {
    let calls = fake.calls();
    let chosen = calls.iter().filter(|call| method.is_none_or(|method| call.method == method));
    let calls: Vec<_> = chosen
        .map(|call| {
            let request = request(call).unwrap_or(Value::Null);
            map([("method", Value::text(call.method)), ("request", request)])
        })
        .collect();
    map([("count", Value::Int(calls.len() as i128)), ("calls", Value::List(calls))])
}
