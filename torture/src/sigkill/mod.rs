//! `torture sigkill`: ten thousand real SIGKILLs, most of them with kernel locks held.
//!
//! A dozen processes hammer on one channel: producers by every way of sending, consumers of three groups
//! by every way of acknowledging, observers, one who seeks, some who make and delete groups, open and
//! close, flush and maintain; some in PID namespaces of their own, which are killed as a whole. A killer
//! ends one after the other: at random times, while stopped, or aimed by ptrace, just after it took a lock
//! or in the middle of a rename, an allocation, a fork. What each of them did stands in shared memory
//! outside the channel; at the end the account must come out even.

mod aim;
mod consume;
mod locks;
mod produce;
mod reckoning;
mod round;
mod state;
mod work;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::Result;

use crate::abi::Lib;
use crate::pool::{Common, Run, Tally};
use crate::process::{self, SharedMemory};
use round::{Figures, Round};
use state::State;

/// Kills of a round.
const ROUND: u64 = 100;

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// `--count`: SIGKILLs, a hundred a case; 10,000 if not said.
    #[command(flatten)]
    pub common: Common,
}

/// What all rounds did, counted across processes.
#[derive(Default)]
struct Totals {
    kills: AtomicU64,
    processes: AtomicU64,
    namespaces: AtomicU64,
    with_locks: AtomicU64,
    in_the_middle: AtomicU64,
    aimed: AtomicU64,
    hit: AtomicU64,
    messages: AtomicU64,
    repeated: AtomicU64,
    late: AtomicU64,
    locks: [AtomicU64; LOCKS.len()],
}

/// Kinds of locks, as `locks` names them.
const LOCKS: [&str; 13] = [
    "open",
    "open, alone",
    "member",
    "handle",
    "entry",
    "pin of a page",
    "flush",
    "flush beside",
    "prepare",
    "reuse of a page",
    "making of a file",
    "seek",
    "deletion of a group",
];

impl Totals {
    fn add(&self, f: &Figures, s: &State) {
        let pairs = [
            (&self.kills, f.kills),
            (&self.processes, f.processes),
            (&self.namespaces, f.namespaces),
            (&self.with_locks, f.with_locks),
            (&self.in_the_middle, f.in_the_middle),
            (&self.aimed, f.aimed),
            (&self.hit, f.hit),
            (&self.messages, s.received()),
            (&self.repeated, (0..state::GROUPS).map(|g| s.repeated(g)).sum()),
            (&self.late, s.groups.iter().map(|g| g.late.load(SeqCst)).sum()),
        ];
        for (to, n) in pairs {
            to.fetch_add(n, SeqCst);
        }
        for (name, to) in LOCKS.iter().zip(&self.locks) {
            to.fetch_add(f.locks.get(name).copied().unwrap_or(0), SeqCst);
        }
    }
}

pub fn run(a: &Arguments) -> Result<Tally> {
    let kills = a.common.count.unwrap_or(10_000);
    let namespaces = match process::spawn_in_namespace(&*note()?, || Ok(()))? {
        Some(pid) => {
            process::kill(pid);
            true
        }
        None => {
            println!("SKIPPED, NOT SHOWN HERE: kills across PID namespaces: that takes root");
            false
        }
    };
    // SAFETY: counters only.
    let totals = unsafe { SharedMemory::<Totals>::zeroed() }?;
    let run = Run {
        kind: "sigkill",
        common: &a.common,
        replay: String::new(),
        cases: kills.div_ceil(ROUND),
        limit: Duration::from_secs(180),
        enough: None,
    };
    let tally = run.all(
        |_| Lib::load(&a.common.lib),
        |lib, case, checked| {
            let dir = tempfile::Builder::new().prefix("sigkill-").tempdir_in(&a.common.scratch)?;
            // SAFETY: atomics only.
            let s = unsafe { SharedMemory::<State>::zeroed() }?;
            let mut round = Round::new(*lib, dir.path(), &s, a.common.seed, case);
            let kills = ROUND.min(kills - case * ROUND);
            let result = round.run(kills, namespaces, checked);
            totals.add(&round.figures, &s);
            result
        },
    )?;
    let n = |c: &AtomicU64| c.load(SeqCst);
    println!(
        "sigkill: {} SIGKILLs ended {} processes ({} whole PID namespaces); {} held kernel locks, {} one of \
         those held for a moment only; {} aimed by ptrace, {} hit",
        n(&totals.kills),
        n(&totals.processes),
        n(&totals.namespaces),
        n(&totals.with_locks),
        n(&totals.in_the_middle),
        n(&totals.aimed),
        n(&totals.hit)
    );
    let locks = LOCKS.iter().zip(&totals.locks).map(|(name, c)| format!("{name} {}", n(c)));
    println!("  locks held when killed: {}", locks.collect::<Vec<_>>().join(", "));
    println!(
        "  {} messages received, {} again with the flag, {} unflagged out of order (claimed by the killed)",
        n(&totals.messages),
        n(&totals.repeated),
        n(&totals.late)
    );
    Ok(tally)
}

fn note() -> Result<SharedMemory<process::Note>> {
    // SAFETY: atomics only.
    unsafe { SharedMemory::zeroed() }
}
