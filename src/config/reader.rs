//! Reads the table of one section, and finds its unknown keys.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::diagnostics::Diagnostics;
use super::target::Target;
use super::toml::join;
use super::value::ValueType;
use super::visitor::{ConfigVisitor, Section};

/// Fills a section from a table. A key of the table that the section does not list is a problem.
pub(super) struct Reader<'a> {
    path: String,
    // Sorted, so that unknown keys are reported in a stable order.
    table: BTreeMap<String, Value>,
    known: Vec<&'static str>,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    pub(super) fn read(root: Value, section: &mut impl Section, diagnostics: &'a mut Diagnostics) {
        Self::read_at(String::new(), root, section, diagnostics);
    }

    fn read_at(
        path: String,
        value: Value,
        section: &mut impl Section,
        diagnostics: &'a mut Diagnostics,
    ) {
        let Some(table) = table_of(&path, value, diagnostics) else {
            return;
        };
        let mut reader = Self { path, table, known: Vec::new(), diagnostics };
        section.visit(&mut reader);
        reader.reject_unknown();
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.table.remove(name)
    }

    fn take_table(&mut self, path: &str, name: &'static str) -> BTreeMap<String, Value> {
        let table = self.take(name).and_then(|value| table_of(path, value, self.diagnostics));
        table.unwrap_or_default()
    }

    /// Parses the value of a key, or reports why it cannot be parsed.
    fn parse<T>(
        &mut self,
        key: &str,
        raw: &Value,
        parse: impl FnOnce(&ValueKind) -> Result<T, String>,
    ) -> Option<T> {
        let origin = self.diagnostics.record_origin(key, raw);
        parse(&raw.kind).map_err(|message| self.diagnostics.problem(key, origin, message)).ok()
    }

    fn reject_unknown(self) {
        for (name, value) in self.table {
            let hint = hint(&self.path, &name, &value, &self.known);
            let message = format!("unknown key, expected one of {}{hint}", self.known.join(", "));
            for (key, origin) in leaves(join(&self.path, &name), value, self.diagnostics) {
                self.diagnostics.problem(&key, origin, message.clone());
            }
        }
    }
}

/// How to mend an unknown key, as far as it can be guessed; empty if it cannot.
fn hint(path: &str, name: &str, value: &Value, known: &[&'static str]) -> String {
    let is_table = matches!(value.kind, ValueKind::Table(_));
    if let Some(namespace) = path.strip_prefix("namespaces.").filter(|_| is_table) {
        let name = format!("{namespace}.{name}").replace('"', "");
        return format!("; a namespace with a dot is quoted: [namespaces.\"{name}\"]");
    }
    // LARDER_STORE_TIMEOUT for LARDER_STORE__TIMEOUT.
    if let Some((section, key)) = name.split_once('_').filter(|_| path.is_empty())
        && known.contains(&section)
    {
        let variable = format!("{section}__{key}").to_ascii_uppercase();
        return format!("; the variable of {section}.{key} has two underscores: LARDER_{variable}");
    }
    let similarity = |known: &&str| strsim::jaro_winkler(name, known);
    let nearest = known.iter().max_by(|one, two| similarity(one).total_cmp(&similarity(two)));
    let nearest = nearest.filter(|nearest| similarity(nearest) >= MIN_SIMILARITY);
    nearest.map_or_else(String::new, |nearest| format!("; the most similar is {nearest}"))
}

/// From this similarity on, a known key is proposed in place of an unknown one.
const MIN_SIMILARITY: f64 = 0.85;

impl ConfigVisitor for Reader<'_> {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T) {
        if let Some(raw) = self.take(name)
            && let Some(parsed) =
                self.parse(&join(&self.path, name), &raw, |raw| value_type.parse(raw))
        {
            *value = parsed;
        }
    }

    fn optional_key<T: ValueType>(
        &mut self,
        name: &'static str,
        value: &mut Option<T::Value>,
        value_type: T,
    ) {
        if let Some(raw) = self.take(name) {
            *value = self.parse(&join(&self.path, name), &raw, |raw| value_type.parse(raw));
        }
    }

    fn target(&mut self, target: &mut Target) -> Option<&'static str> {
        let given = Target::KEYS.map(|name| self.take(name).map(|raw| (name, raw)));
        let given: Vec<_> = given.into_iter().flatten().collect();
        if let [(name, raw)] = given.as_slice() {
            let parse = |raw: &ValueKind| Target::parse(name, raw);
            if let Some(parsed) = self.parse(&join(&self.path, name), raw, parse) {
                *target = parsed;
            }
            return Some(name);
        }
        // A table that is merged from several sources names no origin; its values do.
        let values = given.iter().map(|(_, raw)| raw).chain(self.table.values());
        let origin = self.diagnostics.origin_of(values);
        let got = if given.is_empty() { "neither" } else { "both" };
        let message = format!("expected either {}, got {got}", Target::KEYS.join(" or "));
        self.diagnostics.problem(&self.path, origin, message);
        None
    }

    fn inapplicable(&mut self, name: &'static str, message: &'static str) {
        if let Some(raw) = self.take(name) {
            self.parse(&join(&self.path, name), &raw, |_| Err::<(), _>(message.to_owned()));
        }
    }

    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    ) {
        let path = join(&self.path, name);
        let table = self.take_table(&path, name);
        for (name, raw) in fold_case(&path, table, self.diagnostics) {
            if let Some(value) = self.parse(&join(&path, &name), &raw, |raw| value_type.parse(raw))
            {
                entries.insert(name, value);
            }
        }
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        if let Some(value) = self.take(name) {
            Reader::read_at(join(&self.path, name), value, section, self.diagnostics);
        }
    }

    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        section: &mut Option<S>,
        template: &S,
    ) {
        if let Some(value) = self.take(name) {
            let section = section.insert(template.clone());
            Reader::read_at(join(&self.path, name), value, section, self.diagnostics);
        }
    }

    fn sections<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut BTreeMap<String, S>,
        template: &S,
    ) {
        let path = join(&self.path, name);
        for (name, value) in self.take_table(&path, name) {
            let mut section = template.clone();
            Reader::read_at(join(&path, &name), value, &mut section, self.diagnostics);
            sections.insert(name, section);
        }
    }

    fn list<S: Section + Clone>(
        &mut self,
        name: &'static str,
        sections: &mut Vec<S>,
        template: &S,
    ) {
        if let Some(value) = self.take(name) {
            *sections = read_list(&join(&self.path, name), value, template, self.diagnostics);
        }
    }

    fn lists<S: Section + Clone>(
        &mut self,
        name: &'static str,
        lists: &mut BTreeMap<String, Vec<S>>,
        template: &S,
    ) {
        let path = join(&self.path, name);
        for (name, value) in self.take_table(&path, name) {
            let list = read_list(&join(&path, &name), value, template, self.diagnostics);
            lists.insert(name, list);
        }
    }
}

/// Reads a list of tables. The path of a table has its index: `events.changed[0]`.
fn read_list<S: Section + Clone>(
    path: &str,
    value: Value,
    template: &S,
    diagnostics: &mut Diagnostics,
) -> Vec<S> {
    let origin = diagnostics.record_origin(path, &value);
    let ValueKind::Array(items) = value.kind else {
        let message = format!("expected a list of tables, each begun by [[{path}]]");
        diagnostics.problem(path, origin, message);
        return Vec::new();
    };
    let read = |(index, item)| {
        let mut section = template.clone();
        Reader::read_at(format!("{path}[{index}]"), item, &mut section, diagnostics);
        section
    };
    items.into_iter().enumerate().map(read).collect()
}

fn table_of(
    path: &str,
    value: Value,
    diagnostics: &mut Diagnostics,
) -> Option<BTreeMap<String, Value>> {
    let origin = diagnostics.record_origin(path, &value);
    if let ValueKind::Table(table) = value.kind {
        return Some(table.into_iter().collect());
    }
    diagnostics.problem(path, origin, "expected a table of keys, got a single value".to_owned());
    None
}

/// Keeps one of the entries whose names differ only in case. A variable, whose name has no case,
/// wins over the file.
fn fold_case(
    path: &str,
    table: BTreeMap<String, Value>,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<String, Value> {
    let mut folded: BTreeMap<String, (String, Value)> = BTreeMap::new();
    for (name, value) in table {
        match folded.get(&name.to_ascii_lowercase()) {
            Some((_, other)) if other.origin().is_none() && value.origin().is_none() => {
                let key = join(path, &name);
                let origin = diagnostics.record_origin(&key, &value);
                let message = "given twice, as the case of the name does not matter";
                diagnostics.problem(&key, origin, message.to_owned());
            }
            Some((_, other)) if other.origin().is_some() => {}
            Some(_) | None => drop(folded.insert(name.to_ascii_lowercase(), (name, value))),
        }
    }
    folded.into_values().collect()
}

/// The keys below an unknown key, with their origins. A table names no origin, its values do.
fn leaves(key: String, value: Value, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
    let origin = diagnostics.record_origin(&key, &value);
    let ValueKind::Table(table) = value.kind else {
        return vec![(key, origin)];
    };
    if table.is_empty() {
        return vec![(key, origin)];
    }
    let sorted: BTreeMap<_, _> = table.into_iter().collect();
    let below = sorted.into_iter().map(|(name, value)| (join(&key, &name), value));
    below.flat_map(|(key, value)| leaves(key, value, diagnostics)).collect()
}
