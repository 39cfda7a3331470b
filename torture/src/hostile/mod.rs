//! `torture hostile`: files are untrusted. Every bit of every word of metadata flipped, every word at every
//! value at which arithmetic may go wrong, every length: one at a time, in a handful of small channels, and
//! then everything done with the channel that can be done.
//!
//! A case is one word (all its bits and values) or one block of lengths; a *variant* is one change, and is
//! what is counted. Whatever the files say, each call returns a code or what was sent, in time; a crash, a
//! hang, or a read beyond a mapping (see `guard_pages`) costs the case. Offsets are those of
//! `docs/FORMAT.md` (`tests/hostile/fields.rs`). Of arrays of equal records the first ones in use, one
//! never used, and the last are covered: records of handles 0, 1, 1023; members 0, 1, 1023; all slots;
//! entries 0, 1, 2 with their first 12 held words.
//!
//! `torture hostile-live` (`live`): the same hand at work while others use the channel.

mod bases;
mod cases;
#[path = "../../../tests/hostile/fields.rs"]
#[allow(dead_code)]
pub mod fields;
mod guard_pages;
pub mod live;
#[path = "../../../tests/golden/sparse.rs"]
mod sparse;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::abi::Lib;
use crate::pool::{self, Checked, Common, Run, Tally};
use bases::Base;
use cases::{Case, Change};

/// Bytes of a file at most: a made-up size must not fill the memory.
const FILE_LIMIT: u64 = 48 << 20;

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// `--count`: cases to try, spread over all there are; all if not said.
    #[command(flatten)]
    common: Common,
    /// Of each case only one variant in so many, chosen by the seed.
    #[arg(long, default_value_t = 1)]
    one_in: u64,
    /// Put memory that nobody may touch before and behind every mapping of a file.
    #[arg(long)]
    guard_pages: bool,
}

/// What a worker process needs.
struct Worker {
    lib: Lib,
    bases: Vec<Base>,
    cases: Vec<Case>,
    dir: tempfile::TempDir,
}

impl Worker {
    fn new(a: &Arguments) -> Result<Worker> {
        limit_files();
        let lib = Lib::load(&a.common.lib)?;
        let dir =
            tempfile::Builder::new().prefix("torture-hostile-").tempdir_in(&a.common.scratch)?;
        let bases = bases::all(lib, &dir.path().join("base"))?;
        let cases = cases::all(&bases);
        Ok(Worker { lib, bases, cases, dir })
    }

    fn channel(&self) -> PathBuf {
        self.dir.path().join("channel")
    }

    /// Make the change in a channel of its own, and use it.
    fn variant(&self, case: &Case, change: &Change, number: u64) -> Result<()> {
        let (base, dir) = (&self.bases[case.base], self.channel());
        base.lay_out(&dir)?;
        change.make(&dir, &case.file)?;
        let result = work::everything(self.lib, &dir, number, base.checked);
        let _ = std::fs::remove_dir_all(&dir);
        result.with_context(|| format!("{}: {}: {change}", base.name, case.file))
    }
}

fn limit_files() {
    let limit = libc::rlimit { rlim_cur: FILE_LIMIT, rlim_max: FILE_LIMIT };
    // SAFETY: a valid limit, of this process alone.
    unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) };
}

/// Try them all, or a sample.
pub fn run(a: &Arguments) -> Result<Tally> {
    if a.guard_pages {
        guard_pages::exec_with_them()?;
    }
    // How many cases there are is known once the bases are made; the parent makes them in a child.
    let all = count(a)?;
    let cases = a.common.count.unwrap_or(all).min(all);
    let pages = if a.guard_pages { " --guard-pages" } else { "" };
    let run = Run {
        kind: "hostile",
        common: &a.common,
        replay: format!(" --count {cases} --one-in {}{pages}", a.one_in),
        cases,
        limit: Duration::from_secs(60),
        enough: None,
    };
    run.all(|_| Worker::new(a), |w, case, checked| one(w, a, case * all / cases, checked))
}

fn one(w: &mut Worker, a: &Arguments, case: u64, checked: &Checked) -> Result<()> {
    use rand::Rng;
    let case = &w.cases[case as usize % w.cases.len()];
    let mut rng = pool::rng(a.common.seed, "hostile", case.number);
    for (number, change) in case.changes(&w.bases[case.base]).into_iter().enumerate() {
        if a.one_in > 1 && rng.random_range(0..a.one_in) != 0 {
            continue;
        }
        if a.common.only.is_some() {
            eprintln!("{}: {}: {change}", w.bases[case.base].name, case.file);
        }
        w.variant(case, &change, number as u64)?;
        checked.add(1);
    }
    Ok(())
}

/// How many cases there are: found in a process of its own, for the parent is to stay without the library.
fn count(a: &Arguments) -> Result<u64> {
    // SAFETY: an atomic counter.
    let found = unsafe { crate::process::SharedMemory::<std::sync::atomic::AtomicU64>::zeroed() }?;
    // SAFETY: as above.
    let note = unsafe { crate::process::SharedMemory::<crate::process::Note>::zeroed() }?;
    let pid = crate::process::spawn(&note, || {
        let n = Worker::new(a)?.cases.len() as u64;
        found.store(n, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })?;
    while crate::process::ended(pid).is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    if let Some(why) = note.get() {
        anyhow::bail!("{why}");
    }
    Ok(found.load(std::sync::atomic::Ordering::SeqCst))
}
