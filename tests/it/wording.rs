//! Rules for the text of source files and documents: line width, wording, unique type names.
//!
//! Run with `cargo test --test it wording`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::LazyLock,
};

use crate::sources::{Source, is_word, line_of, paths, read_text, without_tests};

const MAX_COLUMNS: usize = 100;
/// Comment lines with person words, per 1,000 comment lines: 0.5 % fails.
const MAX_PERSON_LINES_PER_THOUSAND: usize = 5;
/// How many of the worst comment lines are printed.
const WORST: usize = 20;
/// Personal pronouns and words for persons. Comments name the thing instead: caller, task, request.
const PERSON_WORDS: &str = "he him his she who whom whoever somebody someone nobody \
                            anybody everybody anyone everyone i we us our you your";
const NO_ONE: [&str; 2] = ["no", "one"];
/// Words for persons that talk. Code sends, delivers, reports, reads, has, distinguishes.
const TALKING_WORDS: &str = "told tell tells telling know knows knowing say says said saying hear \
                             hears heard hearing somebody someone nobody he she who whom whoever";
/// Beginnings of a riddle. A comment begins with a noun for the thing: state, outcome, source.
const RIDDLES: [&str; 2] = ["What ", "Whoever "];
/// Documents outside `docs`.
const DOCUMENTS: [&str; 27] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "clients/README.md",
    "clients/SUITES.md",
    "clients/conformance/README.md",
    "clients/fleet/README.md",
    "clients/go/README.md",
    "clients/java/README.md",
    "clients/java/docs/spring.md",
    "clients/node/README.md",
    "clients/node/docs/adapters.md",
    "clients/node/suites/README.md",
    "clients/python/README.md",
    "clients/python/docs/backends.md",
    "clients/python/docs/decorators.md",
    "clients/rust/README.md",
    "crates/transport/README.md",
    "deploy/prometheus/rules/namespaces.yml",
    "deploy/prometheus/rules/service.yml",
    "deploy/prometheus/rules/store.yml",
    "examples/README.md",
    "examples/apps/README.md",
    "examples/python/README.md",
    "larder.example.toml",
    "tests/polyglot/README.md",
];
/// Text that holds one of the words without meaning a person: input and output.
const ALLOWED_PHRASES: [&str; 1] = ["i/o"];
/// Names that every module may declare for itself.
const GENERIC_TYPES: [&str; 2] = ["Error", "Result"];

#[test]
fn lines_fit_in_100_columns() {
    let mut long = Vec::new();
    for source in SOURCES.iter() {
        for (number, line) in (1..).zip(source.text.lines()) {
            let columns = line.chars().count();
            if columns > MAX_COLUMNS {
                long.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    }
    assert!(long.is_empty(), "{} lines are too long:\n{}", long.len(), long.join("\n"));
}

#[test]
fn comments_do_not_refer_to_the_module() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (number, comment) in comment_lines(source) {
            if comment.contains("See the module") {
                found.push(format!("{}:{number}: {comment}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "say what the item is:\n{}", found.join("\n"));
}

#[test]
fn comments_avoid_person_words() {
    let (mut lines, mut found) = (0, Vec::new());
    for source in SOURCES.iter() {
        for (number, comment) in comment_lines(source) {
            lines += 1;
            let words = person_words(&comment);
            if words > 0 {
                found.push((words, format!("{}:{number}: {comment}", source.path)));
            }
        }
    }
    found.sort_by_key(|(words, _)| std::cmp::Reverse(*words));
    let worst: Vec<&str> = found.iter().take(WORST).map(|(_, place)| place.as_str()).collect();
    assert!(
        found.len() * 1000 < lines * MAX_PERSON_LINES_PER_THOUSAND,
        "{} of {lines} comment lines have person words; the worst:\n{}",
        found.len(),
        worst.join("\n")
    );
}

#[test]
fn comments_begin_with_the_thing() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (number, comment) in comment_lines(source) {
            if is_riddle(&comment) {
                found.push(format!("{}:{number}: {comment}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "name the thing:\n{}", found.join("\n"));
}

#[test]
fn comments_avoid_talking_words() {
    let mut found = Vec::new();
    for source in SOURCES.iter() {
        for (number, comment) in comment_lines(source) {
            if talking_words(&comment) > 0 {
                found.push(format!("{}:{number}: {comment}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "use the field's words:\n{}", found.join("\n"));
}

/// Log lines, error texts, descriptions of metrics.
#[test]
fn texts_of_the_program_avoid_talking_words() {
    let mut found = Vec::new();
    for source in SOURCES.iter().filter(|source| is_program(source)) {
        for (number, text) in (1..).zip(strings(source).lines()) {
            if talking_words(text) > 0 {
                found.push(format!("{}:{number}: {}", source.path, text.trim()));
            }
        }
    }
    assert!(found.is_empty(), "use the field's words:\n{}", found.join("\n"));
}

#[test]
fn names_of_functions_avoid_talking_words() {
    let mut found = Vec::new();
    for source in SOURCES.iter().filter(|source| source.path.ends_with(".rs")) {
        for (number, line) in (1..).zip(source.code.lines()) {
            let mut words = words(line).map(|(_, word)| word).skip_while(|word| *word != "fn");
            if let Some(name) = words.nth(1)
                && talking_words(&name.replace('_', " ")) > 0
            {
                found.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    // This rule is about the words themselves.
    found.retain(|place| !place.starts_with("tests/it/wording.rs"));
    assert!(found.is_empty(), "use the field's words:\n{}", found.join("\n"));
}

#[test]
fn documents_avoid_talking_words() {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for (number, line) in lines_outside_code(&text) {
            if talking_words(line) > 0 {
                found.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "use the field's words:\n{}", found.join("\n"));
}

#[test]
fn prose_of_documents_fits_in_100_columns() {
    let mut long = Vec::new();
    let prose = documents().into_iter().filter(|(path, _)| path.ends_with(".md"));
    for (path, text) in prose {
        for (number, line) in lines_outside_code(&text) {
            let columns = line.chars().count();
            // A row of a table cannot be broken, nor can a link without a space.
            let is_breakable = !line.trim_start().starts_with('|') && line.trim().contains(' ');
            if columns > MAX_COLUMNS && is_breakable {
                long.push(format!("{path}:{number}: {columns} columns"));
            }
        }
    }
    assert!(long.is_empty(), "{} lines are too long:\n{}", long.len(), long.join("\n"));
}

#[test]
fn public_type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in SOURCES.iter() {
        if is_program(source) && source.path.ends_with(".rs") {
            for (name, line) in public_types(&source.code) {
                places.entry(name).or_default().push(format!("{}:{line}", source.path));
            }
        }
    }
    let generic: BTreeSet<&str> = GENERIC_TYPES.into();
    let mut report = String::new();
    for (name, places) in &places {
        if places.len() > 1 && !generic.contains(name.as_str()) {
            writeln!(report, "{name}: {}", places.join(", ")).unwrap();
        }
    }
    assert!(report.is_empty(), "declared more than once:\n{report}");
}

/// All files that these rules apply to, read once for all tests.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(sources);

fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    for directory in ["src", "crates", "tests/it", "proto"] {
        all.extend(Source::read_all(directory));
    }
    all.extend(Source::read("build.rs"));
    assert!(all.len() > 100, "only {} files were found", all.len());
    all
}

fn is_program(source: &Source) -> bool {
    source.path.starts_with("src/") || source.path.starts_with("crates/")
}

/// Paths and texts of the documents.
fn documents() -> Vec<(String, String)> {
    let of_docs = paths("docs").into_iter().filter(|path| path.ends_with(".md"));
    let all: Vec<String> = of_docs.chain(DOCUMENTS.map(str::to_owned)).collect();
    assert!(all.len() > DOCUMENTS.len(), "no document was found in docs");
    all.into_iter().map(|path| (path.clone(), read_text(&path))).collect()
}

/// Numbers and lines of a document, without its blocks of code.
fn lines_outside_code(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let lines = (1..).zip(text.lines());
    lines
        .filter(|(_, line)| {
            let is_fence = line.trim_start().starts_with("```");
            is_code ^= is_fence;
            !is_code && !is_fence
        })
        .collect()
}

/// The string literals of a file. Every character keeps its line.
fn strings(source: &Source) -> String {
    let letters = source.text.chars().zip(source.code.chars()).zip(source.comments.chars());
    letters
        .map(|((letter, code), comment)| {
            let is_string = code.is_whitespace() && comment.is_whitespace();
            if is_string || letter == '\n' { letter } else { ' ' }
        })
        .collect()
}

fn is_riddle(comment: &str) -> bool {
    let text = comment.trim_start_matches(|letter| "/!*-".contains(letter)).trim_start();
    RIDDLES.iter().any(|beginning| text.starts_with(beginning))
}

/// Number of talking words in a text. Code in backticks does not count.
fn talking_words(text: &str) -> usize {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let prose = prose.to_lowercase();
    let is_talking = |word: &str| TALKING_WORDS.split(' ').any(|talking| talking == word);
    words(&prose).filter(|(_, word)| is_talking(word)).count()
}

/// Numbers and texts of the lines with words in comments.
fn comment_lines(source: &Source) -> Vec<(usize, String)> {
    let lines = (1..).zip(source.comments.lines());
    lines
        .filter(|(_, line)| line.contains(char::is_alphanumeric))
        .map(|(number, line)| (number, line.trim().to_owned()))
        .collect()
}

/// Number of person words in a comment. Code in backticks does not count.
fn person_words(comment: &str) -> usize {
    let prose: String = comment.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let mut prose = prose.to_lowercase();
    for phrase in ALLOWED_PHRASES {
        prose = prose.replace(phrase, " ");
    }
    let words: Vec<&str> =
        prose.split(|letter| !is_word(letter)).filter(|word| !word.is_empty()).collect();
    let is_person_word = |index: usize| {
        // After a number, `us` are microseconds.
        let is_unit = words[index] == "us"
            && index > 0
            && words[index - 1].chars().all(|letter| letter.is_ascii_digit());
        PERSON_WORDS.split(' ').any(|word| word == words[index]) && !is_unit
    };
    let single = (0..words.len()).filter(|index| is_person_word(*index)).count();
    let pairs = words.windows(2).filter(|pair| *pair == NO_ONE).count();
    single + pairs
}

/// Names and lines of the types that are declared `pub` in the modules of a file.
fn public_types(code: &str) -> Vec<(String, usize)> {
    let (code, _) = without_tests(code);
    let (mut types, mut item_start) = (Vec::new(), 0);
    // Whether each open block is a module.
    let mut blocks: Vec<bool> = Vec::new();
    for (position, letter) in code.char_indices() {
        let item = &code[item_start..position];
        match letter {
            '{' | ';' => {
                if blocks.iter().all(|is_module| *is_module)
                    && let Some((name, offset)) = public_type(item)
                {
                    types.push((name, line_of(&code, item_start + offset)));
                }
                if letter == '{' {
                    blocks.push(is_module(item));
                }
            }
            '}' => _ = blocks.pop(),
            _ => continue,
        }
        item_start = position + 1;
    }
    types
}

/// Whether the head of a block is that of a module.
fn is_module(head: &str) -> bool {
    head.split_whitespace().rev().nth(1) == Some("mod")
}

/// Name and position of the type that an item declares `pub`. Restricted visibility does not count.
fn public_type(item: &str) -> Option<(String, usize)> {
    let words: Vec<(usize, &str)> = words(item).collect();
    let pairs = words.windows(3).find(|window| {
        let [(start, public), (_, kind), _] = window else { return false };
        *public == "pub"
            && !item[start + "pub".len()..].trim_start().starts_with('(')
            && ["struct", "enum", "trait", "type", "union"].contains(kind)
    })?;
    Some((pairs[2].1.to_owned(), pairs[2].0))
}

/// Words of a text with their positions.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut position = 0;
    text.split_inclusive(|letter| !is_word(letter)).filter_map(move |piece| {
        let start = position;
        position += piece.len();
        let word = piece.trim_end_matches(|letter| !is_word(letter));
        (!word.is_empty()).then_some((start, word))
    })
}

#[test]
fn person_words_are_whole_words() {
    assert_eq!(person_words("// Nobody knows who does this I/O, after 250 us."), 2);
    assert_eq!(person_words("// The user's house, where whole shells heal."), 0);
    assert_eq!(person_words("/// The value of `i` and `us`."), 0);
    assert_eq!(person_words("//! No one who waits: I'm here."), 3);
}

#[test]
fn talking_words_are_whole_words() {
    assert_eq!(talking_words("// Told that it `knows`, the server says what is known."), 2);
    assert_eq!(talking_words("the shell tells_apart unknown hearts"), 0);
}

#[test]
fn riddles_are_at_the_beginning() {
    for riddle in ["/// What is kept.", "//! Whoever waits.", "// What", "-- What was"] {
        assert_eq!(is_riddle(riddle), riddle != "// What", "{riddle}");
    }
    assert!(!is_riddle("/// Whatever happens, and what follows."));
}

#[test]
fn code_of_documents_is_left_out() {
    let text = "one\n```sh\ntwo\n```\n- three\n  ```text\n  four\n  ```\nfive";
    assert_eq!(lines_outside_code(text), [(1, "one"), (5, "- three"), (9, "five")]);
}

#[test]
fn only_public_types_of_modules_are_found() {
    let code = "#[derive(Debug)]\npub struct A<T> {\n    pub b: T,\n}\npub(crate) struct C;\n\
                struct D;\npub mod inner {\n    pub enum E {}\n    pub type F = u8;\n}\n\
                pub trait G {\n    type H;\n}\nimpl G for A<u8> {\n    type H = u8;\n}\n\
                pub fn i() {\n    pub struct J;\n}\npub use x::{K, L};\n\
                #[cfg(test)]\nmod tests {\n    pub struct M;\n}\n";
    let expected = [("A", 2), ("E", 8), ("F", 9), ("G", 11)];
    let expected: Vec<_> = expected.map(|(name, line)| (name.to_owned(), line)).into();
    assert_eq!(public_types(code), expected);
}
