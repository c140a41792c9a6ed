//! Rules from events to targets: `[[events.<name>]]`.

use std::collections::BTreeMap;

use config::ValueKind;

use super::Config;
use super::diagnostics::Diagnostics;
use super::toml::{join, quoted};
use super::value::{ValueType, exact_text, list_of_type, mismatch, text, value_type};
use super::visitor::{ConfigVisitor, Section};
use crate::event_template::{EventTemplate, InvalidEventTemplate};
use crate::model::{
    EntryKey, MAX_ATTRIBUTE_BYTES, MAX_ATTRIBUTE_NAME_BYTES, MAX_TAG_BYTES, MAX_TAGS, Namespace,
    check_event_name,
};

/// Maximum number of events with rules.
const MAX_EVENTS: usize = 1000;
/// Maximum number of rules of one event.
const MAX_RULES: usize = 64;
/// Maximum number of conditions of one rule.
const MAX_CONDITIONS: usize = 16;

/// `[[events.<name>]]`: what an event invalidates. Without pattern, key and tags: all entries of
/// the namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventRuleConfig {
    /// The namespace of the entries. It is required.
    pub namespace: String,
    /// Glob for the keys of the entries.
    pub pattern: Option<EventTemplate>,
    /// Key of one entry.
    pub key: Option<EventTemplate>,
    /// Tags of the entries, any of them.
    pub tags: Option<Vec<EventTemplate>>,
    /// Params of the one entry, by their names. Only with `key`.
    pub params: BTreeMap<String, EventTemplate>,
    /// Values that attributes must have, by their names, at most 16. Otherwise the rule does not
    /// apply.
    pub when: BTreeMap<String, String>,
}

impl Section for EventRuleConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("namespace", &mut self.namespace, text("the name of a namespace", |_| true));
        visitor.optional_key("pattern", &mut self.pattern, template(EventTemplate::parse_glob));
        visitor.optional_key("key", &mut self.key, template(EventTemplate::parse));
        let tags = list_of_type(template(EventTemplate::parse), MAX_TAGS);
        visitor.optional_key("tags", &mut self.tags, tags);
        visitor.entries("params", &mut self.params, template(EventTemplate::parse));
        let is_value = |text: &str| (1..=MAX_ATTRIBUTE_BYTES).contains(&text.len());
        visitor.entries("when", &mut self.when, exact_text("a text of 1 to 1024 bytes", is_value));
    }
}

fn template(
    parse: fn(&str) -> Result<EventTemplate, InvalidEventTemplate>,
) -> impl ValueType<Value = EventTemplate> {
    value_type(
        move |raw| {
            let ValueKind::String(text) = raw else {
                return Err(mismatch("a template such as \"user:{user_id}\"", raw));
            };
            parse(text).map_err(|error| format!("{}: {error}", mismatch("a template", raw)))
        },
        |template: &EventTemplate| quoted(&template.to_string()),
    )
}

/// Checks the events and their rules.
pub(super) fn check_events(config: &Config, diagnostics: &mut Diagnostics) {
    let events = &config.events;
    if events.len() > MAX_EVENTS {
        let message = format!("expected at most {MAX_EVENTS} events, got {}", events.len());
        diagnostics.reject("events", message);
    }
    for (name, rules) in events {
        let path = join("events", name);
        if let Err(violation) = check_event_name(name) {
            diagnostics.reject(&path, format!("the {violation}"));
        }
        if rules.is_empty() || rules.len() > MAX_RULES {
            let message = format!("expected 1 to {MAX_RULES} rules, got {}", rules.len());
            diagnostics.reject(&path, message);
        }
        for (index, rule) in rules.iter().enumerate() {
            check_rule(config, rule, &format!("{path}[{index}]"), diagnostics);
        }
    }
}

fn check_rule(config: &Config, rule: &EventRuleConfig, path: &str, diagnostics: &mut Diagnostics) {
    let key = |name: &str| join(path, name);
    let namespace = match Namespace::new(&rule.namespace) {
        Ok(namespace) => {
            if config.strict_namespaces && !config.namespaces.contains_key(&rule.namespace) {
                let message = format!(
                    "expected a namespace with a table, as strict_namespaces is on, got {}",
                    quoted(&rule.namespace)
                );
                diagnostics.reject(&key("namespace"), message);
            }
            Some(namespace)
        }
        Err(violation) => {
            diagnostics.reject_in(
                path,
                &key("namespace"),
                format!("it {}", violation.description()),
            );
            None
        }
    };
    let selectors = [
        ("pattern", rule.pattern.is_some()),
        ("key", rule.key.is_some()),
        ("tags", rule.tags.is_some()),
    ];
    let selectors: Vec<_> = selectors.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
    if let [first, second, ..] = selectors.as_slice() {
        let message = format!("expected one of pattern, key and tags, got {first} and {second}");
        diagnostics.reject(&key(second), message);
    }
    if rule.key.is_none() && !rule.params.is_empty() && !diagnostics.has_problem(&key("key")) {
        diagnostics.reject(&key("params"), "expected only together with key".to_owned());
    }
    if let (Some(namespace), Some(template)) = (namespace, &rule.key) {
        let params: Vec<_> =
            rule.params.iter().map(|(name, value)| (name.as_str(), value.sample())).collect();
        let params = params.iter().map(|(name, value)| (*name, value.as_str()));
        if let Err(violation) = EntryKey::new(namespace, &template.sample(), params) {
            diagnostics.reject(&key("key"), format!("the {violation}"));
        }
    }
    for (index, tag) in rule.tags.iter().flatten().enumerate() {
        let bytes = tag.sample().len();
        if bytes > MAX_TAG_BYTES {
            let message = format!(
                "item {index} is {bytes} bytes long at least, the limit is {MAX_TAG_BYTES}"
            );
            diagnostics.reject(&key("tags"), message);
        }
    }
    if rule.when.len() > MAX_CONDITIONS {
        let message =
            format!("expected at most {MAX_CONDITIONS} conditions, got {}", rule.when.len());
        diagnostics.reject(&key("when"), message);
    }
    for name in rule.when.keys().filter(|name| name.len() > MAX_ATTRIBUTE_NAME_BYTES) {
        let message = format!(
            "the name is {} bytes long, the limit is {MAX_ATTRIBUTE_NAME_BYTES}",
            name.len()
        );
        diagnostics.reject(&key("when"), message);
    }
}
