//! Redelivery: taking over the entries of dead and closed consumers, one at a time, and delivering
//! what they hold from where it is recorded.
//!
//! An entry taken over is normalised first: its undecided lease is resolved, and what its lease still
//! holds becomes held words with a count of deliveries (0: claimed ahead, handed to nobody). From then
//! on every step is one store: hand out (deliveries + 1), acknowledge (0).

use super::member::Member;
use super::{Core, Step, Turn};
use crate::channel::group::Group;
use crate::channel::pages::Pinned;
use crate::engine::page::Look;
use crate::error::Result;
use crate::layout::group::{
    entry_at, held_word, Lease, ENTRY_MAX, REDELIVERED, ROLE, ROLE_ADOPTED,
};
use crate::layout::{page_of, position, slot_of};
use crate::options::{Message, ACK_RECEIVE};
use crate::sync::{AcqRel, Memory, Release};

/// The entries a consumer has taken over.
#[derive(Default)]
pub(super) struct Adopted {
    owned: [u64; 8],
    count: usize,
    /// The one being delivered, and the last position of it that was handed out.
    current: Option<usize>,
    after: u64,
    /// Messages of all of them that were handed out and not acknowledged.
    unacked: usize,
}

impl Adopted {
    #[inline(always)]
    pub(super) fn any(&self) -> bool {
        self.count > 0
    }
    pub(super) fn unacked(&self) -> usize {
        self.unacked
    }
    pub(super) fn delivering(&self) -> bool {
        self.current.is_some()
    }
    pub(super) fn owns(&self, entry: usize) -> bool {
        self.owned[entry / 64] >> (entry % 64) & 1 != 0
    }

    fn each(&self) -> impl Iterator<Item = usize> {
        let owned = self.owned;
        (0..ENTRY_MAX).filter(move |e| owned[e / 64] >> (e % 64) & 1 != 0)
    }

    fn add(&mut self, entry: usize) {
        self.owned[entry / 64] |= 1 << (entry % 64);
        self.count += 1;
        (self.current, self.after) = (Some(entry), 0);
    }

    fn remove(&mut self, group: &Group, entry: usize) {
        self.owned[entry / 64] &= !(1 << (entry % 64));
        self.count -= 1;
        if self.current == Some(entry) {
            self.current = None;
        }
        group.disown(entry);
    }

    /// Acknowledge what was handed out, up to a position; let go of entries that hold nothing more.
    pub(super) fn ack(&mut self, group: &Group, upto: u64) {
        if !self.any() {
            return;
        }
        for entry in self.each() {
            // Of the one being delivered, the rest was not handed out yet.
            let upto = if self.current == Some(entry) { upto.min(self.after) } else { upto };
            self.unacked -= group.view.drop_held(entry, upto).min(self.unacked);
            self.release_if_empty(group, entry);
        }
    }

    fn release_if_empty(&mut self, group: &Group, entry: usize) {
        if self.current != Some(entry) && group.view.next_held(entry, 0).is_none() {
            group.view.clear_held(entry);
            self.remove(group, entry);
        }
    }

    /// Give everything back unacknowledged; true: there was something.
    pub(super) fn give_back(&mut self, group: &Group) -> bool {
        let any = self.any();
        for entry in self.each() {
            self.remove(group, entry);
        }
        self.unacked = 0;
        any
    }

    /// Drop everything (a seek).
    pub(super) fn forget(&mut self, group: &Group) {
        for entry in self.each() {
            group.view.drop_held(entry, u64::MAX);
            group.view.clear_held(entry);
            self.remove(group, entry);
        }
        self.unacked = 0;
    }

    /// Whether the next step hands out a message of the page in hand.
    pub(super) fn more_at_hand(&self, group: &Group, core: &Core) -> bool {
        let Some(entry) = self.current else {
            return false;
        };
        let (Some((_, at, _)), Some(page)) = (group.view.next_held(entry, self.after), &core.page)
        else {
            return false;
        };
        page.number() == page_of(at) && matches!(page.view.look(slot_of(at)), Look::Message { .. })
    }
}

impl Member {
    /// Hand out what the dead and the closed left; `None`: there is nothing (more).
    #[inline(always)]
    pub(super) fn redeliver(&mut self, core: &mut Core, out: &mut Message) -> Result<Option<Step>> {
        if !self.adopted.delivering() && !self.scan_due() {
            return Ok(None);
        }
        self.redeliver_cold(core, out)
    }

    #[cold]
    fn redeliver_cold(&mut self, core: &mut Core, out: &mut Message) -> Result<Option<Step>> {
        // Bounded: each round passes a held message or an entry.
        loop {
            let Some(entry) = self.adopted.current else {
                if !self.adopt_one(core)? {
                    return Ok(None);
                }
                continue;
            };
            let Some((i, at, deliveries)) = self.group.view.next_held(entry, self.adopted.after)
            else {
                self.adopted.current = None;
                self.adopted.release_if_empty(&self.group, entry);
                continue;
            };
            if self.full() {
                return Err(self.too_many());
            }
            match core.turn_to(at)? {
                Turn::Here => {}
                Turn::EndOfPage => return Ok(Some(Step::EndOfPage)),
                Turn::Unmade | Turn::Missing | Turn::Damaged => {
                    self.group.view.set_held(entry, i, 0);
                    self.group.note_gap(1, position(core.shared.window().oldest, 0));
                    continue;
                }
            }
            let found = match &core.page {
                Some(page) => page.view.look(slot_of(at)),
                None => Look::Tombstone,
            };
            self.adopted.after = at;
            if !matches!(found, Look::Message { .. } | Look::Damaged) {
                self.group.view.set_held(entry, i, 0);
                continue;
            }
            let again = deliveries + 1;
            if self.ack == ACK_RECEIVE {
                self.group.view.set_held(entry, i, 0);
            } else {
                self.group.view.set_held(entry, i, held_word(at, again));
                self.adopted.unacked += 1;
            }
            if deliveries > 0 {
                self.group.mem().add(REDELIVERED, 1, AcqRel);
                core.redelivered += 1;
            }
            core.take(at, found, again, out)?;
            return Ok(Some(Step::Message));
        }
    }

    /// Take over one entry that nobody owns and that holds something.
    fn adopt_one(&mut self, core: &mut Core) -> Result<bool> {
        let group = self.group.clone();
        let mut busy = [(0, 0); ENTRY_MAX];
        let mut count = 0;
        for entry in (0..group.entries()).filter(|&e| group.view.busy(e)) {
            busy[count] = (group.view.first_unseen(entry), entry);
            count += 1;
        }
        // What nobody was handed comes unflagged, so in order.
        busy[..count].sort_unstable();
        for &(_, entry) in &busy[..count] {
            // What cannot be locked now is found by the next look.
            if !group.try_own(entry).unwrap_or(false) {
                continue;
            }
            if let Err(e) = normalise(core, &group, entry) {
                group.disown(entry);
                return Err(e);
            }
            if group.view.held_top(entry) == 0 {
                group.disown(entry);
                continue;
            }
            self.adopted.add(entry);
            return Ok(true);
        }
        Ok(false)
    }
}

/// Turn the lease of an entry just taken over into held words.
fn normalise(core: &Core, group: &Group, entry: usize) -> Result<()> {
    group.mem().store(entry_at(entry) + ROLE, ROLE_ADOPTED, Release);
    if let Lease::Held { first, count } = group.view.resolve(entry) {
        let page = match core.shared.pin(page_of(first))? {
            Pinned::Page(page) => Some(page),
            Pinned::Missing | Pinned::Damaged => None,
        };
        group.view.unfold(entry, first, count, |at| {
            page.as_ref().is_some_and(|p| p.view.look(slot_of(at)) == Look::Tombstone)
        });
    }
    group.view.drop_unclaimed(entry);
    if group.view.next_held(entry, 0).is_none() {
        group.view.clear_held(entry);
    }
    Ok(())
}

/// A seek died: before claims go on, nobody's entries lose what comes again from the cursor.
pub(super) fn settle_dead_seek(core: &Core, group: &Group) -> Result<()> {
    for entry in 0..group.entries() {
        if group.view.busy(entry) && group.try_own(entry).unwrap_or(false) {
            let done = normalise(core, group, entry);
            group.disown(entry);
            done?;
        }
    }
    Ok(())
}
