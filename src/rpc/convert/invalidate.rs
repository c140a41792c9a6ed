//! Converts Invalidate and its results.

use super::{Checked, entry_key, value::tags};
use crate::{
    cache::{InvalidateTarget, TargetOutcome},
    model::{Event, Glob, Namespace, Violation},
    pb::v1 as pb,
};

/// A target of a request.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) enum RequestedTarget {
    /// One target.
    One(InvalidateTarget),
    /// The targets that the rules of an event select.
    Event(Event),
    /// One in each namespace that matches.
    Matching(Glob, Selection),
}

/// Entries of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Selection {
    All,
    Tags(Vec<String>),
    Pattern(Glob),
}

impl RequestedTarget {
    /// Whether its namespace is a glob.
    pub(in crate::rpc) fn is_matching(&self) -> bool {
        matches!(self, Self::Matching(..))
    }

    /// The name of its event, if it is one.
    pub(in crate::rpc) fn event_name(&self) -> Option<&str> {
        match self {
            Self::Event(event) => Some(event.name()),
            Self::One(_) | Self::Matching(..) => None,
        }
    }
}

impl Selection {
    pub(in crate::rpc) fn within(&self, namespace: Namespace) -> InvalidateTarget {
        match self {
            Self::All => InvalidateTarget::Namespace(namespace),
            Self::Tags(tags) => InvalidateTarget::Tags(namespace, tags.clone()),
            Self::Pattern(glob) => InvalidateTarget::Pattern(namespace, glob.clone()),
        }
    }
}

/// The targets of a request.
pub(in crate::rpc) fn invalidate_targets(
    targets: Vec<pb::Target>,
) -> Checked<Vec<RequestedTarget>> {
    let mut converted = Vec::with_capacity(targets.len());
    for (index, target) in targets.into_iter().enumerate() {
        let target = invalidate_target(target);
        let path = || format!("targets[{index}].");
        converted.push(target.map_err(|violation| violation.within(&path()))?);
    }
    Ok(converted)
}

fn invalidate_target(target: pb::Target) -> Checked<RequestedTarget> {
    use pb::target::Target as Pb;
    let within = |part: &'static str| move |violation: Violation| violation.within(part);
    match target.target {
        None => {
            let description = "must be set: to a namespace, tags, a pattern, a key or an event";
            Err(Violation::new("target", description))
        }
        Some(Pb::Event(pb::EventTarget { name, attributes })) => {
            let event = Event::new(name, attributes).map_err(within("event."))?;
            Ok(RequestedTarget::Event(event))
        }
        Some(Pb::Namespace(namespace)) => requested(&namespace, Selection::All),
        Some(Pb::Tags(target)) => tag_target(target).map_err(within("tags.")),
        Some(Pb::Pattern(target)) => pattern_target(&target).map_err(within("pattern.")),
        Some(Pb::Key(key)) => {
            let key = entry_key(&key.namespace, &key.key, &key.params).map_err(within("key."))?;
            Ok(RequestedTarget::One(InvalidateTarget::Key(key)))
        }
    }
}

fn tag_target(target: pb::TagTarget) -> Checked<RequestedTarget> {
    if target.tags.is_empty() {
        return Err(Violation::new("tags", "must not be empty"));
    }
    requested(&target.namespace, Selection::Tags(tags(target.tags)?.to_vec()))
}

fn pattern_target(target: &pb::PatternTarget) -> Checked<RequestedTarget> {
    requested(&target.namespace, Selection::Pattern(Glob::new(&target.glob)?))
}

fn requested(namespace: &str, selection: Selection) -> Checked<RequestedTarget> {
    // No name of a namespace has such a character.
    if namespace.contains(['*', '?', '[', '\\']) {
        let glob = Glob::new(namespace);
        let glob = glob.map_err(|violation| violation.renamed("namespace".to_owned()))?;
        return Ok(RequestedTarget::Matching(glob, selection));
    }
    Ok(RequestedTarget::One(selection.within(Namespace::new(namespace)?)))
}

pub(in crate::rpc) fn target_result(outcome: TargetOutcome) -> pb::TargetResult {
    let durability = super::durability(outcome.durability());
    let none = pb::TargetResult { durability, ..pb::TargetResult::default() };
    match outcome {
        TargetOutcome::Deleted { existed } => pb::TargetResult { existed, ..none },
        TargetOutcome::Banned | TargetOutcome::Queued => none,
        TargetOutcome::NamespaceInvalidated => {
            pb::TargetResult { namespace_invalidated: true, ..none }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use pb::target::Target as Pb;

    use super::*;

    fn tag_target(namespace: &str, tags: &[&str]) -> Pb {
        let tags = tags.iter().map(ToString::to_string).collect();
        Pb::Tags(pb::TagTarget { namespace: namespace.to_owned(), tags })
    }

    fn pattern(namespace: &str, glob: &str) -> Pb {
        Pb::Pattern(pb::PatternTarget { namespace: namespace.to_owned(), glob: glob.to_owned() })
    }

    fn key(namespace: &str, key: &str) -> Pb {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        Pb::Key(pb::KeyRef { namespace, key, ..pb::KeyRef::default() })
    }

    fn event(name: &str) -> Pb {
        Pb::Event(pb::EventTarget { name: name.to_owned(), ..pb::EventTarget::default() })
    }

    fn convert(targets: Vec<Option<Pb>>) -> Checked<Vec<RequestedTarget>> {
        invalidate_targets(targets.into_iter().map(|target| pb::Target { target }).collect())
    }

    #[test]
    fn each_kind_of_target_is_converted() {
        let targets = vec![
            Some(Pb::Namespace("ns".to_owned())),
            Some(tag_target("ns", &["b", "a", "b"])),
            Some(pattern("ns", "user:*")),
            Some(key("ns", "k")),
            Some(event("e")),
        ];
        let namespace = || Namespace::new("ns").unwrap();
        let expected = [
            InvalidateTarget::Namespace(namespace()),
            InvalidateTarget::Tags(namespace(), vec!["a".to_owned(), "b".to_owned()]),
            InvalidateTarget::Pattern(namespace(), Glob::new("user:*").unwrap()),
            InvalidateTarget::Key(entry_key("ns", "k", &Default::default()).unwrap()),
        ];
        let event_target = RequestedTarget::Event(Event::new("e".to_owned(), [].into()).unwrap());
        let expected = expected.map(RequestedTarget::One).into_iter().chain([event_target]);
        assert_eq!(convert(targets).unwrap(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn violations_name_the_target_and_the_field() {
        let valid = || Some(Pb::Namespace("ns".to_owned()));
        for (target, field) in [
            (None, "targets[1].target"),
            (Some(Pb::Namespace(String::new())), "targets[1].namespace"),
            (Some(tag_target("", &["a"])), "targets[1].tags.namespace"),
            (Some(tag_target("ns", &[])), "targets[1].tags.tags"),
            (Some(tag_target("ns", &["a", ""])), "targets[1].tags.tags[1]"),
            (Some(tag_target("ns", &["a"; 33])), "targets[1].tags.tags"),
            (Some(pattern("", "*")), "targets[1].pattern.namespace"),
            (Some(pattern("ns", "")), "targets[1].pattern.glob"),
            (Some(pattern("ns", "a[")), "targets[1].pattern.glob"),
            (Some(key("ns", "")), "targets[1].key.key"),
            (Some(event("")), "targets[1].event.name"),
            (Some(key("n*", "k")), "targets[1].key.namespace"),
            (Some(Pb::Namespace("[a".to_owned())), "targets[1].namespace"),
            (Some(tag_target("[a", &["a"])), "targets[1].tags.namespace"),
        ] {
            assert_eq!(convert(vec![valid(), target]).unwrap_err().field(), field);
        }
    }

    #[test]
    fn namespace_can_be_a_glob() {
        let targets = vec![
            Some(Pb::Namespace("a*".to_owned())),
            Some(pattern("?", "k*")),
            Some(tag_target("[ab]", &["t"])),
        ];
        let glob = |text| Glob::new(text).unwrap();
        let expected = [
            RequestedTarget::Matching(glob("a*"), Selection::All),
            RequestedTarget::Matching(glob("?"), Selection::Pattern(glob("k*"))),
            RequestedTarget::Matching(glob("[ab]"), Selection::Tags(vec!["t".to_owned()])),
        ];
        assert_eq!(convert(targets).unwrap(), expected);
        assert!(expected.iter().all(RequestedTarget::is_matching));
    }
}
