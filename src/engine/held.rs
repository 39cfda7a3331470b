//! Held words: messages that an entry was handed, or was left with, and that are not acknowledged, each with its
//! count of deliveries. Written by the entry's owner only, one store a step.

use super::cursor::GroupView;
use crate::layout::group::{entry_at, held, held_at, held_word, Lease, HELD_MAX, HELD_TOP};
use crate::sync::{planted, Acquire, Memory, Release};

impl<M: Memory> GroupView<M> {
    /// The top of an entry's held words, believed no further than they reach.
    pub(crate) fn held_top(&self, entry: usize) -> usize {
        (self.0.load(entry_at(entry) + HELD_TOP, Acquire) as usize).min(HELD_MAX)
    }

    /// What a place holds: position and deliveries.
    pub(crate) fn held(&self, entry: usize, i: usize) -> Option<(u64, u32)> {
        held(self.0.load(held_at(entry, i), Acquire))
    }

    /// The held word with the lowest position above `after`: its place, position, deliveries.
    pub(crate) fn next_held(&self, entry: usize, after: u64) -> Option<(usize, u64, u32)> {
        (0..self.held_top(entry))
            .filter_map(|i| self.held(entry, i).map(|(at, deliveries)| (i, at, deliveries)))
            .filter(|&(_, at, _)| at > after)
            .min_by_key(|&(_, at, _)| at)
    }

    /// Write a held word at the first free place from `from` on; false: there is none (which the limit on
    /// unacknowledged messages excludes).
    pub(crate) fn put_held(&self, entry: usize, from: &mut usize, word: u64) -> bool {
        while *from < HELD_MAX {
            let i = *from;
            *from += 1;
            if i >= self.held_top(entry) {
                self.0.store(entry_at(entry) + HELD_TOP, i as u64 + 1, Release);
            } else if self.held(entry, i).is_some() {
                continue;
            }
            self.0.store(held_at(entry, i), word, Release);
            return true;
        }
        false
    }

    /// Count one more delivery, before it is made; 0: acknowledged.
    pub(crate) fn set_held(&self, entry: usize, i: usize, word: u64) {
        self.0.store(held_at(entry, i), word, Release);
    }

    /// Drop held words up to a position; how many there were.
    pub(crate) fn drop_held(&self, entry: usize, upto: u64) -> usize {
        let mut dropped = 0;
        for i in 0..self.held_top(entry) {
            if self.held(entry, i).is_some_and(|(position, _)| position <= upto) {
                if !planted!("held_kept") {
                    self.set_held(entry, i, 0);
                }
                dropped += 1;
            }
        }
        dropped
    }

    /// The first position of an entry that was claimed and handed to nobody.
    pub(crate) fn first_unseen(&self, entry: usize) -> u64 {
        let mut least = u64::MAX;
        if let Lease::Intended { first, count } | Lease::Held { first, count } = self.lease(entry) {
            let handed = self.progress(entry).0;
            least = if handed < count { first + handed as u64 } else { least };
        }
        let held = (0..self.held_top(entry)).filter_map(|i| self.held(entry, i));
        held.filter(|&(_, deliveries)| deliveries == 0).map(|(at, _)| at).fold(least, u64::min)
    }

    /// Drop what an entry holds at or beyond the cursor: a seek that moved the group back died before it had
    /// forgotten it, and it comes with the new messages.
    pub(crate) fn drop_unclaimed(&self, entry: usize) {
        let cursor = self.cursor().position;
        for i in 0..self.held_top(entry) {
            if self.held(entry, i).is_some_and(|(position, _)| position >= cursor) {
                self.set_held(entry, i, 0);
            }
        }
    }

    /// None of the held words holds anything any more.
    pub(crate) fn clear_held(&self, entry: usize) {
        self.0.store(entry_at(entry) + HELD_TOP, 0, Release);
    }

    /// Drop what an entry holds.
    pub(crate) fn forget(&self, entry: usize) {
        self.set_idle(entry);
        self.drop_held(entry, u64::MAX);
        self.clear_held(entry);
    }

    /// Turn what is left of the lease of an entry just taken over into held words (deliveries 0: claimed ahead,
    /// handed to nobody). A message is written there before the lease lets go of it.
    pub(crate) fn unfold(
        &self,
        entry: usize,
        first: u64,
        count: usize,
        tombstone: impl Fn(u64) -> bool,
    ) {
        let (handed, acked) = self.progress(entry);
        let mut free = 0;
        for i in acked.min(count)..count {
            let at = first + i as u64;
            // Its owner may have died while it moved the same messages.
            let there = (0..self.held_top(entry))
                .any(|i| self.held(entry, i).is_some_and(|(position, _)| position == at));
            if !there && !tombstone(at) {
                self.put_held(entry, &mut free, held_word(at, u32::from(i < handed)));
            }
        }
        self.set_idle(entry);
    }
}
