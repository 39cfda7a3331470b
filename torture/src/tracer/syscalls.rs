//! What system calls do to the channel's files.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Tracer;
use crate::driver::event;
use crate::trace::{Event, FileId};

/// A system call that matters, with what must be known from before it.
pub enum Call {
    Other,
    Maps,
    /// Memory that the kernel fills.
    Reads(u64, u64),
    Log(String),
    Write {
        file: FileId,
        at: u64,
        bytes: Vec<u8>,
    },
    Create(String),
    Rename(String, String),
    Link(String, String),
    Unlink(String),
    Resize {
        file: FileId,
        len: u64,
    },
    Punch {
        file: FileId,
        at: u64,
        len: u64,
    },
    Sync(u64),
    MakeDir,
    RemoveDir,
}

/// An open file, to the kernel.
enum Opened {
    Channel(FileId),
    Other(u64),
}

impl Tracer {
    /// What the system call is going to do.
    pub(super) fn enter(&self, r: &libc::user_regs_struct) -> Result<Call> {
        let (a, b, c, d) = (r.rdi, r.rsi, r.rdx, r.r10);
        // At the instruction itself the number is in rax still.
        let (number, cwd) = (r.rax as i64, libc::AT_FDCWD as u64);
        Ok(match number {
            libc::SYS_mmap | libc::SYS_munmap | libc::SYS_mremap => Call::Maps,
            libc::SYS_read | libc::SYS_pread64 => Call::Reads(b, c),
            libc::SYS_getrandom => Call::Reads(a, b),
            libc::SYS_write if a == 3 => {
                let mut bytes = vec![0; c as usize];
                self.mem.read_exact_at(&mut bytes, b)?;
                Call::Log(String::from_utf8(bytes)?)
            }
            libc::SYS_write | libc::SYS_pwrite64 => match self.opened(a)? {
                Opened::Channel(file) => {
                    let mut bytes = vec![0; c as usize];
                    self.mem.read_exact_at(&mut bytes, b)?;
                    let at = if number == libc::SYS_pwrite64 { d } else { self.offset(a)? };
                    Call::Write { file, at, bytes }
                }
                Opened::Other(_) => Call::Other,
            },
            libc::SYS_open if b & libc::O_CREAT as u64 != 0 => {
                self.name(cwd, a)?.map_or(Call::Other, Call::Create)
            }
            libc::SYS_openat if c & libc::O_CREAT as u64 != 0 => {
                self.name(a, b)?.map_or(Call::Other, Call::Create)
            }
            libc::SYS_rename => self.two(cwd, a, cwd, b, Call::Rename)?,
            libc::SYS_renameat | libc::SYS_renameat2 => self.two(a, b, c, d, Call::Rename)?,
            libc::SYS_link => self.two(cwd, a, cwd, b, Call::Link)?,
            libc::SYS_linkat => self.two(a, b, c, d, Call::Link)?,
            libc::SYS_unlink => self.name(cwd, a)?.map_or(Call::Other, Call::Unlink),
            libc::SYS_unlinkat if c == 0 => self.name(a, b)?.map_or(Call::Other, Call::Unlink),
            libc::SYS_unlinkat if self.path(a, b)? == self.dir => Call::RemoveDir,
            libc::SYS_rmdir if self.path(cwd, a)? == self.dir => Call::RemoveDir,
            libc::SYS_mkdir if self.path(cwd, a)? == self.dir => Call::MakeDir,
            libc::SYS_mkdirat if self.path(a, b)? == self.dir => Call::MakeDir,
            libc::SYS_ftruncate => match self.opened(a)? {
                Opened::Channel(file) => Call::Resize { file, len: b },
                Opened::Other(_) => Call::Other,
            },
            libc::SYS_fallocate => self.enter_fallocate(a, b as i32, c, d)?,
            libc::SYS_fsync | libc::SYS_fdatasync => Call::Sync(a),
            _ => Call::Other,
        })
    }

    fn enter_fallocate(&self, fd: u64, mode: i32, at: u64, len: u64) -> Result<Call> {
        let Opened::Channel(file) = self.opened(fd)? else {
            return Ok(Call::Other);
        };
        if mode & libc::FALLOC_FL_PUNCH_HOLE != 0 {
            return Ok(Call::Punch { file, at, len });
        }
        let before = self.image.files.get(&file).map_or(0, |c| c.len);
        if mode & libc::FALLOC_FL_KEEP_SIZE == 0 && at + len > before {
            return Ok(Call::Resize { file, len: at + len });
        }
        Ok(Call::Other)
    }

    /// It returned: what it did.
    pub(super) fn leave(&mut self, call: Call, result: i64, events: &mut Vec<Event>) -> Result<()> {
        if result < 0 {
            return Ok(());
        }
        events.push(match call {
            Call::Other => return Ok(()),
            Call::Maps => return self.read_maps(),
            Call::Reads(at, len) => return self.look(at, len.min(result as u64), events),
            Call::Log(text) => {
                for line in text.lines() {
                    events.push(event(line)?);
                }
                return Ok(());
            }
            Call::Write { file, at, bytes } => {
                Event::Store { file, at, bytes: bytes[..result as usize].to_vec() }
            }
            Call::Create(name) => {
                let inode = self.stat(result as u64)?.ino();
                if self.inodes.contains_key(&inode) {
                    return Ok(());
                }
                let file = self.inodes.len() as FileId;
                self.inodes.insert(inode, file);
                Event::Create { file, name }
            }
            Call::Rename(from, to) => Event::Rename { from, to },
            Call::Link(from, to) => Event::Link { from, to },
            Call::Unlink(name) => Event::Unlink { name },
            Call::Resize { file, len } => Event::Resize { file, len },
            Call::Punch { file, at, len } => Event::Punch { file, at, len },
            Call::Sync(fd) => match self.opened(fd)? {
                Opened::Channel(file) => Event::SyncFile { file },
                Opened::Other(inode) if inode == self.dir_inode => Event::SyncDir,
                Opened::Other(inode) if inode == self.parent_inode => Event::SyncParent,
                Opened::Other(_) => return Ok(()),
            },
            Call::MakeDir => {
                self.dir_inode = std::fs::metadata(&self.dir)?.ino();
                Event::MakeDir
            }
            Call::RemoveDir => Event::RemoveDir,
        });
        Ok(())
    }

    pub(super) fn is_channel_file(&self, fd: u64) -> Result<bool> {
        Ok(matches!(self.opened(fd)?, Opened::Channel(_)))
    }

    fn stat(&self, fd: u64) -> Result<std::fs::Metadata> {
        let path = format!("/proc/{}/fd/{fd}", self.process.pid);
        std::fs::metadata(&path).with_context(|| path)
    }

    fn opened(&self, fd: u64) -> Result<Opened> {
        // A descriptor that is not open: the call fails.
        let Ok(stat) = self.stat(fd) else { return Ok(Opened::Other(0)) };
        Ok(match self.inodes.get(&stat.ino()) {
            Some(file) if stat.is_file() => Opened::Channel(*file),
            _ => Opened::Other(stat.ino()),
        })
    }

    fn offset(&self, fd: u64) -> Result<u64> {
        let info = std::fs::read_to_string(format!("/proc/{}/fdinfo/{fd}", self.process.pid))?;
        let pos = info.lines().find_map(|l| l.strip_prefix("pos:")).context("pos")?;
        Ok(pos.trim().parse()?)
    }

    fn text(&self, at: u64) -> Result<String> {
        let mut bytes = vec![0; 4096];
        let len = self.mem.read_at(&mut bytes, at)?;
        let end = bytes[..len].iter().position(|b| *b == 0).unwrap_or(len);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    fn path(&self, dir: u64, text: u64) -> Result<PathBuf> {
        let text = self.text(text)?;
        if text.starts_with('/') {
            return Ok(PathBuf::from(text));
        }
        let link = match dir as i32 {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.process.pid),
            fd => format!("/proc/{}/fd/{fd}", self.process.pid),
        };
        Ok(std::fs::read_link(link)?.join(text))
    }

    /// A name in the channel's directory.
    fn name(&self, dir: u64, text: u64) -> Result<Option<String>> {
        let path = self.path(dir, text)?;
        let inside = path.parent().is_some_and(|p| p == Path::new(&self.dir));
        Ok(path.file_name().filter(|_| inside).map(|n| n.to_string_lossy().into_owned()))
    }

    fn two(
        &self,
        a: u64,
        from: u64,
        b: u64,
        to: u64,
        call: fn(String, String) -> Call,
    ) -> Result<Call> {
        Ok(match (self.name(a, from)?, self.name(b, to)?) {
            (Some(from), Some(to)) => call(from, to),
            _ => Call::Other,
        })
    }
}
