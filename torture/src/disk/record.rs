//! Records what a program does to a new file system, as its disk sees it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{bail, Context, Result};

use super::device::Server;
use super::fs::FileSystem;
use super::{log, system};

/// Run `f` in a process of its own, and wait for it. To be called by a process with one thread.
pub fn apart(f: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut said = tempfile::tempfile()?;
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => bail!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            system::die_with_parent();
            let result = f();
            if let Err(e) = &result {
                let _ = write!(said, "{e:#}");
            }
            // SAFETY: ends this process without the parent's exit handlers.
            unsafe { libc::_exit(result.is_err().into()) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: valid pointer, our child.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            if status == 0 {
                return Ok(());
            }
            use std::io::{Read, Seek};
            let mut text = String::new();
            said.rewind()?;
            said.read_to_string(&mut text)?;
            if text.is_empty() {
                text = crate::pool::describe(status);
            }
            bail!("{text}")
        }
    }
}

/// Log a line, by one write.
pub fn say(events: &mut File, line: &str) -> Result<()> {
    Ok(events.write_all(format!("{line}\n").as_bytes())?)
}

/// Flush everything of the file system that has `at`.
pub fn sync_fs(at: &Path) -> Result<()> {
    let dir = File::open(at)?;
    // SAFETY: a plain system call on our descriptor.
    if unsafe { libc::syncfs(dir.as_raw_fd()) } != 0 {
        return Err(std::io::Error::last_os_error()).context("syncfs");
    }
    Ok(())
}

/// Make `fs`, and log what `program` does there (it gets where, and the file that takes lines).
pub fn record(
    fs: FileSystem,
    scratch: &Path,
    log: &Path,
    program: impl FnOnce(&Path, &mut File) -> Result<()>,
) -> Result<()> {
    let scratch = tempfile::tempdir_in(scratch)?;
    apart(|| {
        system::own_mounts()?;
        let (device, at) = (scratch.path().join("device"), scratch.path().join("mounted"));
        std::fs::create_dir(&device)?;
        std::fs::create_dir(&at)?;
        let server = Server::start(&device, fs.disk_size(), Some(log), None)?;
        fs.make_and_mount(&server, &at)?;
        sync_fs(&at)?;
        let mut events = OpenOptions::new().append(true).open(server.file("events"))?;
        say(&mut events, log::BEGINS)?;
        program(&at, &mut events)?;
        drop(events);
        system::unmount(&at)?;
        server.stop()
    })
}
