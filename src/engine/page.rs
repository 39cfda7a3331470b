//! Claim, publish, look: how a message gets into a page and is found there.
//!
//! A producer claims slots and payload with one `fetch_add` on the tail, copies its bytes, and publishes
//! by turning the slot's word from 0 into the message word. Whoever finds a claim that nobody will
//! publish turns the word into a tombstone by the same compare-exchange, so a slot is decided once:
//! its owner learns of the loss from its own failed exchange, and sends again.

use crate::layout::page::{
    end_word, message_word, place, place_word, slot_at, state, tombstone_word, Geometry, State,
    Tail, BURIED_AT, ENDED_AT, NUMBER_AT, TAIL_AT,
};
use crate::sync::{planted, AcqRel, Acquire, Memory, Relaxed, Release, SeqCst};

/// A page as the protocols see it.
#[derive(Clone, Copy)]
pub(crate) struct PageView<M> {
    pub(crate) mem: M,
    pub(crate) number: u64,
    pub(crate) geometry: Geometry,
}

/// What lies at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// A message: length in bytes, first unit, checksum.
    Message { len: usize, unit: u64, checksum: u32 },
    /// Nothing, for ever.
    Tombstone,
    /// No message here or later in this page.
    End,
    /// Claimed, not published yet.
    Unpublished,
    /// Not claimed yet.
    Free,
    /// A word that no writer of this page can have left.
    Damaged,
}

/// Claimed slots: the first one, and the first unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) slot: usize,
    pub(crate) unit: u64,
}

impl<M: Memory> PageView<M> {
    /// Make a file that nobody uses this page: no word of what it was before, the `header`, and the number
    /// last. `known`: its tail says which slots were used.
    pub(crate) fn dress(&self, known: bool, header: impl FnOnce(&M)) {
        self.mem.store(NUMBER_AT, 0, SeqCst);
        let all = self.geometry.slots + 1;
        let used = if known { (self.tail().count as usize + 1).min(all) } else { all };
        if !planted!("slots_not_cleared") {
            for slot in 0..used {
                self.mem.store(slot_at(slot), 0, Relaxed);
                self.mem.store(slot_at(slot) + 8, 0, Relaxed);
            }
        }
        header(&self.mem);
        self.mem.store(NUMBER_AT, self.number, Release);
    }

    /// The tail in one load.
    #[inline(always)]
    pub(crate) fn tail(&self) -> Tail {
        Tail::unpack(self.mem.load(TAIL_AT, Acquire))
    }

    /// How many slots hold or may come to hold something.
    pub(crate) fn claimed(&self) -> usize {
        (self.tail().count as usize).min(self.geometry.slots)
    }

    /// The slot after the last message there is or may come to be.
    pub(crate) fn end_slot(&self) -> usize {
        let ended = self.mem.load(ENDED_AT, Acquire) as usize;
        let claimed = self.claimed();
        if self.tail().sealed(&self.geometry) && ended != 0 {
            claimed.min(ended - 1)
        } else {
            claimed
        }
    }

    /// Claim `count` slots and `units` of payload, all or nothing; `None`: the page is sealed.
    ///
    /// The tail is looked at before it is moved, so that each participant goes past a full page's end
    /// at most once, which is what keeps the packed word from overflowing.
    #[inline(always)]
    pub(crate) fn claim(&self, count: usize, units: u64) -> Option<Claim> {
        if self.tail().sealed(&self.geometry) {
            return None;
        }
        // S-CLAIM
        let bump = Tail { count: count as u64, units }.pack();
        let before = Tail::unpack(self.mem.add(TAIL_AT, bump, AcqRel));
        let after = Tail { count: before.count + count as u64, units: before.units + units };
        if !after.sealed(&self.geometry) {
            return Some(Claim { slot: before.count as usize, unit: before.units });
        }
        if !before.sealed(&self.geometry) {
            // The first claim past the end marks it. Should this process die here, the sealed tail
            // says the same to whoever reads (see `look`).
            let at = slot_at(before.count as usize);
            // Where a reader took this claim for dead, its tombstone stands and the tail is the end.
            if self.mem.cas(at, 0, end_word(self.number), AcqRel).is_ok() {
                self.mem.store(ENDED_AT, before.count + 1, Release);
            }
        }
        None
    }

    /// Publish the message at a slot whose payload is written; false: the claim was skipped meanwhile.
    #[inline(always)]
    pub(crate) fn publish(&self, slot: usize, len: usize, unit: u64, checksum: u32) -> bool {
        let at = slot_at(slot);
        if planted!("swapped_stores") {
            let published = self.mem.cas(at, 0, message_word(len, self.number), SeqCst).is_ok();
            self.mem.store(at + 8, place_word(unit, checksum), Relaxed);
            return published;
        }
        self.mem.store(at + 8, place_word(unit, checksum), Relaxed);
        if planted!("publish_blindly") {
            self.mem.swap(at, message_word(len, self.number), SeqCst);
            return true;
        }
        // S-PUBLISH; SeqCst because S-SLEEP needs it: the load of the sleepers that follows must not
        // come before it.
        let order = if planted!("publish_relaxed") { Relaxed } else { SeqCst };
        self.mem.cas(at, 0, message_word(len, self.number), order).is_ok()
    }

    /// Decide that nothing will ever be at a slot; false: it was decided otherwise.
    pub(crate) fn bury(&self, slot: usize) -> bool {
        let buried = self.mem.cas(slot_at(slot), 0, tombstone_word(self.number), AcqRel).is_ok();
        if buried {
            self.mem.add(BURIED_AT, 1, AcqRel);
        }
        buried
    }

    /// Messages in the page: by its counts when it is sealed, else slot by slot.
    pub(crate) fn messages(&self) -> u64 {
        self.messages_from(0)
    }

    /// Messages in the slots from `slot` on.
    pub(crate) fn messages_from(&self, slot: usize) -> u64 {
        let ended = self.mem.load(ENDED_AT, Acquire);
        let buried = self.mem.load(BURIED_AT, Acquire);
        let sealed = (1..=self.geometry.slots as u64 + 1).contains(&ended);
        if sealed && (buried == 0 || (slot == 0 && buried < ended)) {
            return (ended - 1).saturating_sub(slot as u64 + buried);
        }
        self.count(slot, self.geometry.slots).0
    }

    /// What lies at a slot.
    #[inline(always)]
    pub(crate) fn look(&self, slot: usize) -> Look {
        if slot >= self.geometry.slots {
            return Look::End;
        }
        let at = slot_at(slot);
        // S-PUBLISH (and S-SLEEP when this is the look after announcing sleep).
        match state(self.mem.load(at, SeqCst), self.number) {
            State::Message(len) => {
                let (unit, checksum) = place(self.mem.load(at + 8, Relaxed));
                let units = (len as u64).div_ceil(8);
                if unit + units > self.geometry.units() && !planted!("bounds_unchecked") {
                    return Look::Damaged;
                }
                Look::Message { len, unit, checksum }
            }
            State::Tombstone => Look::Tombstone,
            State::End => Look::End,
            State::Foreign => Look::Damaged,
            State::Empty => self.look_empty(slot),
        }
    }

    fn look_empty(&self, slot: usize) -> Look {
        let tail = self.tail();
        let claimed = tail.count.min(self.geometry.slots as u64) as usize;
        let sealed = tail.sealed(&self.geometry);
        let ended = self.mem.load(ENDED_AT, Acquire);
        if sealed && ended != 0 && slot as u64 + 1 >= ended {
            // Behind the end mark: claims that went past the end publish nothing.
            Look::End
        } else if slot < claimed {
            Look::Unpublished
        } else if sealed {
            // The claimer of the end mark died before it wrote it.
            Look::End
        } else {
            Look::Free
        }
    }

    /// How many slots from `slot` on are decided and not the end, up to `most`.
    #[inline(always)]
    pub(crate) fn decided(&self, slot: usize, most: usize) -> usize {
        let most = most.min(self.geometry.slots.saturating_sub(slot));
        let mut n = 0;
        while n < most {
            let word = self.mem.load(slot_at(slot + n), Acquire);
            if matches!(state(word, self.number), State::Empty | State::End) {
                break;
            }
            n += 1;
        }
        n
    }

    /// Messages and their bytes in the slots of a range, and whether all of them are decided.
    pub(crate) fn count(&self, from: usize, to: usize) -> (u64, u64, bool) {
        let (mut messages, mut bytes) = (0, 0);
        for slot in from..to.min(self.geometry.slots) {
            match state(self.mem.load(slot_at(slot), Acquire), self.number) {
                State::Message(len) => {
                    messages += 1;
                    bytes += len as u64;
                }
                State::Tombstone | State::Foreign => {}
                State::End => return (messages, bytes, true),
                State::Empty => match self.look(slot) {
                    Look::End => return (messages, bytes, true),
                    Look::Free => return (messages, bytes, false),
                    // Still unpublished, or published just now: not settled; go on counting.
                    _ => return self.count_rest(slot, to, messages, bytes),
                },
            }
        }
        (messages, bytes, to >= self.geometry.slots)
    }

    fn count_rest(
        &self,
        from: usize,
        to: usize,
        mut messages: u64,
        mut bytes: u64,
    ) -> (u64, u64, bool) {
        for slot in from..to.min(self.claimed()) {
            if let State::Message(len) = state(self.mem.load(slot_at(slot), Acquire), self.number) {
                messages += 1;
                bytes += len as u64;
            }
        }
        (messages, bytes, false)
    }
}
