//! A member of a group: claims, leases, acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use super::observer::news_at;
use super::{Core, Step, Turn};
use crate::channel::groups::Group;
use crate::channel::User;
use crate::engine::cursor::Claimed;
use crate::engine::page::Look;
use crate::error::{fail, Error, Result, DC_E_BUSY, DC_E_LIMIT};
use crate::layout::group::{
    entry_at, held, held_at, held_word, CONSUMERS, ENTRY_MAX, GAP, HELD_MAX, HELD_TOP, LOST,
    RETURNED, SEEKING,
};
use crate::layout::{page_of, position, slot_of};
use crate::options::{ConsumerInfo, Message, SubscribeOptions, ACK_MANUAL, ACK_NEXT, ACK_RECEIVE};
use crate::sync::{Acquire, Memory, Release, SeqCst};
use crate::sys::clock;

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
    /// Messages in the own entry's held words.
    held: usize,
    pub(super) ack: u32,
    max_unacked: usize,
    prefetch: usize,
    /// What the current batch call still wants; 0: no batch.
    wanted: usize,
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
        let mut tries = 0;
        // Bounded in practice: a round means that the group was deleted between finding and joining.
        loop {
            let start = || shared.resolve_start(o.start);
            let group = shared.find_or_create_group(name, start)?;
            let entry = match group.take_entry() {
                Ok(entry) => entry,
                // Whoever deletes the group holds all entries for a moment.
                Err(e) if e.code() == DC_E_LIMIT && tries < 50 => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(1));
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
            return Ok(Member::at(group, entry, o));
        }
    }

    fn at(group: Arc<Group>, entry: usize, o: &SubscribeOptions) -> Member {
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
            held: 0,
            ack: o.ack,
            max_unacked: o.max_unacked as usize,
            prefetch: o.prefetch as usize,
            wanted: 0,
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

    /// Acknowledge everything handed out.
    #[inline(always)]
    fn ack_handed(&mut self) {
        if self.acked < self.handed {
            self.acked = self.handed;
            if self.acked == self.count {
                self.finish();
            } else {
                self.group.view.set_progress(self.entry, self.handed, self.acked);
            }
        }
        if self.adopted.any() {
            self.adopted.ack(&self.group, u64::MAX);
        }
    }

    /// The claim is delivered and acknowledged.
    #[inline(always)]
    fn finish(&mut self) {
        self.group.view.set_progress(self.entry, self.count, self.count);
        self.group.view.set_idle(self.entry);
        (self.count, self.handed, self.acked) = (0, 0, 0);
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
            Turn::Missing | Turn::Damaged => return self.lose_claim(core).map(Some),
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
            }
            self.note_progress();
            return Ok(None);
        }
        if self.ack == ACK_RECEIVE {
            self.acked = self.handed;
            self.note_progress();
        } else {
            // Before the caller sees it: a successor flags what was handed out.
            self.group.view.set_progress(self.entry, self.handed, self.acked);
        }
        core.take(at, found, 1, out)?;
        Ok(Some(Step::Message))
    }

    #[inline(always)]
    fn note_progress(&mut self) {
        if self.acked == self.count {
            self.finish();
        } else {
            self.group.view.set_progress(self.entry, self.handed, self.acked);
        }
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

    /// Messages handed out and not acknowledged.
    fn unacked(&self) -> usize {
        self.handed - self.acked + self.held + self.adopted.unacked()
    }

    /// Whether a manual acknowledger holds all it may.
    pub(super) fn full(&self) -> bool {
        self.ack == ACK_MANUAL && self.unacked() >= self.max_unacked
    }

    #[cold]
    pub(super) fn too_many(&self) -> Error {
        fail!(
            DC_E_LIMIT,
            "{} messages are unacknowledged, the most this consumer may hold (max_unacked): \
             acknowledge some",
            self.unacked()
        )
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
            Turn::Missing => return self.page_missing(core, c),
            Turn::Damaged => return self.page_damaged(core, c, out),
        }
        let Some(page) = &core.page else {
            return Ok(None);
        };
        let slot = slot_of(c.position);
        let n = page.view.decided(slot, self.claim_size());
        if n == 0 {
            return self.nothing_decided(core, c);
        }
        if self.count > 0 {
            self.spill(core);
        }
        match self.group.view.claim(self.entry, c, n) {
            Claimed::Yes => {
                (self.first, self.count, self.handed, self.acked) = (c.position, n, 0, 0);
                self.seek_seen = 0;
            }
            Claimed::Raced => {}
            Claimed::Seeking => return Ok(Some(self.end_stale_seek(core))),
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

    /// The cursor's page is not there.
    #[cold]
    fn page_missing(
        &mut self,
        core: &mut Core,
        c: crate::layout::group::Cursor,
    ) -> Result<Option<Step>> {
        let (page, oldest, newest) =
            (page_of(c.position), core.shared.window().oldest, core.shared.newest());
        let to = if page < oldest {
            oldest
        } else if page < newest {
            core.shared.page_after(page)?.max(page + 1)
        } else {
            return Ok(Some(Step::Nothing { pending: false }));
        };
        // Whoever dropped the page died before it moved this group, or the machine crashed. How much
        // was in it is not known: at least one message, unless the page was a skipped number.
        if self.group.view.move_cursor(c, Core::first_of(to)) && page < oldest && c.last != 1023 {
            self.group.note_gap(1, Core::first_of(to));
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
        if !self.group.view.move_cursor(c, Core::first_of(next)) {
            return Ok(None);
        }
        Err(core.damaged_page(c.position, out))
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
                    self.group.view.move_cursor(c, Core::first_of(next));
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

    /// Move the claim's unacknowledged messages to the held words, so that the lease is free for the
    /// next claim. A message is written there before the lease lets go of it: whoever takes the entry
    /// over finds it in one of them, or in both, and then counts it once.
    fn spill(&mut self, core: &Core) {
        let mut at = 0;
        for i in self.acked..self.handed {
            let position = self.first + i as u64;
            let message = match &core.page {
                Some(p) if p.number() == page_of(position) => {
                    p.view.look(slot_of(position)) != Look::Tombstone
                }
                _ => true,
            };
            if message && put_held(&self.group, self.entry, &mut at, held_word(position, 1)) {
                self.held += 1;
            }
        }
        self.group.view.set_idle(self.entry);
        (self.count, self.handed, self.acked) = (0, 0, 0);
    }

    pub(super) fn ack(&mut self, position: u64) {
        if self.count > 0 && position >= self.first {
            let upto = ((position - self.first) as usize).saturating_add(1).min(self.handed);
            if upto > self.acked {
                self.acked = upto;
                self.group.view.set_progress(self.entry, self.handed, self.acked);
                if self.acked == self.count {
                    self.group.view.set_idle(self.entry);
                    (self.count, self.handed, self.acked) = (0, 0, 0);
                }
            }
        }
        if self.held > 0 {
            self.held -= drop_held(&self.group, self.entry, position);
            if self.held == 0 {
                self.group.mem().store(entry_at(self.entry) + HELD_TOP, 0, Release);
            }
        }
        self.adopted.ack(&self.group, position);
    }

    pub(super) fn nack(&mut self, core: &mut Core) -> Result<()> {
        let own = self.handed > self.acked || self.held > 0;
        if own {
            // The entry goes, with all it holds; this consumer goes on with another.
            let entry = self.group.take_entry()?;
            self.group.disown(self.entry);
            self.entry = entry;
            (self.count, self.handed, self.acked, self.held) = (0, 0, 0, 0);
        }
        let adopted = self.adopted.give_back(&self.group);
        if own || adopted {
            core.shared.returned(&self.group);
        }
        Ok(())
    }

    /// The consumer closes: what it holds goes back to the group at once.
    pub(super) fn leave(&mut self, core: &Core) {
        self.adopted.give_back(&self.group);
        if self.count > 0 && self.acked == self.count {
            self.group.view.set_idle(self.entry);
        }
        self.group.disown(self.entry);
        self.group.mem().store(CONSUMERS, self.group.live_consumers() as u64, Release);
        self.entry = usize::MAX;
        core.shared.returned(&self.group);
    }

    pub(super) fn seek(&mut self, core: &mut Core, to: u64) -> Result<()> {
        let target = core.shared.resolve_start(to)?;
        let group = self.group.clone();
        let Some(_right) = group.try_seek() else {
            return Err(busy(&group));
        };
        let mem = *group.mem();
        // S-SEEK
        mem.swap(SEEKING, 1, SeqCst);
        let moved = self.seek_alone(target);
        let _ = mem.cas(SEEKING, 1, 0, SeqCst);
        if !moved {
            return Err(busy(&group));
        }
        self.seen_gap = mem.load(GAP, Acquire);
        core.drop_page();
        core.shared.joined();
        core.shared.wake_group(&group);
        core.shared.room_made();
        Ok(())
    }

    /// Move the group if nobody else alive holds anything. What the dead and this handle hold is
    /// forgotten with the old place, but only once the move is made: refused, a seek changes nothing.
    fn seek_alone(&mut self, target: u64) -> bool {
        let group = self.group.clone();
        let mut dead = [0u64; 8];
        let others = (0..group.entries())
            .filter(|&e| e != self.entry && !self.adopted.owns(e))
            .filter(|&e| group.view.busy(e));
        let mut alone = true;
        for entry in others {
            if !group.try_own(entry) {
                alone = false;
                break;
            }
            dead[entry / 64] |= 1 << (entry % 64);
        }
        let moved = alone && {
            // A machine crash must find the floor at or before the new place.
            group.lower_floor(target);
            // Bounded: no claim gets by, only page hops and dropped pages move the cursor.
            let moved = (0..100_000).any(|_| group.view.move_cursor(group.view.cursor(), target));
            // Whoever computed a floor before the move does not get to store it after.
            group.lower_floor(target);
            moved
        };
        for entry in (0..ENTRY_MAX).filter(|e| dead[e / 64] >> (e % 64) & 1 != 0) {
            if moved {
                forget_entry(&group, entry);
            }
            group.disown(entry);
        }
        if moved {
            self.forget();
        }
        moved
    }

    fn forget(&mut self) {
        forget_entry(&self.group, self.entry);
        self.adopted.forget(&self.group);
        (self.count, self.handed, self.acked, self.held) = (0, 0, 0, 0);
    }

    /// A claim found a seek under way: one whose owner died, or is suspended, does not hold it up. The
    /// seek's own move is a compare-exchange on what it saw, and fails if anybody claims meanwhile.
    #[cold]
    fn end_stale_seek(&mut self, core: &Core) -> Step {
        let now = clock::now_ns();
        if self.seek_seen == 0 {
            self.seek_seen = now;
        }
        let alive = self.group.seek_under_way();
        let patience = if alive { u64::from(core.shared.stall_timeout_ms) } else { 10 };
        if now - self.seek_seen > patience * 1_000_000 {
            let seen = self.group.mem().load(SEEKING, SeqCst);
            let _ = self.group.mem().cas(SEEKING, seen, 0, SeqCst);
            self.seek_seen = 0;
        }
        Step::Nothing { pending: true }
    }

    pub(super) fn more_at_hand(&self, core: &Core) -> bool {
        if self.full() {
            return false;
        }
        if self.adopted.delivering() {
            return self.adopted.more_at_hand(&self.group, core);
        }
        self.handed < self.count && self.peek(core)
    }

    /// Whether a message follows in the claim, over tombstones.
    fn peek(&self, core: &Core) -> bool {
        let Some(page) = &core.page else { return false };
        (self.handed..self.count)
            .map(|i| self.first + i as u64)
            .take_while(|&at| page_of(at) == page.number())
            .any(|at| page.view.look(slot_of(at)) != Look::Tombstone)
    }

    pub(super) fn ready(&self, core: &Core) -> bool {
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
    pub(super) fn watch(&self, core: &Core) -> Box<dyn Fn() -> bool + Send> {
        let (group, shared) = (self.group.clone(), core.shared.arc().clone());
        Box::new(move || {
            let orphaned = |e| group.view.busy(e) && !group.owned_by_anyone(e);
            news_at(&shared, group.view.cursor().position, true)
                || (0..group.entries()).any(orphaned)
        })
    }

    pub(super) fn stats(&self, core: &Core) -> Result<ConsumerInfo> {
        let group = core.shared.group_info(&self.group)?;
        let mut unacked = core.shared.entry_contents(&self.group, self.entry)?.0;
        for entry in 0..ENTRY_MAX {
            if self.adopted.owns(entry) {
                unacked += core.shared.entry_contents(&self.group, entry)?.0;
            }
        }
        Ok(ConsumerInfo {
            position: group.position,
            lag: group.lag,
            unacked,
            lost: group.lost.saturating_sub(self.lost_before),
            ..ConsumerInfo::default()
        })
    }

    /// Look for leases of the dead, if it is time to.
    pub(super) fn scan_due(&mut self) -> bool {
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

impl Drop for Member {
    /// Subscribing failed after the entry was taken.
    fn drop(&mut self) {
        if self.entry != usize::MAX {
            self.group.disown(self.entry);
        }
    }
}

/// Drop what an entry holds; its owner only.
fn forget_entry(group: &Group, entry: usize) {
    group.view.set_idle(entry);
    drop_held(group, entry, u64::MAX);
    group.mem().store(entry_at(entry) + HELD_TOP, 0, Release);
}

#[cold]
fn busy(group: &Group) -> Error {
    fail!(
        DC_E_BUSY,
        "group \"{}\": other consumers hold messages; they must acknowledge or close first",
        group.name.escape_ascii()
    )
}

/// Write a held word at the first free place from `from` on; false: there is none (which the limit on
/// unacknowledged messages excludes).
pub(super) fn put_held(group: &Group, entry: usize, from: &mut usize, word: u64) -> bool {
    let mem = group.mem();
    let top = entry_at(entry) + HELD_TOP;
    while *from < HELD_MAX {
        let i = *from;
        *from += 1;
        let used = group.view.held_top(entry);
        if i >= used {
            mem.store(top, i as u64 + 1, Release);
        } else if held(mem.load(held_at(entry, i), Acquire)).is_some() {
            continue;
        }
        mem.store(held_at(entry, i), word, Release);
        return true;
    }
    false
}

/// Drop held words up to a position; how many there were.
pub(super) fn drop_held(group: &Group, entry: usize, upto: u64) -> usize {
    let mut dropped = 0;
    for i in 0..group.view.held_top(entry) {
        let at = held_at(entry, i);
        if held(group.mem().load(at, Acquire)).is_some_and(|(position, _)| position <= upto) {
            group.mem().store(at, 0, Release);
            dropped += 1;
        }
    }
    dropped
}
