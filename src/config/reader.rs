use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::error::{ConfigError, Problem};
use super::toml::join;
use super::value::{Form, ValueType};
use super::visitor::{ConfigVisitor, Section};

/// What came to light while reading.
pub(super) struct Diagnostics {
    problems: Vec<Problem>,
    origins: BTreeMap<String, String>,
    file: String,
}

impl Diagnostics {
    /// `file` stands for the origin of values that name none: only the file's do not.
    pub(super) fn new(file: String) -> Self {
        Self { problems: Vec::new(), origins: BTreeMap::new(), file }
    }

    pub(super) fn problem(&mut self, key: &str, origin: Option<String>, message: String) {
        self.problems.push(Problem { key: key.to_owned(), message, origin });
    }

    /// Adds a problem between keys, unless one of them has a problem of its own.
    pub(super) fn relation(&mut self, key: &str, other: &str, message: String) {
        if !self.problems.iter().any(|problem| problem.key == key || problem.key == other) {
            let origin = self.origins.get(key).or_else(|| self.origins.get(other)).cloned();
            self.problem(key, origin, message);
        }
    }

    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid { problems: self.problems })
    }

    fn origin(&mut self, key: &str, value: &Value) -> String {
        let origin = value.origin().unwrap_or(&self.file).to_owned();
        self.origins.insert(key.to_owned(), origin.clone());
        origin
    }
}

/// Fills a section from a table. A key of the table that the section does not name is a problem.
pub(super) struct Reader<'a> {
    path: String,
    // Sorted, so that unknown keys are reported in a stable order.
    table: BTreeMap<String, Value>,
    known: Vec<&'static str>,
    /// What the keys being visited are for, if this table is something else.
    refused: Option<&'static str>,
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
        let mut reader = Self { path, table, known: Vec::new(), refused: None, diagnostics };
        section.visit(&mut reader);
        reader.reject_unknown();
    }

    fn reject_unknown(self) {
        for (name, value) in self.table {
            let message = format!("unknown key, expected one of {}", self.known.join(", "));
            for (key, origin) in leaves(join(&self.path, &name), value, self.diagnostics) {
                self.diagnostics.problem(&key, Some(origin), message.clone());
            }
        }
    }
}

impl ConfigVisitor for Reader<'_> {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T) {
        self.known.push(name);
        let Some(raw) = self.table.remove(name) else {
            return;
        };
        let key = join(&self.path, name);
        let origin = self.diagnostics.origin(&key, &raw);
        if let Some(only) = self.refused {
            return self.diagnostics.problem(&key, Some(origin), format!("only for {only}"));
        }
        match value_type.parse(&raw.kind) {
            Ok(parsed) => *value = parsed,
            Err(message) => self.diagnostics.problem(&key, Some(origin), message),
        }
    }

    fn one_of<V>(&mut self, value: &mut V, forms: &[&dyn Form<V>]) -> Option<&'static str> {
        self.known.extend(forms.iter().map(|form| form.name()));
        let given = forms.iter().filter_map(|form| Some((form, self.table.remove(form.name())?)));
        let given: Vec<_> = given.collect();
        let [(form, raw)] = given.as_slice() else {
            let names: Vec<_> = forms.iter().map(|form| form.name()).collect();
            let got = if given.is_empty() { "neither" } else { "both" };
            let message = format!("expected either {}, got {got}", names.join(" or "));
            // A table that stands in several sources does not say in which; its keys do.
            let values = given.iter().map(|(_, raw)| raw).chain(self.table.values());
            let variable = values.filter_map(Value::origin).next().map(str::to_owned);
            let origin = variable.unwrap_or_else(|| self.diagnostics.file.clone());
            self.diagnostics.problem(&self.path, Some(origin), message);
            return None;
        };
        let key = join(&self.path, form.name());
        let origin = self.diagnostics.origin(&key, raw);
        match form.parse(&raw.kind) {
            Ok(parsed) => *value = parsed,
            Err(message) => self.diagnostics.problem(&key, Some(origin), message),
        }
        Some(form.name())
    }

    fn only_if(&mut self, holds: bool, only: &'static str, visit: impl FnOnce(&mut Self)) {
        self.refused = (!holds).then_some(only);
        visit(self);
        self.refused = None;
    }

    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    ) {
        self.known.push(name);
        let Some(value) = self.table.remove(name) else {
            return;
        };
        let path = join(&self.path, name);
        for (name, raw) in fold_case(
            &path,
            table_of(&path, value, self.diagnostics).unwrap_or_default(),
            self.diagnostics,
        ) {
            let key = join(&path, &name);
            let origin = self.diagnostics.origin(&key, &raw);
            match value_type.parse(&raw.kind) {
                Ok(parsed) => drop(entries.insert(name, parsed)),
                Err(message) => self.diagnostics.problem(&key, Some(origin), message),
            }
        }
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.known.push(name);
        if let Some(value) = self.table.remove(name) {
            Reader::read_at(join(&self.path, name), value, section, self.diagnostics);
        }
    }

    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        section: &mut Option<S>,
        template: &S,
    ) {
        self.known.push(name);
        if let Some(value) = self.table.remove(name) {
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
        self.known.push(name);
        let Some(value) = self.table.remove(name) else {
            return;
        };
        let path = join(&self.path, name);
        for (name, value) in table_of(&path, value, self.diagnostics).unwrap_or_default() {
            let mut section = template.clone();
            Reader::read_at(join(&path, &name), value, &mut section, self.diagnostics);
            sections.insert(name, section);
        }
    }
}

fn table_of(
    path: &str,
    value: Value,
    diagnostics: &mut Diagnostics,
) -> Option<BTreeMap<String, Value>> {
    let origin = diagnostics.origin(path, &value);
    if let ValueKind::Table(table) = value.kind {
        return Some(table.into_iter().collect());
    }
    diagnostics.problem(
        path,
        Some(origin),
        "expected a table of keys, got a single value".to_owned(),
    );
    None
}

/// Leaves one entry of those whose names differ by case only: a variable, which has no say in its case, wins over the file.
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
                let origin = diagnostics.origin(&key, &value);
                diagnostics.problem(
                    &key,
                    Some(origin),
                    "given twice, as the case of the name does not matter".to_owned(),
                );
            }
            Some((_, other)) if other.origin().is_some() => {}
            Some(_) | None => drop(folded.insert(name.to_ascii_lowercase(), (name, value))),
        }
    }
    folded.into_values().collect()
}

/// The keys below an unknown one: each has its own origin, a table has none.
fn leaves(key: String, value: Value, diagnostics: &mut Diagnostics) -> Vec<(String, String)> {
    let origin = diagnostics.origin(&key, &value);
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
