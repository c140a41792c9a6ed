//! The calls that the gateway has received, and the script by which it answers them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tonic::{
    Code, Status,
    metadata::{KeyAndValueRef, MetadataMap},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    command::RuleSpec,
    messages::{reply_from_text, request_as_json},
};

/// Calls that are kept; later ones are counted only.
const MAX_CALLS: usize = 10_000;
/// Messages of a call that are kept.
const MAX_MESSAGES: usize = 16;

/// Calls and script, shared by all connections.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    calls: Vec<RecordedCall>,
    not_kept: u64,
    rules: Vec<ScriptRule>,
    /// Distinguishes calls from those that were recorded before they were cleared.
    generation: u64,
}

#[derive(Debug)]
struct RecordedCall {
    path: String,
    metadata: MetadataMap,
    messages: Vec<Bytes>,
}

#[derive(Debug)]
struct ScriptRule {
    method: String,
    skip: u64,
    times: Option<u64>,
    action: ScriptedAnswer,
}

/// How a call is answered.
#[derive(Debug, Clone)]
pub(crate) struct ScriptedAnswer {
    pub(crate) delay: Duration,
    /// Whether the server receives the call.
    pub(crate) applied: bool,
    /// None: the answer of the server.
    pub(crate) response: Option<Result<Bytes, Status>>,
}

/// A call that is being recorded.
#[derive(Debug, Clone)]
pub(crate) struct CallHandle {
    recorder: Recorder,
    place: Option<(u64, usize)>,
}

// === impl Recorder ===

impl Recorder {
    /// Adds rules after those that are there. The first one that applies answers a call.
    pub(crate) fn add_rules(&self, specs: &[RuleSpec]) -> Result<(), String> {
        let rules = specs.iter().map(ScriptRule::from_spec).collect::<Result<Vec<_>, _>>()?;
        self.0.lock().rules.extend(rules);
        Ok(())
    }

    /// Records a call, and returns the answer that the script has for it.
    pub(crate) fn record(
        &self,
        path: &str,
        metadata: &MetadataMap,
    ) -> (CallHandle, Option<ScriptedAnswer>) {
        let mut inner = self.0.lock();
        let place = if inner.calls.len() < MAX_CALLS {
            inner.calls.push(RecordedCall {
                path: path.to_owned(),
                metadata: metadata.clone(),
                messages: Vec::new(),
            });
            Some((inner.generation, inner.calls.len() - 1))
        } else {
            inner.not_kept += 1;
            None
        };
        let method = path.rsplit('/').next().unwrap_or_default();
        let answer = inner.rules.iter_mut().find_map(|rule| rule.answer_to(method));
        (CallHandle { recorder: self.clone(), place }, answer)
    }

    /// The calls of a method, or all, in order of their arrival.
    pub(crate) fn calls(&self, method: Option<&str>) -> Json {
        let inner = self.0.lock();
        let is_chosen = |call: &&RecordedCall| {
            method.is_none_or(|method| call.path.rsplit('/').next() == Some(method))
        };
        let calls: Vec<Json> =
            inner.calls.iter().filter(is_chosen).map(RecordedCall::as_json).collect();
        json!({"count": calls.len(), "calls": calls, "not_kept": inner.not_kept})
    }

    /// Forgets calls and rules.
    pub(crate) fn clear(&self) {
        let mut inner = self.0.lock();
        let generation = inner.generation + 1;
        *inner = Inner { generation, ..Inner::default() };
    }
}

// === impl CallHandle ===

impl CallHandle {
    /// Adds a message of the request.
    pub(crate) fn add_message(&self, message: &Bytes) {
        let Some((generation, index)) = self.place else { return };
        let mut inner = self.recorder.0.lock();
        if inner.generation == generation
            && let Some(call) = inner.calls.get_mut(index)
            && call.messages.len() < MAX_MESSAGES
        {
            call.messages.push(message.clone());
        }
    }
}

// === impl RecordedCall ===

impl RecordedCall {
    fn as_json(&self) -> Json {
        let mut metadata = serde_json::Map::new();
        for entry in self.metadata.iter() {
            let (name, value) = match entry {
                KeyAndValueRef::Ascii(name, value) => {
                    (name.as_str(), String::from_utf8_lossy(value.as_encoded_bytes()).into_owned())
                }
                KeyAndValueRef::Binary(name, value) => {
                    (name.as_str(), String::from_utf8_lossy(value.as_encoded_bytes()).into_owned())
                }
            };
            if let Json::Array(values) = metadata.entry(name).or_insert_with(|| json!([])) {
                values.push(json!(value));
            }
        }
        let requests: Vec<Json> =
            self.messages.iter().map(|message| request_as_json(&self.path, message)).collect();
        json!({
            "method": self.path.rsplit('/').next(),
            "timeout_ms": self.metadata.get("grpc-timeout").and_then(|value| {
                timeout_milliseconds(value.to_str().ok()?)
            }),
            "metadata": metadata,
            "request": requests.first(),
            "requests": requests,
        })
    }
}

/// Milliseconds of a `grpc-timeout` such as `500m`.
fn timeout_milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "H" => 3_600_000.0,
        "M" => 60_000.0,
        "S" => 1_000.0,
        "m" => 1.0,
        "u" => 0.001,
        "n" => 0.000_001,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

// === impl ScriptRule ===

impl ScriptRule {
    fn from_spec(spec: &RuleSpec) -> Result<Self, String> {
        let response = match (&spec.status, &spec.reply) {
            (Some(_), Some(_)) => return Err("a rule has a status or a reply, not both".to_owned()),
            (Some(_), None) => Some(Err(status_of(spec)?)),
            (None, Some(_)) if spec.method == "*" => {
                return Err("a reply needs the name of its method".to_owned());
            }
            (None, Some(text)) => Some(Ok(reply_from_text(&spec.method, text)?)),
            (None, None) => None,
        };
        let delay = Duration::from_millis(spec.delay);
        Ok(Self {
            method: spec.method.clone(),
            skip: spec.skip,
            times: spec.times,
            action: ScriptedAnswer { delay, applied: spec.applied, response },
        })
    }

    fn answer_to(&mut self, method: &str) -> Option<ScriptedAnswer> {
        if self.method != "*" && self.method != method || self.times == Some(0) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.map(|times| times - 1);
        Some(self.action.clone())
    }
}

fn status_of(spec: &RuleSpec) -> Result<Status, String> {
    let name = spec.status.as_deref().unwrap_or_default();
    let code = (1..=16)
        .map(Code::from_i32)
        .find(|code| code_name(*code) == name)
        .ok_or_else(|| format!("no status code {name}"))?;
    let mut details = ErrorDetails::new();
    if let Some(reason) = &spec.reason {
        details.set_error_info(reason, "larder", [] as [(String, String); 0]);
    }
    if let Some(delay) = spec.retry_after {
        details.set_retry_info(Some(Duration::from_millis(delay)));
    }
    let mut metadata = MetadataMap::new();
    if let Some(pushback) = spec.pushback {
        metadata.insert("grpc-retry-pushback-ms", pushback.into());
    }
    Ok(Status::with_error_details_and_metadata(code, &spec.message, details, metadata))
}

/// Name of a code as in the documents of gRPC.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(json: Json) -> RuleSpec {
        serde_json::from_value(json).unwrap()
    }

    fn answers(recorder: &Recorder, path: &str) -> bool {
        recorder.record(path, &MetadataMap::new()).1.is_some()
    }

    #[test]
    fn a_rule_answers_some_calls_after_others() {
        let recorder = Recorder::default();
        let rules =
            [rule(json!({"method": "Get", "skip": 1, "times": 2, "status": "UNAVAILABLE"}))];
        recorder.add_rules(&rules).unwrap();
        let get = "/larder.v1.CacheService/Get";
        assert!(!answers(&recorder, "/larder.v1.CacheService/Set"));
        let of_get: Vec<bool> = (0..4).map(|_| answers(&recorder, get)).collect();
        assert_eq!(of_get, [false, true, true, false]);
        assert_eq!(recorder.calls(Some("Get"))["count"], json!(4));
        recorder.clear();
        assert_eq!(recorder.calls(None)["count"], json!(0));
    }

    #[test]
    fn timeouts_are_milliseconds() {
        assert_eq!(timeout_milliseconds("500m"), Some(500.0));
        assert_eq!(timeout_milliseconds("6S"), Some(6_000.0));
        assert_eq!(timeout_milliseconds("250000u"), Some(250.0));
        assert_eq!(timeout_milliseconds(""), None);
    }

    #[test]
    fn codes_have_the_names_of_grpc() {
        let status = |name| status_of(&rule(json!({"method": "*", "status": name})));
        assert_eq!(status("RESOURCE_EXHAUSTED").unwrap().code(), Code::ResourceExhausted);
        assert_eq!(status("DEADLINE_EXCEEDED").unwrap().code(), Code::DeadlineExceeded);
        assert!(status("NONSENSE").is_err());
    }
}
