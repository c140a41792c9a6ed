//! Selections of keys, as targets and as events.

use larder::pb::v1::{EventTarget, PatternTarget, TagTarget, Target, target::Target as Kind};

use super::history::Key;
use crate::support::client::params;

/// A selection of keys of a namespace.
#[derive(Clone, Copy)]
pub(super) enum PatternOrTag {
    Pattern(&'static str),
    Tag(&'static str),
}

/// Patterns that select some keys.
pub(super) const PATTERNS: [&str; 3] = ["k[01]", "?3", "*2"];

/// Rules by which the event `selected` stands for a pattern or a tag of a namespace.
pub(super) fn event_rules(namespace: &str) -> String {
    let rule = |selector: &str, by: &str| {
        format!(
            "
            [[events.selected]]
            namespace = '{namespace}'
            {selector}
            when = {{ namespace = '{namespace}', by = '{by}' }}
            "
        )
    };
    let patterns = PATTERNS.map(|pattern| rule(&format!("pattern = '{pattern}'"), pattern));
    rule("tags = ['{tag}']", "tag") + &patterns.concat()
}

impl PatternOrTag {
    /// Whether it selects a key of its namespace.
    pub(super) fn selects(self, key: &Key) -> bool {
        match self {
            Self::Tag(tag) => key.tag == tag,
            Self::Pattern("k[01]") => matches!(&*key.name, "k0" | "k1"),
            Self::Pattern(glob) => key.name.ends_with(&glob[1..]),
        }
    }

    /// The target of Invalidate.
    pub(super) fn target(self, namespace: &str) -> Target {
        let namespace = namespace.to_owned();
        let target = match self {
            Self::Tag(tag) => Kind::Tags(TagTarget { namespace, tags: vec![tag.to_owned()] }),
            Self::Pattern(glob) => {
                Kind::Pattern(PatternTarget { namespace, glob: glob.to_owned() })
            }
        };
        Target { target: Some(target) }
    }

    /// The same selection by [`event_rules`].
    pub(super) fn event(self, namespace: &str) -> Target {
        let (by, tag) = match self {
            Self::Tag(tag) => ("tag", tag),
            Self::Pattern(glob) => (glob, ""),
        };
        let attributes = params(&[("namespace", namespace), ("by", by), ("tag", tag)]);
        let event = EventTarget { name: "selected".to_owned(), attributes };
        Target { target: Some(Kind::Event(event)) }
    }
}
