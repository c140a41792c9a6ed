//! One list of keys per section, walked by whoever needs it: the reader and the renderer.

use std::collections::BTreeMap;

use super::value::{Form, ValueType};

/// A table of the configuration: names each of its keys, with the kind of its value.
pub(super) trait Section {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor);
}

/// What is done with each key.
pub(super) trait ConfigVisitor {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T);

    /// Keys of which a table has exactly one, as each is another form of the same value.
    ///
    /// Returns the one it has; none if it has not exactly one, which is a problem.
    fn one_of<V>(&mut self, value: &mut V, forms: &[&dyn Form<V>]) -> Option<&'static str>;

    /// Keys that mean something only if `holds`. Where they do not, `only` says what they are for.
    fn only_if(&mut self, holds: bool, only: &'static str, visit: impl FnOnce(&mut Self));

    /// Values of one kind under names the operator chooses. The case of a name does not matter.
    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    );

    /// A table. The keys of a section come before its tables, as in TOML.
    fn section(&mut self, name: &'static str, section: &mut impl Section);

    /// A table that need not be there; where it is, it starts as a copy of `template`.
    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        section: &mut Option<S>,
        template: &S,
    );

    /// Tables under names the operator chooses; each starts as a copy of `template`.
    fn sections<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut BTreeMap<String, S>,
        template: &S,
    );
}
