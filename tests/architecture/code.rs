//! What of a source file counts: its paths, without comments, literals and tests.
//!
//! Line for line, so that a finding can name its line. No parser of Rust, and none is needed: the
//! forms that it must understand stand in `checker`.

/// A path that begins at the root of the crate: the module, and the line where it stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Use {
    pub(crate) line: usize,
    pub(crate) module: String,
}

/// Every path from the crate's root in code that is not a test: `crate::x`, `use crate::{x, y}`,
/// `super::x` where that leads to the root, and `hipache::x` in the binary.
pub(crate) fn uses(path: &str, text: &str) -> Vec<Use> {
    let code = without_tests(&without_words(text));
    let inner = path.trim_start_matches("src/");
    let depth = inner.trim_end_matches("/mod.rs").split('/').count();
    let root = if inner == "main.rs" {
        "hipache::".to_owned()
    } else {
        "super::".repeat(depth)
    };
    let mut found = Vec::new();
    for prefix in ["crate::", &root] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if is_name(before) || before == ':' {
                continue;
            }
            let line = 1 + code[..at].matches('\n').count();
            let modules = first_names(&code[at + prefix.len()..]);
            found.extend(modules.into_iter().map(|module| Use { line, module }));
        }
    }
    found
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The first name of a path, or those of all its branches: `{a::{b, c}, d}` gives `a` and `d`.
fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.trim_start().strip_prefix('{') else {
        return vec![path.chars().take_while(|c| is_name(*c)).collect()];
    };
    let mut names = vec![String::new()];
    let (mut depth, mut is_first) = (0, true);
    for character in group.chars() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                is_first = true;
            }
            ':' | ' ' if depth == 0 => is_first = names[names.len() - 1].is_empty(),
            name if depth == 0 && is_first && is_name(name) => {
                let last = names.len() - 1;
                names[last].push(name);
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The text with comments and literals blanked, line for line.
fn without_words(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = word_length(rest);
        let (word, after) = rest.split_at(length.unwrap_or(first.len_utf8()));
        if length.is_some() {
            code.extend(word.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push(first);
        }
        rest = after;
    }
    code
}

/// The length of the comment or literal that begins here, if one does.
fn word_length(rest: &str) -> Option<usize> {
    let closed = |end: Option<usize>| Some(end.unwrap_or(rest.len()));
    if rest.starts_with("//") {
        return closed(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return closed(rest.find("*/").map(|end| end + 2));
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = hashes + 2;
            return closed(rest[body..].find(&end).map(|at| body + at + end.len()));
        }
    }
    if rest.starts_with('"') {
        return closed(quoted_length(rest, '"'));
    }
    // A lifetime has no closing quote behind its first character.
    let mut inner = rest.strip_prefix('\'')?.chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => closed(quoted_length(rest, '\'')),
        _ => None,
    }
}

/// The length of a literal up to its closing quote; `\` spares the character behind it.
fn quoted_length(rest: &str, quote: char) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(at + 1);
        }
    }
    None
}

/// Code without the items under `#[cfg(test)]`, line for line.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (item, after) = rest[at..].split_at(item_length(&rest[at..]));
        kept.push_str(&rest[..at]);
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = after;
    }
    kept + rest
}

/// How many lines the items under `#[cfg(test)]` take.
pub(crate) fn test_lines(text: &str) -> usize {
    let code = without_words(text);
    let starts = code.match_indices("#[cfg(test)]");
    let mut end = 0;
    let mut lines = 0;
    for (at, _) in starts {
        if at >= end {
            end = at + item_length(&code[at..]);
            lines += code[at..end].lines().count();
        }
    }
    lines
}

/// The length of an item: to its `;`, or to the end of its braces.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in item.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(character, ';' | '}') {
            return at + 1;
        }
    }
    item.len()
}
