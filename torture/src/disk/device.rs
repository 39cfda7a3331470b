//! A disk that is a file: a FUSE file system with the file `disk`, for a loop device to lie on.
//!
//! The file is opened for direct access, so each write, discard and flush of the loop device arrives here,
//! one after the other. While recording they are logged, and so are the lines that a program writes to the
//! file `events`: the log says what was on the disk when the program was told something. While
//! checking, what is written to the file `control` chooses the cut whose disk is to be seen.
//!
//! The server is a process of its own, and leaves the mount namespace once its file system is mounted there: as
//! the last one in it it would unmount, while it ends, what lies on its own disk, and wait for itself for ever.
//! So whoever is killed in whatever order, with the server go all requests to it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{bail, Context, Result};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

use super::log::Writer;
use super::system;
use crate::trace::Content;

const NAMES: [&str; 3] = ["disk", "events", "control"];
const DISK: u64 = 2;
const EVENTS: u64 = 3;
const CONTROL: u64 = 4;

/// Makes the disk's content from what was written to `control`.
pub type Choose = Box<dyn FnMut(&str) -> Result<Content> + Send>;

struct State {
    disk: Content,
    log: Option<Writer>,
    choose: Option<Choose>,
}

struct Device {
    size: u64,
    state: Mutex<State>,
}

impl Device {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attributes(&self, ino: u64) -> FileAttr {
        let (kind, perm) =
            if ino == 1 { (FileType::Directory, 0o700) } else { (FileType::RegularFile, 0o600) };
        let size = if ino == DISK { self.size } else { 0 };
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl State {
    fn write(&mut self, ino: u64, at: u64, bytes: &[u8]) -> Result<()> {
        match ino {
            DISK => {
                self.disk.write(at, bytes);
                if let Some(log) = &mut self.log {
                    log.write(at, bytes)?;
                }
            }
            EVENTS => {
                if let Some(log) = &mut self.log {
                    for line in std::str::from_utf8(bytes)?.lines() {
                        log.said(line)?;
                    }
                }
            }
            CONTROL => {
                let choose = self.choose.as_mut().context("nothing to choose")?;
                self.disk = choose(std::str::from_utf8(bytes)?)?;
            }
            _ => bail!("no such file"),
        }
        Ok(())
    }
}

fn answer(result: Result<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(e) => {
            eprintln!("disk: {e:#}");
            reply.error(Errno::EIO);
        }
    }
}

const TTL: Duration = Duration::from_secs(3600);

impl Filesystem for Device {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match NAMES.iter().position(|n| *n == name) {
            Some(n) => reply.entry(&TTL, &self.attributes(n as u64 + 2), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(ino.0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let len = if ino.0 == DISK { self.size.saturating_sub(at).min(size.into()) } else { 0 };
        let mut bytes = vec![0; len as usize];
        self.state().disk.read(at, &mut bytes);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(ino.0, at, bytes) {
            Ok(()) => reply.written(bytes.len() as u32),
            Err(e) => {
                eprintln!("disk: {e:#}");
                reply.error(Errno::EIO);
            }
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok(); // A close.
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let log = &mut self.state().log;
        let flushed = match log {
            Some(log) if ino.0 == DISK => log.flush(),
            _ => Ok(()),
        };
        answer(flushed.map_err(Into::into), reply);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        at: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if ino.0 != DISK || mode & (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_ZERO_RANGE) == 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let state = &mut *self.state();
        state.disk.punch(at, len);
        let logged = state.log.as_mut().map_or(Ok(()), |log| log.zero(at, len));
        answer(logged.map_err(Into::into), reply);
    }

    fn destroy(&mut self) {
        if let Some(log) = &mut self.state().log {
            if let Err(e) = log.finish() {
                eprintln!("disk: {e}");
            }
        }
    }
}

/// A running server.
pub struct Server {
    pid: libc::pid_t,
    at: std::path::PathBuf,
}

impl Server {
    /// Serve a disk of `size` bytes in the directory `at` from a new process, which ends with this one. To be
    /// called by a process with one thread.
    pub fn start(
        at: &Path,
        size: u64,
        log: Option<&Path>,
        choose: Option<Choose>,
    ) -> Result<Server> {
        let (mut ours, mut its) = UnixStream::pair()?;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                drop(ours);
                system::die_with_parent();
                let result = serve(at, size, log, choose, &mut its);
                if let Err(e) = &result {
                    eprintln!("disk: cannot be served at {}: {e:#}", at.display());
                }
                // SAFETY: ends this process without the parent's exit handlers.
                unsafe { libc::_exit(result.is_err().into()) }
            }
            pid => {
                drop(its);
                let server = Server { pid, at: at.to_path_buf() };
                ours.read_exact(&mut [0]).context("the disk's server did not start")?;
                Ok(server)
            }
        }
    }

    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.at.join(name)
    }

    /// Choose the disk's content.
    pub fn choose(&self, what: &str) -> Result<()> {
        let mut control = std::fs::OpenOptions::new().write(true).open(self.file("control"))?;
        control.write_all(what.as_bytes()).with_context(|| format!("choosing {what}"))
    }

    /// Unmount it, and wait for it to end: its log is complete then.
    pub fn stop(mut self) -> Result<()> {
        system::unmount(&self.at)?;
        let pid = std::mem::take(&mut self.pid);
        let mut status = 0;
        // SAFETY: valid pointer, our child.
        unsafe { libc::waitpid(pid, &mut status, 0) };
        if status != 0 {
            bail!("the disk's server: {}", crate::pool::describe(status));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.pid != 0 {
            let _ = system::unmount(&self.at);
            // SAFETY: our child, ended by its id.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

fn serve(
    at: &Path,
    size: u64,
    log: Option<&Path>,
    choose: Option<Choose>,
    ready: &mut UnixStream,
) -> Result<()> {
    let log = log.map(Writer::create).transpose()?;
    let disk = Content { len: size, ..Content::default() };
    let device = Device { size, state: Mutex::new(State { disk, log, choose }) };
    let mut config = fuser::Config::default();
    config.mount_options = vec![MountOption::FSName("disk_chan_torture".to_string())];
    let session = fuser::Session::new(device, at, &config)?;
    system::own_mounts()?;
    system::unmount(at)?;
    ready.write_all(&[1])?;
    session.run()?;
    Ok(())
}
