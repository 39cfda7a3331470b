//! A member of a group: claims, leases, acknowledgements.

pub(super) mod lease;
mod news;
mod seek;

use std::sync::Arc;

use super::pace::Pace;
use super::{Core, Step, Turn};
use crate::channel::group::Group;
use crate::channel::groups::Patience;
use crate::channel::User;
use crate::engine::cursor::Claimed;
use crate::engine::page::Look;
use crate::error::{Result, DC_E_LIMIT};
use crate::layout::group::{CONSUMERS, GAP, LOST, NOBODY, RETURNED};
use crate::layout::{page_of, position, slot_of};
use crate::options::{Message, SubscribeOptions, ACK_MANUAL, ACK_NEXT, ACK_RECEIVE};
use crate::sync::{planted, Acquire, Memory};

/// Claimed ahead while alone in the group.
const PREFETCH_ALONE: usize = 32;
/// How often a consumer that is not waiting looks for leases of the dead, in milliseconds.
const SCAN_EVERY: u64 = 200;

/// A consumer's place in its group.
pub(super) struct Member {
    pub(super) group: Arc<Group>,
    /// Its own entry.
    pub(super) entry: usize,
    /// The claim being delivered: first position, count, how many were handed out and acknowledged.
    first: u64,
    count: usize,
    handed: usize,
    acked: usize,
    /// Which of those handed out were no messages, a bit each.
    holes: [u64; 4],
    /// Messages in the own entry's held words.
    held: usize,
    pub(super) ack: u32,
    max_unacked: usize,
    prefetch: usize,
    /// What the current batch call still wants; 0: no batch.
    wanted: usize,
    /// Nothing about this handle needs more than [`Member::at_hand`] does.
    plain: bool,
    pace: Pace,
    seen_gap: u64,
    /// Since when a seek has been in the way, in nanoseconds; 0: none is.
    seek_seen: u64,
    pub(super) seen_returned: u64,
    pub(super) next_scan: u64,
    lost_before: u64,
    pub(super) adopted: super::adopt::Adopted,
}

impl Member {
    pub(super) fn join(shared: &User, name: &[u8], o: &SubscribeOptions) -> Result<Member> {
        let mut patience = Patience::new(shared);
        // Bounded in practice: a round means that the group was deleted between finding and joining.
        loop {
            let start = || shared.resolve_start(o.start);
            let group = shared.find_or_create_group(name, start)?;
            let entry = match group.take_entry() {
                Ok(entry) => entry,
                // Whoever deletes the group holds all entries; by now perhaps not any more.
                Err(e)
                    if e.code() == DC_E_LIMIT
                        && (patience.is_new() || group.being_deleted() || group.deleted()) =>
                {
                    patience.wait(name)?;
                    continue;
                }
                Err(e) => return Err(e),
            };
            if group.deleted() {
                group.disown(entry);
                continue;
            }
            if let Err(e) = group.recount() {
                group.disown(entry);
                return Err(e);
            }
            // Retention by live consumers decides anew.
            shared.joined();
            return Ok(Member::at(group, entry, shared.guard, o));
        }
    }

    fn at(group: Arc<Group>, entry: usize, guard: bool, o: &SubscribeOptions) -> Member {
        let mem = *group.mem();
        // A gap that nobody has received a message behind is news to this consumer.
        let gap = mem.load(GAP, Acquire);
        let told = group.view.cursor().position > gap;
        Member {
            entry,
            first: 0,
            count: 0,
            handed: 0,
            acked: 0,
            holes: [0; 4],
            held: 0,
            ack: o.ack,
            max_unacked: o.max_unacked as usize,
            prefetch: o.prefetch as usize,
            wanted: 0,
            pace: Pace::default(),
            plain: o.ack != ACK_MANUAL && !guard,
            seen_gap: if told { gap } else { gap.saturating_sub(1) },
            seek_seen: 0,
            // Something may have been given back before: look at once.
            seen_returned: mem.load(RETURNED, Acquire).wrapping_sub(1),
            next_scan: 0,
            lost_before: mem.load(LOST, Acquire),
            adopted: Default::default(),
            group,
        }
    }

    pub(super) fn want(&mut self, wanted: usize) {
        self.wanted = wanted;
    }

    /// What every receiving call does first.
    #[inline(always)]
    pub(super) fn begin(&mut self) {
        if self.ack == ACK_NEXT {
            self.ack_handed();
        }
    }

    /// What [`Member::begin`] and [`Member::step`] come to nearly always: the claim's next message, not its last, is
    /// sound and the page's is in hand. `next`: this is another call than the one before, so what was handed out is
    /// acknowledged where it is to be, by the same store.
    #[inline(always)]
    pub(super) fn at_hand(&mut self, core: &mut Core, next: bool) -> Option<Message> {
        let at = self.first + self.handed as u64;
        let page = core.page.as_ref()?;
        let usual = self.plain
            && self.handed + 1 < self.count
            && page.number() == page_of(at)
            && !self.adopted.any()
            && core.deferred == 0;
        if !usual {
            return None;
        }
        let Look::Message { len, unit, checksum } = page.view.look(slot_of(at)) else {
            return None;
        };
        let data = page.payload(unit);
        // SAFETY: `look` checked the range against the page, which is pinned.
        let payload = unsafe { std::slice::from_raw_parts(data, len) };
        let sum = core.shared.checksum_of(at, payload);
        if sum != checksum && !planted!("checksum_unchecked") {
            return None;
        }
        let before = if next { self.handed } else { self.acked };
        self.handed += 1;
        self.acked = if self.ack == ACK_RECEIVE { self.handed } else { before };
        if !planted!("progress_unsaid") {
            // Before the caller sees it: a successor flags what was handed out.
            self.group.view.set_progress(self.entry, self.handed, self.acked);
        }
        core.handed = true;
        Some(Message { data, len, position: at, flags: 0, deliveries: 1 })
    }

    /// One step towards a message.
    #[inline(always)]
    pub(super) fn step(&mut self, core: &mut Core, out: &mut Message) -> Result<Step> {
        // Bounded: each round delivers, claims, moves on over something, or ends.
        loop {
            if self.handed < self.count {
                match self.deliver(core, out)? {
                    Some(step) => return Ok(step),
                    None => continue,
                }
            }
            if let Some(step) = self.find(core, out)? {
                return Ok(step);
            }
        }
    }

    /// The next message of the claim; `None`: there was nothing at its place.
    #[inline(always)]
    fn deliver(&mut self, core: &mut Core, out: &mut Message) -> Result<Option<Step>> {
        let at = self.first + self.handed as u64;
        match core.turn_to(at)? {
            Turn::Here => {}
            Turn::EndOfPage => return Ok(Some(Step::EndOfPage)),
            Turn::Unmade | Turn::Missing | Turn::Damaged => return self.lose_claim(core).map(Some),
        }
        if self.full() {
            return Err(self.too_many());
        }
        let Some(page) = &core.page else {
            return Ok(None);
        };
        let found = page.view.look(slot_of(at));
        self.handed += 1;
        if found == Look::Tombstone {
            if self.acked + 1 == self.handed {
                self.acked = self.handed;
            } else {
                self.note_hole(self.handed - 1);
            }
            self.note_progress();
            return Ok(None);
        }
        if self.ack == ACK_RECEIVE {
            self.acked = self.handed;
            self.note_progress();
        } else if !planted!("progress_unsaid") {
            // Before the caller sees it: a successor flags what was handed out.
            self.group.view.set_progress(self.entry, self.handed, self.acked);
        }
        core.take(at, found, 1, out)?;
        Ok(Some(Step::Message))
    }

    /// The claim's page went while this handle had given its pin up.
    #[cold]
    fn lose_claim(&mut self, core: &Core) -> Result<Step> {
        let lost = self.count - self.handed;
        self.group.note_gap(lost as u64, position(core.shared.window().oldest, 0));
        self.count = self.handed;
        if self.acked == self.count {
            self.finish();
        }
        self.seen_gap = self.group.mem().load(GAP, Acquire);
        Ok(Step::Lagged)
    }

    /// Find work: what the dead left, then what is new.
    fn find(&mut self, core: &mut Core, out: &mut Message) -> Result<Option<Step>> {
        if let Some(step) = self.redeliver(core, out)? {
            return Ok(Some(step));
        }
        if self.full() {
            return Err(self.too_many());
        }
        let c = self.group.view.cursor();
        let gap = self.group.mem().load(GAP, Acquire);
        if gap > self.seen_gap && c.position >= gap {
            self.seen_gap = gap;
            return Ok(Some(Step::Lagged));
        }
        match core.turn_to(c.position)? {
            Turn::Here => {}
            Turn::EndOfPage => return Ok(Some(Step::EndOfPage)),
            Turn::Unmade => return Ok(Some(Step::Nothing { pending: false })),
            Turn::Missing => return self.page_missing(core, c),
            Turn::Damaged => return self.page_damaged(core, c, out),
        }
        let Some(page) = &core.page else {
            return Ok(None);
        };
        let slot = slot_of(c.position);
        let most = self.claim_size();
        let n = self.pace.look(slot, most, |slot, most| page.view.decided(slot, most));
        if n == 0 {
            return self.nothing_decided(core, c);
        }
        if self.count > 0 {
            self.spill();
        }
        match self.group.view.claim(self.entry, c, n) {
            Claimed::Yes => {
                (self.first, self.count, self.handed, self.acked) = (c.position, n, 0, 0);
                self.holes = [0; 4];
                self.seek_seen = 0;
            }
            Claimed::Raced => {}
            Claimed::Seeking => return self.end_stale_seek(core).map(Some),
        }
        Ok(None)
    }

    fn claim_size(&self) -> usize {
        let ahead = match self.prefetch {
            0 if self.group.mem().load(CONSUMERS, Acquire) <= 1 => PREFETCH_ALONE,
            0 => 1,
            n => n,
        };
        let most = self.wanted.max(ahead);
        match self.ack {
            ACK_MANUAL => most.min(self.max_unacked - self.unacked()).max(1),
            _ => most,
        }
    }

    /// The cursor's page was there.
    #[cold]
    fn page_missing(
        &mut self,
        core: &mut Core,
        c: crate::layout::group::Cursor,
    ) -> Result<Option<Step>> {
        let (page, oldest) = (page_of(c.position), core.shared.window().oldest);
        let to = match page < oldest {
            true => oldest,
            false => core.shared.page_after(page)?.max(page + 1),
        };
        // Whoever dropped the page died before it moved this group, or the machine crashed. How much
        // was in it is not known: at least one message, unless the page was a skipped number.
        match self.group.view.hop(self.entry, c, Core::first_of(to)) {
            Claimed::Yes if page < oldest && c.last != NOBODY => {
                self.group.note_gap(1, Core::first_of(to));
            }
            Claimed::Yes | Claimed::Raced => {}
            Claimed::Seeking => return self.end_stale_seek(core).map(Some),
        }
        Ok(None)
    }

    /// The cursor's page is not one of this channel: the group goes on behind it.
    #[cold]
    fn page_damaged(
        &mut self,
        core: &mut Core,
        c: crate::layout::group::Cursor,
        out: &mut Message,
    ) -> Result<Option<Step>> {
        let page = page_of(c.position);
        if page >= core.shared.newest() {
            // The next send moves on; until then nothing follows.
            return Ok(Some(Step::Nothing { pending: true }));
        }
        let next = core.shared.page_after(page)?.max(page + 1);
        match self.group.view.hop(self.entry, c, Core::first_of(next)) {
            Claimed::Yes => Err(core.damaged_page(c.position, out)),
            Claimed::Raced => Ok(None),
            Claimed::Seeking => self.end_stale_seek(core).map(Some),
        }
    }

    /// Nothing is published at the cursor.
    #[cold]
    fn nothing_decided(
        &mut self,
        core: &mut Core,
        c: crate::layout::group::Cursor,
    ) -> Result<Option<Step>> {
        let Some(page) = &core.page else {
            return Ok(None);
        };
        let number = page.number();
        match page.view.look(slot_of(c.position)) {
            Look::End => {
                if number < core.shared.newest() {
                    let next = core.shared.page_after(number)?;
                    let hopped = self.group.view.hop(self.entry, c, Core::first_of(next));
                    if hopped == Claimed::Seeking {
                        return self.end_stale_seek(core).map(Some);
                    }
                    // The group needs nothing of this page any more.
                    core.shared.room_made();
                } else if !core.must_ask() {
                    return Ok(Some(Step::Nothing { pending: false }));
                }
                if core.must_ask() {
                    return Ok(Some(Step::EndOfPage));
                }
                core.drop_page();
                Ok(None)
            }
            Look::Free => Ok(Some(Step::Nothing { pending: false })),
            Look::Unpublished if !core.settle(c.position) => {
                Ok(Some(Step::Nothing { pending: true }))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Member {
    /// Subscribing failed after the entry was taken.
    fn drop(&mut self) {
        if self.entry != usize::MAX {
            self.group.disown(self.entry);
        }
    }
}
