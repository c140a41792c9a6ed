//! The visitor pattern of the configuration.
//!
//! A section lists its keys once, in [`Section::visit`]. The reader fills them in from a table,
//! and the TOML renderer writes them.

use std::collections::BTreeMap;

use super::target::Target;
use super::value::ValueType;

/// A table of the configuration.
pub(super) trait Section {
    /// Passes each key to the visitor, with the type of its value.
    fn visit(&mut self, visitor: &mut impl ConfigVisitor);
}

/// An operation on each key of a section. The keys of a section come before its tables, as in
/// TOML.
pub(super) trait ConfigVisitor {
    /// A key with a single value.
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T);

    /// The keys of an origin's target, of which exactly one must be given.
    ///
    /// Returns the key that is given, or `None` if not exactly one is.
    fn target(&mut self, target: &mut Target) -> Option<&'static str>;

    /// A key that may be absent.
    fn optional_key<T: ValueType>(
        &mut self,
        name: &'static str,
        value: &mut Option<T::Value>,
        value_type: T,
    );

    /// A key that does not apply to this section. It must not be given and is never rendered;
    /// `message` is the error.
    fn inapplicable(&mut self, name: &'static str, message: &'static str);

    /// A table whose keys the operator chooses, with values of one type. Their case is ignored.
    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    );

    /// A table.
    fn section(&mut self, name: &'static str, section: &mut impl Section);

    /// A table that may be absent; if given, it starts as a copy of `template`.
    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        section: &mut Option<S>,
        template: &S,
    );

    /// Tables whose names the operator chooses; each starts as a copy of `template`.
    fn sections<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut BTreeMap<String, S>,
        template: &S,
    );

    /// A list of tables; each starts as a copy of `template`.
    fn list<S: Section + Clone>(&mut self, name: &'static str, sections: &mut Vec<S>, template: &S);

    /// Lists of tables whose names the operator chooses; each table starts as a copy of `template`.
    fn lists<S: Section + Clone>(
        &mut self,
        name: &'static str,
        lists: &mut BTreeMap<String, Vec<S>>,
        template: &S,
    );
}
