use std::collections::BTreeMap;

use super::toml::join;
use super::value::{Form, ValueType};
use super::visitor::{ConfigVisitor, Section};

/// Every key with its value as TOML, table by table.
#[derive(Default)]
pub(super) struct TomlRenderer {
    path: String,
    tables: Vec<Table>,
}

struct Table {
    path: String,
    keys: Vec<(String, String)>,
}

impl TomlRenderer {
    pub(super) fn of<S: Section + Clone>(section: &S) -> Self {
        let mut renderer = Self::default();
        // One walk serves reading and listing, and reading needs a section it may change.
        renderer.enter(String::new(), &mut section.clone());
        renderer
    }

    pub(super) fn to_toml(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            if !table.path.is_empty() {
                out.push_str(&format!("\n[{}]\n", table.path));
            }
            for (name, value) in &table.keys {
                out.push_str(&format!("{} = {value}\n", join("", name)));
            }
        }
        out
    }

    /// The values under their full keys.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        let keys = |table: Table| {
            let Table { path, keys } = table;
            keys.into_iter().map(move |(name, value)| (join(&path, &name), value))
        };
        self.tables.into_iter().flat_map(keys).collect()
    }

    fn enter(&mut self, path: String, section: &mut impl Section) {
        let above = std::mem::replace(&mut self.path, path.clone());
        self.tables.push(Table { path, keys: Vec::new() });
        section.visit(self);
        self.path = above;
    }

    fn push(&mut self, name: &str, value: String) {
        if let Some(table) = self.tables.last_mut() {
            table.keys.push((name.to_owned(), value));
        }
    }
}

impl ConfigVisitor for TomlRenderer {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T) {
        self.push(name, value_type.render(value));
    }

    fn one_of<V>(&mut self, value: &mut V, forms: &[&dyn Form<V>]) -> Option<&'static str> {
        let (form, text) = forms.iter().find_map(|form| Some((form, form.render(value)?)))?;
        self.push(form.name(), text);
        Some(form.name())
    }

    fn only_if(&mut self, holds: bool, _only: &'static str, visit: impl FnOnce(&mut Self)) {
        if holds {
            visit(self);
        }
    }

    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    ) {
        if !entries.is_empty() {
            let keys = entries.iter().map(|(name, value)| (name.clone(), value_type.render(value)));
            self.tables.push(Table { path: join(&self.path, name), keys: keys.collect() });
        }
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.enter(join(&self.path, name), section);
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
        let path = join(&self.path, name);
        for (name, section) in sections {
            self.enter(join(&path, name), section);
        }
    }
}
