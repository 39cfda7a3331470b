//! Power cuts on real file systems.
//!
//! A file system lies on a loop device over a file of ours (`device`), which logs what the disk is told while a
//! driver uses a channel there (`record`, `channel`, `script`). From the log every state of the disk is composed
//! that a power cut may leave (`log`): as of each flush, and between two flushes any part of what was written
//! since. Each is mounted (`fs`, `system`), the channel in it opened under another boot, and compared with what
//! the driver had been told (`promise`, `check`). `plain` does the same with plain files, to know the disk.
//!
//! What a kernel does takes its time and is never the same twice: a replay reads the log that was kept.

mod channel;
mod check;
mod device;
mod fs;
mod log;
mod plain;
mod promise;
mod record;
mod script;
mod system;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};

use self::channel::Program;
use self::check::Checker;
use self::device::Server;
use self::fs::FileSystem;
use self::log::{Cut, Log};
use self::promise::Promise;
use crate::abi::Lib;
use crate::pool::{self, Common, Run, Tally};
use crate::trace::Content;

#[derive(clap::Args, Clone, Debug)]
pub struct Disk {
    #[command(flatten)]
    common: Common,
    /// File systems to try; all by default.
    #[arg(long = "fs", value_enum, value_delimiter = ',')]
    systems: Vec<FileSystem>,
    /// Try plain files instead of a channel: which ways to make a file durable are?
    #[arg(long)]
    plain: bool,
    /// Let the library's syncs of these files do nothing: page, group, channel, tmp, dir or parent. Somebody
    /// should notice.
    #[arg(long)]
    skip_sync: Option<String>,
    /// Scripts, each on a file system of its own.
    #[arg(long, default_value_t = script::KINDS)]
    scripts: u64,
    /// Operations of a script.
    #[arg(long, default_value_t = 220)]
    operations: usize,
    /// Where logs are kept; the last run's may be looked at again with --only.
    #[arg(long, default_value = "target/torture-disk")]
    logs: PathBuf,
}

/// What was recorded on one file system, and which cut of it a case is.
struct Recorded {
    fs: FileSystem,
    seed: u64,
    logs: Vec<Log>,
    scripts: Vec<String>,
}

/// A case: a cut of a log.
#[derive(Clone, Copy)]
struct Case {
    log: usize,
    cut: Cut,
    number: u64,
}

impl Recorded {
    /// Cases take turns: log by log, and of a log a flush, then a cut between flushes. A few cases are a fair
    /// sample; enough of them have every flush.
    fn case(&self, number: u64) -> Case {
        let logs = self.logs.len() as u64;
        let (log, turn) = ((number % logs) as usize, number / logs);
        let flushes = self.logs[log].flushes.len() as u64;
        let cut = if turn % 2 == 0 && turn / 2 < flushes {
            // Far apart: a prime that is no factor of the count.
            self.logs[log].at_flush((turn / 2 * 7919 % flushes) as usize)
        } else {
            self.logs[log].between(&mut pool::rng(self.seed, "disk", number))
        };
        Case { log, cut, number }
    }

    /// As many cases as it takes to have every flush.
    fn cases(&self) -> u64 {
        let most = self.logs.iter().map(|l| l.flushes.len() as u64).max().unwrap_or(0);
        2 * most * self.logs.len() as u64
    }

    fn disk(&self, case: Case) -> Content {
        let (log, mut done) = (&self.logs[case.log], 0);
        let mut disk = Content { len: log.size, ..Content::default() };
        log.advance(&mut disk, &mut done, case.cut.flushed);
        let mut rng = pool::rng(self.seed, "sectors", case.number);
        log.scatter(&mut disk, case.cut, self.fs.sector(), &mut rng);
        disk
    }
}

/// A worker's place to look at cuts.
struct Bench {
    recorded: Arc<Recorded>,
    server: Server,
    at: PathBuf,
}

impl Bench {
    fn new(recorded: &Arc<Recorded>, scratch: &Path) -> Result<Bench> {
        let scratch = tempfile::tempdir_in(scratch)?.keep();
        system::own_mounts()?;
        other_boot(&scratch)?;
        let (device, at) = (scratch.join("device"), scratch.join("mounted"));
        std::fs::create_dir(&device)?;
        std::fs::create_dir(&at)?;
        let served = recorded.clone();
        let choose = move |case: &str| Ok(served.disk(served.case(case.parse()?)));
        let server = Server::start(&device, recorded.fs.disk_size(), None, Some(Box::new(choose)))?;
        Ok(Bench { recorded: recorded.clone(), server, at })
    }

    /// Mount the disk of a case, and look at it in a process apart.
    fn look(&self, number: u64, check: impl Fn(&Path, Case) -> Result<()>) -> Result<()> {
        let case = self.recorded.case(number);
        self.server.choose(&number.to_string())?;
        self.recorded.fs.mount_after_cut(&self.server, &self.at)?;
        let result = record::apart(|| check(&self.at, case));
        system::unmount(&self.at)?;
        let Case { log, cut: Cut { at, flushed }, .. } = case;
        result.with_context(|| format!("log {log}, cut at record {at}, flushed up to {flushed}"))
    }
}

/// Another boot id than the one of the recording, for this process and its children.
fn other_boot(scratch: &Path) -> Result<()> {
    let id = scratch.join("boot_id");
    std::fs::write(&id, "b0070000-0000-4000-8000-000000000002\n")?;
    system::mount_over(&id, Path::new("/proc/sys/kernel/random/boot_id"))
}

impl Disk {
    pub fn run(&self) -> Result<Tally> {
        let systems = if self.systems.is_empty() { fs::ALL.to_vec() } else { self.systems.clone() };
        ensure!(self.scripts > 0, "at least one script");
        std::fs::create_dir_all(&self.logs)?;
        let scratch = tempfile::tempdir_in(&self.common.scratch)?;
        let mut all = Tally::default();
        for fs in systems {
            if let Some(why) = fs.missing() {
                println!("SKIPPED: torture disk on {}: {why}", fs.name());
                continue;
            }
            let tally = self.try_one(fs, scratch.path())?;
            all.passed += tally.passed;
            all.failed += tally.failed;
        }
        Ok(all)
    }

    fn try_one(&self, fs: FileSystem, scratch: &Path) -> Result<Tally> {
        let recorded = Arc::new(self.record(fs, scratch)?);
        let begun = Instant::now();
        let cases = self.common.count.unwrap_or_else(|| recorded.cases().max(1000));
        let run = Run {
            kind: "disk",
            common: &self.common,
            replay: self.replay(fs),
            cases,
            limit: Duration::from_secs(300),
            enough: None,
        };
        let bench = |_| Bench::new(&recorded, scratch);
        let tally = if self.plain {
            let counts = scratch.join(fs.name());
            let tally = run.all(bench, |bench, number, checked| {
                bench.look(number, |at, case| {
                    plain::check(at, &bench.recorded.logs[0], case.cut, &counts)
                })?;
                checked.add(1);
                Ok(())
            })?;
            plain::report(&counts)?;
            tally
        } else {
            let lib = Lib::load(&self.common.lib)?;
            run.all(bench, |bench, number, checked| {
                bench.look(number, |at, case| {
                    let recorded = &bench.recorded;
                    let said = recorded.logs[case.log].said(case.cut);
                    let promise = &Promise::after(&recorded.scripts[case.log], said)?;
                    Checker { lib: &lib, path: &at.join(channel::NAME), promise }.check()
                })?;
                checked.add(1);
                Ok(())
            })?
        };
        let (seconds, images) = (begun.elapsed().as_secs_f64(), tally.passed + tally.failed);
        let flushes: usize = recorded.logs.iter().map(|l| l.flushes.len()).sum();
        println!(
            "{}: {images} images of {flushes} flushes in {} logs, {seconds:.0} s, {:.1} a second: {} failed",
            fs.name(),
            recorded.logs.len(),
            images as f64 / seconds,
            tally.failed
        );
        Ok(tally)
    }

    fn replay(&self, fs: FileSystem) -> String {
        let plain = if self.plain { " --plain" } else { "" };
        let (scripts, operations, logs) = (self.scripts, self.operations, self.logs.display());
        format!(
            " --fs {}{plain} --scripts {scripts} --operations {operations} --logs {logs}",
            fs.name()
        )
    }

    fn record(&self, fs: FileSystem, scratch: &Path) -> Result<Recorded> {
        let seed = self.common.seed;
        let mut recorded = Recorded { fs, seed, logs: Vec::new(), scripts: Vec::new() };
        let program = Program::build(&self.common.lib, self.skip_sync.as_deref())?;
        for number in 0..if self.plain { 1 } else { self.scripts } {
            let what = if self.plain { "plain" } else { "channel" };
            let path = self.logs.join(format!("{}-{what}-{seed}-{number}.log", fs.name()));
            let script = script::make(seed, number, self.operations);
            let kept = self.common.only.is_some() && path.exists();
            let done = match (kept, self.plain) {
                (true, _) => Ok(()),
                (_, true) => {
                    record::record(fs, scratch, &path, |at, events| plain::run(at, events, seed))
                }
                (_, false) => program.record(fs, &script, seed, scratch, &path),
            };
            done.with_context(|| format!("recording on {}", fs.name()))?;
            recorded.logs.push(Log::read(&path, fs.disk_size())?);
            recorded.scripts.push(script);
        }
        Ok(recorded)
    }
}
