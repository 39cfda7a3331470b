//! An observer: sees every message, keeps its place to itself, works with read permission alone.

use std::sync::Arc;

use super::{Core, Step, Turn};
use crate::channel::pages::Pinned;
use crate::channel::{Shared, User};
use crate::engine::page::Look;
use crate::error::Result;
use crate::layout::page::BASE_AT;
use crate::layout::{page_of, slot_of};
use crate::options::{ConsumerInfo, Message, CHECKSUM_OFF};
use crate::sync::{Acquire, AtomicU64, Memory, Relaxed};

/// Where an observer is.
pub(super) struct Observer {
    /// The next position to look at.
    pub(super) at: u64,
    /// The same, for the library thread.
    seen: Arc<AtomicU64>,
    /// Messages ever sent before it, where known: tells how many a gap had.
    before: Option<u64>,
    lost: u64,
}

impl Observer {
    pub(super) fn new(shared: &User, start: u64) -> Result<Observer> {
        let at = shared.resolve_start(start)?;
        let before = shared.messages_before(at)?;
        Ok(Observer { at, seen: Arc::new(AtomicU64::new(at)), before, lost: 0 })
    }

    fn go_to(&mut self, at: u64) {
        self.at = at;
        self.seen.store(at, Relaxed);
    }

    #[inline(always)]
    pub(super) fn step(&mut self, core: &mut Core, out: &mut Message) -> Result<Step> {
        // Bounded: each round passes a slot or a page, or ends.
        loop {
            match core.turn_to(self.at)? {
                Turn::Here => {}
                Turn::EndOfPage => return Ok(Step::EndOfPage),
                Turn::Damaged => {
                    let (at, newest) = (self.at, core.shared.newest());
                    if page_of(at) >= newest {
                        return Ok(Step::Nothing { pending: true });
                    }
                    let next = core.shared.page_after(page_of(at))?.max(page_of(at) + 1);
                    self.go_to(Core::first_of(next));
                    self.before = None;
                    return Err(core.damaged_page(at, out));
                }
                Turn::Unmade => return Ok(Step::Nothing { pending: false }),
                Turn::Missing => match self.page_missing(core)? {
                    Some(step) => return Ok(step),
                    None => continue,
                },
            }
            let Some(page) = &core.page else { continue };
            let at = self.at;
            let mut look = page.view.look(slot_of(at));
            // What a machine crash may have torn, and no checksum tells, is not for readers who cannot
            // have it checked.
            if core.shared.checksum == CHECKSUM_OFF
                && core.shared.read_only
                && at >= core.shared.certain()
                && core.shared.doubtful(page)
            {
                look = Look::Tombstone;
            }
            match look {
                Look::Tombstone => self.go_to(at + 1),
                found @ (Look::Message { .. } | Look::Damaged) => {
                    self.go_to(at + 1);
                    self.before = self.before.map(|n| n.saturating_add(1));
                    core.take(at, found, 1, out)?;
                    return Ok(Step::Message);
                }
                Look::Free => return Ok(Step::Nothing { pending: false }),
                Look::Unpublished => {
                    if !core.settle(at) {
                        return Ok(Step::Nothing { pending: true });
                    }
                    // Read-only: nobody may be there to bury it; step over it all the same.
                    if core.shared.read_only && core.look(at) == Look::Unpublished {
                        self.go_to(at + 1);
                    }
                }
                Look::End => {
                    let number = page.number();
                    if number >= core.shared.newest() && !core.must_ask() {
                        return Ok(Step::Nothing { pending: false });
                    }
                    if number < core.shared.newest() {
                        let next = core.shared.page_after(number)?;
                        self.pass(core, next)?;
                    }
                    if core.must_ask() {
                        return Ok(Step::EndOfPage);
                    }
                    core.drop_page();
                }
            }
        }
    }

    /// Go on from the end of the page in hand to page `next`, which may not be the one that followed.
    fn pass(&mut self, core: &Core, next: u64) -> Result<()> {
        // Where pages in between were dropped, `page_missing` finds out: the position stays below them.
        let follows = core.page.as_ref().map_or(next, |p| p.number() + 1);
        let oldest = core.shared.window().oldest;
        self.go_to(Core::first_of(if follows < oldest { follows } else { next }));
        Ok(())
    }

    /// The page was there: its number was skipped, or it was dropped unread.
    #[cold]
    fn page_missing(&mut self, core: &mut Core) -> Result<Option<Step>> {
        let (page, oldest) = (page_of(self.at), core.shared.window().oldest);
        if page >= oldest {
            let next = core.shared.page_after(page)?.max(page + 1);
            self.go_to(Core::first_of(next));
            return Ok(None);
        }
        // Pin the page to go on in before counting what was lost in front of it.
        let to = Core::first_of(oldest);
        if !matches!(core.turn_to(to)?, Turn::Here) {
            return Ok(Some(Step::Nothing { pending: true }));
        }
        self.go_to(to);
        let base = core.page.as_ref().map_or(0, |p| p.view.mem.load(BASE_AT, Acquire));
        let known = base.checked_sub(1);
        let lost = match (self.before, known) {
            (Some(before), Some(base)) => base.saturating_sub(before),
            _ => 1,
        };
        self.before = known;
        if lost == 0 {
            return Ok(None);
        }
        self.lost += lost;
        Ok(Some(Step::Lagged))
    }

    pub(super) fn seek(&mut self, core: &mut Core, to: u64) -> Result<()> {
        let at = core.shared.resolve_start(to)?;
        self.before = core.shared.messages_before(at)?;
        self.go_to(at);
        core.drop_page();
        core.turn_to(at)?;
        Ok(())
    }

    pub(super) fn more_at_hand(&self, core: &Core) -> bool {
        core.page.as_ref().is_some_and(|page| {
            page.number() == page_of(self.at)
                && matches!(page.view.look(slot_of(self.at)), Look::Message { .. })
        })
    }

    pub(super) fn ready(&self, core: &Core) -> bool {
        match &core.page {
            Some(page) if page.number() == page_of(self.at) => {
                match page.view.look(slot_of(self.at)) {
                    // The short sleep looks again for what is not published.
                    Look::Free | Look::Unpublished => false,
                    Look::End => core.must_ask() || core.shared.newest() > page.number(),
                    _ => true,
                }
            }
            _ => news_at(&core.shared, self.at, false),
        }
    }

    pub(super) fn watch(&self, core: &Core) -> Box<dyn Fn() -> bool + Send> {
        let (shared, seen) = (core.shared.arc().clone(), self.seen.clone());
        Box::new(move || news_at(&shared, seen.load(Relaxed), true))
    }

    pub(super) fn stats(&self, core: &Core) -> Result<ConsumerInfo> {
        Ok(ConsumerInfo {
            position: self.at,
            lag: core.shared.contents(self.at, false)?.0,
            lost: self.lost,
            ..ConsumerInfo::default()
        })
    }
}

/// Whether there is anything to see at a position: a message, the end of a page with another behind it,
/// or (`pending`) a claim.
pub(super) fn news_at(shared: &Shared, at: u64, pending: bool) -> bool {
    match shared.pin(page_of(at)) {
        Ok(Pinned::Page(page)) => match page.view.look(slot_of(at)) {
            Look::Free => false,
            Look::Unpublished => pending,
            Look::End => shared.newest() > page.number(),
            _ => true,
        },
        Ok(Pinned::Missing | Pinned::Damaged) => page_of(at) < shared.newest(),
        Err(_) => true,
    }
}
