//! Invalidate.

use super::{Checked, entry_key, value::tags};
use crate::{
    cache::{InvalidateTarget, TargetOutcome},
    model::{Glob, Namespace, Violation},
    pb::v1 as pb,
};

/// Most namespaces that the globs of a request may match together.
const MAX_MATCHING: usize = 1000;

/// A target as it is requested.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) enum RequestedTarget {
    /// In one namespace.
    One(InvalidateTarget),
    /// In each namespace that matches.
    Matching(Glob, Selection),
}

/// Entries of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Selection {
    All,
    Tags(Vec<String>),
    Pattern(Glob),
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
            let description = "must be set: to a namespace, tags, a pattern or a key";
            Err(Violation::new("target", description))
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

impl RequestedTarget {
    /// Whether its namespace is a glob.
    pub(in crate::rpc) fn is_matching(&self) -> bool {
        matches!(self, Self::Matching(..))
    }
}

/// The targets in the namespaces of `known` that match, for each requested one.
pub(in crate::rpc) fn matching_targets(
    requested: Vec<RequestedTarget>,
    known: &[Namespace],
) -> Checked<Vec<Vec<InvalidateTarget>>> {
    let mut count = 0;
    let mut expanded = Vec::with_capacity(requested.len());
    for target in requested {
        expanded.push(match target {
            RequestedTarget::One(target) => vec![target],
            RequestedTarget::Matching(glob, selection) => {
                let matching = known.iter().filter(|namespace| glob.matches(namespace.as_str()));
                let matching: Vec<&Namespace> = matching.collect();
                count += matching.len();
                if count > MAX_MATCHING {
                    let description =
                        format!("match more than {MAX_MATCHING} namespaces, which is the limit");
                    return Err(Violation::over_limit("targets", description, MAX_MATCHING));
                }
                matching.into_iter().map(|name| selection.within(name.clone())).collect()
            }
        });
    }
    Ok(expanded)
}

impl Selection {
    fn within(&self, namespace: Namespace) -> InvalidateTarget {
        match self {
            Self::All => InvalidateTarget::Namespace(namespace),
            Self::Tags(tags) => InvalidateTarget::Tags(namespace, tags.clone()),
            Self::Pattern(glob) => InvalidateTarget::Pattern(namespace, glob.clone()),
        }
    }
}

/// The response to a request with globs of namespaces. `targets` are those of [`matching_targets`];
/// `is_matching` says which of the requested ones have a glob, and `outcomes` are in their order.
pub(in crate::rpc) fn matching_response(
    targets: &[Vec<InvalidateTarget>],
    is_matching: &[bool],
    outcomes: Vec<TargetOutcome>,
) -> pb::InvalidateResponse {
    let mut outcomes = outcomes.into_iter();
    let results = targets.iter().zip(is_matching).map(|(targets, is_matching)| {
        let mut results: Vec<_> =
            outcomes.by_ref().take(targets.len()).map(target_result).collect();
        if !*is_matching {
            return results.pop().unwrap_or_default();
        }
        let namespace_result =
            |(target, result): (&InvalidateTarget, &pb::TargetResult)| pb::NamespaceResult {
                namespace: target.namespace().to_string(),
                namespace_invalidated: result.namespace_invalidated,
            };
        let namespaces: Vec<_> = targets.iter().zip(&results).map(namespace_result).collect();
        let is_whole = |result: &pb::NamespaceResult| result.namespace_invalidated;
        let namespace_invalidated = !namespaces.is_empty() && namespaces.iter().all(is_whole);
        pb::TargetResult { existed: false, namespace_invalidated, namespaces }
    });
    pb::InvalidateResponse { results: results.collect() }
}

pub(in crate::rpc) fn invalidate_response(outcomes: Vec<TargetOutcome>) -> pb::InvalidateResponse {
    pb::InvalidateResponse { results: outcomes.into_iter().map(target_result).collect() }
}

fn target_result(outcome: TargetOutcome) -> pb::TargetResult {
    let none = pb::TargetResult::default();
    match outcome {
        TargetOutcome::Deleted { existed } => pb::TargetResult { existed, ..none },
        TargetOutcome::Banned => none,
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
        ];
        let namespace = || Namespace::new("ns").unwrap();
        let expected = [
            InvalidateTarget::Namespace(namespace()),
            InvalidateTarget::Tags(namespace(), vec!["a".to_owned(), "b".to_owned()]),
            InvalidateTarget::Pattern(namespace(), Glob::new("user:*").unwrap()),
            InvalidateTarget::Key(entry_key("ns", "k", &Default::default()).unwrap()),
        ];
        assert_eq!(convert(targets).unwrap(), expected.map(RequestedTarget::One));
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
            (Some(key("n*", "k")), "targets[1].key.namespace"),
            (Some(Pb::Namespace("[a".to_owned())), "targets[1].namespace"),
            (Some(tag_target("[a", &["a"])), "targets[1].tags.namespace"),
        ] {
            assert_eq!(convert(vec![valid(), target]).unwrap_err().field(), field);
        }
    }

    #[test]
    fn glob_stands_for_the_namespaces_that_match() {
        let known = ["a1", "a2", "b"].map(|name| Namespace::new(name).unwrap());
        let targets = vec![
            Some(Pb::Namespace("a*".to_owned())),
            Some(Pb::Namespace("b".to_owned())),
            Some(pattern("?", "k*")),
            Some(tag_target("none*", &["t"])),
        ];
        let requested = convert(targets).unwrap();
        let is_matching: Vec<bool> = requested.iter().map(RequestedTarget::is_matching).collect();
        assert_eq!(is_matching, [true, false, true, true]);
        let targets = matching_targets(requested, &known).unwrap();
        assert_eq!(targets.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 0]);
        let whole = TargetOutcome::NamespaceInvalidated;
        let outcomes = vec![whole, whole, whole, TargetOutcome::Banned];
        let results = matching_response(&targets, &is_matching, outcomes).results;
        let names = |index: usize| {
            let names = results[index].namespaces.iter();
            names.map(|result| (&*result.namespace, result.namespace_invalidated))
        };
        assert_eq!(names(0).collect::<Vec<_>>(), [("a1", true), ("a2", true)]);
        assert_eq!(names(2).collect::<Vec<_>>(), [("b", false)]);
        assert_eq!((names(1).count(), names(3).count()), (0, 0));
        let is_whole: Vec<_> = results.iter().map(|result| result.namespace_invalidated).collect();
        assert_eq!(is_whole, [true, true, false, false]);
    }

    #[test]
    fn matching_namespaces_are_bounded() {
        let known: Vec<Namespace> =
            (0..501).map(|number| Namespace::new(&format!("n{number}")).unwrap()).collect();
        let twice = || vec![Some(Pb::Namespace("n*".to_owned())), Some(pattern("n*", "k"))];
        assert!(matching_targets(convert(twice()).unwrap(), &known[..500]).is_ok());
        let violation = matching_targets(convert(twice()).unwrap(), &known).unwrap_err();
        assert_eq!((violation.field(), violation.limit()), ("targets", Some(1000)));
    }
}
