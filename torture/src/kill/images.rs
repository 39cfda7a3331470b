//! Tries one image: puts it into a directory and has a fresh process open, drain and check it.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use crate::abi::Lib;
use crate::history::{History, Rules};
use crate::pool::describe;
use crate::trace::Image;

/// Generous: it only ends a hang.
const LIMIT: Duration = Duration::from_secs(60);

/// Where images are tried.
pub struct Bench {
    pub lib: Lib,
    pub dir: PathBuf,
}

impl Bench {
    /// Check an image against a history, in a process of its own.
    pub fn check(&self, image: &Image, history: &History, rules: &Rules) -> Result<()> {
        let channel = self.dir.join("image");
        image.write_to(&channel).context("writing an image")?;
        let result = apart(|| history.check(&self.lib, &channel, rules).map(drop));
        if result.is_err() {
            let _ = std::fs::remove_dir_all(&channel);
        } else if channel.exists() {
            std::fs::remove_dir_all(&channel)?;
        }
        result
    }

    /// Keep an image for whoever looks into it.
    pub fn keep(&self, image: &Image, name: &str) -> Result<PathBuf> {
        let dir = std::env::temp_dir().join("torture-failures");
        std::fs::create_dir_all(&dir)?;
        let at = dir.join(name);
        let _ = std::fs::remove_dir_all(&at);
        image.write_to(&at)?;
        Ok(at)
    }
}

/// Run `f` in a forked process; its failure, crash or hang is the error.
pub fn apart(f: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut ends = [0; 2];
    // SAFETY: valid array; both ends get one owner each.
    let (mut from, to) = unsafe {
        ensure!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) == 0, "pipe");
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    };
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        drop(from);
        // SAFETY: a plain system call.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        let code = match outcome {
            Ok(Ok(())) => 0,
            Ok(Err(e)) => {
                let _ = (&to).write_all(format!("{e:#}").as_bytes());
                1
            }
            Err(_) => 2,
        };
        // SAFETY: ends this process without the parent's exit handlers.
        unsafe { libc::_exit(code) }
    }
    ensure!(pid > 0, "fork: {}", std::io::Error::last_os_error());
    drop(to);
    let mut poll = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: valid struct, our child.
    let hung = unsafe { libc::poll(&mut poll, 1, LIMIT.as_millis() as i32) } == 0;
    let mut why = String::new();
    let mut status = 0;
    // SAFETY: our child.
    unsafe {
        if hung {
            libc::kill(pid, libc::SIGKILL);
        }
        let _ = from.read_to_string(&mut why);
        libc::waitpid(pid, &mut status, 0);
    }
    match status {
        _ if hung => bail!("it hangs"),
        0 => Ok(()),
        _ if why.is_empty() => bail!("the opener ends with {}", describe(status)),
        _ => bail!("{why}"),
    }
}

/// An empty directory under `scratch`.
pub fn bench(lib: &Path, scratch: &Path, index: usize) -> Result<Bench> {
    let dir = scratch.join(format!("torture-kill-{}-{index}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(Bench { lib: Lib::load(lib)?, dir })
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
