//! Tries to break `disk_chan` by machine, and says how often it could not.
//!
//! Every kind of torture is a subcommand and a module. All work on the shipped shared library through its C
//! interface; all that is random follows from `--seed`; every failure prints the line that repeats it.
//! `docs/RELIABILITY.md` says what was run and found.

// The whole interface stands there, used or not.
#[allow(dead_code)]
mod abi;
#[allow(dead_code)]
mod pool;
#[allow(dead_code)]
mod trace;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "torture", about = "Tries to break disk_chan by machine", version)]
struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {}

fn main() -> Result<()> {
    match Arguments::parse().kind {}
}
