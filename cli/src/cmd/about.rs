//! `completions` and `man`: what the program says about itself.

use clap::CommandFactory;
use clap_mangen::roff::{line_break, roman, Roff};

use super::print;
use crate::args::{Cli, EXIT_CODES};
use crate::fail::{Ended, Failure, FAILURE, USAGE};

pub fn completions(shell: clap_complete::Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "disk-chan", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub fn man(command: Option<&str>) -> Ended {
    let mut whole = Cli::command();
    whole.build();
    let page = match command {
        None => whole.after_help(""),
        Some(name) => match whole.find_subcommand(name) {
            Some(found) => found.clone(),
            None => {
                let text = format!("there is no command \"{name}\": `disk-chan help` lists them");
                return Err(Failure::new(USAGE, text));
            }
        },
    };
    let lines = EXIT_CODES.lines().skip(1).flat_map(|line| [roman(line), line_break()]);
    let mut exit_codes = Roff::new();
    exit_codes.control("SH", ["EXIT STATUS"]).text(lines.collect::<Vec<_>>());
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .section("1")
        .render(&mut text)
        .and_then(|()| exit_codes.to_writer(&mut text))
        .map_err(|e| Failure::new(FAILURE, format_args!("cannot write the manual: {e}")))?;
    print(&String::from_utf8_lossy(&text))
}
