//! Rules from the name and the attributes of an event to targets.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;

use crate::{
    cache::InvalidateTarget,
    config::EventRuleConfig,
    event_template::EventTemplate,
    model::{EntryKey, Event, MAX_TAG_BYTES, Namespace, Violation},
};

/// Rules by event, replaced as a whole when the configuration is reloaded.
pub struct EventRules(ArcSwap<RuleTable>);

/// The rules of one configuration.
#[derive(Default)]
pub(super) struct RuleTable {
    events: HashMap<Arc<str>, Arc<[Rule]>>,
    /// As they are configured, for listings.
    configured: BTreeMap<String, Vec<EventRuleConfig>>,
    is_strict: bool,
}

/// A rule of an event, parsed: its conditions and the template of its target.
pub(super) struct Rule {
    namespace: Namespace,
    /// Values that attributes must have.
    when: BTreeMap<String, String>,
    selection: Selection,
}

enum Selection {
    All,
    Pattern(EventTemplate),
    Key(EventTemplate, BTreeMap<String, EventTemplate>),
    Tags(Vec<EventTemplate>),
}

// === impl EventRules ===

impl EventRules {
    /// No rules.
    pub(in crate::cache) fn none() -> Self {
        Self(ArcSwap::from_pointee(RuleTable::default()))
    }

    /// Replaces all rules. An event without rules is refused if `is_strict`.
    pub(super) fn replace(
        &self,
        configured: &BTreeMap<String, Vec<EventRuleConfig>>,
        is_strict: bool,
    ) {
        self.0.store(Arc::new(RuleTable::new(configured, is_strict)));
    }

    /// Whether an event has rules.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.load().events.contains_key(name)
    }

    /// The events with names after `after`, and their rules as they are configured: at most
    /// `limit`, and whether there are more.
    pub fn list(&self, after: &str, limit: usize) -> (Vec<(String, Vec<EventRuleConfig>)>, bool) {
        use std::ops::Bound::{Excluded, Unbounded};
        let table = self.0.load();
        let mut rest = table.configured.range::<str, _>((Excluded(after), Unbounded));
        let page = rest.by_ref().take(limit);
        let page = page.map(|(name, rules)| (name.clone(), rules.clone())).collect();
        (page, rest.next().is_some())
    }

    pub(super) fn table(&self) -> Arc<RuleTable> {
        self.0.load_full()
    }
}

// === impl RuleTable ===

impl RuleTable {
    fn new(configured: &BTreeMap<String, Vec<EventRuleConfig>>, is_strict: bool) -> Self {
        let events = configured.iter().map(|(name, rules)| {
            // The configuration checks the rules, so none is left out here.
            let rules = rules.iter().filter_map(Rule::new).collect();
            (Arc::from(name.as_str()), rules)
        });
        Self { events: events.collect(), configured: configured.clone(), is_strict }
    }

    pub(super) fn is_strict(&self) -> bool {
        self.is_strict
    }

    pub(super) fn rules(&self, name: &str) -> Option<(Arc<str>, Arc<[Rule]>)> {
        let (name, rules) = self.events.get_key_value(name)?;
        Some((name.clone(), rules.clone()))
    }

    pub(super) fn known_name(&self, name: &str) -> Option<Arc<str>> {
        Some(self.events.get_key_value(name)?.0.clone())
    }

    pub(super) fn attributes(&self, name: &str) -> BTreeSet<String> {
        let rules = self.events.get(name).map_or(&[][..], |rules| rules);
        rules.iter().flat_map(Rule::attributes).map(str::to_owned).collect()
    }

    /// The violation of a name without rules, with the known names that are most similar to it.
    pub(super) fn unknown(&self, name: &str, suggestions: usize) -> Violation {
        let mut known: Vec<(f64, &str)> =
            self.events.keys().map(|known| (strsim::jaro_winkler(known, name), &**known)).collect();
        known.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
        let nearest: Vec<&str> = known.iter().take(suggestions).map(|(_, known)| *known).collect();
        let hint = match &nearest[..] {
            [] => "no event has".to_owned(),
            nearest => format!("similar ones that have are {}", nearest.join(", ")),
        };
        Violation::new("name", format!("has no rules, and strict_events is on: {hint}"))
    }
}

// === impl Rule ===

impl Rule {
    fn new(config: &EventRuleConfig) -> Option<Self> {
        let selection = if let Some(pattern) = &config.pattern {
            Selection::Pattern(pattern.clone())
        } else if let Some(key) = &config.key {
            Selection::Key(key.clone(), config.params.clone())
        } else if let Some(tags) = &config.tags {
            Selection::Tags(tags.clone())
        } else {
            Selection::All
        };
        let namespace = Namespace::new(&config.namespace).ok()?;
        Some(Self { namespace, when: config.when.clone(), selection })
    }

    fn attributes(&self) -> Vec<&str> {
        let templates: Vec<&EventTemplate> = match &self.selection {
            Selection::All => Vec::new(),
            Selection::Pattern(pattern) => vec![pattern],
            Selection::Key(key, params) => params.values().chain([key]).collect(),
            Selection::Tags(tags) => tags.iter().collect(),
        };
        let named = templates.into_iter().flat_map(EventTemplate::attributes);
        named.chain(self.when.keys().map(String::as_str)).collect()
    }

    /// The target of an event; none if the rule does not apply to it.
    pub(super) fn target(&self, event: &Event) -> Result<Option<InvalidateTarget>, Violation> {
        let has = |(name, value): (&String, &String)| event.attribute(name) == Some(value);
        if !self.when.iter().all(has) {
            return Ok(None);
        }
        let namespace = self.namespace.clone();
        Ok(Some(match &self.selection {
            Selection::All => InvalidateTarget::Namespace(namespace),
            Selection::Pattern(pattern) => {
                InvalidateTarget::Pattern(namespace, pattern.expand_glob(event)?)
            }
            Selection::Key(key, params) => {
                let expand = |(name, value): (&String, &EventTemplate)| {
                    Ok((name.clone(), value.expand(event)?))
                };
                let params: Vec<_> = params.iter().map(expand).collect::<Result<_, Violation>>()?;
                let params = params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let key = EntryKey::new(namespace, &key.expand(event)?, params)?;
                InvalidateTarget::KeyOfAllVersions(key)
            }
            Selection::Tags(tags) => {
                let mut tags: Vec<String> =
                    tags.iter().map(|tag| tag_of(tag, event)).collect::<Result<_, _>>()?;
                tags.sort_unstable();
                tags.dedup();
                InvalidateTarget::Tags(namespace, tags)
            }
        }))
    }
}

fn tag_of(template: &EventTemplate, event: &Event) -> Result<String, Violation> {
    let tag = template.expand(event)?;
    if tag.len() > MAX_TAG_BYTES {
        let description = format!("is {} bytes long, the limit is {MAX_TAG_BYTES}", tag.len());
        return Err(Violation::over_limit("tag", description, MAX_TAG_BYTES));
    }
    Ok(tag)
}

/// Names the rule. What is made of the attributes has no field in a request.
pub(super) fn of_rule(violation: Violation, index: usize, event: &str) -> Violation {
    let rule = format!("rule {index} of {event}");
    let description = violation.description();
    let (field, description) = if violation.field().starts_with("attributes.") {
        (violation.field().to_owned(), format!("{description} ({rule})"))
    } else {
        (
            "attributes".to_owned(),
            format!("do not suit {rule}: {} {description}", violation.field()),
        )
    };
    let renamed = match violation.limit().and_then(|limit| usize::try_from(limit).ok()) {
        Some(limit) => Violation::over_limit("", description, limit),
        None => Violation::new("", description),
    };
    renamed.renamed(field)
}
