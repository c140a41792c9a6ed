//! One list of keys per section, walked by whoever needs it: the reader and the listing.

use std::collections::BTreeMap;

use super::kind::{Form, Kind};

/// A table of the configuration: names each of its keys, with the kind of its value.
pub(super) trait Section {
    fn visit(&mut self, keys: &mut impl Keys);
}

/// What is done with each key.
pub(super) trait Keys {
    fn key<K: Kind>(&mut self, name: &'static str, value: &mut K::Value, kind: K);

    /// Keys of which a table has exactly one, as each is another form of the same value.
    ///
    /// Returns the one it has; none if it has not exactly one, which is a problem.
    fn one_of<V>(&mut self, value: &mut V, forms: &[&dyn Form<V>]) -> Option<&'static str>;

    /// Keys that mean something only if `holds`. Where they do not, `only` says what they are for.
    fn only_if(&mut self, holds: bool, only: &'static str, visit: impl FnOnce(&mut Self));

    /// Values of one kind under names the operator chooses. The case of a name does not matter.
    fn entries<K: Kind>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, K::Value>,
        kind: K,
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

/// Appends a name to a path, quoted as TOML wants it when it holds a dot or the like.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name =
        if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Writes a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
