//! A driver on a channel: recorded, and checked after each cut.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{bail, ensure, Context, Result};
use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::record::sync_fs;
use super::{fs::FileSystem, record};
use crate::driver::Driver;
use crate::pool;

/// Where the channel is on the file system.
pub const NAME: &str = "channel";

/// A compiled driver, and the library that skips syncs of one kind.
pub struct Program {
    driver: Driver,
    skip: Option<(String, PathBuf)>,
    _dir: tempfile::TempDir,
}

impl Program {
    pub fn build(lib: &Path, skip: Option<&str>) -> Result<Program> {
        let dir = tempfile::tempdir()?;
        let preload = dir.path().join("skip_sync.so");
        if skip.is_some() {
            let source = dir.path().join("skip_sync.c");
            std::fs::write(&source, include_str!("skip_sync.c"))?;
            let mut cc = Command::new("cc");
            cc.args("-D_GNU_SOURCE -O2 -shared -fPIC -Wall -Wextra -Werror -o".split(' '));
            super::system::tool(cc.arg(&preload).arg(&source), |code| code == 0)?;
        }
        let skip = skip.map(|kind| (kind.to_string(), preload));
        Ok(Program { driver: Driver::build(lib)?, skip, _dir: dir })
    }

    fn start(&self, script: &Path, channel: &Path, events: &File) -> Result<Child> {
        let mut command = Command::new(self.driver.exe());
        command.arg(script).arg(channel).env_clear();
        if let Some((kind, preload)) = &self.skip {
            command.env("LD_PRELOAD", preload).env("SKIP_SYNC", kind).env("CHANNEL", channel);
        }
        let log = events.as_raw_fd();
        // SAFETY: between fork and exec, system calls only.
        unsafe {
            command.pre_exec(move || {
                super::system::die_with_parent();
                // The driver logs to descriptor 3.
                if libc::dup2(log, 3) < 0 || libc::fcntl(3, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command.spawn().context("starting the driver")
    }

    /// Record the script on a new file system. Where it stops, something else makes the kernel write.
    pub fn record(
        &self,
        fs: FileSystem,
        script: &str,
        seed: u64,
        scratch: &Path,
        log: &Path,
    ) -> Result<()> {
        let text = log.with_extension("script");
        std::fs::write(&text, script)?;
        record::record(fs, scratch, log, |at, events| {
            let channel = at.join(NAME);
            let driver = self.start(&text, &channel, events)?.id() as i32;
            let mut rng = pool::rng(seed, "disturb", 0);
            loop {
                let mut status = 0;
                // SAFETY: valid pointer, our child.
                let pid = unsafe { libc::waitpid(driver, &mut status, libc::WUNTRACED) };
                ensure!(pid > 0, "waitpid: {}", std::io::Error::last_os_error());
                if !libc::WIFSTOPPED(status) {
                    ensure!(status == 0, "the driver: {}", pool::describe(status));
                    return Ok(());
                }
                disturb(at, &channel, &mut rng)?;
                // SAFETY: our child.
                unsafe { libc::kill(driver, libc::SIGCONT) };
            }
        })
    }
}

/// What a kernel may do at any time: write some of what is dirty, or all; and what another program may: flush
/// a file of its own, which commits a journal.
fn disturb(at: &Path, channel: &Path, rng: &mut ChaCha8Rng) -> Result<()> {
    match rng.random_range(0..10) {
        0..5 => {
            let files: Vec<_> = std::fs::read_dir(channel)?.collect::<Result<_, _>>()?;
            for _ in 0..3 {
                let Some(entry) = files.choose(rng) else { break };
                let Ok(file) = File::open(entry.path()) else { continue };
                let len = file.metadata()?.len();
                let from = rng.random_range(0..=len / 4096) * 4096;
                let some = [4096, 65536, len].choose(rng).copied().unwrap_or(0);
                write_back(&file, from, some)?;
            }
        }
        5..8 => {
            let mut file = OpenOptions::new().append(true).create(true).open(at.join("other"))?;
            file.write_all(b"another program")?;
            file.sync_all()?;
        }
        8 => sync_fs(at)?,
        _ => {}
    }
    Ok(())
}

/// Have dirty blocks written, without a flush of the disk.
fn write_back(file: &File, at: u64, len: u64) -> Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a plain system call on our descriptor.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), at as i64, len as i64, flags) } != 0 {
        bail!("sync_file_range: {}", std::io::Error::last_os_error());
    }
    Ok(())
}
