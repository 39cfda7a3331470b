//! `completions` and `man`: what the program says about itself.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::roff::{bold, roman, Roff};

use super::print;
use crate::args::{Cli, EXIT_CODES};
use crate::fail::{Ended, Failure, Result, OK, USAGE};

/// Of the manual, as in its other sections.
const DATE: &str = "November 25, 2026";

const EXAMPLES: &[(&str, &str)] = &[
    ("A job queue, and a worker that takes from it:", "disk-chan create jobs.chan --retention unread\nseq 1000 | disk-chan send jobs.chan\ndisk-chan recv jobs.chan workers --follow | while read -r job; do echo \"did $job\"; done"),
    ("Look on, and take nothing from anybody:", "disk-chan tail jobs.chan -f"),
    ("Move a channel to another machine:", "disk-chan export jobs.chan | ssh elsewhere disk-chan import jobs.chan --create"),
];

pub fn completions(shell: clap_complete::Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "disk-chan", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub fn man(command: Option<&str>, all: Option<&Path>) -> Ended {
    let mut whole = Cli::command();
    whole.build();
    if let Some(directory) = all {
        for command in std::iter::once(&whole).chain(commands(&whole)) {
            let path = directory.join(format!("{}.1", title(command)));
            let failed = |e| Failure::io(format_args!("cannot write {}", path.display()), &e);
            std::fs::write(&path, page(command)?).map_err(failed)?;
        }
        return Ok(OK);
    }
    let found = match command {
        None => &whole,
        Some(name) => commands(&whole).find(|c| c.get_name() == name).ok_or_else(|| {
            let text = format!("there is no command \"{name}\": `disk-chan help` lists them");
            Failure::new(USAGE, text)
        })?,
    };
    print(&page(found)?)
}

/// Every command but `help`, which is clap's.
fn commands(whole: &Command) -> impl Iterator<Item = &Command> {
    whole.get_subcommands().filter(|c| c.get_name() != "help")
}

/// What its page is called.
fn title(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// A page in man(7).
fn page(command: &Command) -> Result<String> {
    let is_whole = command.has_subcommands();
    let mut page = Roff::new();
    let version = concat!("disk_chan ", env!("CARGO_PKG_VERSION"));
    let name = title(command);
    page.control("TH", [name.to_uppercase().as_str(), "1", DATE, version]);
    page.control("SH", ["NAME"]);
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    page.text([roman(format!("{name} - {}", decapitalized(&about)))]);
    page.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    let called = command.get_bin_name().unwrap_or(name);
    let rest = usage.trim_start_matches("Usage: ").trim_start_matches(called);
    page.text([bold(called), roman(rest)]);
    page.control("SH", ["DESCRIPTION"]);
    let long = command.get_long_about().map_or(about, ToString::to_string);
    paragraphs(&mut page, &format!("{long}."));
    // The codes have a section of their own here.
    let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    paragraphs(&mut page, help.trim_end_matches("`disk-chan --help` lists the exit codes."));

    if is_whole {
        page.control("SH", ["COMMANDS"]);
        page.text([
            roman("Each has a page of its own, and a shorter text by "),
            bold("--help"),
            roman("."),
        ]);
        for command in commands(command) {
            page.control("TP", []);
            page.text([bold(title(command)), roman("(1)")]);
            page.text([roman(command.get_about().map(ToString::to_string).unwrap_or_default())]);
        }
    }
    let mut text = page.to_roff().into_bytes();
    let options = clap_mangen::Man::new(command.clone()).render_options_section(&mut text);
    options.map_err(|e| Failure::io("cannot write the manual", &e))?;

    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    let mut lines = EXIT_CODES.lines().skip(1).peekable();
    while let Some(line) = lines.next_if(|l| l.starts_with("  ")) {
        let (code, meaning) = line.trim().split_once(' ').unwrap_or((line, ""));
        page.control("TP", ["8"]);
        page.text([bold(code)]).text([roman(meaning.trim_start())]);
    }
    page.control("PP", []);
    page.text(lines.map(roman).collect::<Vec<_>>());
    if is_whole {
        page.control("SH", ["EXAMPLES"]);
        for (what, commands) in EXAMPLES {
            page.control("PP", []).text([roman(*what)]);
            page.control("PP", []).control("RS", ["4"]).control("nf", []);
            for line in commands.lines() {
                page.text([roman(line)]);
            }
            page.control("fi", []).control("RE", []);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    if !is_whole {
        page.text([bold("disk-chan"), roman("(1),")]);
    }
    page.text([bold("disk_chan"), roman("(5),")]).text([bold("disk_chan"), roman("(7)")]);
    text.extend_from_slice(page.to_roff().as_bytes());
    Ok(tidied(&String::from_utf8_lossy(&text)))
}

/// Text whose paragraphs stand between empty lines.
fn paragraphs(page: &mut Roff, text: &str) {
    for paragraph in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
        page.control("PP", []);
        for line in paragraph.lines() {
            page.text([roman(line)]);
        }
    }
}

/// "Make a channel" as it stands behind a name.
fn decapitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Without what readers of pages warn of: spaces at ends of lines, a break with nothing before it, a first paragraph
/// that is begun twice.
fn tidied(page: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines().map(str::trim_end) {
        let after = lines.last().copied().unwrap_or_default();
        let begun_twice = line == ".PP" && after.starts_with(".SH");
        if begun_twice || line.is_empty() || (line == ".br" && after == ".br") {
            continue;
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}
