//! Paths such as `crate::store::{Store, redis}` in Rust code.

use super::ModulePath;
use crate::sources::is_word;

/// Paths in the code of a file, each with its module, inline modules included, and its position.
pub(super) fn paths_in(module: &[String], code: &str) -> Vec<(ModulePath, Vec<String>, usize)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    // The names of open inline modules; `None` for other blocks.
    let mut blocks: Vec<Option<String>> = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        match tokens[index].1 {
            "{" => {
                let head = index.checked_sub(2).map(|start| [tokens[start].1, tokens[start + 1].1]);
                let name = head.filter(|[keyword, _]| *keyword == "mod").map(|[_, name]| name);
                blocks.push(name.map(str::to_owned));
            }
            "}" => _ = blocks.pop(),
            _ if starts_path(&tokens, index) => {
                let inline = blocks.iter().flatten().cloned();
                let from: ModulePath = module.iter().cloned().chain(inline).collect();
                let mut paths = Vec::new();
                index = read_path(&tokens, index, Vec::new(), &mut paths);
                found.extend(paths.into_iter().map(|(path, at)| (from.clone(), path, at)));
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

fn starts_path(tokens: &[(usize, &str)], index: usize) -> bool {
    let at = |index: usize| tokens.get(index).map(|(_, token)| *token);
    at(index).is_some_and(|token| token.starts_with(is_word))
        && at(index + 1) == Some("::")
        && (index == 0 || at(index - 1) != Some("::"))
}

/// Reads one path, or several in braces, each with the position of its last word. Returns the index
/// of the token after them.
fn read_path(
    tokens: &[(usize, &str)],
    mut index: usize,
    mut path: Vec<String>,
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let at = |index: usize| tokens.get(index).map_or("", |(_, token)| *token);
    let mut position = tokens[index].0;
    while at(index).starts_with(is_word) {
        position = tokens[index].0;
        path.push(at(index).to_owned());
        index += 1;
        if at(index) != "::" {
            break;
        }
        index += 1;
        if at(index) == "{" {
            index += 1;
            while !matches!(at(index), "}" | "") {
                let is_item = at(index).starts_with(is_word);
                index = match at(index) {
                    _ if is_item => read_path(tokens, index, path.clone(), found),
                    _ => index + 1,
                };
                if at(index) == "as" {
                    index += 2;
                }
            }
            return index + 1;
        }
    }
    found.push((path, position));
    index
}

/// Words, `::` and other characters of code, with their positions.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|letter| !is_word(letter)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push((code.len() - rest.len(), &rest[..length]));
        }
        rest = &rest[length..];
    }
    tokens
}

#[test]
fn paths_are_found_in_uses_and_in_code() {
    let code = "use crate::{a::{self, B as C}, d::E};\nfn f() -> super::g::H<u8> {\n\
                    std::i::j();\n    crate::k::l::<u8>()\n}\nmod m {\n    use super::n::*;\n}\n";
    let module = ["larder", "x", "y"].map(str::to_owned);
    let found: Vec<String> = paths_in(&module, code)
        .into_iter()
        .map(|(from, path, _)| format!("{} {}", from.join("/"), path.join("/")))
        .collect();
    let expected = [
        "larder/x/y crate/a/self",
        "larder/x/y crate/a/B",
        "larder/x/y crate/d/E",
        "larder/x/y super/g/H",
        "larder/x/y std/i/j",
        "larder/x/y crate/k/l",
        "larder/x/y/m super/n",
    ];
    assert_eq!(found, expected);
}
