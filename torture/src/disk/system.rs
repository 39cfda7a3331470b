//! Loop devices, mounts, and the file systems' tools: what needs root.
//!
//! Nothing here has to be cleaned up: mounts are made in a mount namespace of the process's own, which the
//! kernel dissolves with the last process in it, and a loop device ends with its last user.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Killed when the parent is, whichever way that ends.
pub fn die_with_parent() {
    // SAFETY: a plain system call.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// From here on this process mounts for itself and its children only.
pub fn own_mounts() -> Result<()> {
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: plain system calls, the strings are literals.
    unsafe {
        done(libc::unshare(libc::CLONE_NEWNS)).context("unshare")?;
        done(libc::mount(
            c"none".as_ptr(),
            c"/".as_ptr(),
            std::ptr::null(),
            flags,
            std::ptr::null(),
        ))
        .context("making mounts private")
    }
}

pub fn mount(device: &Path, at: &Path, kind: &CStr, options: &CStr) -> io::Result<()> {
    let (device, at) = (CString::new(device.as_os_str().as_bytes())?, at.as_os_str().as_bytes());
    let at = CString::new(at)?;
    // SAFETY: all strings are NUL-terminated and outlive the call.
    done(unsafe {
        libc::mount(device.as_ptr(), at.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast())
    })
}

/// Let `path` show the content of `file`.
pub fn mount_over(file: &Path, path: &Path) -> Result<()> {
    let (file, path) = (c_path(file)?, c_path(path)?);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    done(unsafe {
        libc::mount(file.as_ptr(), path.as_ptr(), std::ptr::null(), libc::MS_BIND, std::ptr::null())
    })
    .context("mounting a file over another")
}

pub fn unmount(at: &Path) -> Result<()> {
    let c = c_path(at)?;
    // SAFETY: the string is NUL-terminated and outlives the call.
    done(unsafe { libc::umount2(c.as_ptr(), libc::UMOUNT_NOFOLLOW) })
        .with_context(|| format!("unmounting {}", at.display()))
}

/// A loop device, attached while this or a mount of it is there.
pub struct Loop {
    _open: File,
    pub path: PathBuf,
}

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config` of linux/loop.h; what lies between is left 0.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    before_flags: [u8; 52],
    flags: u32,
    rest: [u8; 176 + 64],
}

const _: () = assert!(std::mem::size_of::<LoopConfig>() == 304);

impl Loop {
    pub fn attach(file: &Path, block_size: u32) -> Result<Loop> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(file)
            .context("opening the disk")?;
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        // Others take loop devices too: a free one may be taken before we have it.
        for _ in 0..100 {
            // SAFETY: a plain request.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
            done(number).context("no free loop device")?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let open = File::options().read(true).write(true).open(&path)?;
            let config = LoopConfig {
                fd: file.as_raw_fd() as u32,
                block_size,
                before_flags: [0; 52],
                flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
                rest: [0; 240],
            };
            // SAFETY: the struct is what the request wants, and outlives the call.
            match done(unsafe { libc::ioctl(open.as_raw_fd(), LOOP_CONFIGURE, &config) }) {
                Ok(()) => return Ok(Loop { _open: open, path }),
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => continue,
                Err(e) => return Err(e).context(format!("configuring {}", path.display())),
            }
        }
        bail!("no loop device to be had in 100 tries")
    }
}

/// Run a tool to its end; what it says is part of the error only.
pub fn tool(command: &mut Command, good: impl Fn(i32) -> bool) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    match out.status.code() {
        Some(code) if good(code) => Ok(said.into_owned()),
        _ => bail!("{command:?}: {}: {said}", out.status),
    }
}
