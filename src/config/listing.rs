use std::collections::BTreeMap;

use super::keys::{Keys, Section, join};
use super::kind::Kind;

/// Every key with its value as TOML, table by table.
#[derive(Default)]
pub(super) struct Listing {
    path: String,
    tables: Vec<Table>,
}

struct Table {
    path: String,
    keys: Vec<(&'static str, String)>,
}

impl Listing {
    pub(super) fn of<S: Section + Clone>(section: &S) -> Self {
        let mut listing = Self::default();
        // One walk serves reading and listing, and reading needs a section it may change.
        listing.enter(String::new(), &mut section.clone());
        listing
    }

    pub(super) fn to_toml(&self) -> String {
        let mut out = String::new();
        for table in &self.tables {
            if !table.path.is_empty() {
                out.push_str(&format!("\n[{}]\n", table.path));
            }
            for (name, value) in &table.keys {
                out.push_str(&format!("{name} = {value}\n"));
            }
        }
        out
    }

    /// The values under their full keys.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        let keys = |table: Table| {
            let Table { path, keys } = table;
            keys.into_iter().map(move |(name, value)| (join(&path, name), value))
        };
        self.tables.into_iter().flat_map(keys).collect()
    }

    fn enter(&mut self, path: String, section: &mut impl Section) {
        let above = std::mem::replace(&mut self.path, path.clone());
        self.tables.push(Table { path, keys: Vec::new() });
        section.visit(self);
        self.path = above;
    }
}

impl Keys for Listing {
    fn key<K: Kind>(&mut self, name: &'static str, value: &mut K::Value, kind: K) {
        if let Some(table) = self.tables.last_mut() {
            table.keys.push((name, kind.render(value)));
        }
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.enter(join(&self.path, name), section);
    }

    fn sections<S: Section + Clone>(&mut self, name: &'static str, sections: &mut BTreeMap<String, S>, _template: &S) {
        let path = join(&self.path, name);
        for (name, section) in sections {
            self.enter(join(&path, name), section);
        }
    }
}
