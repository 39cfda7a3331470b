//! A forked child under a debugger: run to its mark, from there instruction by instruction, left standing.
//!
//! Stopped by ptrace a process stands as still as under SIGSTOP, between two instructions of one's choice:
//! its kernel locks stay held, its words stay as they are.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Result};

use crate::pool::describe;
use crate::process::{now_ms, sleep_us};
use crate::tracer::decode::Decoder;

/// A point of a call: so many system calls, and then so many instructions, after its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub calls: u32,
    pub steps: u32,
    /// Where it stands then, for the so-manieth time since that system call.
    pub rip: u64,
    pub nth: u32,
    /// The instruction before changed a file of the channel, or was a system call.
    pub marked: bool,
}

pub struct Stepper {
    pid: libc::pid_t,
    memory: File,
    ended: bool,
}

/// To be called by the child: where stepping begins, and where the call has returned.
pub fn stop_here() {
    // SAFETY: a signal to this very process.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// To be called by the child, first.
pub fn be_traced() {
    // SAFETY: a plain request.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0_usize, 0_usize) };
}

/// How the last wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Halt {
    /// One step, or a system call.
    Trap,
    /// It said `stop_here`.
    Mark,
}

impl Stepper {
    /// Take over a child that says `be_traced` and then `stop_here`.
    pub fn new(pid: libc::pid_t) -> Result<Stepper> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?;
        let mut stepper = Stepper { pid, memory, ended: false };
        ensure!(stepper.wait()? == Halt::Mark, "the child does not stop");
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        stepper.request(libc::PTRACE_SETOPTIONS, options as usize)?;
        Ok(stepper)
    }

    fn request(&self, request: u32, data: usize) -> Result<()> {
        // SAFETY: our tracee; `data` is what the request wants.
        let done = unsafe { libc::ptrace(request, self.pid, 0_usize, data) };
        ensure!(done != -1, "ptrace {request}: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn wait(&mut self) -> Result<Halt> {
        let mut status = 0;
        // SAFETY: our child; valid pointer.
        while unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL) } == -1 {}
        self.halt(status)
    }

    fn halt(&mut self, status: i32) -> Result<Halt> {
        if !libc::WIFSTOPPED(status) {
            self.ended = true;
            bail!("the suspended process ended: {}", describe(status));
        }
        match libc::WSTOPSIG(status) & 0x7f {
            libc::SIGTRAP => Ok(Halt::Trap),
            libc::SIGSTOP => Ok(Halt::Mark),
            signal => bail!("the suspended process got signal {signal}"),
        }
    }

    pub fn registers(&self) -> Result<libc::user_regs_struct> {
        // SAFETY: integers, of which zeros are a value; written by the kernel.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.request(libc::PTRACE_GETREGS, (&raw mut regs) as usize)?;
        Ok(regs)
    }

    fn step(&mut self) -> Result<Halt> {
        self.request(libc::PTRACE_SINGLESTEP, 0)?;
        self.wait()
    }

    /// Every point up to the next mark; mappings of files whose path contains `path` are the channel's.
    pub fn points(&mut self, path: &str) -> Result<Vec<Point>> {
        let mut maps = mappings(self.pid, path)?;
        let (mut decoder, mut points) = (Decoder::default(), Vec::new());
        let (mut calls, mut steps, mut met) = (0, 0, HashMap::new());
        let mut before = self.registers()?;
        loop {
            let memory = &self.memory;
            let instruction = decoder.at(before.rip, |out| Ok(memory.read_at(out, before.rip)?))?;
            let mut marked = instruction.syscall;
            for write in &instruction.writes {
                let (at, len) = write.range(&before);
                marked |= maps.iter().any(|m| at < m.1 && at + len > m.0);
            }
            if self.step()? == Halt::Mark {
                return Ok(points);
            }
            let after = self.registers()?;
            steps += 1;
            if instruction.syscall {
                (calls, steps) = (calls + 1, 0);
                met.clear();
                let maps_change = [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap];
                if maps_change.contains(&(before.rax as i64)) {
                    maps = mappings(self.pid, path)?;
                }
            }
            let nth = met.entry(after.rip).or_insert(0);
            *nth += 1;
            points.push(Point { calls, steps, rip: after.rip, nth: *nth, marked });
            ensure!(points.len() < 3_000_000, "a call without an end");
            before = after;
        }
    }

    /// Run to a point; false: the call had returned before.
    pub fn run_to(&mut self, point: Point) -> Result<bool> {
        for _ in 0..2 * point.calls {
            self.request(libc::PTRACE_SYSCALL, 0)?;
            if self.wait()? == Halt::Mark {
                return Ok(false);
            }
        }
        if point.steps > 20 && point.nth < 100 {
            return self.run_to_place(point);
        }
        for _ in 0..point.steps {
            if self.step()? == Halt::Mark {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same by a breakpoint, which is faster than many steps.
    fn run_to_place(&mut self, point: Point) -> Result<bool> {
        let mut there = u32::from(point.calls > 0 && self.registers()?.rip == point.rip);
        let mut original = [0];
        self.memory.read_exact_at(&mut original, point.rip)?;
        while there < point.nth {
            if self.step()? == Halt::Mark {
                return Ok(false);
            }
            if self.registers()?.rip == point.rip {
                there += 1;
                continue;
            }
            self.memory.write_all_at(&[0xCC], point.rip)?;
            self.request(libc::PTRACE_CONT, 0)?;
            let halt = self.wait()?;
            self.memory.write_all_at(&original, point.rip)?;
            if halt == Halt::Mark {
                return Ok(false);
            }
            let mut regs = self.registers()?;
            ensure!(regs.rip == point.rip + 1, "a trap at {:#x}, not {:#x}", regs.rip, point.rip);
            regs.rip = point.rip;
            self.request(libc::PTRACE_SETREGS, (&raw mut regs) as usize)?;
            there += 1;
        }
        Ok(true)
    }

    /// Let it go on until it says `stop_here`.
    pub fn resume(&mut self, patience_ms: u64) -> Result<()> {
        let until = now_ms() + patience_ms;
        self.request(libc::PTRACE_CONT, 0)?;
        loop {
            let mut status = 0;
            // SAFETY: our child; valid pointer.
            let pid = unsafe { libc::waitpid(self.pid, &mut status, libc::__WALL | libc::WNOHANG) };
            if pid == self.pid {
                // A trap left over from stepping is no news.
                if self.halt(status)? == Halt::Mark {
                    return Ok(());
                }
                self.request(libc::PTRACE_CONT, 0)?;
            }
            ensure!(now_ms() < until, "resumed, its call does not return within {patience_ms} ms");
            sleep_us(100);
        }
    }

    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            crate::process::kill(self.pid);
        }
    }
}

impl Drop for Stepper {
    fn drop(&mut self) {
        self.end();
    }
}

/// Of the functions that were inlined into each other, the innermost one that is not the language's own.
fn first_of_ours(lines: &str) -> String {
    let foreign = |l: &&str| ["/rustc/", "/.cargo/"].iter().any(|f| l.contains(f));
    let ours = lines.lines().find(|l| !foreign(l)).or(lines.lines().next()).unwrap_or("");
    let (name, at) = ours.trim().rsplit_once(" at ").unwrap_or((ours, ""));
    let file = at.rsplit_once("/src/").map_or(at, |(_, file)| file);
    format!("{} at {file}", name.trim_start_matches("(inlined by) "))
}

/// Shared mappings of files whose path contains `path`.
fn mappings(pid: libc::pid_t, path: &str) -> Result<Vec<(u64, u64)>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let hex = |s: &str| u64::from_str_radix(s, 16).unwrap_or(0);
    let range = |l: &str| l.split_once(' ')?.0.split_once('-').map(|(a, b)| (hex(a), hex(b)));
    let lines = text.lines().filter(|l| l.contains(path));
    Ok(lines.filter_map(range).collect())
}

/// Where code of the library lies in this process, and so in its forked children.
pub fn library(lib: &str) -> Result<Vec<(u64, u64)>> {
    let text = std::fs::read_to_string("/proc/self/maps")?;
    let hex = |s: &str| u64::from_str_radix(s, 16).unwrap_or(0);
    let code = text.lines().filter(|l| l.contains("r-xp") && l.contains(lib));
    let range = |l: &str| l.split_once(' ')?.0.split_once('-').map(|(a, b)| (hex(a), hex(b)));
    Ok(code.filter_map(range).collect())
}

/// An address of this process, and so of its forked children, in words.
pub fn place(rip: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let hex = |s: &str| u64::from_str_radix(s, 16).unwrap_or(0);
    let mut bases: HashMap<&str, u64> = HashMap::new();
    for line in maps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let (Some((from, to)), Some(path)) = (words[0].split_once('-'), words.get(5)) else {
            continue;
        };
        // Code has addresses of its own in a file, counted from where its first part is loaded.
        let base = *bases.entry(path).or_insert(hex(from));
        if (hex(from)..hex(to)).contains(&rip) {
            let offset = format!("{:#x}", rip - base);
            // Needs binutils; without it the offset must do.
            let line = std::process::Command::new("addr2line")
                .args(["-C", "-f", "-p", "-i", "-e", path, &offset])
                .output()
                .map(|o| first_of_ours(&String::from_utf8_lossy(&o.stdout)))
                .unwrap_or_default();
            return format!("{}+{offset} {line}", path.rsplit('/').next().unwrap_or(path));
        }
    }
    format!("{rip:#x}")
}
