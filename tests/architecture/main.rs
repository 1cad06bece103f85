//! Holds the code against the module map of `docs/architecture.md`, and against the house rules
//! that a test can hold: sizes of files, and that each opens with its one job.
//!
//! The map is the table itself; there is no second copy here. The checker works on text, so that
//! its own tests can feed it code that breaks the rules.

mod checker;
mod code;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use code::{Use, test_lines, uses};

/// Lines of a file at most, its tests included.
const LINES: usize = 500;
/// Lines of a file at most, its tests left out.
const LINES_WITHOUT_TESTS: usize = 300;

/// One row of the map. Its place in the table is its rank: it may use rows above only.
#[derive(Debug, PartialEq)]
struct Row {
    layer: u32,
    modules: Vec<String>,
    may_use: Vec<String>,
}

/// A source file: path from the root of the repository, and text.
struct Source {
    path: String,
    text: String,
}

#[test]
fn code_keeps_to_the_module_map() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = parse_map(&fs::read_to_string(root.join("docs/architecture.md"))?);
    assert!(
        rows.len() > 10,
        "the map in docs/architecture.md was not found: {rows:?}"
    );
    assert_none(&check_map(&rows, &read_sources(root, "src")?));
    Ok(())
}

#[test]
fn files_keep_to_the_house_rules() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = read_sources(root, "src")?;
    sources.extend(read_sources(root, "tests")?);
    assert!(sources.len() > 10, "src/ and tests/ were not found");
    assert_none(&sources.iter().flat_map(check_file).collect::<Vec<_>>());
    Ok(())
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// All Rust files below a directory, sorted by path.
fn read_sources(root: &Path, directory: &str) -> io::Result<Vec<Source>> {
    let mut queue = vec![root.join(directory)];
    let mut paths: Vec<PathBuf> = Vec::new();
    while let Some(next) = queue.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path)?;
        let path = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        Ok(Source { path, text })
    };
    paths.into_iter().map(read).collect()
}

/// The rows of the map: those of the document's tables that begin with the number of a layer.
/// Where a row says `layers 0–4`, it may use every module of these.
fn parse_map(document: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [layer, modules, _, _, may_use] = cells[..] else {
            continue;
        };
        let Ok(layer) = layer.parse() else { continue };
        let may_use = match may_use.strip_prefix("layers 0–").map(str::parse::<u32>) {
            Some(Ok(last)) => rows
                .iter()
                .filter(|row| row.layer <= last)
                .flat_map(|row| row.modules.clone())
                .collect(),
            _ => names(may_use),
        };
        rows.push(Row {
            layer,
            modules: names(modules),
            may_use,
        });
    }
    rows
}

/// The names in a cell; `–` stands for none.
fn names(cell: &str) -> Vec<String> {
    let names = cell.split(',').map(|name| name.trim().trim_matches('`'));
    names
        .filter(|name| !name.is_empty() && *name != "–")
        .map(str::to_owned)
        .collect()
}

/// What is wrong with the map itself, and where the code breaks it.
fn check_map(rows: &[Row], sources: &[Source]) -> Vec<String> {
    let mut problems = check_rows(rows);
    let mut seen = BTreeSet::new();
    for source in sources {
        let Some(module) = module_of(&source.path) else {
            continue;
        };
        seen.insert(module.to_owned());
        let Some(row) = rows
            .iter()
            .find(|row| row.modules.iter().any(|name| name == module))
        else {
            problems.push(format!(
                "{}:1: module `{module}` has no row in the map",
                source.path
            ));
            continue;
        };
        if is_test_file(&source.path) {
            continue;
        }
        for found in uses(&source.path, &source.text) {
            let is_known = rows.iter().any(|row| row.modules.contains(&found.module));
            let is_allowed = found.module == module
                || row.modules.contains(&found.module)
                || row.may_use.contains(&found.module);
            if is_known && !is_allowed {
                let Use { line, module: used } = found;
                problems.push(format!(
                    "{}:{line}: `{module}` may not use `{used}`",
                    source.path
                ));
            }
        }
    }
    for module in rows.iter().flat_map(|row| &row.modules) {
        if !seen.contains(module) {
            problems.push(format!(
                "docs/architecture.md: the map has `{module}`, src/ has not"
            ));
        }
    }
    problems
}

/// The rules of the table: layers ascend, and a row names rows above it only.
fn check_rows(rows: &[Row]) -> Vec<String> {
    let mut problems = Vec::new();
    for (rank, row) in rows.iter().enumerate() {
        let name = row.modules.join(", ");
        if rank > 0 && row.layer < rows[rank - 1].layer {
            problems.push(format!(
                "docs/architecture.md: `{name}` stands below a higher layer"
            ));
        }
        for used in &row.may_use {
            if !rows[..rank]
                .iter()
                .any(|above| above.modules.contains(used))
            {
                problems.push(format!(
                    "docs/architecture.md: `{name}` may use `{used}`, which is no row above it"
                ));
            }
        }
    }
    problems
}

/// The module that a file belongs to; none for `lib.rs`, which only lists them.
fn module_of(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let first = inner.split('/').next()?.trim_end_matches(".rs");
    (first != "lib").then_some(first)
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The house rules for one file.
fn check_file(source: &Source) -> Vec<String> {
    let Source { path, text } = source;
    let mut problems = Vec::new();
    if !text.starts_with("//!") {
        problems.push(format!("{path}:1: opens without `//!` and its one job"));
    }
    let lines = text.lines().count();
    if lines > LINES {
        problems.push(format!(
            "{path}:{LINES}: {lines} lines, at most {LINES} were expected"
        ));
    }
    let own = lines.saturating_sub(test_lines(text));
    if own > LINES_WITHOUT_TESTS && path.starts_with("src/") && !is_test_file(path) {
        problems.push(format!(
            "{path}:{LINES_WITHOUT_TESTS}: {own} lines without tests, \
             at most {LINES_WITHOUT_TESTS} were expected"
        ));
    }
    problems
}
