//! Runs a process under ptrace and lets chosen system calls of it fail.
//!
//! The process marks where a call of the library begins and ends by system calls that do not exist (see
//! `session`); only what happens in between, and on threads of the library, is counted and may fail.

use std::collections::HashMap;

use anyhow::{bail, Result};

use crate::session::{Op, MARK, MARK_END};

/// From here on calls may fail.
pub const ARM: u64 = MARK_END - 2;
/// The fault is over.
pub const LIFT: u64 = MARK_END - 1;

/// A kind of system call: its number, and what of its arguments makes another kind of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    pub call: i64,
    pub sub: u64,
}

/// How long it fails, and whether it happens all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Once,
    Forever,
    /// As often as signals might interrupt it.
    Burst,
    /// It is done, and then reported as failed.
    DoneOnce,
    DoneForever,
}

const BURST: u32 = 50;

/// The `nth` call of a kind fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub site: Site,
    pub nth: u32,
    pub errno: i32,
    pub mode: Mode,
}

impl Fault {
    fn hits(&self, site: Site, count: u32) -> bool {
        site == self.site
            && match self.mode {
                Mode::Once | Mode::DoneOnce => count == self.nth,
                Mode::Forever | Mode::DoneForever => count >= self.nth,
                Mode::Burst => (self.nth..self.nth + BURST).contains(&count),
            }
    }
    fn is_done(&self) -> bool {
        matches!(self.mode, Mode::DoneOnce | Mode::DoneForever)
    }
}

/// A call that failed by our hand.
#[derive(Clone, Debug)]
pub struct Hit {
    pub op: usize,
    /// It was a flush.
    pub flush: bool,
    /// What its first argument, a descriptor, leads to.
    pub path: String,
    /// What `look` said then.
    pub seen: u64,
}

#[derive(Default)]
pub struct Report {
    /// Every call that could have failed, in order: its kind, the call of the library it belongs to.
    pub calls: Vec<(Site, usize)>,
    pub hits: Vec<Hit>,
    pub poisoned_before: bool,
    pub status: i32,
}

#[derive(Default)]
struct Thread {
    inside: bool,
    /// What the call under way is to return.
    result: Option<i64>,
    op: usize,
}

struct Tracer<'a> {
    main: i32,
    fault: Option<Fault>,
    look: &'a dyn Fn() -> u64,
    threads: HashMap<i32, Thread>,
    counts: HashMap<Site, u32>,
    armed: bool,
    lifted: bool,
    report: Report,
}

/// Trace the child `pid`, which has stopped itself, to its end.
pub fn trace(pid: i32, fault: Option<Fault>, look: &dyn Fn() -> u64) -> Result<Report> {
    let mut tracer = Tracer {
        main: pid,
        fault,
        look,
        threads: HashMap::new(),
        counts: HashMap::new(),
        armed: false,
        lifted: false,
        report: Report::default(),
    };
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    // SAFETY: our stopped tracee.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options) };
    tracer.go_on(pid, 0);
    loop {
        let mut status = 0;
        // SAFETY: a valid pointer.
        let tid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if tid < 0 {
            bail!("waitpid: {}", std::io::Error::last_os_error());
        }
        if libc::WIFSTOPPED(status) {
            tracer.stopped(tid, status);
        } else if tid == pid {
            tracer.report.status = status;
            return Ok(tracer.report);
        }
    }
}

impl Tracer<'_> {
    fn go_on(&self, tid: i32, signal: i32) {
        let how = if self.lifted { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
        // SAFETY: our stopped tracee; one that was killed meanwhile is reported by waitpid.
        unsafe { libc::ptrace(how, tid, 0, signal) };
    }

    fn stopped(&mut self, tid: i32, status: i32) {
        let signal = libc::WSTOPSIG(status);
        let new = !self.threads.contains_key(&tid);
        self.threads.entry(tid).or_default();
        if signal == libc::SIGTRAP | 0x80 {
            self.system_call(tid);
            self.go_on(tid, 0);
        } else if status >> 16 != 0 || new && signal == libc::SIGSTOP {
            // A new thread, or its first stop.
            self.go_on(tid, 0);
        } else {
            self.go_on(tid, signal);
        }
    }

    fn system_call(&mut self, tid: i32) {
        // SAFETY: integers only; filled by the kernel for a stopped tracee.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_GETREGS, tid, 0, &mut regs) };
        let Some(thread) = self.threads.get_mut(&tid) else { return };
        thread.inside = !thread.inside;
        let change = if thread.inside {
            self.enter(tid, &mut regs)
        } else if let Some(result) = thread.result.take() {
            regs.rax = result as u64;
            true
        } else {
            false
        };
        if change {
            // SAFETY: as above.
            unsafe { libc::ptrace(libc::PTRACE_SETREGS, tid, 0, &regs) };
        }
    }

    /// A call begins; true: the registers were changed so that it does not.
    fn enter(&mut self, tid: i32, regs: &mut libc::user_regs_struct) -> bool {
        let number = regs.orig_rax;
        if number & !0x7FF == MARK {
            self.mark(tid, number);
            return false;
        }
        let op = self.threads.get(&tid).map_or(0, |t| t.op);
        if !self.armed || (tid == self.main && op == 0) {
            return false;
        }
        let site = Site { call: number as i64, sub: sub(tid, regs) };
        self.report.calls.push((site, op));
        let count = self.counts.entry(site).or_default();
        *count += 1;
        let Some(fault) = self.fault.filter(|f| f.hits(site, *count)) else { return false };
        // What this process may not look at, it never may: only the channel's files change hands.
        if fault.errno == libc::EACCES && of_kernel(tid, site, regs) {
            return false;
        }
        let path = std::fs::read_link(format!("/proc/{tid}/fd/{}", regs.rdi));
        let path = path.map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
        let seen = (self.look)();
        let flush = matches!(site.call, libc::SYS_fsync | libc::SYS_fdatasync);
        // A flush that a signal interrupted is tried again.
        let flush = flush && fault.errno != libc::EINTR;
        self.report.hits.push(Hit { op, flush, path, seen });
        if let Some(thread) = self.threads.get_mut(&tid) {
            thread.result = Some(-i64::from(fault.errno));
        }
        if !fault.is_done() {
            regs.orig_rax = u64::MAX;
        }
        !fault.is_done()
    }

    fn mark(&mut self, tid: i32, number: u64) {
        match number {
            ARM => self.armed = true,
            LIFT => (self.armed, self.lifted) = (false, true),
            MARK_END => self.threads.entry(tid).or_default().op = Op::none as usize,
            _ => {
                self.threads.entry(tid).or_default().op = (number - MARK) as usize;
            }
        }
    }
}

/// Whether a call opens something below /proc.
fn of_kernel(tid: i32, site: Site, regs: &libc::user_regs_struct) -> bool {
    // SAFETY: reads a word of a stopped tracee.
    let word = || unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, tid, regs.rsi, 0) };
    site.call == libc::SYS_openat && word().to_ne_bytes().starts_with(b"/proc/")
}

/// What makes a call a kind of its own.
fn sub(tid: i32, regs: &libc::user_regs_struct) -> u64 {
    match regs.orig_rax as i64 {
        libc::SYS_openat => regs.rdx & (libc::O_CREAT | libc::O_DIRECTORY) as u64,
        libc::SYS_fallocate => regs.rsi,
        libc::SYS_mmap => regs.r10 & libc::MAP_ANONYMOUS as u64,
        libc::SYS_madvise => regs.rdx,
        libc::SYS_futex => regs.rsi & 0x7f,
        // The command, and whether it locks shared, exclusively, or unlocks.
        libc::SYS_fcntl if (36..39).contains(&regs.rsi) => {
            // SAFETY: reads a word of a stopped tracee.
            let lock = unsafe { libc::ptrace(libc::PTRACE_PEEKDATA, tid, regs.rdx, 0) };
            regs.rsi << 2 | lock as u64 & 3
        }
        libc::SYS_fcntl => regs.rsi << 2,
        _ => 0,
    }
}
