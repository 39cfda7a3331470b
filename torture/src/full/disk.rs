//! Disks of a chosen size: a tmpfs, or an image with a file system on it, filled up but for so much.
//!
//! Mounted in a mount namespace of the worker's own: all of it goes with the worker.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, ensure, Context, Result};

/// Kinds of disk, each with the way it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Kind {
    /// A tmpfs of so many bytes.
    Tmpfs,
    /// A tmpfs of so many inodes.
    Inodes,
    Ext4,
    Xfs,
    Btrfs,
    /// A small btrfs, whose data and metadata share what space there is. Without space for metadata the
    /// kernel refuses stores to blocks that a file has long since: only DC_SIGBUS_GUARD makes that a code.
    Mixed,
    /// A btrfs with space, and a quota of so many bytes on the channel's subvolume: the
    /// same.
    Quota,
    /// An xfs on which the channel's files share their blocks with copies: stores need new ones.
    Reflink,
    /// A btrfs with a snapshot of the channel: the same.
    Snapshot,
    /// An ext4 that cannot write back what it promised, for its own disk is full.
    Writeback,
}

impl Kind {
    /// Sizes tried, and how many bytes (or inodes) lie between two of them.
    pub fn steps(self) -> (u64, u64) {
        match self {
            Kind::Tmpfs => (2049, 4096),
            Kind::Inodes => (65, 1),
            Kind::Reflink | Kind::Snapshot => (33, 64 << 10),
            Kind::Writeback => (9, 32 << 10),
            // 0 to 8 MB.
            _ => (65, 128 << 10),
        }
    }

    /// Bytes of the image; xfs makes none smaller.
    fn image(self) -> u64 {
        match self {
            Kind::Tmpfs | Kind::Inodes => 0,
            Kind::Ext4 | Kind::Writeback => 64 << 20,
            Kind::Xfs | Kind::Reflink => 320 << 20,
            Kind::Btrfs | Kind::Snapshot => 512 << 20,
            Kind::Mixed => 128 << 20,
            Kind::Quota => 256 << 20,
        }
    }
}

/// Why disks cannot be made here, if so.
pub fn impossible() -> Option<String> {
    // SAFETY: no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        return Some("mounting needs root".into());
    }
    // SAFETY: tried in a child, which ends.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::_exit((libc::unshare(libc::CLONE_NEWNS) != 0).into());
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        (status != 0).then(|| "no mount namespace to be had".into())
    }
}

/// Go into a mount namespace of our own, in which an empty tmpfs hides what lies at `scratch`: all that is
/// made there goes with this process.
pub fn private_mounts(scratch: &Path) -> Result<()> {
    // SAFETY: plain system calls with valid strings.
    let code = unsafe {
        match libc::unshare(libc::CLONE_NEWNS) {
            0 => libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ),
            code => code,
        }
    };
    ensure!(code == 0, "mount namespace: {}", std::io::Error::last_os_error());
    run("mount", &["-t", "tmpfs", "tmpfs", scratch.to_str().context("scratch path")?])
}

/// Run a tool; its complaint is the error.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("{program} is not installed"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), complaint.trim());
    Ok(())
}

/// A mounted disk.
pub struct Disk {
    kind: Kind,
    /// Where it is mounted.
    pub at: PathBuf,
    size: u64,
}

impl Disk {
    /// Make and mount one; a tmpfs gets its size later.
    pub fn new(kind: Kind, scratch: &Path) -> Result<Disk> {
        let at = scratch.join(format!("{kind:?}"));
        std::fs::create_dir_all(&at)?;
        let disk = Disk { kind, at, size: 0 };
        if kind.image() > 0 {
            let image = scratch.join(format!("{kind:?}.img"));
            std::fs::File::create(&image)?.set_len(kind.image())?;
            let image = image.to_str().context("scratch path")?;
            match kind {
                Kind::Ext4 | Kind::Writeback => run("mkfs.ext4", &["-q", "-F", "-m", "0", image])?,
                Kind::Xfs | Kind::Reflink => run("mkfs.xfs", &["-q", "-f", image])?,
                Kind::Mixed => run("mkfs.btrfs", &["-q", "-f", "--mixed", image])?,
                _ => run("mkfs.btrfs", &["-q", "-f", "-m", "single", "-d", "single", image])?,
            }
            run("mount", &["-o", "loop", image, disk.target()])?;
            if matches!(kind, Kind::Btrfs | Kind::Snapshot) {
                disk.reserve_metadata()?;
            }
            if kind == Kind::Quota {
                run("btrfs", &["quota", "enable", disk.target()])?;
            }
        }
        Ok(disk)
    }

    /// Space that is given to data is none for metadata: have some set aside, as on any disk that has
    /// been in use.
    fn reserve_metadata(&self) -> Result<()> {
        let name = |n: u32| self.at.join(n.to_string());
        for n in 0..8000 {
            std::fs::write(name(n), [7; 2000])?;
        }
        self.settle()?;
        (0..8000).try_for_each(|n| std::fs::remove_file(name(n)))?;
        self.settle()
    }

    fn target(&self) -> &str {
        self.at.to_str().unwrap_or_default()
    }

    /// Where a channel may be made.
    pub fn channel(&self) -> PathBuf {
        match self.kind {
            Kind::Quota | Kind::Snapshot => self.at.join("sub/channel"),
            _ => self.at.join("channel"),
        }
    }

    /// Empty it, and leave room for so many bytes (or inodes).
    pub fn leave(&mut self, room: u64) -> Result<()> {
        self.size = room;
        match self.kind {
            Kind::Tmpfs | Kind::Inodes => {
                let _ = run("umount", &[self.target()]);
                // A size of 0 is none at all for a tmpfs: then its one block is taken.
                let option = match self.kind {
                    Kind::Tmpfs => format!("size={}", room.max(4096)),
                    _ => format!("size=64m,nr_inodes={}", room + 1),
                };
                run("mount", &["-t", "tmpfs", "-o", &option, "tmpfs", self.target()])?;
                if self.kind == Kind::Tmpfs && room == 0 {
                    std::fs::write(self.ballast(), [0; 4096])?;
                }
                Ok(())
            }
            Kind::Quota => {
                self.fresh_subvolume()?;
                self.limit(&(room + (16 << 10)).to_string())
            }
            Kind::Snapshot => {
                let _ = std::fs::remove_file(self.ballast());
                self.fresh_subvolume()
            }
            Kind::Reflink => {
                let _ = std::fs::remove_file(self.ballast());
                let _ = std::fs::remove_dir_all(self.at.join("copy"));
                Ok(())
            }
            _ => {
                let _ = std::fs::remove_file(self.ballast());
                let _ = std::fs::remove_file(self.channel().with_file_name("more"));
                let _ = std::fs::remove_dir_all(self.channel());
                self.fill(room)
            }
        }
    }

    fn fresh_subvolume(&self) -> Result<()> {
        for name in ["sub", "copy"].map(|n| self.at.join(n)) {
            if name.exists() {
                run("btrfs", &["subvolume", "delete", "-C", name.to_str().unwrap_or_default()])?;
            }
        }
        run("btrfs", &["subvolume", "create", self.at.join("sub").to_str().unwrap_or_default()])
    }

    /// Have all blocks of the channel shared with a copy, and the disk full but for `size`.
    pub fn share(&self) -> Result<()> {
        let (sub, copy, channel) = (self.at.join("sub"), self.at.join("copy"), self.channel());
        let name = |p: &PathBuf| p.to_str().unwrap_or_default().to_string();
        match self.kind {
            Kind::Snapshot => run("btrfs", &["subvolume", "snapshot", &name(&sub), &name(&copy)])?,
            Kind::Reflink => run("cp", &["-r", "--reflink=always", &name(&channel), &name(&copy)])?,
            _ => return Ok(()),
        }
        self.fill(self.size)
    }

    fn limit(&self, bytes: &str) -> Result<()> {
        // By number, at the top: a full quota refuses even to be raised from within.
        let output = Command::new("btrfs")
            .args(["inspect-internal", "rootid"])
            .arg(self.at.join("sub"))
            .output()?;
        let id = format!("0/{}", String::from_utf8_lossy(&output.stdout).trim());
        ensure!(id.len() > 2, "no subvolume");
        run("btrfs", &["qgroup", "limit", bytes, &id, self.target()])
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Take all the space there is but `room`.
    pub fn fill(&self, room: u64) -> Result<()> {
        use std::os::fd::AsRawFd;
        let file = std::fs::File::create(self.ballast())?;
        self.settle()?;
        let (mut len, mut piece) = (0, 64 << 20);
        while piece >= 4096 {
            // SAFETY: as above.
            match unsafe { libc::fallocate(file.as_raw_fd(), 0, len, piece) } {
                0 => len += piece,
                _ => piece /= 2,
            }
        }
        file.set_len((len as u64).saturating_sub(room))?;
        self.settle()
    }

    /// Take what is left, to the last block.
    pub fn top_up(&self) -> Result<()> {
        use std::io::Write;
        let into = self.channel().with_file_name("more");
        let Ok(mut file) = std::fs::File::create(into) else { return Ok(()) };
        while file.write_all(&[1; 4096]).is_ok() {}
        let _ = file.sync_all();
        Ok(())
    }

    /// Now there is space.
    pub fn make_room(&self) -> Result<()> {
        let _ = std::fs::remove_file(self.channel().with_file_name("more"));
        let remount = |option: String| run("mount", &["-o", &option, self.target()]);
        match self.kind {
            Kind::Tmpfs => remount(format!("remount,size={}", self.size + (64 << 20))),
            Kind::Inodes => remount("remount,size=256m,nr_inodes=10000".into()),
            Kind::Quota => self.limit("none"),
            _ => {
                std::fs::remove_file(self.ballast())?;
                self.settle()
            }
        }
    }

    /// Space that was given back is to be had only after that (btrfs, xfs).
    fn settle(&self) -> Result<()> {
        use std::os::fd::AsRawFd;
        let top = std::fs::File::open(&self.at)?;
        // SAFETY: plain system call on an open file.
        unsafe { libc::syncfs(top.as_raw_fd()) };
        Ok(())
    }

    /// Whether even a store to allocated space may be refused.
    pub fn refuses_stores(&self) -> bool {
        matches!(self.kind, Kind::Quota | Kind::Mixed | Kind::Reflink | Kind::Snapshot)
    }

    /// Codes that say: full.
    pub fn full(&self, code: i32) -> bool {
        match self.kind {
            Kind::Quota => code == -libc::EDQUOT || code == -libc::ENOSPC,
            _ => code == -libc::ENOSPC,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a failed case left open keeps it busy.
        let _ = run("umount", &["-l", self.target()]);
    }
}

/// A kind of disk that this machine has.
pub fn available(kind: Kind, scratch: &Path) -> Result<()> {
    // SAFETY: the child ends.
    match unsafe { libc::fork() } {
        0 => {
            let tried =
                private_mounts(scratch).and_then(|()| Disk::new(kind, scratch)?.leave(1 << 20));
            if let Err(e) = &tried {
                println!("SKIPPED: full disks of kind {kind:?}: {e:#}");
            }
            // SAFETY: ends this process without the parent's exit handlers.
            unsafe { libc::_exit(tried.is_err().into()) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: our child.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            if status != 0 {
                bail!("not here");
            }
            Ok(())
        }
    }
}
