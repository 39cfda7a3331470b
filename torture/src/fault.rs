//! System calls that fail: every call that the library makes in a set of scripts, with every errno that it may
//! plausibly fail with, once and from then on for ever, with and without having been done.
//!
//! A script runs in a process of its own under ptrace. Whatever fails, each call of the library answers with
//! a code, nothing sent is lost, the same handles work again when the fault is over, everything can be closed
//! and leaves no descriptor and no mapping behind, and a fresh process finds what the answers say. A flush that
//! failed is never forgotten: the channel is poisoned for every process, and nothing it covered is durable.

mod errnos;
mod inject;
mod script;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use self::inject::{Fault, Mode, Report, Site, ARM, LIFT};
use self::script::{Script, State, SCRIPTS};
use crate::abi::*;
use crate::ledger::{Check, Event, Ledger, Rules};
use crate::pool::{describe, Common, Run, Tally};
use crate::session::{mark, Op, Session, OPS};

#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Scripts; all by default.
    #[arg(long)]
    script: Vec<String>,
}

/// Words of `channel` (FORMAT.md, section 5).
const DURABLE_AT: u64 = 8704;
const POISONED_AT: u64 = 8832;

/// A case: a script, and what fails in it.
struct Case {
    script: &'static Script,
    fault: Fault,
    /// Everything is closed while it still fails.
    close_amid: bool,
}

impl Case {
    fn describe(&self) -> String {
        let Fault { site, nth, errno, mode } = self.fault;
        let amid = if self.close_amid { ", closed amid it" } else { "" };
        let errno = std::io::Error::from_raw_os_error(errno);
        format!("{}: {} {nth}: {mode:?} {errno}{amid}", self.script.name, errnos::name(site))
    }
}

struct Worker {
    lib: Lib,
    ledger: Ledger,
    path: PathBuf,
}

/// What came of a script.
struct Outcome {
    report: Report,
    answers: Vec<(u32, i32)>,
}

impl Worker {
    fn new(common: &Common, scratch: &Path, index: usize) -> Result<Worker> {
        let path = scratch.join(format!("{index}/channel"));
        std::fs::create_dir_all(scratch.join(index.to_string()))?;
        Ok(Worker { lib: Lib::load(&common.lib)?, ledger: Ledger::new()?, path })
    }

    fn session(&self, rules: Rules) -> Session<'_> {
        let (lib, path, ledger) = (&self.lib, &self.path, &self.ledger);
        Session { lib, path, ledger, rules, marks: false, guarded: false }
    }

    /// A word of the channel file; 0 where there is none.
    fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        let file = std::fs::File::open(self.path.join("channel"));
        let read = file.and_then(|f| f.read_exact_at(&mut word, at));
        read.map_or(0, |()| u64::from_le_bytes(word))
    }

    /// Run a script in a process of its own, with a fault.
    fn run(&self, script: &Script, fault: Option<Fault>, close_amid: bool) -> Result<Outcome> {
        let _ = std::fs::remove_dir_all(&self.path);
        self.ledger.clear();
        // SAFETY: the child does its part and ends.
        let pid = match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                self.child(script, close_amid);
                // SAFETY: ends this process without the parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            pid => pid,
        };
        let mut status = 0;
        // SAFETY: our child.
        unsafe { libc::waitpid(pid, &mut status, libc::WUNTRACED) };
        ensure!(libc::WIFSTOPPED(status), "setting up: {}", describe(status));
        let witness = if script.watched { Some(Witness::new(self, script.rules())?) } else { None };
        let poisoned_before = self.word(POISONED_AT) != 0;
        let mut report = inject::trace(pid, fault, &|| self.word(DURABLE_AT))?;
        report.poisoned_before = poisoned_before;
        let answers = self.ledger.events().iter().filter_map(|e| match *e {
            Event::Answer { op, code } => Some((op, code)),
            _ => None,
        });
        let outcome = Outcome { answers: answers.collect(), report };
        ensure!(outcome.report.status == 0, "{}", describe(outcome.report.status));
        let complaints = self.ledger.complaints();
        ensure!(complaints.is_empty(), "{complaints}");
        let failed = self.flush_failed(&outcome.report)?;
        if let Some(witness) = witness {
            witness.judge(failed)?;
        }
        let rules = script.rules();
        let check =
            Check { lib: &self.lib, path: &self.path, ledger: &self.ledger, rules, guarded: false };
        self.ledger.in_process("a fresh process", || check.all())?;
        self.destroy()?;
        Ok(outcome)
    }

    /// The process under trace.
    fn child(&self, script: &Script, close_amid: bool) {
        let before = descriptors();
        let mut s = self.session(script.rules());
        let mut state = State::default();
        script.setup(&s, &mut state);
        // SAFETY: small allocations from now on are system calls, too; the tracer waits for the signal.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 4096);
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
        }
        s.marks = true;
        mark(ARM);
        script.act(&s, &mut state);
        if close_amid {
            state.close(&s);
        }
        mark(LIFT);
        s.marks = false;
        self.still_works(&s, &mut state);
        state.close(&s);
        let (now, maps) = (descriptors(), mappings(&self.path));
        if now != before {
            self.ledger.complain(&format!("descriptors left open: {now:?}, before: {before:?}"));
        }
        if !maps.is_empty() {
            self.ledger.complain(&format!("mappings left: {maps:?}"));
        }
    }

    /// The fault is over: the handles there are work.
    fn still_works(&self, s: &Session, state: &mut State) {
        let Some(&channel) = state.channels.first() else { return };
        let Some(info) = s.stats(channel) else {
            return self.ledger.complain("no stats when the fault is over");
        };
        let poisoned = info.poisoned != 0;
        let lossless = s.rules.options.retention == DC_RETAIN_UNREAD;
        for c in &mut state.consumers {
            let code = s.receive(c, 1000, 0);
            if code != DC_AGAIN && code != DC_OK {
                self.ledger.complain(&format!("then receiving: {}", self.lib.why(code)));
            }
            if c.group.is_some() && c.last > 0 && s.ack(c, c.last) != DC_OK {
                self.ledger.complain("then acknowledging fails");
            }
        }
        for &p in &state.producers {
            let mut code = s.send(p, 0, 0);
            if code == DC_AGAIN && s.rules.options.flags & DC_PREPARED_ONLY != 0 {
                s.within(Op::maintain, channel, 0, self.lib.dc_maintain);
                code = s.send(p, 0, 0);
            }
            let fine = match code {
                DC_OK => !poisoned,
                DC_AGAIN => lossless,
                DC_E_POISONED => poisoned,
                _ => false,
            };
            if !fine {
                self.ledger.complain(&format!("then sending: {}", self.lib.why(code)));
            }
            let code = s.within(Op::sync, p, 1000, self.lib.dc_sync);
            if code != if poisoned { DC_E_POISONED } else { DC_OK } {
                self.ledger.complain(&format!("then syncing: {}", self.lib.why(code)));
            }
        }
    }

    /// Whether a flush of the channel failed; then it must be poisoned, and nothing more durable.
    fn flush_failed(&self, report: &Report) -> Result<bool> {
        let opens = [Op::open as usize, Op::destroy as usize];
        let failed = report.hits.iter().find(|h| {
            // A file under a temporary name is not part of the channel yet, and opening begins anew.
            h.flush && !h.path.contains("/tmp-") && !opens.contains(&h.op)
        });
        let (poisoned, durable) = (self.word(POISONED_AT) != 0, self.word(DURABLE_AT));
        match failed {
            Some(hit) => {
                ensure!(
                    poisoned,
                    "flushing {} failed in dc_{}: not poisoned",
                    hit.path,
                    OPS[hit.op]
                );
                ensure!(
                    durable <= hit.seen,
                    "flushing {} failed, and the durable position went from {} to {durable}",
                    hit.path,
                    hit.seen
                );
            }
            // A script may begin with a poisoned channel.
            None => {
                ensure!(!poisoned || report.poisoned_before, "poisoned, and no flush had failed")
            }
        }
        Ok(failed.is_some())
    }

    fn destroy(&self) -> Result<()> {
        // SAFETY: a valid path.
        let code = unsafe { (self.lib.dc_destroy)(c_path(&self.path).as_ptr()) };
        self.lib.ok(code, "dc_destroy")?;
        ensure!(!self.path.exists(), "destroyed, and it is still there");
        Ok(())
    }
}

/// Another process that has the channel open.
struct Witness<'a> {
    session: Session<'a>,
    channel: Handle,
    producer: Handle,
    observer: crate::session::Consumer,
}

impl<'a> Witness<'a> {
    fn new(worker: &'a Worker, rules: Rules) -> Result<Witness<'a>> {
        let options = Options { flags: DC_EXISTING | DC_NO_THREAD, ..Options::default() };
        let session = worker.session(Rules { options, ..rules });
        let channel = session.open().context("the witness does not open")?;
        let producer = session.producer(channel).context("the witness has no producer")?;
        let observer = session.subscribe(channel, None, DC_AUTO_NEXT_PAGE).context("observer")?;
        Ok(Witness { session, channel, producer, observer })
    }

    fn judge(mut self, failed: bool) -> Result<()> {
        let (s, lib) = (&self.session, self.session.lib);
        let expected = if failed { DC_E_POISONED } else { DC_OK };
        for code in
            [s.send(self.producer, 0, 0), s.within(Op::sync, self.producer, 1000, lib.dc_sync)]
        {
            ensure!(code == expected, "the witness: {}", lib.why(code));
        }
        let code = s.receive(&mut self.observer, usize::MAX, 0);
        ensure!(code == DC_AGAIN, "the witness receives: {}", lib.why(code));
        Ok(())
    }
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        let (s, lib) = (&self.session, self.session.lib);
        s.end(Op::producer_close, self.producer, lib.dc_producer_close);
        s.end(Op::consumer_close, self.observer.handle, lib.dc_consumer_close);
        s.end(Op::close, self.channel, lib.dc_close);
    }
}

/// Open descriptors, and what they lead to.
fn descriptors() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .filter_map(|e| {
            let to = std::fs::read_link(e.path()).ok()?;
            Some((e.file_name().to_string_lossy().into_owned(), to))
        })
        // The one that lists them.
        .filter(|(_, to)| !to.to_string_lossy().contains("/proc/"))
        .collect();
    all.sort();
    all
}

/// Mappings of files below a path.
fn mappings(path: &Path) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = path.to_string_lossy().into_owned();
    maps.lines().filter(|l| l.contains(&path)).map(String::from).collect()
}

/// All cases: each script is run once without a fault to see what it calls.
fn cases(worker: &Worker, names: &[String]) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for script in SCRIPTS.iter().filter(|s| names.is_empty() || names.contains(&s.name.into())) {
        let outcome = worker.run(script, None, false);
        let outcome = outcome.with_context(|| format!("{} without a fault", script.name))?;
        let bad =
            outcome.answers.iter().find(|a| a.1 < 0 && a.1 != DC_AGAIN && a.1 != -libc::ENOENT);
        if let Some(&(op, code)) = bad {
            bail!("{}: dc_{} fails without a fault: {code}", script.name, OPS[op as usize]);
        }
        let before = all.len();
        let mut counts = std::collections::HashMap::<Site, u32>::new();
        for (site, _) in outcome.report.calls {
            let nth = counts.entry(site).or_default();
            *nth += 1;
            for fault in errnos::faults(site, *nth) {
                let forever = matches!(fault.mode, Mode::Forever | Mode::DoneForever);
                all.push(Case { script, fault, close_amid: false });
                if forever {
                    all.push(Case { script, fault, close_amid: true });
                }
            }
        }
        let calls: u32 = counts.values().sum();
        println!("{}: {calls} system calls, {} faults", script.name, all.len() - before);
    }
    Ok(all)
}

/// Start anew with the library loaded from the beginning, as in a program that is linked with it. One that
/// is loaded later has its thread-local memory allocated by the C library at each thread's first call,
/// and where there is none the C library ends the process.
fn preload(lib: &Path) -> Result<()> {
    use std::os::unix::process::CommandExt;
    const PRELOAD: &str = "LD_PRELOAD";
    if std::env::var_os(PRELOAD).is_some() {
        return Ok(());
    }
    let lib = lib.canonicalize().with_context(|| format!("{}: make build", lib.display()))?;
    let mut again = std::process::Command::new(std::env::current_exe()?);
    Err(again.args(std::env::args_os().skip(1)).env(PRELOAD, lib).exec().into())
}

pub fn run(arguments: &Arguments) -> Result<Tally> {
    if !cfg!(target_arch = "x86_64") {
        println!("SKIPPED: torture fault: it knows the registers of x86-64 alone");
        return Ok(Tally::default());
    }
    let common = &arguments.common;
    preload(&common.lib)?;
    let scratch = tempfile::tempdir_in(&common.scratch)?;
    let all = cases(&Worker::new(common, scratch.path(), 99)?, &arguments.script)?;
    let count = common.count.unwrap_or(u64::MAX).min(all.len() as u64);
    // A sample is spread over all of them; which ones follows from the seed.
    let at = |i: u64| {
        let spread = (all.len() as u64 / count.max(1)).max(1);
        &all[(i * all.len() as u64 / count + common.seed.wrapping_sub(1) % spread) as usize]
    };
    let names: String = arguments.script.iter().map(|s| format!(" --script {s}")).collect();
    let replay = format!(" --count {count}{names}");
    let run = Run {
        kind: "fault",
        common,
        replay,
        cases: count,
        limit: Duration::from_secs(60),
        enough: None,
    };
    run.all(
        |index| Worker::new(common, scratch.path(), index),
        |worker: &mut Worker, case, checked| {
            let case = at(case);
            let outcome = worker.run(case.script, Some(case.fault), case.close_amid);
            outcome.with_context(|| case.describe())?;
            checked.add(1);
            Ok(())
        },
    )
}
