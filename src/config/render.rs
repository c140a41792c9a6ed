//! Renders a configuration as TOML, with secrets hidden.

use std::collections::BTreeMap;

use super::Config;
use super::target::Target;
use super::toml::join;
use super::value::ValueType;
use super::visitor::{ConfigVisitor, Section};

/// Renders each key with its value as TOML, table by table.
#[derive(Default)]
pub(super) struct TomlRenderer {
    path: TablePath,
    tables: Vec<RenderedTable>,
}

/// The path of a table.
#[derive(Clone, Default)]
struct TablePath {
    /// With the index of each list, as in `events.changed[0]`.
    full: String,
    /// As TOML has it.
    toml: String,
}

struct RenderedTable {
    path: TablePath,
    /// Whether it is a table of a list.
    is_item: bool,
    keys: Vec<(String, String)>,
}

impl Config {
    /// Renders the effective configuration as TOML that [`load`](super::load()) reads, with
    /// passwords as `***`.
    pub fn render(&self) -> String {
        TomlRenderer::of(self).to_toml()
    }
}

impl TomlRenderer {
    pub(super) fn of<S: Section + Clone>(section: &S) -> Self {
        let mut renderer = Self::default();
        // A visit takes `&mut`, because the reader changes the section.
        renderer.enter(TablePath::default(), false, &mut section.clone());
        renderer
    }

    fn to_toml(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            match (&*table.path.toml, table.is_item) {
                ("", _) => {}
                (path, false) => out.push_str(&format!("\n[{path}]\n")),
                (path, true) => out.push_str(&format!("\n[[{path}]]\n")),
            }
            for (name, value) in &table.keys {
                out.push_str(&format!("{} = {value}\n", join("", name)));
            }
        }
        out
    }

    /// The rendered values by their full keys.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        let keys = |table: RenderedTable| {
            let RenderedTable { path, keys, .. } = table;
            keys.into_iter().map(move |(name, value)| (join(&path.full, &name), value))
        };
        self.tables.into_iter().flat_map(keys).collect()
    }

    fn enter(&mut self, path: TablePath, is_item: bool, section: &mut impl Section) {
        let above = std::mem::replace(&mut self.path, path.clone());
        self.tables.push(RenderedTable { path, is_item, keys: Vec::new() });
        section.visit(self);
        self.path = above;
    }

    fn enter_list(&mut self, path: &TablePath, sections: &mut [impl Section]) {
        for (index, section) in sections.iter_mut().enumerate() {
            let full = format!("{}[{index}]", path.full);
            self.enter(TablePath { full, toml: path.toml.clone() }, true, section);
        }
    }

    fn push(&mut self, name: &str, value: String) {
        if let Some(table) = self.tables.last_mut() {
            table.keys.push((name.to_owned(), value));
        }
    }
}

impl TablePath {
    fn join(&self, name: &str) -> Self {
        Self { full: join(&self.full, name), toml: join(&self.toml, name) }
    }
}

impl ConfigVisitor for TomlRenderer {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T) {
        self.push(name, value_type.render(value));
    }

    fn optional_key<T: ValueType>(
        &mut self,
        name: &'static str,
        value: &mut Option<T::Value>,
        value_type: T,
    ) {
        if let Some(value) = value {
            self.push(name, value_type.render(value));
        }
    }

    fn target(&mut self, target: &mut Target) -> Option<&'static str> {
        self.push(target.key(), target.render());
        Some(target.key())
    }

    fn inapplicable(&mut self, _name: &'static str, _message: &'static str) {}

    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    ) {
        if !entries.is_empty() {
            let render =
                |(name, value): (&String, &T::Value)| (name.clone(), value_type.render(value));
            let keys = entries.iter().map(render).collect();
            let path = self.path.join(name);
            self.tables.push(RenderedTable { path, is_item: false, keys });
        }
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.enter(self.path.join(name), false, section);
    }

    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        section: &mut Option<S>,
        _template: &S,
    ) {
        if let Some(section) = section {
            self.section(name, section);
        }
    }

    fn sections<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut BTreeMap<String, S>,
        _template: &S,
    ) {
        let path = self.path.join(name);
        for (name, section) in sections {
            self.enter(path.join(name), false, section);
        }
    }

    fn list<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut Vec<S>,
        _template: &S,
    ) {
        self.enter_list(&self.path.join(name), sections);
    }

    fn lists<S: Section + Clone>(
        &mut self,
        name: &'static str,
        lists: &mut BTreeMap<String, Vec<S>>,
        _template: &S,
    ) {
        let path = self.path.join(name);
        for (name, sections) in lists {
            self.enter_list(&path.join(name), sections);
        }
    }
}
