//! After a flush that failed: what it covered is copied to new files.
//!
//! Making the pages dirty again and flushing them is not enough. On ext4, where the blocks of an allocated
//! file had never been written, a second write of the same cached page is sent to the disk, and reported
//! as done, but the file goes on calling its blocks unwritten: after a remount they read as zeros (measured:
//! 256 of 256 blocks, by stores as by `pwrite`). A new file has no such past.
//!
//! Runs in the open that ends a poisoning, alone. A file is replaced in one step when its copy is on stable
//! storage; killed anywhere, the channel is as it was, poisoned, and the next open begins anew.

use super::pages::LOCK_PIN;
use super::Shared;
use crate::layout::control::DURABLE;
use crate::layout::group::{file_len, ENTRIES, ENTRY_MAX};
use crate::layout::{is_group_file, page_number, page_of, temporary_name};
use crate::sync::{Acquire, Memory};
use crate::sys::errno::Os;
use crate::sys::file::{unique, Fd};
use crate::sys::lock;

/// Copy every file that a flush since the durable position may have failed to write.
pub(super) fn rewrite(shared: &Shared) -> Os<()> {
    let first = page_of(shared.ctl.load(DURABLE, Acquire)).max(shared.window().oldest);
    for name in shared.dir.list()? {
        let len = match page_number(&name) {
            Some(number) if number >= first => |_: &Fd, size| Ok(size),
            None if is_group_file(&name) => used_by_group,
            _ => continue,
        };
        // What is none of the channel's files is left as it is.
        let Ok(old) = shared.dir.open_file(&name, true) else { continue };
        let temporary = temporary_name(unique());
        let copied = copy(shared, &old, &temporary, len);
        if let Err(e) = copied.and_then(|()| shared.dir.rename(&temporary, &name)) {
            let _ = shared.dir.unlink(&temporary);
            return Err(e);
        }
    }
    shared.dir.sync()
}

/// How much of a group's file has blocks: its header, and the entries ever used.
fn used_by_group(old: &Fd, size: u64) -> Os<u64> {
    let mut entries = [0; 8];
    old.read_at(&mut entries, ENTRIES as u64)?;
    let entries = (u64::from_le_bytes(entries) as usize).clamp(1, ENTRY_MAX);
    Ok(size.min(file_len(entries) as u64))
}

fn copy(shared: &Shared, old: &Fd, temporary: &str, used: impl Fn(&Fd, u64) -> Os<u64>) -> Os<()> {
    let new = shared.dir.create_new(temporary)?;
    lock::try_exclusive(&new, LOCK_PIN, 1)?;
    new.chmod(shared.mode)?;
    let size = old.stat()?.size;
    let used = used(old, size)?;
    new.set_len(size)?;
    new.allocate(0, used)?;
    let mut piece = [0; 8192];
    let mut at = 0;
    while at < used {
        let n = old.read_at(&mut piece, at)?;
        if n == 0 {
            break;
        }
        new.write_at(&piece[..n], at)?;
        at += n as u64;
    }
    new.sync_data()
}
