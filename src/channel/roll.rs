//! Roll-over: making room, preparing the next page, moving on to it.
//!
//! Page `newest + 1` is linked ahead of need, so that rolling over is one compare-exchange. Making room
//! is another: the oldest page leaves the window. Only then is its file cleared and linked anew under
//! the next number, by whoever prepares pages; where somebody still uses it, it is unlinked instead.

mod prepare;

use std::sync::Arc;

use super::group::Group;
use super::pages::{Page, Pinned};
use super::Shared;
use crate::engine::sleepers::{FOR_MESSAGES, FOR_ROOM};
use crate::error::{fail, Error, Result, DC_AGAIN, DC_E_CORRUPT};
use crate::layout::control::{self, Window, NEWEST, WINDOW};
use crate::layout::page::BASE_AT;
use crate::layout::{page_name, page_number, position, slot_of, FIRST_PAGE, PAGE_LIMIT};
use crate::options::{RETAIN_LIVE, RETAIN_RING, RETAIN_UNREAD};
use crate::sync::{planted, AcqRel, Acquire, Memory, SeqCst};

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
    pub(super) fn each_page(&self, mut f: impl FnMut(u64)) -> Result<()> {
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
            // Numbers only grow, but for damage: towards one from before it no page is dropped.
            if number > self.newest() + 1 {
                return Ok(());
            }
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
            if planted!("losses_uncounted") {
                return true;
            }
            groups.iter().all(|g| self.pass_over(g, page, position(next, 0)))
        };
        if !self.with_groups(w.groups, leave)? {
            return Ok(false);
        }
        if let Some(page) = &pinned {
            self.pass_base(page, next)?;
        }
        // Ours is not to be the pin for which its file cannot be reused.
        drop(pinned);
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

    /// Take a lagging group over the rest of a page that is about to go, and count what it loses; false:
    /// it sought back meanwhile, and must not lose anything.
    fn pass_over(&self, group: &Group, page: &Page, to: u64) -> bool {
        let behind = || group.view.cursor().position >= position(page.number() + 1, 0);
        if behind() {
            return true;
        }
        // Held by somebody suspended in a seek: the consumers find the page missing, and move on.
        let Some(_still) = group.try_seek() else {
            return true;
        };
        // Bounded: a failed move means that a consumer claimed, and a page has 65,535 slots.
        for _ in 0..=65_536 {
            let c = group.view.cursor();
            if behind() {
                return true;
            }
            let from =
                if c.position < position(page.number(), 0) { 0 } else { slot_of(c.position) };
            let lost = page.view.messages_from(from);
            if lost > 0 && self.retains(group) {
                return false;
            }
            if group.view.move_cursor(c, to) {
                group.note_gap(lost, to);
                return true;
            }
        }
        true
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
        // An observer that only reads keeps no room, and may not write to wake anybody.
        if self.read_only {
            return;
        }
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

/// Whether a group needs nothing of a page any more.
fn passed(group: &Group, page: &Page) -> bool {
    let floor =
        if planted!("leases_forgotten") { group.view.cursor().position } else { group.floor() };
    if floor >= position(page.number() + 1, 0) {
        return true;
    }
    if floor < position(page.number(), 0) {
        return false;
    }
    let (messages, _, settled) = page.view.count(slot_of(floor), page.view.geometry.slots);
    settled && messages == 0
}
