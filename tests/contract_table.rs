//! Every sentence of the contract is numbered in `tests/c/CONTRACT.md`; this test sees to it that each
//! number is named by a test that exists, in C or in Rust, so that a missing one shows.
//!
//! A test names a sentence in its own name (`s042_...`) or in a comment in front of it (`[S42 S54]`).
//! A sentence whose line says "not testable: ..." with a reason is let off.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn sources(dir: &Path, extension: &str) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    found.sort();
    found.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect()
}

/// The number at the start of "042_what", "42 S54]".
fn number(text: &str) -> Option<u32> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The test's name, where a line begins one.
fn test_name(line: &str) -> Option<&str> {
    let c = line.strip_prefix("TEST(").or_else(|| line.strip_prefix("TEST_LIMIT("));
    let name = c.or_else(|| line.strip_prefix("fn "))?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    let name = &name[..end];
    let numbered = name.strip_prefix('s').and_then(number).is_some();
    (numbered && name.as_bytes().get(4) == Some(&b'_')).then_some(name)
}

/// The numbers in the tags of a comment: `[S5 S105]`.
fn tags(line: &str) -> impl Iterator<Item = u32> + '_ {
    line.split('[')
        .skip(1)
        .filter_map(|rest| rest.split(']').next())
        .flat_map(|tag| tag.split_whitespace().map(|w| w.strip_prefix('S').and_then(number)))
        .flatten()
}

/// The names of all tests, and the sentences that each shows.
fn named() -> (BTreeSet<String>, BTreeMap<u32, Vec<String>>) {
    let (mut names, mut shown) = (BTreeSet::new(), BTreeMap::<u32, Vec<String>>::new());
    let rust = sources(&tests(), "rs");
    for source in sources(&tests().join("c"), "c").iter().chain(&rust) {
        let mut pending = Vec::new();
        for line in source.lines() {
            let comment = ["//", "/*", " *"].iter().any(|c| line.starts_with(c));
            if comment {
                pending.extend(tags(line));
            } else if let Some(name) = test_name(line) {
                names.insert(name.to_string());
                let own = number(&name[1..]);
                for sentence in pending.drain(..).chain(own) {
                    shown.entry(sentence).or_default().push(name.to_string());
                }
            } else if line.starts_with('}') {
                pending.clear();
            }
        }
    }
    (names, shown)
}

/// The sentences of the table: number and line.
fn sentences(table: &str) -> BTreeMap<u32, &str> {
    let first = |line: &'_ str| {
        let line = line.trim_start_matches(['|', '-', '#', '*', ' ', '[']);
        line.strip_prefix('S').and_then(number)
    };
    table.lines().filter_map(|line| Some((first(line)?, line))).collect()
}

#[test]
fn every_sentence_of_the_contract_has_a_test() {
    let table =
        std::fs::read_to_string(tests().join("c/CONTRACT.md")).expect("tests/c/CONTRACT.md");
    let sentences = sentences(&table);
    assert!(sentences.len() > 100, "only {} sentences were found", sentences.len());
    let (_, shown) = named();
    let missing: Vec<_> = sentences
        .iter()
        .filter(|(n, line)| !shown.contains_key(n) && !line.contains("not testable: "))
        .map(|(_, line)| *line)
        .collect();
    assert!(missing.is_empty(), "without a test:\n{}", missing.join("\n"));
}

#[test]
fn every_test_shows_a_sentence_of_the_contract() {
    let table =
        std::fs::read_to_string(tests().join("c/CONTRACT.md")).expect("tests/c/CONTRACT.md");
    let sentences = sentences(&table);
    let (_, shown) = named();
    let strangers: Vec<_> = shown.iter().filter(|(n, _)| !sentences.contains_key(n)).collect();
    assert!(strangers.is_empty(), "numbers that no sentence has: {strangers:?}");
}

#[test]
fn every_test_in_the_table_exists() {
    let table =
        std::fs::read_to_string(tests().join("c/CONTRACT.md")).expect("tests/c/CONTRACT.md");
    let (names, _) = named();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let gone: Vec<_> = table
        .split(|c| !word(c))
        .filter(|w| w.len() > 5 && test_name(&format!("fn {w}(")).is_some())
        .filter(|w| !names.contains(*w))
        .collect();
    assert!(gone.is_empty(), "named in the table, and no test: {gone:?}");
}
