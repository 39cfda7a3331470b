//! The manual pages and completions that lie in the tree are those of this program: `make man` writes them.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of a directory: its name, and what is in it.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read_to_string(entry.path()).unwrap())
    });
    files.collect()
}

fn compare(made: &BTreeMap<String, String>, there: &Path) {
    let there = files(there);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(made), names(&there), "run `make man`");
    for (name, text) in made {
        assert!(*text == there[name], "{name} is another one: run `make man`");
    }
}

#[test]
fn every_command_has_its_page() {
    let place = Place::empty();
    ok(&place.run(&["man", "--all", "."], b""));
    let made = files(place.path());
    assert!(made.len() > 15 && made.contains_key("disk-chan.1"), "{:?}", made.keys());
    compare(&made, &root().join("man/man1"));
    // One page alone is the same.
    assert_eq!(text(&ok(&place.run(&["man", "recv"], b""))), made["disk-chan-recv.1"]);
    assert_eq!(text(&ok(&place.run(&["man"], b""))), made["disk-chan.1"]);
    failed(&place.run(&["man", "--all", "nowhere"], b""), 1, "cannot write nowhere/disk-chan.1");
}

#[test]
fn completions() {
    let place = Place::empty();
    let made = ["bash", "zsh", "fish"].map(|shell| {
        (format!("disk-chan.{shell}"), text(&ok(&place.run(&["completions", shell], b""))))
    });
    compare(&made.into(), &root().join("cli/completions"));
}
