//! Full disks: at every size a channel is made, used until nothing fits any more, used on, and used again
//! when there is room. Every call answers with a code, nothing sent is lost, nothing raises a signal.

mod disk;
mod scenario;
mod writeback;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use self::disk::{Disk, Kind};
use self::scenario::Scenario;
use crate::abi::Lib;
use crate::ledger::Ledger;
use crate::pool::{rng, Checked, Common, Run, Tally};

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Kinds of disk; all by default.
    #[arg(long, value_enum)]
    on: Vec<Kind>,
    /// Where only DC_SIGBUS_GUARD makes a refused store a code: without it, to see the signals.
    #[arg(long)]
    unguarded: bool,
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind::Tmpfs, Kind::Inodes, Kind::Ext4, Kind::Xfs, Kind::Btrfs, Kind::Mixed, Kind::Quota,
    Kind::Reflink, Kind::Snapshot, Kind::Writeback,
];

/// All cases there are: kinds, and sizes of each.
fn cases(kinds: &[Kind]) -> Vec<(Kind, u64)> {
    let of = |&kind: &Kind| (0..kind.steps().0).map(move |n| (kind, n));
    kinds.iter().flat_map(of).collect()
}

/// A worker's disks.
struct Worker {
    lib: Lib,
    ledger: Ledger,
    scratch: PathBuf,
    disks: HashMap<Kind, Disk>,
    guard: u32,
}

impl Worker {
    fn case(&mut self, seed: u64, kind: Kind, n: u64) -> Result<()> {
        let room = n * kind.steps().1;
        self.ledger.clear();
        if kind == Kind::Writeback {
            let scratch = self.scratch.join(n.to_string());
            return writeback::case(&self.lib, &self.ledger, &scratch, room)
                .with_context(|| format!("a disk that fails, with room for {room} below"));
        }
        let disk = match self.disks.remove(&kind) {
            Some(disk) => disk,
            None => Disk::new(kind, &self.scratch)?,
        };
        let disk = self.disks.entry(kind).or_insert(disk);
        disk.leave(room).context("leaving room")?;
        let mut rng = rng(seed, &format!("full {kind:?}"), n);
        let rules = scenario::rules(&mut rng);
        let case = Scenario { lib: &self.lib, disk, ledger: &self.ledger, guard: self.guard };
        let ran = case.run(rules, n % 2 == 1);
        if ran.is_err() {
            // What it left open would be in the way of the next one.
            self.disks.remove(&kind);
            self.scratch.set_file_name(format!("after-{kind:?}-{n}"));
        }
        ran.with_context(|| format!("{kind:?} with room for {room}, {:?}", rules))
    }
}

pub fn run(arguments: &Arguments) -> Result<Tally> {
    let common = &arguments.common;
    if let Some(why) = disk::impossible() {
        println!("SKIPPED: torture full: {why}");
        return Ok(Tally::default());
    }
    // Not where a tmpfs may lie over another one: each worker mounts one of its own here.
    let scratch = tempfile::tempdir()?;
    let asked = if arguments.on.is_empty() { KINDS } else { &arguments.on };
    let there = |kind: &Kind| disk::available(*kind, scratch.path()).is_ok();
    let kinds: Vec<Kind> = asked.iter().copied().filter(there).collect();
    let all = cases(&kinds);
    let count = common.count.unwrap_or(u64::MAX).min(all.len() as u64);
    // A sample is spread over all of them; which ones follows from the seed.
    let at = |i: u64| {
        let spread = all.len() as u64 / count.max(1);
        all[(i * all.len() as u64 / count + common.seed.wrapping_sub(1) % spread.max(1)) as usize]
    };
    let on: String = kinds.iter().map(|k| format!(" --on {k:?}").to_lowercase()).collect();
    let replay = format!(" --count {count}{on}");
    let run = Run {
        kind: "full",
        common,
        replay,
        cases: count,
        limit: Duration::from_secs(600),
        enough: None,
    };
    let tally = run.all(
        |_| {
            disk::private_mounts(scratch.path())?;
            let (lib, ledger) = (Lib::load(&common.lib)?, Ledger::new()?);
            let scratch = scratch.path().join("0");
            let guard = if arguments.unguarded { 0 } else { crate::abi::DC_SIGBUS_GUARD };
            Ok(Worker { lib, ledger, scratch, disks: HashMap::new(), guard })
        },
        |worker: &mut Worker, case, checked: &Checked| {
            let (kind, n) = at(case);
            worker.case(common.seed, kind, n)?;
            checked.add(1);
            Ok(())
        },
    )?;
    println!("full disks of the kinds {kinds:?}");
    Ok(tally)
}
