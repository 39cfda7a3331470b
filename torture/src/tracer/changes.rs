//! From change to change at full speed: the channel's mappings are read-only meanwhile, so that a store faults.
//!
//! The program asks for writable mappings and is given read-only ones. Where a store faults, its page is made
//! writable by a system call injected into the program, and the store is stepped, as are the next few
//! instructions (stores come in clusters); then the page is read-only again. System calls stop
//! the program anyhow.

use anyhow::{bail, ensure, Result};

use super::{ptrace, Tracer};
use crate::pool::describe;
use crate::trace::Event;

const PAGE: u64 = 4096;
/// Instructions stepped after a store before the program runs freely again.
const LINGER: u32 = 12;
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

impl Tracer {
    /// From now on go from change to change.
    pub(super) fn protect(&mut self) -> Result<()> {
        let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD;
        ptrace(libc::PTRACE_SETOPTIONS, self.process.pid, options as usize)?;
        self.gate = self.find_syscall()?;
        let ranges: Vec<(u64, u64)> = self.maps.iter().map(|m| (m.from, m.to - m.from)).collect();
        for (at, len) in ranges {
            self.inject_mprotect(at, len, libc::PROT_READ)?;
        }
        Ok(())
    }

    /// Run to the next changes, at least one unless a call begins or ends. False: the driver has ended.
    pub(super) fn run_to_change(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let from = events.len();
        while events.len() == from {
            ptrace(libc::PTRACE_SYSCALL, self.process.pid, 0)?;
            let status = self.process.wait(0)?;
            if !libc::WIFSTOPPED(status) {
                let fine = status == 0 || libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == 9;
                ensure!(fine, "the driver ends with {}", describe(status));
                return Ok(false);
            }
            match libc::WSTOPSIG(status) {
                SYSCALL_STOP => {
                    if !self.system_call(events)? {
                        return Ok(false);
                    }
                }
                libc::SIGSEGV => self.stores(events)?,
                // Its own `stop`: it is stopped already.
                libc::SIGSTOP => {}
                signal => {
                    self.at = self.registers()?.rip;
                    bail!("signal {signal} at {}", self.place())
                }
            }
        }
        Ok(true)
    }

    /// Stopped at the entry of a system call: let it happen.
    fn system_call(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let before = self.registers()?;
        self.at = before.rip - 2;
        let mut seen = before;
        // At an entry stop the number is here.
        seen.rax = before.orig_rax;
        let call = self.enter(&seen)?;
        let mut given = before;
        match before.orig_rax as i64 {
            libc::SYS_mmap
                if before.r10 & libc::MAP_SHARED as u64 != 0
                    && before.r8 as i32 >= 0
                    && self.is_channel_file(before.r8)? =>
            {
                given.rdx &= !(libc::PROT_WRITE as u64);
            }
            libc::SYS_madvise if before.rdx == libc::MADV_POPULATE_WRITE as u64 => {
                given.rdx = libc::MADV_POPULATE_READ as u64;
            }
            _ => {}
        }
        if given.rdx != before.rdx {
            self.set_registers(&given)?;
        }
        ptrace(libc::PTRACE_SYSCALL, self.process.pid, 0)?;
        let status = self.process.wait(0)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(false);
        }
        ensure!(libc::WSTOPSIG(status) == SYSCALL_STOP, "stopped otherwise: {}", describe(status));
        let after = self.registers()?;
        if given.rdx != before.rdx {
            self.set_registers(&libc::user_regs_struct { rdx: before.rdx, ..after })?;
        }
        let from = events.len();
        self.leave(call, after.rax as i64, events)?;
        self.happened(from, events)?;
        Ok(true)
    }

    /// A store faulted: step it and what follows closely.
    fn stores(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let mut open: Vec<u64> = Vec::new();
        let mut quiet = 0;
        while quiet < LINGER {
            let before = self.registers()?;
            self.at = before.rip;
            let instruction = self.instruction(before.rip)?;
            if instruction.syscall {
                break;
            }
            let written: Vec<(u64, u64)> =
                instruction.writes.iter().map(|w| w.range(&before)).collect();
            let mut hits = false;
            for &(at, len) in &written {
                for page in at / PAGE..=(at + len - 1) / PAGE {
                    let mapped = self.maps.iter().any(|m| (m.from..m.to).contains(&(page * PAGE)));
                    hits |= mapped;
                    if mapped && !open.contains(&page) {
                        let rights = libc::PROT_READ | libc::PROT_WRITE;
                        self.inject_mprotect(page * PAGE, PAGE, rights)?;
                        open.push(page);
                    }
                }
            }
            ensure!(hits || !open.is_empty(), "SIGSEGV at {}", self.place());
            quiet = if hits { 0 } else { quiet + 1 };
            ensure!(self.single_step()?, "a store ended the driver");
            self.steps += 1;
            let from = events.len();
            for (at, len) in written {
                self.look(at, len, events)?;
            }
            self.happened(from, events)?;
        }
        for page in open {
            self.inject_mprotect(page * PAGE, PAGE, libc::PROT_READ)?;
        }
        Ok(())
    }

    /// Make the stopped program call mprotect.
    fn inject_mprotect(&mut self, at: u64, len: u64, rights: i32) -> Result<()> {
        let before = self.registers()?;
        let call = libc::user_regs_struct {
            rip: self.gate,
            rax: libc::SYS_mprotect as u64,
            orig_rax: u64::MAX,
            rdi: at,
            rsi: len,
            rdx: rights as u64,
            ..before
        };
        self.set_registers(&call)?;
        ensure!(self.single_step()?, "an injected system call ended the driver");
        let result = self.registers()?.rax as i64;
        self.set_registers(&libc::user_regs_struct { orig_rax: u64::MAX, ..before })?;
        ensure!(result == 0, "mprotect {at:#x} {len}: {result}");
        Ok(())
    }

    /// Some system call instruction in the program's code.
    fn find_syscall(&self) -> Result<u64> {
        use std::os::unix::fs::FileExt;
        for code in self.loaded.iter().filter(|l| l.path.contains("libc")) {
            let mut bytes = vec![0; (code.to - code.from) as usize];
            // Mappings that nobody may read are none of code.
            let read = self.mem.read_exact_at(&mut bytes, code.from).is_ok();
            let found = bytes.windows(2).position(|w| w == [0x0f, 0x05]);
            if let Some(at) = found.filter(|_| read && code.executable) {
                return Ok(code.from + at as u64);
            }
        }
        bail!("no system call in libc")
    }
}
