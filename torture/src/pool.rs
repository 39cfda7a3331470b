//! Cases by number, tried by worker processes: one that crashes, hangs or fails costs its case, not the run.
//!
//! The parent hands out numbers by one shared counter, shows progress, and prints each failure with the
//! line that repeats it. Workers are forked before the parent starts a thread, so they may load the
//! library, fork again, and be killed. They run in process groups of their own: what a case leaves
//! behind dies with it.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{bail, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// What every kind of torture is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Common {
    /// The shared library to torture.
    #[arg(long, default_value = "build/lib/libdisk_chan.so")]
    pub lib: std::path::PathBuf,
    /// All that is random follows from this.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cases to try (each kind says what a case is).
    #[arg(long)]
    pub count: Option<u64>,
    /// Worker processes.
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
    /// Try this case alone, in the foreground, and say all about it.
    #[arg(long)]
    pub only: Option<u64>,
    /// Stop at the first failure.
    #[arg(long)]
    pub fail_fast: bool,
    /// Where channels are made; a tmpfs is fastest.
    #[arg(long, default_value = "/dev/shm")]
    pub scratch: std::path::PathBuf,
}

/// How a run went: `passed` and `failed` count what the kind counts (images, states, points), not cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
}

/// A run: its kind's name, the words that repeat one case, and the limits.
pub struct Run<'a> {
    pub kind: &'a str,
    pub common: &'a Common,
    /// Further arguments that a replay needs.
    pub replay: String,
    pub cases: u64,
    /// Generous: it only ends a hang.
    pub limit: Duration,
    /// No more cases are begun when so much was checked.
    pub enough: Option<u64>,
}

/// Shared with a worker: the case it is at + 1 (0: none), when it began, what it checked so far.
struct Slot {
    case: AtomicU64,
    since: AtomicU64,
    checked: AtomicU64,
}

struct Shared {
    next: AtomicU64,
    slots: [Slot; 64],
}

/// How often progress is said where no terminal shows it.
const SAY_EVERY_MS: u64 = 60_000;

/// A worker's exit status.
const CANNOT_START: i32 = 3;

fn now_ms() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1000 + t.tv_nsec as u64 / 1_000_000
}

fn shared() -> Result<&'static Shared> {
    let (len, prot) = (std::mem::size_of::<Shared>(), libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping; all zeros is a valid Shared; it stays for ever.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0);
        if at == libc::MAP_FAILED {
            bail!("mmap: {}", std::io::Error::last_os_error());
        }
        Ok(&*at.cast())
    }
}

/// Counts what a case checked while it goes on, for the progress bar and the tally.
pub struct Checked<'a>(&'a AtomicU64, &'a AtomicU64);

impl Checked<'_> {
    /// So many more were checked; also shows that the case is alive.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, SeqCst);
        self.1.store(now_ms(), SeqCst);
    }
}

struct Worker {
    pid: libc::pid_t,
    from: BufReader<std::fs::File>,
}

impl Run<'_> {
    /// Try all cases: `case` gets a number, adds to what it checked, and fails with a sentence. Each
    /// worker calls `prepare` once.
    pub fn all<W>(
        &self,
        prepare: impl Fn(usize) -> Result<W>,
        case: impl Fn(&mut W, u64, &Checked) -> Result<()>,
    ) -> Result<Tally> {
        let shared = shared()?;
        if let Some(only) = self.common.only {
            let mut worker = prepare(0)?;
            let slot = &shared.slots[0];
            let result = case(&mut worker, only, &Checked(&slot.checked, &slot.since));
            let passed = slot.checked.load(SeqCst);
            if let Err(e) = &result {
                eprintln!("case {only}: {e:#}");
            }
            return Ok(Tally { passed, failed: result.is_err().into() });
        }
        let jobs = self.common.jobs.clamp(1, shared.slots.len());
        let mut failed = 0;
        let mut workers = Vec::new();
        for slot in 0..jobs {
            workers.push(Some(self.start(slot, shared, &prepare, &case)?));
        }
        let style = "{prefix} {elapsed_precise} {bar:30} {pos}/{len} cases, {msg}, eta {eta}";
        let bar = ProgressBar::new(self.cases).with_style(ProgressStyle::with_template(style)?);
        bar.set_prefix(self.kind.to_string());
        let mut said = now_ms();
        while workers.iter().any(Option::is_some) {
            for (index, place) in workers.iter_mut().enumerate() {
                let Some(worker) = place else { continue };
                let slot = &shared.slots[index];
                for line in worker.lines() {
                    failed += 1;
                    bar.suspend(|| self.report(&line));
                }
                let case_at = slot.case.load(SeqCst);
                if case_at != 0
                    && now_ms().saturating_sub(slot.since.load(SeqCst))
                        > self.limit.as_millis() as u64
                {
                    failed += 1;
                    bar.suspend(|| {
                        self.report(&format!(
                            "{} hangs: no progress for {:?}",
                            case_at - 1,
                            self.limit
                        ))
                    });
                    worker.kill();
                } else if let Some(status) = worker.ended() {
                    // What it said last is read above in the next round at the latest: read it now.
                    for line in worker.lines() {
                        failed += 1;
                        bar.suspend(|| self.report(&line));
                    }
                    worker.kill();
                    if status == 0 {
                        *place = None;
                        continue;
                    }
                    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == CANNOT_START {
                        bail!("a worker cannot start");
                    }
                    failed += 1;
                    let at = case_at.saturating_sub(1);
                    bar.suspend(|| {
                        self.report(&format!("{at} kills its process: {}", describe(status)))
                    });
                } else {
                    continue;
                }
                slot.case.store(0, SeqCst);
                *place = Some(self.start(index, shared, &prepare, &case)?);
            }
            let checked: u64 = shared.slots.iter().map(|s| s.checked.load(SeqCst)).sum();
            bar.set_position(shared.next.load(SeqCst).min(self.cases));
            bar.set_message(format!("{checked} checked, {failed} failed"));
            if bar.is_hidden() && now_ms() - said >= SAY_EVERY_MS {
                said = now_ms();
                let (kind, at, cases) = (self.kind, bar.position(), self.cases);
                eprintln!("{kind}: {at} of {cases} cases, {checked} checked, {failed} failed");
            }
            let enough = self.enough.is_some_and(|n| checked >= n);
            if enough || failed > 0 && self.common.fail_fast {
                shared.next.store(self.cases, SeqCst);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bar.finish_and_clear();
        let passed = shared.slots.iter().map(|s| s.checked.load(SeqCst)).sum();
        Ok(Tally { passed, failed })
    }

    fn report(&self, line: &str) {
        let (case, why) = line.split_once(' ').unwrap_or((line, ""));
        let Common { seed, .. } = self.common;
        println!("FAILED {} case {case}: {why}", self.kind);
        println!("  replay: torture {} --seed {seed} --only {case}{}", self.kind, self.replay);
    }

    fn start<W>(
        &self,
        index: usize,
        shared: &'static Shared,
        prepare: &impl Fn(usize) -> Result<W>,
        case: &impl Fn(&mut W, u64, &Checked) -> Result<()>,
    ) -> Result<Worker> {
        let mut ends = [0; 2];
        // SAFETY: valid array; O_NONBLOCK is for the reading end alone, set below.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            bail!("pipe: {}", std::io::Error::last_os_error());
        }
        // SAFETY: both were opened just now and have no other owner.
        let (from, to) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                drop(from);
                // SAFETY: plain system calls.
                unsafe {
                    libc::setpgid(0, 0);
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                }
                let mut to = std::fs::File::from(to);
                let code = self.work(index, shared, prepare, case, &mut to);
                // SAFETY: ends this process without the parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
            pid => {
                drop(to);
                // SAFETY: our descriptor.
                unsafe { libc::fcntl(ends[0], libc::F_SETFL, libc::O_NONBLOCK) };
                Ok(Worker { pid, from: BufReader::new(std::fs::File::from(from)) })
            }
        }
    }

    fn work<W>(
        &self,
        index: usize,
        shared: &Shared,
        prepare: &impl Fn(usize) -> Result<W>,
        case: &impl Fn(&mut W, u64, &Checked) -> Result<()>,
        to: &mut std::fs::File,
    ) -> i32 {
        let slot = &shared.slots[index];
        let mut worker = match prepare(index) {
            Ok(worker) => worker,
            Err(e) => {
                eprintln!("{}: cannot start: {e:#}", self.kind);
                shared.next.store(self.cases, SeqCst);
                return CANNOT_START;
            }
        };
        loop {
            let at = shared.next.fetch_add(1, SeqCst);
            if at >= self.cases {
                return 0;
            }
            slot.since.store(now_ms(), SeqCst);
            slot.case.store(at + 1, SeqCst);
            let result = case(&mut worker, at, &Checked(&slot.checked, &slot.since));
            if let Err(e) = result {
                let _ = to.write_all(
                    format!("{at} {}\n", format!("{e:#}").replace('\n', " / ")).as_bytes(),
                );
            }
            slot.case.store(0, SeqCst);
        }
    }
}

impl Worker {
    /// What it said since last asked.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = String::new();
        while self.from.read_line(&mut line).is_ok_and(|n| n > 0) {
            lines.push(line.trim_end().to_string());
            line.clear();
        }
        lines
    }

    /// Its status, once it has ended.
    fn ended(&mut self) -> Option<i32> {
        let mut status = 0;
        // SAFETY: valid pointer, our child.
        (unsafe { libc::waitpid(self.pid, &mut status, libc::WNOHANG) } == self.pid)
            .then_some(status)
    }

    /// End it and whatever it started.
    fn kill(&mut self) {
        // SAFETY: its process group, made by itself; reaping our child.
        unsafe {
            libc::kill(-self.pid, libc::SIGKILL);
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// A wait status in words.
pub fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        return format!("signal {}", libc::WTERMSIG(status));
    }
    format!("exit {}", libc::WEXITSTATUS(status))
}

/// A generator for one case: the same for the same seed, kind and case, whatever ran before.
pub fn rng(seed: u64, kind: &str, case: u64) -> rand_chacha::ChaCha8Rng {
    use rand::SeedableRng;
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&case.to_le_bytes());
    for (at, byte) in kind.bytes().take(16).enumerate() {
        key[16 + at] = byte;
    }
    rand_chacha::ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common(jobs: usize) -> Common {
        Common {
            lib: Default::default(),
            seed: 1,
            count: None,
            jobs,
            only: None,
            fail_fast: false,
            scratch: std::env::temp_dir(),
        }
    }

    #[test]
    fn crashes_hangs_and_failures_cost_their_case_alone() {
        let common = common(2);
        let limit = Duration::from_secs(2);
        let run = Run {
            kind: "pool",
            common: &common,
            replay: String::new(),
            cases: 20,
            limit,
            enough: None,
        };
        let tally = run.all(
            |_| Ok(()),
            |(), case, checked| {
                match case {
                    3 => bail!("this one fails"),
                    // SAFETY: ends this worker as a crash would.
                    7 => unsafe { libc::abort() },
                    11 => std::thread::sleep(Duration::from_secs(600)),
                    _ => checked.add(10),
                }
                Ok(())
            },
        );
        assert_eq!(tally.expect("the pool itself"), Tally { passed: 170, failed: 3 });
    }

    #[test]
    fn a_generator_depends_on_its_case_alone() {
        use rand::Rng;
        let first: u64 = rng(1, "kill", 5).random();
        assert_eq!(first, rng(1, "kill", 5).random::<u64>());
        assert_ne!(first, rng(1, "kill", 6).random::<u64>());
        assert_ne!(first, rng(1, "power", 5).random::<u64>());
    }
}
