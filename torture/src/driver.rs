//! Starts `driver.c`: compiled once against the library under torture, it runs scripts in processes of their own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use crate::abi::c_path;
use crate::trace::{Event, Got, Outcome};

/// The compiled driver.
pub struct Driver {
    /// Has the program, the header, and the library under the name that the program looks for.
    dir: tempfile::TempDir,
}

impl Driver {
    /// Compile it against `lib`.
    pub fn build(lib: &Path) -> Result<Driver> {
        let lib = lib
            .canonicalize()
            .with_context(|| format!("{}: run make build first", lib.display()))?;
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("driver.c"), include_str!("../driver.c"))?;
        std::fs::write(at("disk_chan.h"), include_str!("../../include/disk_chan.h"))?;
        for name in ["libdisk_chan.so", "libdisk_chan.so.0"] {
            std::os::unix::fs::symlink(&lib, at(name))?;
        }
        let done = Command::new("cc")
            .current_dir(dir.path())
            .args("-std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -I. driver.c".split(' '))
            .args("-o driver -L. -ldisk_chan -Wl,-z,now".split(' '))
            .arg(format!("-Wl,-rpath,{}", dir.path().display()))
            .output()
            .context("cc: a C compiler is needed")?;
        ensure!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr));
        Ok(Driver { dir })
    }

    pub fn exe(&self) -> PathBuf {
        self.dir.path().join("driver")
    }

    /// Start a script on a channel; `before` runs in the child in front of exec and makes system calls only.
    pub fn start(&self, script: &str, channel: &Path, before: fn()) -> Result<Process> {
        let (text, log) = (memory_file()?, memory_file()?);
        (&text).write_all(script.as_bytes())?;
        let from = format!("/proc/self/fd/{}", TEXT_FD);
        let args = [c_path(&self.exe()), c_path(Path::new(&from)), c_path(channel)];
        let argv = [args[0].as_ptr(), args[1].as_ptr(), args[2].as_ptr(), std::ptr::null()];
        let environment = [std::ptr::null()];
        // SAFETY: the child makes system calls only, with what was made before.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            // SAFETY: as above; the arrays end with NULL.
            0 => unsafe {
                let log = libc::fcntl(log.as_raw_fd(), libc::F_DUPFD, 10);
                let text = libc::fcntl(text.as_raw_fd(), libc::F_DUPFD, 10);
                libc::dup2(log, LOG_FD);
                libc::dup2(text, TEXT_FD);
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                before();
                libc::syscall(libc::SYS_close_range, TEXT_FD + 1, u32::MAX, 0);
                libc::execve(argv[0], argv.as_ptr(), environment.as_ptr());
                libc::_exit(127)
            },
            pid => Ok(Process { pid, log, status: None }),
        }
    }

    /// Run a script to its end, its `die` or its first `stop`.
    pub fn run(&self, script: &str, channel: &Path) -> Result<Process> {
        let mut process = self.start(script, channel, || {})?;
        let halt = process.wait(libc::WUNTRACED)?;
        let fine = libc::WIFSTOPPED(halt)
            || (libc::WIFEXITED(halt) && libc::WEXITSTATUS(halt) == 0)
            || (libc::WIFSIGNALED(halt) && libc::WTERMSIG(halt) == libc::SIGKILL);
        ensure!(fine, "the driver ends with {}", crate::pool::describe(halt));
        Ok(process)
    }
}

const LOG_FD: RawFd = 3;
const TEXT_FD: RawFd = 4;

fn memory_file() -> Result<File> {
    // SAFETY: the name is a literal; the descriptor has no other owner.
    unsafe {
        let fd = libc::memfd_create(c"driver".as_ptr(), libc::MFD_CLOEXEC);
        ensure!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        Ok(File::from_raw_fd(fd))
    }
}

/// A driver's process; killed when dropped.
pub struct Process {
    pub pid: libc::pid_t,
    log: File,
    /// Once it has ended.
    pub status: Option<i32>,
}

impl Process {
    /// Its next wait status.
    pub fn wait(&mut self, flags: i32) -> Result<i32> {
        let mut status = 0;
        // SAFETY: our child, valid pointer.
        while unsafe { libc::waitpid(self.pid, &mut status, flags | libc::__WALL) } != self.pid {
            let e = std::io::Error::last_os_error();
            ensure!(e.kind() == std::io::ErrorKind::Interrupted, "waitpid: {e}");
        }
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            self.status = Some(status);
        }
        Ok(status)
    }

    pub fn kill(&mut self) {
        if self.status.is_none() {
            // SAFETY: our child.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            while self.status.is_none() && self.wait(0).is_ok() {}
        }
    }

    /// What it logged so far.
    pub fn log(&mut self) -> Result<Vec<Event>> {
        let mut text = String::new();
        self.log.seek(SeekFrom::Start(0))?;
        self.log.read_to_string(&mut text)?;
        text.lines().map(event).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A line of a driver's log.
pub fn event(line: &str) -> Result<Event> {
    let mut words = line.split(' ');
    let kind = words.next().context("an empty line")?;
    let mut next = || -> Result<i64> {
        let word = words.next().with_context(|| format!("cut short: {line}"))?;
        // Positions and the like are unsigned, codes are signed.
        let unsigned = || word.parse::<u64>().map(|n| n as i64);
        word.parse::<i64>().or_else(|_| unsigned()).with_context(|| format!("no number: {line}"))
    };
    let op = next()? as usize;
    match kind {
        "B" => Ok(Event::Begin { op }),
        "E" => {
            let mut outcome = Outcome { code: next()? as i32, ..Outcome::default() };
            (outcome.sent, outcome.position) = (next()? as u64, next()? as u64);
            for _ in 0..next()? {
                outcome.received.push(Got {
                    position: next()? as u64,
                    id: next()? as u64,
                    len: next()? as u64,
                    flags: next()? as u32,
                    deliveries: next()? as u32,
                    whole: next()? != 0,
                });
            }
            for _ in 0..next()? {
                outcome.words.push(next()? as u64);
            }
            Ok(Event::End { op, outcome })
        }
        _ => bail!("not a line of a log: {line}"),
    }
}

/// Byte `i` of message `id`, as `driver.c` has it.
pub fn fill(id: u64, i: u64) -> u8 {
    if i < 8 {
        return (id >> (8 * i)) as u8;
    }
    ((id << 20).wrapping_add(i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// The id of a payload, if every byte is what it should be.
pub fn id_of(payload: &[u8]) -> Option<u64> {
    let id = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let right = payload.iter().enumerate().all(|(i, b)| *b == fill(id, i as u64));
    right.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_read() {
        assert_eq!(event("B 7").expect("a line"), Event::Begin { op: 7 });
        let line = "E 8 -4097 0 18446744073709551615 1 65536 3 20 1 2 1 2 5 6";
        let Event::End { op: 8, outcome } = event(line).expect("a line") else { panic!("{line}") };
        assert_eq!((outcome.code, outcome.position), (-4097, u64::MAX));
        let got = Got { position: 65536, id: 3, len: 20, flags: 1, deliveries: 2, whole: true };
        assert_eq!(outcome.received, [got]);
        assert_eq!(outcome.words, [5, 6]);
        assert!(event("E 8 0 0").is_err());
    }

    #[test]
    fn payloads_know_their_ids() {
        let payload: Vec<u8> = (0..100).map(|i| fill(77, i)).collect();
        assert_eq!(id_of(&payload), Some(77));
        assert_eq!(id_of(&payload[..8]), Some(77));
        assert_eq!(id_of(&payload[..7]), None);
        for i in 8..100 {
            let mut torn = payload.clone();
            torn[i] = 0;
            assert!(payload[i] == 0 || id_of(&torn).is_none());
        }
    }
}
