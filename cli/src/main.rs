//! disk-chan: channels of disk_chan from the shell.
//!
//! `args` says what can be asked for, `cmd` does it, a file per command; `fail` says how it ends. What all of
//! them keep to: results go to standard output, everything else to standard error; a message that was read or
//! received is never lost on the way, however the command ends.

mod args;
mod cmd;
mod disk;
mod fail;
mod input;
mod output;
mod progress;
mod signals;
mod stream;
mod top;
mod units;
mod walk;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::fail::{warn, Ended};

fn main() -> ExitCode {
    let code = match run(Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.text.is_empty() {
                warn(failure.text);
            }
            failure.code
        }
    };
    ExitCode::from(code)
}

fn run(command: Command) -> Ended {
    match command {
        Command::Create(args) => cmd::create::run(&args),
        Command::Info(args) => cmd::info::run(&args),
        Command::Groups(args) => cmd::groups::run(&args),
        Command::Send(args) => cmd::send::run(&args),
        Command::Recv(args) => cmd::recv::run(&args),
        Command::Tail(args) => cmd::look::tail(&args),
        Command::Cat(args) => cmd::look::cat(&args),
        Command::Seek(args) => cmd::seek::run(&args),
        Command::DeleteGroup(args) => cmd::seek::delete_group(&args),
        Command::Verify(args) => cmd::verify::run(&args),
        Command::Export(args) => cmd::export::run(&args),
        Command::Import(args) => cmd::import::run(&args),
        Command::Bench(args) => cmd::bench::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Destroy(args) => cmd::destroy::run(&args),
        Command::Completions { shell } => cmd::about::completions(shell),
        Command::Man { command, all } => cmd::about::man(command.as_deref(), all.as_deref()),
    }
}
