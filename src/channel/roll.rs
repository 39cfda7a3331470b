//! Roll-over: making room, preparing the next page, moving on to it.
//!
//! Page `newest + 1` is linked ahead of need, so that rolling over is one compare-exchange. Making room
//! is another: the oldest page leaves the window. Only then is its file cleared and linked anew under
//! the next number, by whoever prepares pages; where somebody still uses it, it is unlinked instead.

use std::sync::Arc;
use std::time::Duration;

use super::groups::Group;
use super::pages::{clear_slots, Page, PageFile, Pinned, LOCK_PIN};
use super::Shared;
use crate::engine::sleepers::{FOR_MESSAGES, FOR_ROOM};
use crate::error::{fail, Error, Result, DC_AGAIN, DC_E_CORRUPT, DC_E_LIMIT};
use crate::layout::control::{self, Window, LOCK_PREPARE, NEWEST, RECOVERIES, WINDOW};
use crate::layout::page::{self, Header, BASE_AT, NUMBER_AT};
use crate::layout::{
    page_name, page_number, position, slot_of, temporary_name, temporary_number, FileName,
    FIRST_PAGE, PAGE_LIMIT,
};
use crate::options::{RETAIN_LIVE, RETAIN_RING, RETAIN_UNREAD};
use crate::sync::{AcqRel, Acquire, Memory, Relaxed, Release, SeqCst};
use crate::sys::errno::Os;
use crate::sys::file::{self, Fd};
use crate::sys::{clock, lock};

impl Shared {
    /// The window of pages kept.
    pub(crate) fn window(&self) -> Window {
        Window::unpack(self.ctl.load(WINDOW, Acquire))
    }

    /// The page that takes new messages.
    pub(crate) fn newest(&self) -> u64 {
        self.ctl.load(NEWEST, Acquire).clamp(FIRST_PAGE, PAGE_LIMIT - 1)
    }

    /// The next page after `number` that exists or will be made.
    pub(crate) fn page_after(&self, number: u64) -> Result<u64> {
        let (next, newest) = (number + 1, self.newest());
        if next >= newest || self.dir.stat_of(&page_name(next)).is_ok() {
            return Ok(next.max(self.window().oldest));
        }
        // Numbers have a gap where a machine crash was recovered from.
        let mut after = newest;
        self.each_page(|n| after = if n > number { after.min(n) } else { after })?;
        Ok(after.clamp(next, newest))
    }

    /// Call `f` with the number of every page file.
    fn each_page(&self, mut f: impl FnMut(u64)) -> Result<()> {
        let each = self.dir.each(|name| {
            page_number(name).into_iter().for_each(&mut f);
            Ok(())
        });
        each.map_err(|e| self.os_dir(e, "list"))
    }

    /// The last page before `number` that exists; none below the window.
    pub(crate) fn page_before(&self, number: u64) -> Result<Option<u64>> {
        let oldest = self.window().oldest;
        if number > oldest && self.dir.stat_of(&page_name(number - 1)).is_ok() {
            return Ok(Some(number - 1));
        }
        let mut before = None;
        self.each_page(|n| {
            if (oldest..number).contains(&n) {
                before = before.max(Some(n));
            }
        })?;
        Ok(before)
    }

    /// The page to send to, made where there is none; `sealed` is the one just found full (0: none).
    /// [`DC_AGAIN`]: no room, or nothing prepared.
    pub(crate) fn page_for_sending(&self, mut sealed: u64, prepared_only: bool) -> Result<Page> {
        // Bounded by the progress of others: each round follows a page that somebody else filled.
        loop {
            let newest = self.newest();
            if self.window().oldest > self.newest() || self.ctl.load(NEWEST, Acquire) != newest {
                // Other values than these two are damage; a newer one is simply looked at again.
                let raw = self.ctl.load(NEWEST, Acquire);
                if raw == self.newest() && raw >= self.window().oldest {
                    continue;
                }
                return Err(fail!(
                    DC_E_CORRUPT,
                    "{}: page {raw} cannot be the newest where page {} is the oldest",
                    self.path.display(),
                    self.window().oldest
                ));
            }
            if newest == sealed {
                self.make_room(newest + 1)?;
                self.ensure_page(newest + 1, prepared_only)?;
                // S-ROLL
                let _ = self.ctl.cas(NEWEST, newest, newest + 1, AcqRel);
                continue;
            }
            match self.pin(newest)? {
                Pinned::Page(page) => {
                    if !page.view.tail().sealed(&self.geometry) {
                        return Ok(page);
                    }
                    sealed = newest;
                }
                Pinned::Missing if self.newest() != newest => {}
                Pinned::Missing => {
                    self.make_room(newest)?;
                    self.ensure_page(newest, prepared_only)?;
                }
                Pinned::Damaged => sealed = newest,
            }
        }
    }

    fn ensure_page(&self, number: u64, prepared_only: bool) -> Result<()> {
        if self.dir.stat_of(&page_name(number)).is_ok() {
            return Ok(());
        }
        if prepared_only {
            self.ask_for_page(number);
            return Err(Error::silent(DC_AGAIN));
        }
        self.prepare(number)
    }

    /// Drop old pages until `number` may be added.
    fn make_room(&self, number: u64) -> Result<()> {
        // Bounded: every round drops a page or ends.
        loop {
            let w = self.window();
            if self.pages_with(number, w.oldest)? <= self.max_pages {
                return Ok(());
            }
            if !self.evict(w, number)? {
                return Err(Error::silent(DC_AGAIN));
            }
        }
    }

    /// How many pages there are with `number` as the newest.
    fn pages_with(&self, number: u64, oldest: u64) -> Result<u64> {
        let span = number.saturating_sub(oldest) + 1;
        if span <= self.max_pages || oldest >= self.ctl.load(control::SUSPECT_BELOW, Acquire) {
            return Ok(span);
        }
        // Numbers skipped after a machine crash are not pages.
        let mut live = 1;
        self.each_page(|n| live += u64::from((oldest..number).contains(&n)))?;
        Ok(live)
    }

    /// Drop the oldest page of window `w`, unless retention keeps it (false).
    fn evict(&self, w: Window, number: u64) -> Result<bool> {
        if w.oldest + 1 >= number {
            return Ok(false);
        }
        let next = self.page_after(w.oldest)?;
        let pinned = match self.pin(w.oldest)? {
            Pinned::Page(page) => Some(page),
            Pinned::Missing | Pinned::Damaged => None,
        };
        let leave = |groups: &[Arc<Group>]| {
            if self.retention == RETAIN_UNREAD && groups.is_empty() {
                return false;
            }
            let Some(page) = &pinned else { return true };
            if groups.iter().any(|g| self.retains(g) && !passed(g, page)) {
                return false;
            }
            // Whoever joined since is asked as well, before anybody is moved over the page.
            if self.window() != w {
                return true;
            }
            groups.iter().for_each(|g| self.pass_over(g, page, position(next, 0)));
            true
        };
        if !self.with_groups(w.groups, leave)? {
            return Ok(false);
        }
        if let Some(page) = &pinned {
            self.pass_base(page, next)?;
        }
        // S-WINDOW: fails when a group was created or joined since `w` was read.
        let to = Window { oldest: next, ..w };
        let _ = self.ctl.cas(WINDOW, w.pack(), to.pack(), SeqCst);
        Ok(true)
    }

    /// Whether this group's unacknowledged messages must stay.
    fn retains(&self, group: &Group) -> bool {
        match self.retention {
            RETAIN_RING => false,
            RETAIN_LIVE => group.live_consumers() > 0,
            _ => true,
        }
    }

    /// Take a lagging group over the rest of a page that is about to go, and count what it loses.
    fn pass_over(&self, group: &Group, page: &Page, to: u64) {
        // Bounded: a failed move means that a consumer claimed, and a page has 65,535 slots.
        for _ in 0..=65_536 {
            let c = group.view.cursor();
            if c.position >= position(page.number() + 1, 0) {
                return;
            }
            let from =
                if c.position < position(page.number(), 0) { 0 } else { slot_of(c.position) };
            let lost = page.view.messages_from(from);
            if group.view.move_cursor(c, to) {
                group.note_gap(lost, to);
                return;
            }
        }
    }

    /// Carry the count of messages over to the next page, where known.
    fn pass_base(&self, page: &Page, next: u64) -> Result<()> {
        let base = page.view.mem.load(BASE_AT, Acquire);
        if base != 0 {
            if let Pinned::Page(after) = self.pin(next)? {
                let _ = after.view.mem.cas(
                    BASE_AT,
                    0,
                    base.saturating_add(page.view.messages()),
                    AcqRel,
                );
            }
        }
        Ok(())
    }

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
            std::thread::sleep(Duration::from_micros(100));
        };
        let made = if self.dir.stat_of(&name).is_ok() { Ok(()) } else { self.make_page(number) };
        if turn {
            lock::unlock(&self.file, LOCK_PREPARE, 1);
        }
        made
    }

    fn make_page(&self, number: u64) -> Result<()> {
        self.reserve_numbers(number)?;
        // A spare that is taken away while it is prepared (a cleaner, a lost race) is replaced.
        for _ in 0..8 {
            let spare = match self.take_spare()? {
                Some(spare) => {
                    self.forget_durably(&spare)?;
                    spare
                }
                None => self.new_file(number)?,
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

    /// Before a file is reused whose page was (partly) on stable storage: that the page was dropped must
    /// be there first. Otherwise a power cut could bring the old name and the old table back with the
    /// new payload, and what was confirmed once is believed without a look.
    fn forget_durably(&self, spare: &Spare) -> Result<()> {
        let was = page_number(&spare.name).unwrap_or(0);
        if self.durable() > position(was, 0) {
            if let Err(e) = self.file.sync_data() {
                self.poison();
                return Err(self.os_dir(e, "flush the channel file in"));
            }
        }
        Ok(())
    }

    /// A file of a dropped page that nobody uses, locked; the others that are in use lose their names.
    fn take_spare(&self) -> Result<Option<Spare>> {
        let oldest = self.window().oldest;
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
            let free = lock::try_exclusive(&fd, LOCK_PIN, 1).unwrap_or(false);
            // Another preparer may have made it another page between opening and locking.
            let inode = fd.stat().map(|s| s.ino);
            if self.dir.stat_of(&name).map(|s| s.ino) != inode {
                return Ok(());
            }
            let whole = |s: file::Stat| s.size == self.geometry.file_len() && s.links == 1;
            if free && dropped && found.is_none() && fd.stat().is_ok_and(whole) {
                found = Some(Spare { name, fd, fresh: false });
            } else if free || dropped {
                let _ = self.dir.unlink(&name);
            }
            Ok(())
        });
        each.map_err(|e| self.os_dir(e, "list"))?;
        Ok(found)
    }

    fn new_file(&self, number: u64) -> Result<Spare> {
        let name = temporary_name(file::unique());
        let err = |e: i32| self.os_page(e, "create", number);
        let fd = self.dir.create_new(&name).map_err(err)?;
        let made = (|| -> Os<()> {
            lock::try_exclusive(&fd, LOCK_PIN, 1)?;
            fd.chmod(self.mode)?;
            fd.allocate(0, self.geometry.file_len())
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
        mem.store(NUMBER_AT, 0, SeqCst);
        // A file from before a machine crash may have words on disk that its tail does not know of.
        let known = mem.load(page::VERIFIED_AT, Relaxed) == self.ctl.load(RECOVERIES, Acquire);
        let used = page::Tail::unpack(mem.load(page::TAIL_AT, Relaxed)).count as usize;
        let all = self.geometry.slots + 1;
        clear_slots(&mem, if known { (used + 1).min(all) } else { all });
        Header {
            uuid: self.uuid,
            geometry: self.geometry,
            verified: self.ctl.load(RECOVERIES, Acquire),
            base: u64::from(number == FIRST_PAGE),
        }
        .write(&mem);
        mem.store(NUMBER_AT, number, Release);
        // Openers need the read lock as soon as the name is there: go over to it before linking.
        if !lock::try_shared(&spare.fd, LOCK_PIN, 1).map_err(err)? {
            return Ok(false);
        }
        match self.dir.rename_noreplace(&spare.name, &page_name(number)) {
            Ok(()) => {}
            Err(libc::EEXIST) => {
                let _ = self.dir.unlink(&spare.name);
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

    /// Whether the next page could be added now (for those who wait for room).
    pub(crate) fn has_room(&self) -> bool {
        let newest = self.newest();
        match self.pin(newest) {
            Ok(Pinned::Page(p)) if !p.view.tail().sealed(&self.geometry) => true,
            Ok(Pinned::Page(_)) => self.make_room(newest + 1).is_ok(),
            Ok(Pinned::Missing) => self.make_room(newest).is_ok(),
            Ok(Pinned::Damaged) | Err(_) => true,
        }
    }

    /// Tell those who wait for room that there may be some; after the change that made it.
    pub(crate) fn room_made(&self) {
        // S-SLEEP: the change was a plain store; order it before the look at the waiters.
        std::sync::atomic::fence(SeqCst);
        if FOR_ROOM.any(&self.ctl) {
            self.wake(FOR_ROOM, None);
        }
    }

    /// Tell those who wait for messages that there is news; after it was made visible.
    #[inline(always)]
    pub(crate) fn message_made(&self) {
        if FOR_MESSAGES.any(&self.ctl) {
            self.wake(FOR_MESSAGES, None);
        }
    }
}

/// A locked file on its way to become a page.
struct Spare {
    name: FileName,
    fd: Fd,
    fresh: bool,
}

/// Whether a group needs nothing of a page any more.
fn passed(group: &Group, page: &Page) -> bool {
    let floor = group.floor();
    if floor >= position(page.number() + 1, 0) {
        return true;
    }
    if floor < position(page.number(), 0) {
        return false;
    }
    let (messages, _, settled) = page.view.count(slot_of(floor), page.view.geometry.slots);
    settled && messages == 0
}
