//! Preparing the next page: a dropped page's file dressed anew, or a new one, linked under its number.

use std::sync::Arc;
use std::time::Duration;

use crate::channel::pages::{PageFile, Pinned, LOCK_PIN, LOCK_TAKE};
use crate::channel::Shared;
use crate::engine::page::PageView;
use crate::error::{fail, Error, Result, DC_E_LIMIT};
use crate::layout::control::{LOCK_PREPARE, MARK, RECOVERIES};
use crate::layout::page::{self, Header, UNIT};
use crate::layout::{
    page_name, page_number, position, temporary_name, temporary_number, FileName, FIRST_PAGE,
    PAGE_LIMIT,
};
use crate::sync::{planted, Acquire, Memory, Relaxed};
use crate::sys::errno::Os;
use crate::sys::file::{self, Fd};
use crate::sys::{clock, lock};

impl Shared {
    /// Make page `number` and link it, unless somebody else did.
    pub(crate) fn prepare(&self, number: u64) -> Result<()> {
        if number >= PAGE_LIMIT - 1 {
            return Err(fail!(
                DC_E_LIMIT,
                "{}: all page numbers are used: move to a new channel",
                self.path.display()
            ));
        }
        let _turn = self.preparing.lock();
        let name = page_name(number);
        let since = clock::now_ns();
        let patience = u64::from(self.stall_timeout_ms) * 1_000_000 / 2;
        // Two preparers at once are harmless but wasteful. One that is suspended holds the turn: it is
        // not waited for beyond half the stall timeout.
        let mut pause = Duration::from_micros(100);
        let turn = loop {
            if self.dir.stat_of(&name).is_ok() {
                return Ok(());
            }
            if lock::try_exclusive(&self.file, LOCK_PREPARE, 1)
                .map_err(|e| self.os_dir(e, "lock"))?
            {
                break true;
            }
            if clock::now_ns() - since > patience {
                break false;
            }
            // Hundreds that wait must not keep the one they wait for from running.
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(10));
        };
        let made = if self.dir.stat_of(&name).is_ok() { Ok(()) } else { self.make_page(number) };
        if turn {
            lock::unlock(&self.file, LOCK_PREPARE, 1);
        }
        made
    }

    fn make_page(&self, number: u64) -> Result<()> {
        self.reserve_numbers(number)?;
        if number == FIRST_PAGE {
            self.sync_own_name().map_err(|e| self.os_dir(e, "flush"))?;
        }
        // A spare that is taken away while it is prepared (a cleaner, a lost race) is replaced.
        for _ in 0..8 {
            let spare = match self.take_spare()? {
                Some(spare) => {
                    self.forget_durably(&spare)?;
                    spare
                }
                None => match self.new_file(number) {
                    // Files that lost their names take room as long as they are mapped.
                    Err(e) if e.code() == -libc::ENOSPC && self.unmap_gone() => {
                        self.new_file(number)?
                    }
                    made => made?,
                },
            };
            match self.dress(&spare, number) {
                Ok(true) => return Ok(()),
                Ok(false) => continue,
                Err(e) => {
                    let _ = self.dir.unlink(&spare.name);
                    return Err(e);
                }
            }
        }
        Err(Error::os(libc::EAGAIN, format_args!("{}: cannot link a page", self.path.display())))
    }

    /// Before the first other file is named: that the channel is. Its maker may have been killed before it
    /// flushed the directory and its parent, and without `channel` nobody would know what the others are.
    pub(crate) fn sync_own_name(&self) -> Os<()> {
        // Not to get at the parent says nothing about the disk: only a flush that failed poisons.
        let parent = self.dir.parent()?;
        let flushed = self.dir.sync().and_then(|()| parent.sync());
        if flushed.is_err() {
            self.poison();
        }
        flushed
    }

    /// Before a file is reused whose page was (partly) on stable storage: that the page was dropped must
    /// be there first. Otherwise a power cut could bring the old name and the old table back with the
    /// new payload, and what was confirmed once is believed without a look.
    fn forget_durably(&self, spare: &Spare) -> Result<()> {
        let was = page_number(&spare.name).unwrap_or(0);
        // What recovery would believe: a flusher that was killed may have raised the mark alone.
        let believed = self.certain().max(self.ctl.load(MARK, Acquire));
        if believed > position(was, 0) && !planted!("window_unflushed") {
            if let Err(e) = self.file.sync_data() {
                self.poison();
                return Err(self.os_dir(e, "flush the channel file in"));
            }
        }
        Ok(())
    }

    /// A file of a dropped page that nobody uses, locked. One in use loses its name; another one free is
    /// kept for the next time, unless there are more files than a channel may have.
    fn take_spare(&self) -> Result<Option<Spare>> {
        let oldest = self.window().oldest;
        let mut files = 0;
        self.each_page(|_| files += 1)?;
        let mut found: Option<Spare> = None;
        let each = self.dir.each(|name| {
            let name = match (page_number(name), temporary_number(name)) {
                (Some(number), _) if number < oldest => page_name(number),
                (_, Some(number)) => temporary_name(number),
                _ => return Ok(()),
            };
            let dropped = page_number(&name).is_some();
            let Ok(fd) = self.dir.open_file(&name, true) else {
                return Ok(());
            };
            // Another preparer may have made it another page between opening and locking. With this
            // lock, and the name seen after it, nobody does: those who pin never meet ours.
            let taken = lock::try_exclusive(&fd, LOCK_TAKE, 1).unwrap_or(false);
            let inode = fd.stat().map(|s| s.ino);
            if self.dir.stat_of(&name).map(|s| s.ino) != inode {
                return Ok(());
            }
            // Some pins last for a moment only (a count, a flush): worth a moment's wait.
            let free = taken
                && (0..4).any(|round| {
                    if round > 0 {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                    lock::try_exclusive(&fd, LOCK_PIN, 1).unwrap_or(false)
                });
            let whole = |s: file::Stat| s.size == self.geometry.file_len() && s.links == 1;
            let free = free || planted!("pins_ignored");
            let usable = free && dropped && fd.stat().is_ok_and(whole);
            if usable && found.is_none() {
                found = Some(Spare { name, fd, fresh: false });
            } else if usable && files <= self.max_pages.saturating_add(1) {
                // For the next time.
            } else if free || dropped {
                let gone = self.dir.unlink(&name).is_ok();
                files -= u64::from(gone && dropped);
            }
            Ok(())
        });
        each.map_err(|e| self.os_dir(e, "list"))?;
        Ok(found)
    }

    /// A temporary file that its maker has locked before anybody else.
    fn new_locked(&self) -> Os<(FileName, Fd)> {
        for _ in 0..100 {
            let name = temporary_name(file::unique());
            let fd = self.dir.create_new(&name)?;
            match lock::try_exclusive(&fd, LOCK_PIN, 2) {
                Ok(true) => return Ok((name, fd)),
                // A preparer took it for one left by the dead, and must not find it a page in use.
                Ok(false) => drop(self.dir.unlink(&name)),
                Err(e) => {
                    let _ = self.dir.unlink(&name);
                    return Err(e);
                }
            }
        }
        Err(libc::EAGAIN)
    }

    /// How much of a new page will be used soon, going by the one before it; 0: nothing is known, or there is time.
    fn likely_len(&self, number: u64) -> u64 {
        let now = clock::coarse_ms();
        let before = self.last_new_page.swap(now, Relaxed);
        if now.saturating_sub(before) > HURRY_MS {
            return 0;
        }
        let Ok(Pinned::Page(page)) = self.pin(number - 1) else { return 0 };
        let (tail, geometry) = (page.view.tail(), &self.geometry);
        let (count, slots) = (tail.count.clamp(1, geometry.slots as u64), geometry.slots as u64);
        let units = (u128::from(tail.units) * u128::from(slots) / u128::from(count)) as u64;
        // And some more, for the next one's messages are not quite those of the last.
        let bytes = (units + units / 16).min(geometry.units()).saturating_mul(UNIT as u64);
        geometry.payload_at() as u64 + bytes.min(WRITTEN_MAX)
    }

    fn new_file(&self, number: u64) -> Result<Spare> {
        let err = |e: i32| self.os_page(e, "create", number);
        let (name, fd) = self.new_locked().map_err(err)?;
        let made = (|| -> Os<()> {
            fd.chmod(self.mode)?;
            if planted!("pages_are_holes") {
                return fd.set_len(self.geometry.file_len());
            }
            fd.allocate(0, self.geometry.file_len())?;
            let likely = self.likely_len(number);
            // Written this way, the file is cached in large pieces, which each flush would write whole.
            if likely < WRITTEN_MIN || self.is_flushed() {
                return Ok(());
            }
            fd.overwrite_with_zeros(0, likely)
        })();
        if let Err(e) = made {
            let _ = self.dir.unlink(&name);
            return Err(err(e));
        }
        Ok(Spare { name, fd, fresh: true })
    }

    /// Turn a locked file into page `number` and link it; false: the file was taken away meanwhile.
    fn dress(&self, spare: &Spare, number: u64) -> Result<bool> {
        let err = |e: i32| self.os_page(e, "prepare", number);
        let again = self.dir.open_file(&spare.name, true);
        let file = match again {
            Ok(fd) if fd.stat().map(|s| s.ino) == spare.fd.stat().map(|s| s.ino) => {
                self.preparing(fd, &spare.name, number)?
            }
            Ok(_) => None,
            Err(libc::ENOENT) => None,
            Err(e) => return Err(err(e)),
        };
        let Some(file) = file else { return Ok(false) };
        let linked = self.dress_mapped(spare, &file, number);
        if !matches!(linked, Ok(true)) && spare.fresh {
            self.discard(&file);
        }
        linked
    }

    fn dress_mapped(&self, spare: &Spare, file: &Arc<PageFile>, number: u64) -> Result<bool> {
        let err = |e: i32| self.os_page(e, "prepare", number);
        let mem = self.words(file);
        file.populate(self.geometry.payload_at()).map_err(err)?;
        // A file from before a machine crash may have words on disk that its tail does not know of.
        let known = mem.load(page::VERIFIED_AT, Relaxed) == self.ctl.load(RECOVERIES, Acquire);
        let header = Header {
            uuid: self.uuid,
            geometry: self.geometry,
            verified: self.ctl.load(RECOVERIES, Acquire),
            base: u64::from(number == FIRST_PAGE),
        };
        let view = PageView { mem, number, geometry: self.geometry };
        view.dress(known, |mem| header.write(mem));
        // Openers need the read lock as soon as the name is there: go over to it before linking.
        if !lock::try_shared(&spare.fd, LOCK_PIN, 1).map_err(err)? {
            return Ok(false);
        }
        let Some(own) = self.own_name(spare).map_err(err)? else {
            return Ok(false);
        };
        match self.dir.rename_noreplace(&own, &page_name(number)) {
            Ok(()) => {}
            Err(libc::EEXIST) => {
                let _ = self.dir.unlink(&own);
                self.discard(file);
                return Ok(true);
            }
            Err(libc::ENOENT) => return Ok(false),
            Err(e) => return Err(err(e)),
        }
        // A preparer suspended for long may have linked a number long retired.
        if number < self.window().oldest || number > self.newest() + 1 {
            let _ = self.dir.unlink(&page_name(number));
        }
        Ok(true)
    }

    /// A name of a spare's own. A dropped page's name may have gone, and be that of another file by now, which a
    /// preparer suspended for long has linked under its retired number.
    fn own_name(&self, spare: &Spare) -> Os<Option<FileName>> {
        if spare.fresh {
            return Ok(Some(spare.name));
        }
        let own = temporary_name(file::unique());
        match self.dir.rename_noreplace(&spare.name, &own) {
            Ok(()) => {}
            Err(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e),
        }
        if self.dir.stat_of(&own).map(|s| s.ino) == spare.fd.stat().map(|s| s.ino) {
            return Ok(Some(own));
        }
        let _ = self.dir.unlink(&own);
        Ok(None)
    }
}

/// New pages at most so many milliseconds apart are written with zeros before they are mapped: it takes a fifth of the
/// time of faults (128 MiB on ext4: 163 ms by faults, 23 to 43 ms by writing and then 9 ms by faults), but may bring zeros
/// to the disk before the messages where these take long to come.
const HURRY_MS: u64 = 5_000;
/// From how many bytes on, and how many at most.
const WRITTEN_MIN: u64 = 256 << 10;
const WRITTEN_MAX: u64 = 64 << 20;

/// A locked file on its way to become a page.
struct Spare {
    name: FileName,
    fd: Fd,
    fresh: bool,
}
