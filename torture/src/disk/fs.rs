//! The file systems that are cut, and how one is made, mounted, and brought back after a power cut.

use std::ffi::CStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::device::Server;
use super::system::{self, Loop};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileSystem {
    Ext4,
    /// Ext4 without a journal: after a power cut nothing can be said before `e2fsck -y`.
    Ext4NoJournal,
    Xfs,
    Btrfs,
}

pub const ALL: [FileSystem; 4] =
    [FileSystem::Ext4, FileSystem::Ext4NoJournal, FileSystem::Xfs, FileSystem::Btrfs];

const MIB: u64 = 1 << 20;

impl FileSystem {
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Ext4NoJournal => "ext4-no-journal",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    fn kind(self) -> &'static CStr {
        match self {
            FileSystem::Ext4 | FileSystem::Ext4NoJournal => c"ext4",
            FileSystem::Xfs => c"xfs",
            FileSystem::Btrfs => c"btrfs",
        }
    }

    /// The smallest disk that it takes, or little more.
    pub fn disk_size(self) -> u64 {
        match self {
            FileSystem::Ext4 | FileSystem::Ext4NoJournal => 64 * MIB,
            FileSystem::Xfs => 320 * MIB,
            FileSystem::Btrfs => 256 * MIB,
        }
    }

    /// What the disk writes as a whole, and so what a power cut can tear a write into. Btrfs checks its
    /// superblock of 4 KiB by one sum and mounts no torn one: it relies on such disks.
    pub fn sector(self) -> u64 {
        match self {
            FileSystem::Btrfs => 4096,
            _ => 512,
        }
    }

    fn options(self) -> &'static CStr {
        match self {
            // Images have one identity, and two of them may be mounted at a time.
            FileSystem::Xfs => c"nouuid",
            _ => c"",
        }
    }

    fn make(self) -> Command {
        let words = match self {
            FileSystem::Ext4 => {
                "mkfs.ext4 -q -F -b 4096 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0"
            }
            FileSystem::Ext4NoJournal => {
                "mkfs.ext4 -q -F -b 4096 -O ^has_journal -E lazy_itable_init=0"
            }
            FileSystem::Xfs => "mkfs.xfs -q -f",
            FileSystem::Btrfs => "mkfs.btrfs -q -f -m single -d single",
        };
        let mut words = words.split(' ');
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// Why it cannot be tried on this machine.
    pub fn missing(self) -> Option<String> {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return Some("needs root".to_string());
        }
        for device in ["/dev/fuse", "/dev/loop-control"] {
            if let Err(e) = std::fs::File::open(device) {
                return Some(format!("{device}: {e}"));
            }
        }
        let mut make = self.make();
        if let Err(e) = make.arg("-V").output() {
            return Some(format!("{}: {e}", make.get_program().to_string_lossy()));
        }
        let kind = self.kind().to_string_lossy();
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let known = known.lines().any(|l| l.split_whitespace().last() == Some(&kind));
        if !known && !Command::new("modprobe").arg(&*kind).status().is_ok_and(|s| s.success()) {
            return Some(format!("this kernel has no {kind}"));
        }
        None
    }

    /// Make it on an empty disk, and mount it.
    pub fn make_and_mount(self, server: &Server, at: &Path) -> Result<()> {
        let disk = Loop::attach(&server.file("disk"), self.sector() as u32)?;
        system::tool(self.make().arg(&disk.path), |code| code == 0)?;
        system::mount(&disk.path, at, self.kind(), self.options())
            .with_context(|| format!("mounting a new {}", self.name()))
    }

    /// Mount what a power cut left.
    pub fn mount_after_cut(self, server: &Server, at: &Path) -> Result<()> {
        let disk = Loop::attach(&server.file("disk"), self.sector() as u32)?;
        if self == FileSystem::Ext4NoJournal {
            // 1: errors were corrected; 2: and a reboot is advised, were it mounted.
            let mut check = Command::new("e2fsck");
            system::tool(check.args(["-f", "-y"]).arg(&disk.path), |code| code <= 2)?;
        }
        system::mount(&disk.path, at, self.kind(), self.options())
            .with_context(|| format!("{} cannot be mounted after the cut", self.name()))
    }
}
