//! Tries to break `disk_chan` by machine, and says how often it could not.
//!
//! Every kind of torture is a subcommand and a module. All work on the shipped shared library through its C
//! interface; all that is random follows from `--seed`; every failure prints the line that repeats it.
//! `docs/RELIABILITY.md` says what was run and found.

// The whole interface stands there, used or not.
#[allow(dead_code)]
mod abi;
#[allow(dead_code)]
mod calls;
mod disk;
#[allow(dead_code)]
mod driver;
mod fault;
mod full;
#[allow(dead_code)]
mod history;
mod hostile;
mod kill;
mod ledger;
mod payload;
mod plant;
#[allow(dead_code)]
mod pool;
mod power;
mod process;
mod session;
mod sigkill;
mod suspend;
#[allow(dead_code)]
mod trace;
#[allow(dead_code)]
mod tracer;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "torture", about = "Tries to break disk_chan by machine", version)]
struct Arguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Power cuts on real file systems, through a disk that logs
    Disk(disk::Disk),
    /// System calls that fail, each with every plausible errno
    Fault(fault::Arguments),
    /// Full disks of every size
    Full(full::Arguments),
    /// Kill a process at every instruction of its calls (counts images)
    Kill(kill::Arguments),
    /// Every bit, value and length of a channel's files
    Hostile(hostile::Arguments),
    /// A hostile writer beside those who use the channel
    HostileLive(hostile::live::Arguments),
    /// Build the library with one bug at a time and see that somebody notices
    Plant(plant::Arguments),
    /// Cut the power: whatever the disk may hold then keeps every promise
    Power(power::Arguments),
    /// Kill processes at random, and with kernel locks held
    Sigkill(sigkill::Arguments),
    /// Suspend a process at any instruction: the others go on
    Suspend(suspend::Arguments),
}

/// The last line of every kind.
fn end(kind: &str, tally: pool::Tally) -> ExitCode {
    println!("torture {kind}: {} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn main() -> Result<ExitCode> {
    Ok(match Arguments::parse().kind {
        Kind::Disk(a) => end("disk", a.run()?),
        Kind::Fault(a) => end("fault", fault::run(&a)?),
        Kind::Full(a) => end("full", full::run(&a)?),
        Kind::Kill(a) => end("kill", kill::kill(&a)?),
        Kind::Hostile(a) => end("hostile", hostile::run(&a)?),
        Kind::HostileLive(a) => end("hostile-live", hostile::live::run(&a)?),
        Kind::Power(a) => end("power", power::power(&a)?),
        Kind::Plant(a) => end("plant", plant::plants(&a)?),
        Kind::Sigkill(a) => end("sigkill", sigkill::run(&a)?),
        Kind::Suspend(a) => end("suspend", suspend::run(&a)?),
    })
}
