//! Targets of Invalidate.

use larder::pb::v1::{
    InvalidateRequest, PatternTarget, TagTarget, Target, TargetResult, target::Target as Kind,
};

use super::client::{Cache, NS, key_ref, ms};

/// Entries of the default namespace with any of the tags.
pub(crate) fn tags(tags: &[&str]) -> Target {
    let tags = tags.iter().map(ToString::to_string).collect();
    of(Kind::Tags(TagTarget { namespace: NS.to_owned(), tags }))
}

/// Entries of the default namespace whose key matches.
pub(crate) fn pattern(glob: &str) -> Target {
    of(Kind::Pattern(PatternTarget { namespace: NS.to_owned(), glob: glob.to_owned() }))
}

/// An entry of the default namespace.
pub(crate) fn key(key: &str) -> Target {
    of(Kind::Key(key_ref(key)))
}

pub(crate) fn namespace(namespace: &str) -> Target {
    of(Kind::Namespace(namespace.to_owned()))
}

/// The same entries of another namespace.
pub(crate) fn within(namespace: &str, target: Target) -> Target {
    let namespace = namespace.to_owned();
    match target.target.unwrap() {
        Kind::Tags(target) => of(Kind::Tags(TagTarget { namespace, ..target })),
        Kind::Pattern(target) => of(Kind::Pattern(PatternTarget { namespace, ..target })),
        other => panic!("not tags or a pattern: {other:?}"),
    }
}

fn of(kind: Kind) -> Target {
    Target { target: Some(kind) }
}

/// A request without a hold-off.
pub(crate) fn request(targets: &[Target]) -> InvalidateRequest {
    InvalidateRequest { targets: targets.to_vec(), ..InvalidateRequest::default() }
}

/// Invalidates, with a hold-off in milliseconds. Returns the results.
pub(crate) async fn hold_off(cache: &Cache, targets: &[Target], millis: i64) -> Vec<TargetResult> {
    let request = InvalidateRequest { hold_off: ms(millis), ..request(targets) };
    let results = cache.invalidate(request).await.unwrap().results;
    assert_eq!(results.len(), targets.len());
    results
}

/// Invalidates without a hold-off. Returns the results.
pub(crate) async fn invalidate(cache: &Cache, targets: &[Target]) -> Vec<TargetResult> {
    hold_off(cache, targets, 0).await
}
