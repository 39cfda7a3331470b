//! The recorder: runs a driver under ptrace and says what each instruction changed in the channel's files.
//!
//! Either from instruction to instruction (`step`), or from change to change (`next`, hundreds of times as fast).
//!
//! An instruction is decoded once (by its address). What it is about to write is computed from the registers;
//! only where that lies in a mapping of one of the channel's files is the memory looked at, after the step, and
//! compared with the image kept here. System calls are known by their registers. After each operation of
//! the script the directory itself is compared with the image, so nothing is missed unnoticed.

mod changes;
pub(crate) mod decode;
mod syscalls;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{bail, ensure, Context, Result};

use crate::driver::{Driver, Process};
use crate::pool::describe;
use crate::trace::{Event, FileId, Image};
use decode::{Decoder, Instruction};

/// A driver under a debugger, stopped between two instructions.
pub struct Tracer {
    pub process: Process,
    /// The files as the driver sees them now.
    pub image: Image,
    /// Instructions executed.
    pub steps: u64,
    /// Where the last one was.
    pub at: u64,
    /// Where each event came from, one for each that was ever appended.
    pub places: Vec<u64>,
    dir: PathBuf,
    dir_inode: u64,
    parent_inode: u64,
    mem: File,
    decoder: Decoder,
    inodes: BTreeMap<u64, FileId>,
    maps: Vec<Map>,
    loaded: Vec<Loaded>,
    /// A system call instruction, once stores fault.
    gate: u64,
}

/// A mapping of one of the channel's files.
struct Map {
    from: u64,
    to: u64,
    offset: u64,
    file: FileId,
}

/// Code of a program or library, to name addresses.
struct Loaded {
    from: u64,
    to: u64,
    executable: bool,
    path: String,
}

fn ptrace(request: libc::c_uint, pid: i32, data: usize) -> Result<()> {
    // SAFETY: our tracee; `data` is what the request wants.
    let done = unsafe { libc::ptrace(request, pid, 0usize, data) };
    ensure!(done >= 0, "ptrace {request}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// This process and its future children stay on one processor: a step takes two switches between them, which
/// are several times as fast there.
pub fn stay_on_one_cpu(index: usize) {
    // SAFETY: valid structs.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set);
        let cpus: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|&c| libc::CPU_ISSET(c, &set)).collect();
        libc::CPU_ZERO(&mut set);
        libc::CPU_SET(cpus[index % cpus.len()], &mut set);
        libc::sched_setaffinity(0, std::mem::size_of_val(&set), &set);
    }
}

impl Tracer {
    /// Run a script at full speed up to its first `stop`, and take over there.
    pub fn start(driver: &Driver, script: &str, channel: &Path) -> Result<Tracer> {
        let before = || {
            // SAFETY: plain system calls. The same addresses every time: replays are alike.
            unsafe {
                libc::personality(libc::ADDR_NO_RANDOMIZE as u64);
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0usize, 0usize);
            }
        };
        let mut process = driver.start(script, channel, before)?;
        let status = process.wait(0)?;
        ensure!(libc::WIFSTOPPED(status), "the driver does not start: {}", describe(status));
        ptrace(libc::PTRACE_SETOPTIONS, process.pid, libc::PTRACE_O_EXITKILL as usize)?;
        loop {
            ptrace(libc::PTRACE_CONT, process.pid, 0)?;
            let status = process.wait(0)?;
            ensure!(libc::WIFSTOPPED(status), "the driver ends early: {}", describe(status));
            match libc::WSTOPSIG(status) {
                libc::SIGSTOP => break,
                signal => ensure!(signal == libc::SIGTRAP, "the driver gets signal {signal}"),
            }
        }
        let mem = File::options().read(true).write(true).open(format!("/proc/{}/mem", process.pid));
        let (image, inodes) = Image::read_from(channel)?;
        let inode = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.ino());
        let mut tracer = Tracer {
            image,
            steps: 0,
            at: 0,
            places: Vec::new(),
            gate: 0,
            dir: channel.to_path_buf(),
            dir_inode: inode(channel),
            parent_inode: inode(channel.parent().context("a channel has a parent")?),
            mem: mem.context("/proc/pid/mem")?,
            decoder: Decoder::default(),
            inodes,
            maps: Vec::new(),
            loaded: Vec::new(),
            process,
        };
        tracer.read_maps()?;
        Ok(tracer)
    }

    /// Execute one instruction; what it changed is appended to `events`, and applied to the image. False: the
    /// driver has ended.
    pub fn step(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let before = self.registers()?;
        self.at = before.rip;
        let from = events.len();
        let instruction = self.instruction(before.rip)?;
        if instruction.syscall {
            let call = self.enter(&before)?;
            if !self.single_step()? {
                return Ok(false);
            }
            let result = self.registers()?.rax as i64;
            self.leave(call, result, events)?;
        } else {
            let written: Vec<(u64, u64)> =
                instruction.writes.iter().map(|w| w.range(&before)).collect();
            if !self.single_step()? {
                return Ok(false);
            }
            for (at, len) in written {
                self.look(at, len, events)?;
            }
        }
        self.steps += 1;
        self.happened(from, events)?;
        Ok(true)
    }

    /// Run to the next changes of files, beginning or end of an operation. Not to be mixed with `step`.
    pub fn next(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        if self.gate == 0 {
            self.protect()?;
        }
        self.run_to_change(events)
    }

    /// Run to the driver's end.
    pub fn finish(&mut self, events: &mut Vec<Event>) -> Result<()> {
        while self.next(events)? {}
        Ok(())
    }

    fn instruction(&mut self, at: u64) -> Result<Rc<Instruction>> {
        let mem = &self.mem;
        self.decoder.at(at, |out| Ok(mem.read_at(out, at)?))
    }

    /// The events from `from` on are new.
    fn happened(&mut self, from: usize, events: &[Event]) -> Result<()> {
        for event in &events[from..] {
            self.image.apply(event);
            self.places.push(self.at);
        }
        match events[from..].last() {
            Some(Event::End { .. }) => self.compare(),
            _ => Ok(()),
        }
    }

    fn set_registers(&self, registers: &libc::user_regs_struct) -> Result<()> {
        ptrace(libc::PTRACE_SETREGS, self.process.pid, std::ptr::from_ref(registers) as usize)
    }

    fn registers(&self) -> Result<libc::user_regs_struct> {
        // SAFETY: plain integers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        ptrace(
            libc::PTRACE_GETREGS,
            self.process.pid,
            std::ptr::from_mut(&mut registers) as usize,
        )?;
        Ok(registers)
    }

    fn single_step(&mut self) -> Result<bool> {
        loop {
            ptrace(libc::PTRACE_SINGLESTEP, self.process.pid, 0)?;
            let status = self.process.wait(0)?;
            if !libc::WIFSTOPPED(status) {
                let fine = status == 0 || libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == 9;
                ensure!(fine, "the driver ends with {} at {}", describe(status), self.place());
                return Ok(false);
            }
            match libc::WSTOPSIG(status) {
                libc::SIGTRAP => return Ok(true),
                // Its own `stop`: it is stopped already.
                libc::SIGSTOP => continue,
                signal => bail!("signal {signal} at {}", self.place()),
            }
        }
    }

    /// An instruction wrote there: what of a channel's file has changed?
    fn look(&self, at: u64, len: u64, events: &mut Vec<Event>) -> Result<()> {
        for map in self.maps.iter().filter(|m| at < m.to && at + len > m.from) {
            let (from, to) = (at.max(map.from), (at + len).min(map.to));
            let mut bytes = vec![0; (to - from) as usize];
            self.mem.read_exact_at(&mut bytes, from)?;
            let offset = from - map.from + map.offset;
            let mut old = vec![0; bytes.len()];
            if let Some(content) = self.image.files.get(&map.file) {
                content.read(offset, &mut old);
            }
            if old != bytes {
                events.push(Event::Store { file: map.file, at: offset, bytes });
            }
        }
        Ok(())
    }

    /// Which addresses are which files.
    fn read_maps(&mut self) -> Result<()> {
        let text = std::fs::read_to_string(format!("/proc/{}/maps", self.process.pid))?;
        self.maps.clear();
        self.loaded.clear();
        let prefix = format!("{}/", self.dir.display());
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            let mut word = || words.next().unwrap_or("");
            let (range, rights, offset, _, inode) = (word(), word(), word(), word(), word());
            let path = words.collect::<Vec<_>>().join(" ");
            let hex = |s: &str| u64::from_str_radix(s, 16);
            let (from, to) = range.split_once('-').context("a range")?;
            let (from, to, offset) = (hex(from)?, hex(to)?, hex(offset)?);
            if path.starts_with(&prefix) && rights.ends_with('s') {
                match self.inodes.get(&inode.parse()?) {
                    Some(&file) => self.maps.push(Map { from, to, offset, file }),
                    // It had lost its name before this began: nobody will find it.
                    None => ensure!(path.ends_with(" (deleted)"), "a file nobody made: {line}"),
                }
            } else if path.starts_with('/') {
                let executable = rights.contains('x');
                self.loaded.push(Loaded { from, to, executable, path });
            }
        }
        Ok(())
    }

    /// The image and the directory must agree.
    fn compare(&self) -> Result<()> {
        let (there, _) = Image::read_from(&self.dir)?;
        ensure!(there.exists == self.image.exists, "the recorder missed a directory");
        let names: Vec<&String> = self.image.names.keys().collect();
        ensure!(names.iter().copied().eq(there.names.keys()), "the recorder missed names");
        for name in names {
            let (Some(own), Some(real)) = (self.image.named(name), there.named(name)) else {
                bail!("the recorder missed a file: {name}");
            };
            let mut own = own.clone();
            own.compact();
            if own != *real {
                let block = own.blocks.iter().find(|(n, b)| real.blocks.get(n) != Some(b));
                let block = block.map(|(n, _)| *n);
                bail!(
                    "the recorder missed a change of {name}, {} and {} bytes, block {block:?}",
                    own.len,
                    real.len
                );
            }
        }
        Ok(())
    }

    /// Where the last instruction was, in words.
    pub fn place(&self) -> String {
        self.place_of(self.at)
    }

    /// An address, in words.
    pub fn place_of(&self, at: u64) -> String {
        let Some(code) = self.loaded.iter().find(|l| (l.from..l.to).contains(&at)) else {
            return format!("{at:#x}");
        };
        // The first mapping of a file is where its addresses count from.
        let base = self.loaded.iter().filter(|l| l.path == code.path).map(|l| l.from).min();
        let offset = at - base.unwrap_or(code.from);
        let name = Path::new(&code.path).file_name().unwrap_or_default().to_string_lossy();
        // Needs binutils; without it the offset must do.
        let line = std::process::Command::new("addr2line")
            .args(["-C", "-f", "-p", "-i", "-e", &code.path, &format!("{offset:#x}")])
            .output()
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
            .unwrap_or_default();
        // Of what was inlined, the lines of the library itself.
        let inside =
            |l: &&str| l.contains("/src/") && !l.contains("/rustc/") && !l.contains("registry");
        let own: Vec<&str> =
            line.lines().filter(inside).map(|l| l.trim_start_matches(" (inlined by) ")).collect();
        let line = own.iter().take(3).copied().collect::<Vec<_>>().join(", in ");
        format!("{name}+{offset:#x} {line}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "stop
open k0 page=65536 pages=2 slots=4 stall=60000
producer p0 k0
send p0 1 20
batch p0 2 9 40
subscribe c0 k0 g ack=2
recv-batch c0 3
ack c0 0
nack c0
channel-sync k0
seek c0 latest
reserve p0 11 30
commit p0 30
close-consumer c0
delete-group k0 g
close-producer p0
close k0
destroy";

    #[test]
    fn every_change_is_recorded() {
        let lib = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../build/lib/libdisk_chan.so"));
        if !lib.exists() {
            eprintln!("SKIPPED: {} is not built", lib.display());
            return;
        }
        let driver = Driver::build(lib).expect("a driver");
        let temp = tempfile::tempdir_in("/dev/shm").expect("a directory");
        let channel = temp.path().join("channel");
        let mut tracer = Tracer::start(&driver, SCRIPT, &channel).expect("started");
        let mut events = Vec::new();
        // Compares the image with the directory after each operation.
        tracer.finish(&mut events).expect("stepped");
        eprintln!("{} steps, {} events", tracer.steps, events.len());
        assert!(!channel.exists() && !tracer.image.exists);
        let ends = events.iter().filter_map(|e| match e {
            Event::End { outcome, .. } => Some(outcome.code),
            _ => None,
        });
        assert_eq!(ends.collect::<Vec<_>>(), [0; 17]);
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|e| wanted(e)).count();
        assert_eq!(count(|e| matches!(e, Event::MakeDir | Event::RemoveDir)), 2);
        assert!(count(|e| matches!(e, Event::Store { .. })) > 100);
        assert!(count(|e| matches!(e, Event::Create { .. })) >= 4);
        assert!(count(|e| matches!(e, Event::Rename { .. })) >= 4);
        assert!(count(|e| matches!(e, Event::SyncFile { .. })) >= 4);
        assert!(count(|e| matches!(e, Event::SyncDir)) >= 2);
        assert_eq!(events.len(), tracer.places.len());
    }

    /// A few operations, one instruction at a time: the same events as from change to change.
    #[test]
    fn stepping_records_the_same() {
        let lib = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../build/lib/libdisk_chan.so"));
        if !lib.exists() {
            eprintln!("SKIPPED: {} is not built", lib.display());
            return;
        }
        let driver = Driver::build(lib).expect("a driver");
        let script = "open k0 page=65536 slots=4 stall=60000\nproducer p0 k0\nstop\nsend p0 1 20\nsend p0 2 30";
        let shapes = [true, false].map(|single| {
            let temp = tempfile::tempdir_in("/dev/shm").expect("a directory");
            let channel = temp.path().join("channel");
            let mut tracer = Tracer::start(&driver, script, &channel).expect("started");
            let mut events = Vec::new();
            while if single { tracer.step(&mut events) } else { tracer.next(&mut events) }
                .expect("stepped")
            {}
            let shape = |e: &Event| match e {
                Event::Store { file, at, bytes } => (*file, *at, bytes.len()),
                _ => (0, 0, 0),
            };
            events.iter().map(shape).collect::<Vec<_>>()
        });
        assert_eq!(shapes[0], shapes[1]);
    }
}
