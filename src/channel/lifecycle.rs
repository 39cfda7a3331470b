//! How a channel's directory comes to be and how it goes.
//!
//! A channel comes into being when its `channel` file is linked, complete, under its name; it ends when
//! that file is unlinked, last of all.

use std::path::Path;

use super::open::{not_a_channel, os, read_superblock, RESERVE};
use crate::error::{fail, Result, DC_E_ARGUMENT, DC_E_BUSY};
use crate::layout::control::{self, Window, BOOT_ID, CHANNEL_LEN, LOCK_OPEN, LOCK_READERS};
use crate::layout::superblock::{Superblock, SIZE, STATE_DESTROYED};
use crate::layout::{is_ours, position, temporary_name, CHANNEL_FILE, FIRST_PAGE};
use crate::sys::errno::Os;
use crate::sys::file::{self, Dir};
use crate::sys::{clock, lock};

/// Create the channel file; false: somebody else did.
pub(super) fn create(path: &Path, dir: &Dir, wanted: &Superblock) -> Result<bool> {
    let name = temporary_name(file::unique());
    let sb = Superblock { uuid: file::random_bytes(), ..*wanted };
    let made = (|| -> Os<bool> {
        let fd = dir.create_new(&name)?;
        lock::try_exclusive(&fd, super::pages::LOCK_PIN, 1)?;
        fd.chmod(sb.mode)?;
        fd.allocate(0, CHANNEL_LEN as u64)?;
        fd.write_at(&sb.encode(), 0)?;
        fd.write_at(&sb.encode(), SIZE as u64)?;
        let word = |at: usize, v: u64| fd.write_at(&v.to_le_bytes(), at as u64);
        word(control::WINDOW, Window { oldest: FIRST_PAGE, groups: 0 }.pack())?;
        word(control::NEWEST, FIRST_PAGE)?;
        word(control::DURABLE, position(FIRST_PAGE, 0))?;
        word(control::HIGH_WATER, FIRST_PAGE + RESERVE)?;
        fd.write_at(&clock::boot_id()?, BOOT_ID as u64)?;
        fd.sync_all()?;
        match dir.rename_noreplace(&name, CHANNEL_FILE) {
            Ok(()) => {}
            Err(libc::EEXIST | libc::ENOENT) => {
                let _ = dir.unlink(&name);
                return Ok(false);
            }
            Err(e) => return Err(e),
        }
        dir.chmod(directory_mode(sb.mode))?;
        dir.sync()?;
        file::sync_parent(path)?;
        Ok(true)
    })();
    made.map_err(|e| {
        let _ = dir.unlink(&name);
        // A directory that was there before and is not empty stays; so does one somebody uses.
        let _ = file::remove_dir(path);
        os(e, "create a channel in", path)
    })
}

/// Remove the channel at `path`.
pub(super) fn destroy(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(fail!(DC_E_ARGUMENT, "the path is empty"));
    }
    let dir = match Dir::open(path) {
        Ok(dir) => dir,
        Err(libc::ENOTDIR) => return Err(not_a_channel(path, "is not a directory")),
        Err(e) => return Err(os(e, "open", path)),
    };
    let fd = match dir.open_file(CHANNEL_FILE, true) {
        Ok(fd) => fd,
        Err(libc::ENOENT) => return Err(not_a_channel(path, "is not a channel")),
        Err(e) => return Err(os(e, "open the channel file in", path)),
    };
    let sb = read_superblock(path, &fd)?;
    let lock = |byte| lock::try_exclusive(&fd, byte, 1).map_err(|e| os(e, "lock", path));
    if !lock(LOCK_OPEN)? || !lock(LOCK_READERS)? {
        return Err(fail!(DC_E_BUSY, "{} is open: close it everywhere first", path.display()));
    }
    let stat = fd.stat().map_err(|e| os(e, "stat", path))?;
    if !dir.stat_of(CHANNEL_FILE).is_ok_and(|s| s.ino == stat.ino) {
        return Err(os(libc::ENOENT, "find a channel in", path));
    }
    let gone = Superblock { sequence: sb.sequence.saturating_add(1), state: STATE_DESTROYED, ..sb };
    (|| {
        // One after the other: a power cut may tear the one that is being written.
        fd.write_at(&gone.encode(), 0)?;
        fd.sync_data()?;
        fd.write_at(&gone.encode(), SIZE as u64)?;
        fd.sync_data()
    })()
    .map_err(|e| os(e, "mark as destroyed", path))?;
    finish_destroying(path, &dir)?;
    match file::remove_dir(path) {
        Ok(()) | Err(libc::ENOENT) => Ok(()),
        Err(e) => Err(os(e, "remove directory (the channel itself is gone)", path)),
    }
}

/// Remove the files of a channel marked as destroyed, its superblock last.
pub(super) fn finish_destroying(path: &Path, dir: &Dir) -> Result<()> {
    for name in dir.list().map_err(|e| os(e, "list", path))? {
        if is_ours(&name) && name != CHANNEL_FILE {
            match dir.unlink(&name) {
                Ok(()) | Err(libc::ENOENT) => {}
                Err(e) => return Err(os(e, "remove files of", path)),
            }
        }
    }
    // What is left without it would not be known as a channel's: the other names go first on the disk too.
    dir.sync().map_err(|e| os(e, "flush", path))?;
    match dir.unlink(CHANNEL_FILE) {
        Ok(()) | Err(libc::ENOENT) => Ok(()),
        Err(e) => Err(os(e, "remove the channel file of", path)),
    }
}

/// The directory's bits: as the files', and x where there is r.
pub(super) fn directory_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}
