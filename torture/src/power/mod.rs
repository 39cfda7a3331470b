//! Power cuts: what the disk may hold when the power goes, counted, and every promise checked on it.
//!
//! A case is a scenario (`scenario`): the recorder steps a driver through it, and each store and system call
//! goes into a model of the disk (`disk`). Just before each flush, and at the end, the model says what the disk
//! may hold if the power goes there (`states`): that includes every earlier moment since the flush before. Each
//! such state is put on a disk in memory (`ram`, `hooks`) under another boot, opened by the shipped library,
//! recovered, drained, used, and compared with what the calls had promised by then (`promise`, `check`). Of
//! some, the recovery itself is cut again (`again`), and a few are tried on a real file system as well.

mod again;
mod case;
mod check;
mod disk;
mod hooks;
mod promise;
mod ram;
mod scenario;
mod states;

use std::time::Duration;

use anyhow::Result;

use crate::pool::{Common, Run, Tally};

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// With --only: this state alone.
    #[arg(long)]
    pub state: Option<u64>,
    /// States a case is to have, second cuts not counted; cuts whose states are few enough are tried in full all the same.
    #[arg(long, default_value_t = 2_000)]
    pub states_per_case: u64,
    /// A cut with so many states is tried in full.
    #[arg(long, default_value_t = states::EXHAUSTIVE)]
    pub exhaustive: u64,
}

/// Cut the power in `--count` states, or a few more.
pub fn power(a: &Arguments) -> Result<Tally> {
    let count = a.common.count.unwrap_or(100_000);
    let cases = count.div_ceil(a.states_per_case);
    let replay = format!(" --states-per-case {} --exhaustive {}", a.states_per_case, a.exhaustive);
    let run = Run {
        kind: "power",
        common: &a.common,
        replay,
        cases,
        limit: Duration::from_secs(300),
        enough: Some(count),
    };
    let figures = case::Figures::shared()?;
    let tally = run.all(|index| case::Worker::new(a, index, figures), case::Worker::case)?;
    println!("{figures}");
    Ok(tally)
}
