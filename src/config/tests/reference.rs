//! The reference `docs/reference/configuration.md`, which is generated from the code: the keys with
//! their limits and defaults as the sections list them, and the comments on their fields.
//!
//! `make references` writes the file.

use std::{any::type_name_of_val, fmt::Write as _, fs, path::Path};

use ::config::{Value, ValueKind};

use super::super::value::ValueType;
use super::*;
use crate::tls::PemSource;

const FILE: &str = "docs/reference/configuration.md";
/// Set by `make references`.
const UPDATE: &str = "UPDATE_REFERENCES";
/// Columns of prose.
const COLUMNS: usize = 100;
/// Default of a key that may be absent.
const NONE: &str = "none";

const HEAD: &str = "\
# Every key of the configuration

<!-- `make references` writes this file from src/config. -->

[Configuration](../configuration.md) explains where values come from and how they are written, and
[a file with every key](example-file.md) is one to start from. Each key has a variable as well:
`LARDER_STORE__TIMEOUT` sets `store.timeout`.

- *Values* are those that a key accepts, in the words of the messages about others.
- *Change* is when another value takes effect: at a reload, by SIGHUP, or at a restart.

The operator chooses the `<name>` in the heading of a table.
";

const COLUMN_HEADS: &str = "\
| Key | Values | Default | Change | Meaning |
|---|---|---|---|---|
";

const INHERITED: &str = "\
It has all keys of [`[defaults]`](#defaults) as well, with the values from there.

";

#[test]
fn the_page_is_generated() {
    let expected = page();
    let path = root().join(FILE);
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &expected).unwrap();
    }
    for key in TomlRenderer::of(&Config::default()).into_values().into_keys() {
        assert!(expected.contains(&format!("\n| `{key}` | ")), "{key} is not there");
    }
    let found = fs::read_to_string(path).unwrap();
    assert!(found == expected, "{FILE} is not what `make references` writes");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    let mut reference = Reference::default();
    reference.enter("", false, &mut Config::default());
    let mut page = HEAD.to_owned();
    for table in &reference.tables {
        page.push_str(&table.to_markdown());
    }
    page
}

/// Tables in the order of a visit.
#[derive(Default)]
struct Reference {
    tables: Vec<Table>,
    /// Index of the table that is visited.
    at: usize,
}

struct Table {
    path: String,
    is_list: bool,
    comments: Comments,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    values: String,
    default: String,
    meaning: String,
}

impl Table {
    fn to_markdown(&self) -> String {
        let (heading, intro) = match (&*self.path, self.is_list) {
            ("", _) => ("Outside of tables".to_owned(), String::new()),
            (path, true) => (format!("`[[{path}]]`"), self.comments.of_struct()),
            (path, false) => (format!("`[{path}]`"), self.comments.of_struct()),
        };
        let mut text = format!("\n## {heading}\n\n");
        if !intro.is_empty() {
            writeln!(text, "{}\n", wrapped(&intro)).unwrap();
        }
        if self.path == "namespaces.<name>" {
            text.push_str(INHERITED);
        }
        if !self.rows.is_empty() {
            text.push_str(COLUMN_HEADS);
        }
        for row in &self.rows {
            let Row { name, values, default, meaning } = row;
            let full = child(&self.path, name);
            // Relative to a table of any name.
            let shown = if self.path.contains('<') || self.is_list { name } else { &full };
            let default = if default == NONE { NONE.to_owned() } else { format!("`{default}`") };
            let (values, change) = (marked(values), change(&full));
            writeln!(text, "| `{shown}` | {values} | {default} | {change} | {meaning} |").unwrap();
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// When a changed value of `key` takes effect.
fn change(key: &str) -> &'static str {
    let plain = Config::default();
    let mut with_tls = Config::default();
    for tls in [&mut with_tls.tls, &mut with_tls.admin.tls] {
        tls.cert = Some(PemSource::new("cert.pem"));
    }
    match (plain.is_reloaded(&plain, key), with_tls.is_reloaded(&with_tls, key)) {
        (true, _) => "reload",
        (false, true) => "reload, if the port has TLS",
        (false, false) => "restart",
    }
}

// === impl Reference ===

impl Reference {
    fn enter(&mut self, name: &str, is_list: bool, section: &mut impl Section) {
        let above = self.at;
        let path =
            self.tables.get(above).map_or_else(String::new, |table| child(&table.path, name));
        let comments = Comments::of(type_name_of_val(&*section));
        self.at = self.tables.len();
        self.tables.push(Table { path, is_list, comments, rows: Vec::new() });
        section.visit(self);
        self.at = above;
    }

    fn push(&mut self, name: &str, default: &str, problem: impl Fn(&ValueKind) -> Option<String>) {
        let has = |table: &Table| table.rows.iter().any(|row| row.name == name);
        let is_inherited = self.tables[self.at].path == "namespaces.<name>"
            && self.tables.iter().any(|table| table.path == "defaults" && has(table));
        if is_inherited {
            return;
        }
        let table = &mut self.tables[self.at];
        let field = name.split('.').next().unwrap();
        let meaning = table.comments.of_field(field);
        let (name, default) = (name.to_owned(), default.to_owned());
        table.rows.push(Row { name, values: accepted(problem), default, meaning });
    }
}

impl ConfigVisitor for Reference {
    fn key<T: ValueType>(&mut self, name: &'static str, value: &mut T::Value, value_type: T) {
        self.push(name, &value_type.render(value), |raw| value_type.parse(raw).err());
    }

    fn target(&mut self, _target: &mut Target) -> Option<&'static str> {
        for key in Target::KEYS {
            self.push(key, NONE, |raw| Target::parse(key, raw).err());
        }
        // The keys of both targets.
        None
    }

    fn optional_key<T: ValueType>(
        &mut self,
        name: &'static str,
        _value: &mut Option<T::Value>,
        value_type: T,
    ) {
        self.push(name, NONE, |raw| value_type.parse(raw).err());
    }

    fn inapplicable(&mut self, _name: &'static str, _message: &'static str) {}

    fn entries<T: ValueType>(
        &mut self,
        name: &'static str,
        _entries: &mut BTreeMap<String, T::Value>,
        value_type: T,
    ) {
        self.push(&format!("{name}.<name>"), NONE, |raw| value_type.parse(raw).err());
    }

    fn section(&mut self, name: &'static str, section: &mut impl Section) {
        self.enter(name, false, section);
    }

    fn optional<S: Section + Clone>(
        &mut self,
        name: &'static str,
        _section: &mut Option<S>,
        template: &S,
    ) {
        self.enter(name, false, &mut template.clone());
    }

    fn sections<S: Section + Clone>(
        &mut self,
        name: &'static str,
        _sections: &mut BTreeMap<String, S>,
        template: &S,
    ) {
        self.enter(&format!("{name}.<name>"), false, &mut template.clone());
    }

    fn list<S: Section + Clone>(
        &mut self,
        name: &'static str,
        _sections: &mut Vec<S>,
        template: &S,
    ) {
        self.enter(name, true, &mut template.clone());
    }

    fn lists<S: Section + Clone>(
        &mut self,
        name: &'static str,
        _lists: &mut BTreeMap<String, Vec<S>>,
        template: &S,
    ) {
        self.enter(&format!("{name}.<name>"), true, &mut template.clone());
    }
}

// === the values of a key ===

/// The values that a key accepts, in the words of its messages about others.
fn accepted(problem: impl Fn(&ValueKind) -> Option<String>) -> String {
    let words = |raw: ValueKind| {
        let message = problem(&raw).unwrap();
        let words = message.strip_prefix("expected ").unwrap_or(&message);
        words.rsplit_once(", got ").map_or(words, |(words, _)| words).to_owned()
    };
    let form = words(ValueKind::Nil);
    // The limits are in the message about a value beyond them.
    if form.starts_with("a duration") {
        words(ValueKind::String("100000d".to_owned()))
    } else if form.starts_with("a size") {
        words(ValueKind::I64(i64::MAX))
    } else if form.starts_with("a list") && form.ends_with(" items") {
        let item = words(ValueKind::Array(vec![Value::new(None, ValueKind::Nil)]));
        format!("{form}, each {item}")
    } else {
        form
    }
}

/// Text with its quoted parts as code.
fn marked(text: &str) -> String {
    let quote = if text.contains('"') { "\"" } else { "'" };
    let parts = text.split(quote).enumerate().map(|(index, part)| match index % 2 {
        0 => part.replace('_', "\\_").replace('|', "\\|"),
        _ => format!("`{quote}{part}{quote}`"),
    });
    parts.collect()
}

// === comments ===

/// The comments of the source file of a section.
struct Comments {
    name: String,
    source: String,
}

impl Comments {
    /// `type_name` is the full name of the type of a section.
    fn of(type_name: &str) -> Self {
        let type_name = type_name.split('<').next().unwrap();
        let (module, name) = type_name.rsplit_once("::").unwrap();
        let file = module.replacen("larder", "src", 1).replace("::", "/");
        let source = fs::read_to_string(root().join(format!("{file}.rs"))).unwrap();
        Self { name: name.to_owned(), source }
    }

    /// The comment of the section, without the name of its table.
    fn of_struct(&self) -> String {
        let comment = comment(&self.source, &format!("struct {}", self.name));
        let text = match comment.split_once(": ") {
            Some((table, text)) if table.starts_with("`[") => text,
            _ => comment.as_str(),
        };
        capitalized(text)
    }

    /// The comment of a key.
    fn of_field(&self, name: &str) -> String {
        if Target::KEYS.contains(&name) && self.name == "OriginConfig" {
            let target = fs::read_to_string(root().join("src/config/target.rs")).unwrap();
            let variant = if name == Target::URL { "Http(" } else { "Grpc(" };
            let comment = comment(&target, variant);
            return capitalized(comment.split_once(": ").unwrap().1);
        }
        let within = self.source.split(&format!("struct {} ", self.name)).nth(1);
        let within = within.and_then(|rest| rest.split("\n}").next()).unwrap_or_default();
        let field = format!("pub {name}: ");
        // Otherwise the field is in a part of the section.
        let text = if within.contains(&field) { within } else { &self.source };
        linked(&comment(text, &field))
    }
}

/// The doc comment of the first item in a source file that has `item` in its line.
fn comment(source: &str, item: &str) -> String {
    let above: Vec<&str> = source.lines().take_while(|line| !line.contains(item)).collect();
    let above = above.iter().rev().map(|line| line.trim_start());
    let above = above.skip_while(|line| line.starts_with("#["));
    let mut lines: Vec<&str> = above.map_while(|line| line.strip_prefix("/// ")).collect();
    assert!(!lines.is_empty(), "{item} has no comment");
    lines.reverse();
    lines.join(" ")
}

/// A comment with a link for each document that it names.
fn linked(comment: &str) -> String {
    let words = comment.split(' ').map(|word| match word.strip_prefix("docs/") {
        None => word.replace('|', "\\|"),
        Some(target) => {
            let (target, end) = target.split_at(target.trim_end_matches(['.', ',', ';']).len());
            let page = target.split('#').next().unwrap();
            format!("[{page}](../{target}){end}")
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn capitalized(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

/// Text in lines.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + 1 + word.len() <= COLUMNS {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}
