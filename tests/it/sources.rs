//! The repository's source files, split into code and comments.

use std::{fs, path::Path};

/// A text file of the repository.
pub(crate) struct Source {
    /// Relative to the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with comments and strings blanked. Every character keeps its line.
    pub(crate) code: String,
    /// The text with everything but comments blanked. Every character keeps its line.
    pub(crate) comments: String,
}

#[derive(Clone, Copy)]
pub(crate) enum Language {
    Rust,
    Proto,
    Lua,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Comment,
    Text,
}

// === impl Source ===

impl Source {
    /// Reads a file; `None` for a language that is not checked.
    pub(crate) fn read(path: &str) -> Option<Self> {
        let language = match path.rsplit('.').next()? {
            "rs" => Language::Rust,
            "proto" => Language::Proto,
            "lua" => Language::Lua,
            _ => return None,
        };
        let text = read_text(path);
        let (code, comments) = split(&text, language);
        Some(Self { path: path.to_owned(), text, code, comments })
    }

    /// Reads all files below a directory, sorted by path; none if the directory does not exist.
    pub(crate) fn read_all(directory: &str) -> Vec<Self> {
        paths(directory).iter().filter_map(|path| Self::read(path)).collect()
    }
}

/// The text of a file of the repository.
pub(crate) fn read_text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths of all files below a directory, relative to the repository. Build output is left out.
pub(crate) fn paths(directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root().join(directory)) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap()).collect();
    names.sort_by_key(fs::DirEntry::file_name);
    let mut found = Vec::new();
    for entry in names {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{directory}/{name}");
        if !entry.file_type().unwrap().is_dir() {
            found.push(path);
        } else if name != "target" {
            found.extend(paths(&path));
        }
    }
    found
}

/// Number of the line of a position, from 1.
pub(crate) fn line_of(text: &str, position: usize) -> usize {
    text[..position].matches('\n').count() + 1
}

pub(crate) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The code and the comments of a text. Everything else is blanked.
pub(crate) fn split(text: &str, language: Language) -> (String, String) {
    let letters: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let (mut position, mut previous) = (0, ' ');
    while position < letters.len() {
        let (kind, length) = token(&letters[position..], previous, language);
        for letter in &letters[position..position + length] {
            let blank = if *letter == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { *letter } else { blank });
            comments.push(if kind == Kind::Comment { *letter } else { blank });
        }
        position += length;
        previous = letters[position - 1];
    }
    (code, comments)
}

/// Kind and length of the token at the start of `rest`. Code is split into single characters.
fn token(rest: &[char], previous: char, language: Language) -> (Kind, usize) {
    let starts = |prefix: &str| prefix.chars().eq(rest.iter().take(prefix.len()).copied());
    let text = |end: Option<usize>| end.map(|end| (Kind::Text, end));
    let comment = |end: usize| Some((Kind::Comment, end));
    let found = match (language, rest[0]) {
        (Language::Lua, '-') if starts("--") => {
            comment(long_bracket_end(&rest[2..]).map_or_else(|| line_end(rest), |end| end + 2))
        }
        (Language::Lua, '[') => text(long_bracket_end(rest)),
        (Language::Rust | Language::Proto, '/') if starts("//") => comment(line_end(rest)),
        (Language::Rust | Language::Proto, '/') if starts("/*") => comment(block_end(rest)),
        (Language::Rust, 'r' | 'b' | 'c') if !is_word(previous) => text(raw_end(rest)),
        (Language::Rust, '\'') => text(char_end(rest)),
        (_, '"') | (Language::Proto | Language::Lua, '\'') => text(Some(quoted_end(rest))),
        _ => None,
    };
    found.unwrap_or((Kind::Code, 1))
}

fn line_end(rest: &[char]) -> usize {
    rest.iter().position(|letter| *letter == '\n').unwrap_or(rest.len())
}

/// The end of a block comment, which may hold further ones.
fn block_end(rest: &[char]) -> usize {
    let (mut position, mut depth) = (0, 0);
    while position < rest.len() {
        match rest.get(position..position + 2) {
            Some(['/', '*']) => depth += 1,
            Some(['*', '/']) => depth -= 1,
            _ => {
                position += 1;
                continue;
            }
        }
        position += 2;
        if depth == 0 {
            break;
        }
    }
    position
}

/// The end of a string with escapes.
fn quoted_end(rest: &[char]) -> usize {
    let mut position = 1;
    while position < rest.len() && rest[position] != rest[0] {
        position += if rest[position] == '\\' { 2 } else { 1 };
    }
    (position + 1).min(rest.len())
}

/// The end of a Rust string such as `br#"text"#`; `None` if none starts here.
fn raw_end(rest: &[char]) -> Option<usize> {
    let start = if rest[0] == 'r' { 1 } else { 2 };
    if start == 2 && rest.get(1) != Some(&'r') {
        return None;
    }
    let hashes = rest[start..].iter().take_while(|letter| **letter == '#').count();
    if rest.get(start + hashes) != Some(&'"') {
        return None;
    }
    let body = start + hashes + 1;
    let is_end = |position: usize| {
        rest[position] == '"'
            && rest[position + 1..].iter().take_while(|letter| **letter == '#').count() >= hashes
    };
    let end = (body..rest.len()).find(|position| is_end(*position));
    Some(end.map_or(rest.len(), |end| end + 1 + hashes))
}

/// The end of a Rust character literal; `None` for a lifetime.
fn char_end(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => Some(quoted_end(rest)),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// The end of a Lua text such as `[=[text]=]`; `None` if none starts here.
fn long_bracket_end(rest: &[char]) -> Option<usize> {
    let level = rest.iter().skip(1).take_while(|letter| **letter == '=').count();
    if rest.first() != Some(&'[') || rest.get(level + 1) != Some(&'[') {
        return None;
    }
    let close: Vec<char> = format!("]{}]", "=".repeat(level)).chars().collect();
    let end = rest.windows(close.len()).position(|window| window == close);
    Some(end.map_or(rest.len(), |end| end + close.len()))
}

/// Rust code without the items under `#[cfg(test)]`, and the names of test modules in other files.
pub(crate) fn without_tests(code: &str) -> (String, Vec<String>) {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let (mut kept, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(start) = rest.find(ATTRIBUTE) {
        let end = start + ATTRIBUTE.len() + item_end(&rest[start + ATTRIBUTE.len()..]);
        let item = &rest[start..end];
        if let Some(name) = item.trim_end_matches(';').rsplit("mod ").next()
            && item.contains("mod ")
            && item.ends_with(';')
        {
            modules.push(name.trim().to_owned());
        }
        kept.push_str(&rest[..start]);
        kept.extend(item.chars().map(|letter| if letter == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// The end of an item: its semicolon or closing brace; for a field or a match arm, its comma.
fn item_end(code: &str) -> usize {
    const ITEMS: [&str; 15] = [
        "pub", "mod", "use", "fn", "async", "const", "static", "struct", "enum", "trait", "impl",
        "type", "unsafe", "extern", "let",
    ];
    let words = code.split(|letter| !is_word(letter)).filter(|word| !word.is_empty());
    let is_item = words.clone().next().is_some_and(|word| ITEMS.contains(&word))
        || code.trim_start().starts_with("#[");
    let mut depth = 0_i32;
    for (position, letter) in code.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        let ends = match letter {
            '}' => depth == 0 && is_item,
            ';' => depth == 0,
            ',' => depth == 0 && !is_item,
            _ => false,
        };
        if ends {
            return position + letter.len_utf8();
        }
        if depth < 0 {
            return position;
        }
    }
    code.len()
}

/// Lines of a file that can be read in one sitting.
const MAX_LINES: usize = 400;

/// Files of tests alone may be longer.
#[test]
fn no_file_is_too_long() {
    let lengths: Vec<(String, usize)> = ["src", "crates"]
        .iter()
        .flat_map(|directory| paths(directory))
        .filter(|path| path.ends_with(".rs") && !is_test_file(path))
        .map(|path| (path.clone(), read_text(&path).lines().count()))
        .collect();
    assert!(lengths.iter().any(|(path, _)| path == "src/lib.rs"), "no files were found");
    let too_long: Vec<String> = lengths
        .into_iter()
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{path} has {lines} lines, more than {MAX_LINES}"))
        .collect();
    assert!(too_long.is_empty(), "split by idea:\n{}", too_long.join("\n"));
}

/// Whether a path is that of `tests.rs`, of `<name>_tests.rs`, or of a file in a `tests` folder.
fn is_test_file(path: &str) -> bool {
    let stem = path.trim_end_matches(".rs");
    stem.ends_with("_tests") || stem.split('/').any(|segment| segment == "tests")
}

#[test]
fn files_of_tests_are_known_by_their_paths() {
    for path in ["src/a/tests.rs", "src/a/tests/b.rs", "crates/c/src/unread_tests.rs"] {
        assert!(is_test_file(path), "{path}");
    }
    for path in ["src/tests_of_a.rs", "src/contests.rs", "src/a.rs"] {
        assert!(!is_test_file(path), "{path}");
    }
}

#[test]
fn strings_are_neither_code_nor_comments() {
    let rust = r###"
let url = "http://host"; // a comment
let raw = r#"// "quoted" /*"#; /* one /* two */ three */ let end = 'a';
let quote = '"'; // after a quote
fn f<'a>(x: &'a str) {} // after a lifetime
let escaped = "\" // text";
let bytes = br"\"; let c = b'\''; /// doc
"###;
    let (code, comments) = split(rust, Language::Rust);
    let comments: Vec<&str> = comments.lines().map(str::trim).collect();
    assert_eq!(
        comments,
        [
            "",
            "// a comment",
            "/* one /* two */ three */",
            "// after a quote",
            "// after a lifetime",
            "",
            "/// doc"
        ]
    );
    assert!(!code.contains('/') && !code.contains("host") && !code.contains("text"), "{code}");
    assert!(code.contains("let end = ") && code.contains("fn f<'a>(x: &'a str) {}"), "{code}");
    assert_eq!(code.lines().count(), rust.lines().count());
}

#[test]
fn comments_of_other_languages_are_found() {
    let lua = "local a = '-- text' -- one\n--[[ two\nthree ]] local b = [==[ -- ]] ]==] -- four";
    let (code, comments) = split(lua, Language::Lua);
    let comments: Vec<&str> = comments.lines().map(str::trim).collect();
    assert_eq!(comments[..2], ["-- one", "--[[ two"]);
    let words: Vec<&str> = comments[2].split_whitespace().collect();
    assert_eq!(words, ["three", "]]", "--", "four"]);
    assert!(code.contains("local b = ") && !code.contains("text"), "{code}");
    let proto = "option a = '// text'; // one\n/* two */ string b = 1;";
    let (_, comments) = split(proto, Language::Proto);
    let comments: Vec<&str> = comments.lines().map(str::trim).collect();
    assert_eq!(comments, ["// one", "/* two */"]);
}

#[test]
fn test_items_are_left_out() {
    let code = "use a;\n#[cfg(test)]\nuse b::{c, d};\n#[cfg(test)]\nmod wakes;\nfn e() {}\n\
                struct S {\n    #[cfg(test)]\n    hook: Hook<A>,\n    g: G,\n}\n\
                #[cfg(test)]\n#[allow(x)]\nmod tests { fn h() {} }\n";
    let (kept, modules) = without_tests(code);
    let words: Vec<&str> =
        kept.split(|letter| !is_word(letter)).filter(|word| !word.is_empty()).collect();
    assert_eq!(words, ["use", "a", "fn", "e", "struct", "S", "g", "G"]);
    assert_eq!(modules, ["wakes"]);
    assert_eq!(kept.lines().count(), code.lines().count());
}
