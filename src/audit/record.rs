//! One record, and its JSON.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};

use super::{key_names::KeyNames, touched::Touched};
use crate::model::{AuditEvent, SaturatingFrom as _, text_prefix};

/// Longest record as JSON, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 8 * 1024;
/// Longest text of a field, in bytes.
const MAX_TEXT_BYTES: usize = 256;
/// Most texts in a list.
const MAX_LIST: usize = 32;

/// The caller of an event.
#[derive(Debug, Clone, Default)]
pub struct AuditedCaller {
    /// Its name; none while authentication is off, and if it is not identified.
    pub principal: Option<Arc<str>>,
    /// How it was identified: `token`, `certificate` or `none`.
    pub identity: Option<&'static str>,
    /// Whether its credentials were accepted.
    pub is_identified: bool,
    /// Its address.
    pub peer: Option<SocketAddr>,
}

/// One event of the audit log.
#[derive(Debug, Clone)]
pub struct Record {
    event: AuditEvent,
    time: SystemTime,
    /// The RPC, or the like.
    action: Cow<'static, str>,
    caller: AuditedCaller,
    touched: Touched,
    fields: Vec<(&'static str, Value)>,
    code: Option<&'static str>,
    counts: Vec<(&'static str, u64)>,
    took: Option<Duration>,
    is_cut: bool,
}

impl Record {
    /// A record of now. `action`: the RPC, or another name of the interface.
    #[must_use]
    pub fn new(event: AuditEvent, action: impl Into<Cow<'static, str>>) -> Self {
        Self {
            event,
            time: SystemTime::now(),
            action: action.into(),
            caller: AuditedCaller::default(),
            touched: Touched::default(),
            fields: Vec::new(),
            code: None,
            counts: Vec::new(),
            took: None,
            is_cut: false,
        }
    }

    /// The caller.
    pub fn caller(&mut self, caller: AuditedCaller) -> &mut Self {
        self.caller = caller;
        self
    }

    /// The namespaces and keys that it concerns.
    pub fn touched(&mut self) -> &mut Touched {
        &mut self.touched
    }

    /// Its kind.
    pub fn event(&self) -> AuditEvent {
        self.event
    }

    /// Whether it is a refused call of a caller without accepted credentials.
    pub(super) fn is_of_unidentified_caller(&self) -> bool {
        self.event == AuditEvent::Refused && !self.caller.is_identified
    }

    /// Makes it the record of a call that is refused.
    pub fn refused(&mut self, reason: &'static str) -> &mut Self {
        self.event = AuditEvent::Refused;
        self.text("reason", reason)
    }

    /// A text of its own, which is cut after 256 bytes.
    pub fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        let shown = text_prefix(text, MAX_TEXT_BYTES);
        self.is_cut |= shown.len() < text.len();
        self.fields.push((name, shown.into()));
        self
    }

    /// A list of texts, of which 32 are kept.
    pub fn list<T: AsRef<str>>(&mut self, name: &'static str, texts: &[T]) -> &mut Self {
        let shown = texts.iter().take(MAX_LIST).map(|text| {
            let shown = text_prefix(text.as_ref(), MAX_TEXT_BYTES);
            self.is_cut |= shown.len() < text.as_ref().len();
            Value::from(shown)
        });
        let shown: Vec<Value> = shown.collect();
        self.is_cut |= shown.len() < texts.len();
        self.fields.push((name, shown.into()));
        self
    }

    /// A number of its own.
    pub fn number(&mut self, name: &'static str, number: u64) -> &mut Self {
        self.fields.push((name, number.into()));
        self
    }

    /// A fact of its own.
    pub fn flag(&mut self, name: &'static str, flag: bool) -> &mut Self {
        self.fields.push((name, flag.into()));
        self
    }

    /// The result: the name of a gRPC code.
    pub fn code(&mut self, code: &'static str) -> &mut Self {
        self.code = Some(code);
        self
    }

    /// Numbers of the result.
    pub fn counts(&mut self, counts: Vec<(&'static str, u64)>) -> &mut Self {
        self.counts = counts;
        self
    }

    /// The time from its begin to its end.
    pub fn took(&mut self, took: Duration) -> &mut Self {
        self.took = Some(took);
        self
    }

    /// One line of JSON without its end, of at most [`MAX_LINE_BYTES`].
    pub(super) fn line(mut self, names: &KeyNames) -> String {
        let line = self.json(names).to_string();
        if line.len() <= MAX_LINE_BYTES {
            return line;
        }
        self.touched.cut();
        self.fields.retain(|(_, value)| !value.is_array());
        self.json(names).to_string()
    }

    fn json(&self, names: &KeyNames) -> Value {
        let Touched { namespaces, targets, count, is_cut } = &self.touched;
        let mut is_cut = self.is_cut || *is_cut;
        let mut json = Map::new();
        let mut set = |name: &str, value: Value| {
            json.insert(name.to_owned(), value);
        };
        set("time", time(self.time).into());
        set("event", self.event.name().into());
        set("action", self.action.as_ref().into());
        if let Some(principal) = &self.caller.principal {
            let shown = text_prefix(principal, MAX_TEXT_BYTES);
            is_cut |= shown.len() < principal.len();
            set("principal", shown.into());
        }
        if let Some(identity) = self.caller.identity {
            set("identity", identity.into());
        }
        if let Some(peer) = self.caller.peer {
            set("peer", peer.to_string().into());
        }
        if !namespaces.is_empty() {
            let names: Vec<Value> = namespaces.iter().map(|name| name.as_str().into()).collect();
            set("namespaces", names.into());
        }
        if !targets.is_empty() {
            let shown = targets.iter().map(|target| {
                let mut shown = Map::new();
                shown.insert("kind".to_owned(), target.kind.name().into());
                if let Some(namespace) = &target.namespace {
                    shown.insert("namespace".to_owned(), namespace.as_str().into());
                }
                if let Some(name) = &target.name {
                    let (field, text) = match names.hash(&name.text) {
                        Some(hash) => ("hash", hash),
                        None => {
                            let (text, is_name_cut) = name.shown();
                            is_cut |= is_name_cut;
                            ("name", text.to_owned())
                        }
                    };
                    shown.insert(field.to_owned(), text.into());
                }
                Value::Object(shown)
            });
            let shown: Vec<Value> = shown.collect();
            set("targets", shown.into());
        }
        if *count > 0 {
            set("target_count", (*count).into());
        }
        for (name, value) in &self.fields {
            set(name, value.clone());
        }
        if let Some(code) = self.code {
            set("code", code.into());
        }
        if !self.counts.is_empty() {
            let counts = self.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
            set("counts", Value::Object(counts.collect()));
        }
        if let Some(took) = self.took {
            set("took_us", u64::saturating_from(took.as_micros()).into());
        }
        if is_cut {
            set("cut", true.into());
        }
        Value::Object(json)
    }
}

/// The line about records that are lost.
pub(super) fn lost_line(count: u64) -> String {
    let time = time(SystemTime::now());
    json!({ "time": time, "event": "lost", "count": count }).to_string()
}

/// RFC 3339 in UTC, with microseconds.
fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}
