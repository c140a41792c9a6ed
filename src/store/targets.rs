//! Invalidations by what they match, for a quick check of an entry.

use std::collections::HashMap;

use super::Invalidation;
use crate::model::{EntryKey, Namespace};

/// A set of invalidations, each with a value.
pub(super) struct Targets<V> {
    all: HashMap<Invalidation, V>,
    /// Number of invalidations in each namespace that are not of one key.
    wide: HashMap<Namespace, usize>,
}

impl<V> Targets<V> {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether one of them may match the entry. A ban counts for its whole namespace, because the
    /// tags of the entry are not known.
    pub(super) fn covers(&self, key: &EntryKey) -> bool {
        !self.all.is_empty()
            && (self.wide.contains_key(key.namespace())
                || self.all.contains_key(&Invalidation::Key(key.clone())))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Invalidation, &V)> {
        self.all.iter()
    }

    /// Adds an invalidation, or replaces the value of an equal one by what `merge` makes of the
    /// former value and of the new one.
    pub(super) fn insert(&mut self, invalidation: Invalidation, value: V, merge: fn(&V, V) -> V) {
        if let Some(before) = self.all.get_mut(&invalidation) {
            *before = merge(before, value);
            return;
        }
        if is_wide(&invalidation) {
            *self.wide.entry(invalidation.namespace().clone()).or_default() += 1;
        }
        self.all.insert(invalidation, value);
    }

    pub(super) fn remove(&mut self, invalidation: &Invalidation) {
        if self.all.remove(invalidation).is_some() && is_wide(invalidation) {
            self.forget_wide(invalidation.namespace());
        }
    }

    /// Keeps those for which `is_kept` is true.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Invalidation, &V) -> bool) {
        let mut removed = Vec::new();
        self.all.retain(|invalidation, value| {
            let is_kept = is_kept(invalidation, value);
            if !is_kept && is_wide(invalidation) {
                removed.push(invalidation.namespace().clone());
            }
            is_kept
        });
        removed.iter().for_each(|namespace| self.forget_wide(namespace));
    }

    fn forget_wide(&mut self, namespace: &Namespace) {
        if let Some(count) = self.wide.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.wide.remove(namespace);
            }
        }
    }
}

fn is_wide(invalidation: &Invalidation) -> bool {
    !matches!(invalidation, Invalidation::Key(_))
}

impl<V> Default for Targets<V> {
    fn default() -> Self {
        Self { all: HashMap::new(), wide: HashMap::new() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::{Ban, BanLimits};

    fn key(namespace: &str, key: &str) -> EntryKey {
        EntryKey::new(Namespace::new(namespace).unwrap(), key, [].into_iter()).unwrap()
    }

    fn insert(targets: &mut Targets<u64>, invalidation: &Invalidation, value: u64) {
        targets.insert(invalidation.clone(), value, |before, value| value.min(*before));
    }

    #[test]
    fn a_key_covers_itself_and_the_others_their_namespace() {
        let mut targets = Targets::default();
        assert!(!targets.covers(&key("a", "k")));
        let one = Invalidation::Key(key("a", "k"));
        insert(&mut targets, &one, 7);
        assert!(targets.covers(&key("a", "k")));
        assert!(!targets.covers(&key("a", "other")) && !targets.covers(&key("b", "k")));
        let namespace = Namespace::new("b").unwrap();
        let ban = Ban { tags: vec!["t".to_owned()], ..Ban::default() };
        let ban = Invalidation::of_ban(&namespace, &ban, &BanLimits::default());
        let whole = Invalidation::Namespace(namespace);
        for (invalidation, value) in [(&ban, 5), (&ban, 9), (&whole, 9)] {
            insert(&mut targets, invalidation, value);
        }
        assert_eq!(targets.len(), 3);
        assert_eq!(targets.iter().map(|(_, value)| *value).min(), Some(5));
        assert!(targets.covers(&key("b", "k")));
        targets.remove(&ban);
        targets.remove(&ban);
        assert!(targets.covers(&key("b", "k")));
        targets.retain(|_, value| *value < 9);
        assert!(!targets.covers(&key("b", "k")) && targets.covers(&key("a", "k")));
        targets.remove(&one);
        assert!(!targets.covers(&key("a", "k")) && targets.len() == 0);
    }
}
