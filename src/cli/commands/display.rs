//! Parts of answers as text and JSON.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    output::table,
    value::{ValueJson, content, kind_name},
};
pub(super) use crate::cli::figures::escape;
use crate::{
    cli::figures::dash,
    pb::{
        self,
        v1::{Durability, EntryInfo, JsonPart, KeyRef, Outcome, Value},
    },
};

/// Longest value in a table, in characters.
const PREVIEW_CHARS: usize = 60;

/// The entry that an answer is about; the first fields of each JSON object.
#[derive(Debug, Serialize)]
pub(super) struct EntryName<'a> {
    namespace: &'a str,
    key: &'a str,
    params: &'a BTreeMap<String, String>,
}

/// A read entry. Fields without a value are null.
#[derive(Debug, Serialize)]
pub(super) struct EntryJson<'a> {
    pub(super) outcome: Cow<'static, str>,
    value: Option<ValueJson<'a>>,
    version: Option<&'a str>,
    age: Option<f64>,
    ttl_remaining: Option<f64>,
    tags: &'a [String],
    tier: Option<Cow<'static, str>>,
    not_modified: bool,
    not_json: bool,
    parts: Option<Vec<PartJson<'a>>>,
}

/// A part of a JSON value.
#[derive(Debug, Serialize)]
struct PartJson<'a> {
    found: bool,
    json: Option<&'a RawValue>,
}

/// A read entry in a table or in JSON.
pub(super) struct ReadEntry<'a> {
    pub(super) outcome: Outcome,
    pub(super) value: Option<&'a Value>,
    pub(super) entry: Option<&'a EntryInfo>,
    pub(super) not_modified: bool,
    pub(super) not_json: bool,
    /// Parts of the value; empty if none were asked for.
    pub(super) parts: &'a [JsonPart],
}

impl<'a> EntryName<'a> {
    pub(super) fn new(key: &'a KeyRef) -> Self {
        Self { namespace: &key.namespace, key: &key.key, params: &key.params }
    }
}

impl<'a> ReadEntry<'a> {
    pub(super) fn json(&self) -> EntryJson<'a> {
        let entry = self.entry;
        EntryJson {
            outcome: word(self.outcome.as_str_name(), "OUTCOME_"),
            value: self.value.map(ValueJson::new),
            version: entry.map(|entry| &*entry.version),
            age: entry.and_then(|entry| seconds(entry.age)),
            ttl_remaining: entry.and_then(|entry| seconds(entry.ttl_remaining)),
            tags: entry.map_or(&[], |entry| &entry.tags),
            tier: entry.map(|entry| word(entry.tier().as_str_name(), "TIER_")),
            not_modified: self.not_modified,
            not_json: self.not_json,
            parts: (!self.parts.is_empty()).then(|| self.parts.iter().map(PartJson::new).collect()),
        }
    }

    /// The parts of the value, one per line; an empty line for one that the value does not have.
    pub(super) fn part_lines(&self) -> String {
        let lines: Vec<&str> =
            self.parts.iter().map(|part| part.json.as_deref().unwrap_or_default()).collect();
        lines.join("\n")
    }

    /// Whether the value has all parts that were asked for.
    pub(super) fn has_all_parts(&self) -> bool {
        !self.not_json && self.parts.iter().all(|part| part.json.is_some())
    }

    /// One fact per line.
    pub(super) fn facts(&self) -> String {
        let mut rows = vec![("outcome", word(self.outcome.as_str_name(), "OUTCOME_").into_owned())];
        if let Some(value) = self.value {
            rows.push(("kind", kind_name(value).to_owned()));
            rows.push(("bytes", content(value).len().to_string()));
        }
        if let Some(entry) = self.entry {
            rows.push(("version", entry.version.clone()));
            rows.push(("age", show(entry.age)));
            rows.push(("ttl left", show(entry.ttl_remaining)));
            rows.push(("tags", entry.tags.join(" ")));
            rows.push(("tier", word(entry.tier().as_str_name(), "TIER_").into_owned()));
        }
        facts(&rows)
    }

    fn instead_of_value(&self) -> String {
        match self {
            Self { not_modified: true, .. } => "not modified".to_owned(),
            Self { not_json: true, .. } => "not JSON".to_owned(),
            Self { parts: [], .. } => dash(),
            Self { parts, .. } => {
                let parts = parts.iter().map(|part| part.json.as_deref().unwrap_or("-"));
                shortened(&parts.collect::<Vec<_>>().join("  "))
            }
        }
    }

    fn row(&self, key: &KeyRef) -> Vec<String> {
        vec![
            key.key.clone(),
            word(self.outcome.as_str_name(), "OUTCOME_").into_owned(),
            self.value.map_or("-", kind_name).to_owned(),
            self.value.map_or_else(dash, |value| content(value).len().to_string()),
            self.entry.map_or_else(dash, |entry| show(entry.ttl_remaining)),
            self.entry.map_or_else(dash, |entry| entry.version.clone()),
            self.value.map_or_else(|| self.instead_of_value(), preview),
        ]
    }
}

impl<'a> PartJson<'a> {
    fn new(part: &'a JsonPart) -> Self {
        let json = part.json.as_deref();
        // The server sends JSON; what another program sends is left out.
        Self { found: json.is_some(), json: json.and_then(|json| serde_json::from_str(json).ok()) }
    }
}

/// Several entries, one per row.
pub(super) fn entries_table<'a>(
    entries: impl IntoIterator<Item = (&'a KeyRef, ReadEntry<'a>)>,
) -> String {
    let header = ["key", "outcome", "kind", "bytes", "ttl left", "version", "value"];
    table(&header, entries.into_iter().map(|(key, entry)| entry.row(key)))
}

/// Names and values, aligned. No value has a character that controls a terminal.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> =
        rows.iter().map(|(name, value)| format!("{name:width$}  {}", escape(value))).collect();
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// The name of an enum's value as a word, such as `condition_not_met`.
pub(super) fn word(name: &'static str, prefix: &str) -> Cow<'static, str> {
    Cow::Owned(name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase())
}

/// As [`word`], with spaces.
pub(super) fn phrase(name: &'static str, prefix: &str) -> String {
    word(name, prefix).replace('_', " ")
}

pub(super) fn seconds(duration: Option<prost_types::Duration>) -> Option<f64> {
    duration.and_then(pb::duration).map(|duration| duration.as_secs_f64())
}

/// A duration in milliseconds at most.
pub(super) fn show(duration: Option<prost_types::Duration>) -> String {
    let Some(duration) = duration.and_then(pb::duration) else { return dash() };
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // Milliseconds matter only for short times.
    let shown = if millis < 10_000 { millis } else { millis / 1000 * 1000 };
    humantime::format_duration(Duration::from_millis(shown)).to_string()
}

/// The beginning of a value.
fn preview(value: &Value) -> String {
    let bytes = content(value);
    // One character more shows whether there is more.
    let cut = &bytes[..bytes.len().min((PREVIEW_CHARS + 1) * 4)];
    shortened(&String::from_utf8_lossy(cut))
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(PREVIEW_CHARS).collect();
    if text.chars().count() > PREVIEW_CHARS {
        shown.push_str("...");
    }
    escape(&shown)
}

/// Name of a durability in JSON.
pub(super) fn durability_name(durability: i32) -> &'static str {
    match Durability::try_from(durability) {
        Ok(Durability::Applied) => "applied",
        Ok(Durability::Queued) => "queued",
        Ok(Durability::Unspecified) | Err(_) => "unknown",
    }
}

/// Whether an invalidation waits in a journal for the store.
pub(super) fn is_queued(durability: i32) -> bool {
    durability == i32::from(Durability::Queued)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::value::Kind;

    #[test]
    fn durability_of_a_server_without_it_is_unknown() {
        let names = [0, 1, 2, 3].map(durability_name);
        assert_eq!(names, ["unknown", "applied", "queued", "unknown"]);
        assert_eq!([0, 1, 2, 3].map(is_queued), [false, false, true, false]);
    }

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::Text(text.to_owned().into())) }
    }

    #[test]
    fn names_of_enums_become_words() {
        assert_eq!(word("SET_RESULT_CONDITION_NOT_MET", "SET_RESULT_"), "condition_not_met");
        assert_eq!(phrase("SET_RESULT_CONDITION_NOT_MET", "SET_RESULT_"), "condition not met");
    }

    #[test]
    fn durations_are_short() {
        let shown = |millis| show(Some(pb::from_duration(Duration::from_millis(millis))));
        assert_eq!(shown(9999), "9s 999ms");
        assert_eq!(shown(61_234), "1m 1s");
        assert_eq!(show(None), "-");
    }

    #[test]
    fn preview_is_short_and_cannot_control_the_terminal() {
        assert_eq!(preview(&text("a\u{1b}[2J\n")), "a\\u{1b}[2J\\n");
        assert_eq!(preview(&text(&"é".repeat(60))), "é".repeat(60));
        assert_eq!(preview(&text(&"é".repeat(61))), "é".repeat(60) + "...");
    }

    #[test]
    fn facts_are_aligned() {
        let rows = [("a", "1".to_owned()), ("long", String::new())];
        assert_eq!(facts(&rows), "a     1\nlong");
    }
}
