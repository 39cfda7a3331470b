//! Measures `disk_chan`, as it ships and through its C interface, beside what else a user could take.
//!
//! Every timed run is a process of its own. In each round every peer of an experiment runs once, one after the other, with
//! the machine's memory touched before; what is compared are the ratios within a round. Every received byte is checked.

/// The C interface, as `torture` has it.
#[allow(dead_code)]
#[path = "../../torture/src/abi.rs"]
mod abi;
mod control;
mod machine;
mod payload;
mod peer;
mod report;
mod round_trip;
mod run;
mod suite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use clap::{Parser, Subcommand};

use report::Row;
use run::Spec;

#[derive(Parser)]
#[command(about = "Measures disk_chan beside what else a user could take")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// This library, disk-chan 0.3.0 and crossbeam-channel, in two minutes
    Quick(Suite),
    /// One run, as JSON (the others start it)
    #[command(hide = true)]
    One {
        #[arg(long)]
        spec: String,
        #[arg(long)]
        scratch: PathBuf,
    },
    /// One process of a run
    #[command(hide = true)]
    Role {
        #[arg(long)]
        spec: String,
        #[arg(long)]
        number: usize,
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct Suite {
    /// The shared library to measure
    #[arg(long, default_value = "build/lib/libdisk_chan.so")]
    lib: PathBuf,
    /// Where channels are made: a directory of the file system to measure on
    #[arg(long, default_value = "build")]
    scratch: PathBuf,
    /// Rounds of every experiment
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Multiplies the numbers of messages
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// These experiments only (see the ids that are printed)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

fn measure(suite: &Suite, experiments: Vec<suite::Experiment>) -> Result<()> {
    println!("{}\n", machine::facts(&suite.scratch).join("  \n"));
    let wanted =
        |e: &suite::Experiment| suite.only.is_empty() || suite.only.iter().any(|o| o == e.id);
    let mut any = false;
    for experiment in experiments.into_iter().filter(wanted) {
        any = true;
        let mut rows: Vec<Row> = experiment
            .specs
            .iter()
            .map(|s| Row { spec: s.clone(), outcomes: Ok(Vec::new()) })
            .collect();
        for round in 0..suite.rounds {
            for row in &mut rows {
                let Ok(outcomes) = &mut row.outcomes else { continue };
                eprintln!(
                    "{} {}/{}: {}",
                    experiment.id,
                    round + 1,
                    suite.rounds,
                    row.spec.peer.title()
                );
                match run::run_apart(&row.spec, &suite.scratch, Duration::from_secs(300)) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(e) => row.outcomes = Err(format!("{e:#}")),
                }
            }
        }
        println!("{}", report::table(&experiment, &rows));
    }
    ensure!(any, "no such experiment");
    Ok(())
}

fn the_library(suite: &Suite) -> Result<PathBuf> {
    let path = Path::new(&suite.lib).canonicalize();
    path.with_context(|| format!("{}: run make build first", suite.lib.display()))
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Quick(suite) => {
            let lib = the_library(&suite)?;
            measure(&suite, suite::quick(&lib, suite.scale))
        }
        Command::One { spec, scratch } => {
            let spec: Spec = serde_json::from_str(&spec)?;
            println!("{}", serde_json::to_string(&run::run(&spec, &scratch)?)?);
            Ok(())
        }
        Command::Role { spec, number, dir } => {
            run::role_process(&serde_json::from_str(&spec)?, &dir, number)
        }
    }
}
