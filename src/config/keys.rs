//! One list of keys per section, walked by whoever needs it: the reader and the listing.

use std::collections::BTreeMap;

use super::kind::Kind;

/// A table of the configuration: names each of its keys, with the kind of its value.
pub(super) trait Section {
    fn visit(&mut self, keys: &mut impl Keys);
}

/// What is done with each key.
pub(super) trait Keys {
    fn key<K: Kind>(&mut self, name: &'static str, value: &mut K::Value, kind: K);

    fn section(&mut self, name: &'static str, section: &mut impl Section);

    /// Tables under names the operator chooses; each starts as a copy of `template`.
    fn sections<S: Section + Clone>(&mut self, name: &'static str, sections: &mut BTreeMap<String, S>, template: &S);
}

/// Appends a name to a path, quoted as TOML wants it when it holds a dot or the like.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) };
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
