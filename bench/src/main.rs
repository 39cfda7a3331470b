//! Measures `disk_chan`, as it ships and through its C interface, beside what else a user could take.
//!
//! Every timed run is a process of its own. In each round every peer of an experiment runs once, one after the other, with
//! the machine's memory touched before; what is compared are the ratios within a round. Every received byte is checked.

/// The C interface, as `torture` has it.
#[allow(dead_code)]
#[path = "../../torture/src/abi.rs"]
mod abi;
mod control;
mod histogram;
mod machine;
mod maker;
mod measure;
mod open;
mod payload;
mod peer;
mod report;
mod round_trip;
mod run;
mod spec;
mod suite;
mod tasks;
mod window;

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use clap::{Parser, Subcommand};

use report::Results;
use spec::Spec;
use suite::Experiment;

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
    /// Every workload and every peer that was built; writes BENCHMARKS.md and its plots
    Full {
        #[command(flatten)]
        suite: Suite,
        /// Where BENCHMARKS.md and plots/ are written
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
        /// Where the outcomes are kept, for `report`
        #[arg(long, default_value = "target/bench-results.json")]
        results: PathBuf,
    },
    /// Each experiment at a tiny scale: an error where a peer that can take part fails
    Check(Suite),
    /// Write the document again, from outcomes that were kept
    Report {
        #[arg(long, default_value = "target/bench-results.json")]
        results: PathBuf,
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
    },
    /// The ids of all experiments, and how many runs a round of each has
    List,
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
    /// These experiments only (see `list`)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A file that says which peers could not be built: a line each, its feature, a tab, the reason
    #[arg(long)]
    missing: Option<PathBuf>,
}

impl Suite {
    fn lib(&self) -> Result<PathBuf> {
        let path = Path::new(&self.lib).canonicalize();
        path.with_context(|| format!("{}: run make build first", self.lib.display()))
    }

    /// Those that are wanted.
    fn choose(&self, experiments: Vec<Experiment>) -> Result<Vec<Experiment>> {
        let wanted = |e: &Experiment| self.only.is_empty() || self.only.contains(&e.id);
        let chosen: Vec<_> = experiments.into_iter().filter(wanted).collect();
        ensure!(!chosen.is_empty(), "no such experiment");
        Ok(chosen)
    }

    fn missing(&self) -> Result<Vec<(String, String)>> {
        let Some(path) = &self.missing else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let line = |l: &str| l.split_once('\t').map(|(a, b)| (a.to_string(), b.to_string()));
        Ok(text.lines().filter_map(line).collect())
    }
}

fn quick(suite: &Suite) -> Result<()> {
    println!("{}\n", machine::facts(&suite.scratch).join("  \n"));
    for experiment in suite.choose(suite::quick(&suite.lib()?, suite.scale))? {
        println!(
            "{}",
            report::table(&measure::measure(&experiment, suite.rounds, &suite.scratch, &[]))
        );
    }
    Ok(())
}

fn full(suite: &Suite, docs: &Path, kept: &Path) -> Result<()> {
    let missing = suite.missing()?;
    let mut results = Results {
        machine: machine::facts(&suite.scratch),
        versions: peer::versions(),
        missing: missing.clone(),
        date: machine::today(),
        command: std::env::args().skip(1).fold("bench".to_string(), |all, a| all + " " + &a),
        scale: suite.scale,
        measured: Vec::new(),
    };
    for experiment in suite.choose(suite::full(&suite.lib()?, suite.scale))? {
        results.measured.push(measure::measure(
            &experiment,
            suite.rounds,
            &suite.scratch,
            &missing,
        ));
        // What was measured is not lost with the rest.
        std::fs::write(kept, serde_json::to_string(&results)?)
            .with_context(|| kept.display().to_string())?;
    }
    report::write(&results, docs)?;
    println!("{} is written", docs.join("BENCHMARKS.md").display());
    Ok(())
}

fn check(suite: &Suite) -> Result<()> {
    let mut failed = 0;
    for experiment in suite.choose(suite::full(&suite.lib()?, suite.scale))? {
        let measured = measure::measure(&experiment, 1, &suite.scratch, &suite.missing()?);
        failed += measured.rows.iter().filter(|r| r.failed).count();
    }
    ensure!(failed == 0, "{failed} runs failed");
    println!("all runs are fine");
    Ok(())
}

fn list() {
    for experiment in suite::full(Path::new(""), 1.0) {
        let runs = experiment.specs.iter().filter(|s| peer::cannot(s).is_none()).count();
        println!("{:16} {runs:3} runs a round: {}", experiment.id, experiment.title);
    }
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Quick(suite) => quick(&suite),
        Command::Full { suite, docs, results } => full(&suite, &docs, &results),
        Command::Check(suite) => check(&suite),
        Command::Report { results, docs } => {
            let text = std::fs::read(&results).with_context(|| results.display().to_string())?;
            report::write(&serde_json::from_slice(&text)?, &docs)
        }
        Command::List => {
            list();
            Ok(())
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
