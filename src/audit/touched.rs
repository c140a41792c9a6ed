//! The part of the cache that an event concerns, within bounds.

use std::collections::BTreeSet;

use crate::model::{Namespace, TargetKind, text_prefix};

/// Most namespaces of a record.
const MAX_NAMESPACES: usize = 16;
/// Most targets of a record. Their number is exact.
const MAX_TARGETS: usize = 16;
/// Longest key, tag or glob in plain text, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// The namespaces and keys that an event concerns. A bounded number of them is kept.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    pub(super) namespaces: BTreeSet<Namespace>,
    pub(super) targets: Vec<Target>,
    /// All targets.
    pub(super) count: u64,
    /// Whether a namespace, a target or a part of its text is left out.
    pub(super) is_cut: bool,
}

/// A part of a namespace.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) kind: TargetKind,
    /// None: in each namespace of the record.
    pub(super) namespace: Option<Namespace>,
    /// The key, tag or glob.
    pub(super) name: Option<Name>,
}

/// A key, tag or glob in plain text.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) text: String,
}

impl Touched {
    /// Adds a namespace without a target.
    pub fn namespace(&mut self, namespace: &Namespace) {
        if self.namespaces.contains(namespace) {
            return;
        }
        if self.namespaces.len() < MAX_NAMESPACES {
            self.namespaces.insert(namespace.clone());
        } else {
            self.is_cut = true;
        }
    }

    /// Adds a target. `name`: its key, tag or glob.
    pub fn target(&mut self, kind: TargetKind, namespace: &Namespace, name: Option<&str>) {
        self.namespace(namespace);
        self.push(kind, Some(namespace), name);
    }

    /// Adds targets.
    pub fn extend<'a>(
        &mut self,
        targets: impl IntoIterator<Item = (TargetKind, &'a Namespace, Option<&'a str>)>,
    ) {
        for (kind, namespace, name) in targets {
            self.target(kind, namespace, name);
        }
    }

    /// Adds a target in all namespaces of the record.
    pub fn target_in_all(&mut self, kind: TargetKind, name: &str) {
        self.push(kind, None, Some(name));
    }

    fn push(&mut self, kind: TargetKind, namespace: Option<&Namespace>, name: Option<&str>) {
        self.count += 1;
        if self.targets.len() == MAX_TARGETS {
            self.is_cut = true;
            return;
        }
        let (namespace, name) = (namespace.cloned(), name.map(|text| Name { text: text.into() }));
        self.targets.push(Target { kind, namespace, name });
    }

    /// Removes the targets, whose number stays.
    pub(super) fn cut(&mut self) {
        self.targets.clear();
        self.is_cut = true;
    }
}

impl Name {
    /// The begin of the text, and whether that is not all of it.
    pub(super) fn shown(&self) -> (&str, bool) {
        let shown = text_prefix(&self.text, MAX_NAME_BYTES);
        (shown, shown.len() < self.text.len())
    }
}
