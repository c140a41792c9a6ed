//! What an invalidation selects.

use larder::pb::v1::{PatternTarget, TagTarget, Target, target::Target as Kind};

use super::history::Key;

/// A selection of keys of a namespace. An event with a rule would be another one.
#[derive(Clone, Copy)]
pub(super) enum PatternOrTag {
    Pattern(&'static str),
    Tag(&'static str),
}

impl PatternOrTag {
    pub(super) fn selects(self, key: &Key) -> bool {
        match self {
            Self::Tag(tag) => key.tag == tag,
            Self::Pattern("k[01]") => matches!(&*key.name, "k0" | "k1"),
            Self::Pattern(glob) => key.name.ends_with(&glob[1..]),
        }
    }

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
}
