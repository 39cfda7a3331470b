//! Looking without touching: is there something to receive, and how do things stand?

use super::{Member, SCAN_EVERY};
use crate::consumer::observer::news_at;
use crate::consumer::Core;
use crate::engine::page::Look;
use crate::error::Result;
use crate::layout::group::{GAP, RETURNED};
use crate::layout::{page_of, slot_of};
use crate::options::ConsumerInfo;
use crate::sync::{Acquire, Memory, SeqCst};

impl Member {
    pub(in crate::consumer) fn more_at_hand(&self, core: &Core) -> bool {
        if self.full() {
            return false;
        }
        if self.adopted.delivering() {
            return self.adopted.more_at_hand(&self.group, core);
        }
        self.handed < self.count && self.peek(core)
    }

    /// Whether a message follows in the claim, over tombstones.
    pub(in crate::consumer) fn peek(&self, core: &Core) -> bool {
        let Some(page) = &core.page else { return false };
        (self.handed..self.count)
            .map(|i| self.first + i as u64)
            .take_while(|&at| page_of(at) == page.number())
            .any(|at| page.view.look(slot_of(at)) != Look::Tombstone)
    }

    pub(in crate::consumer) fn ready(&self, core: &Core) -> bool {
        let mem = self.group.mem();
        let at = self.group.view.cursor().position;
        if self.handed < self.count
            || self.adopted.delivering()
            || mem.load(RETURNED, SeqCst) != self.seen_returned
            || (self.seen_gap.saturating_add(1)..=at).contains(&mem.load(GAP, Acquire))
        {
            return true;
        }
        match &core.page {
            Some(page) if page.number() == page_of(at) => match page.view.look(slot_of(at)) {
                // The short sleep looks again for what is not published.
                Look::Free | Look::Unpublished => false,
                Look::End => core.must_ask() || core.shared.newest() > page.number(),
                _ => true,
            },
            Some(_) if core.must_ask() => true,
            _ => news_at(&core.shared, at, false),
        }
    }

    /// The library thread's look: is there news, or does a dead consumer hold something?
    pub(in crate::consumer) fn watch(&self, core: &Core) -> Box<dyn Fn() -> bool + Send> {
        let (group, shared) = (self.group.clone(), core.shared.arc().clone());
        Box::new(move || {
            let orphaned = |e| group.view.busy(e) && !group.owned_by_anyone(e);
            news_at(&shared, group.view.cursor().position, true)
                || (0..group.entries()).any(orphaned)
        })
    }

    pub(in crate::consumer) fn stats(&self, core: &Core) -> Result<ConsumerInfo> {
        let group = core.shared.group_info(&self.group)?;
        // What was taken over and is still to be handed out here is not this handle's yet.
        let own = core.shared.entry_contents(&self.group, self.entry, self.group.view.cursor())?.0;
        let unacked = own + self.adopted.unacked() as u64;
        Ok(ConsumerInfo {
            position: group.position,
            lag: group.lag,
            unacked,
            lost: group.lost.saturating_sub(self.lost_before),
            ..ConsumerInfo::default()
        })
    }

    /// Look for leases of the dead, if it is time to.
    pub(in crate::consumer) fn scan_due(&mut self) -> bool {
        let returned = self.group.mem().load(RETURNED, Acquire);
        if returned != self.seen_returned {
            self.seen_returned = returned;
            return true;
        }
        let now = Core::coarse_now();
        if now >= self.next_scan {
            self.next_scan = now + SCAN_EVERY;
            // Deaths are not counted when they happen.
            let _ = self.group.recount();
            return true;
        }
        false
    }
}
