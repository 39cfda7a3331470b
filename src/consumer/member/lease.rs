//! What a member holds: acknowledging it, putting it aside, giving it back.

use super::Member;
use crate::consumer::Core;
use crate::error::{fail, Error, Result, DC_E_LIMIT};
use crate::layout::group::{held_word, CONSUMERS};
use crate::options::ACK_MANUAL;
use crate::sync::{planted, Memory, Release};

impl Member {
    /// Messages handed out and not acknowledged.
    pub(in crate::consumer) fn unacked(&self) -> usize {
        let holes = match self.holes {
            [0, 0, 0, 0] => 0,
            _ => (self.acked..self.handed).filter(|&i| self.is_hole(i)).count(),
        };
        self.handed - self.acked - holes + self.held + self.adopted.unacked()
    }

    /// Whether the claim's `i`-th place was passed and holds no message.
    fn is_hole(&self, i: usize) -> bool {
        self.holes[i / 64] >> (i % 64) & 1 != 0
    }

    pub(in crate::consumer) fn note_hole(&mut self, i: usize) {
        self.holes[i / 64] |= 1 << (i % 64);
    }

    /// Whether a manual acknowledger holds all it may.
    pub(in crate::consumer) fn full(&self) -> bool {
        self.ack == ACK_MANUAL && self.unacked() >= self.max_unacked
    }

    #[cold]
    pub(in crate::consumer) fn too_many(&self) -> Error {
        fail!(
            DC_E_LIMIT,
            "{} messages are unacknowledged, the most this consumer may hold (max_unacked): \
             acknowledge some",
            self.unacked()
        )
    }

    /// Move the claim's unacknowledged messages to the held words, so that the lease is free for the
    /// next claim. A message is written there before the lease lets go of it: whoever takes the entry
    /// over finds it in one of them, or in both, and then counts it once.
    pub(in crate::consumer) fn spill(&mut self) {
        if planted!("spill_too_late") {
            self.group.view.set_idle(self.entry);
        }
        let mut at = 0;
        for i in self.acked..self.handed {
            let word = held_word(self.first + i as u64, 1);
            if !self.is_hole(i) && self.group.view.put_held(self.entry, &mut at, word) {
                self.held += 1;
            }
        }
        self.group.view.set_idle(self.entry);
        (self.count, self.handed, self.acked) = (0, 0, 0);
    }

    /// Acknowledge everything handed out.
    #[inline(always)]
    pub(in crate::consumer) fn ack_handed(&mut self) {
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
    pub(in crate::consumer) fn finish(&mut self) {
        self.group.view.set_progress(self.entry, self.count, self.count);
        self.group.view.set_idle(self.entry);
        (self.count, self.handed, self.acked) = (0, 0, 0);
    }

    #[inline(always)]
    pub(in crate::consumer) fn note_progress(&mut self) {
        if self.acked == self.count {
            self.finish();
        } else {
            self.group.view.set_progress(self.entry, self.handed, self.acked);
        }
    }

    pub(in crate::consumer) fn ack(&mut self, position: u64) {
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
            // The words are everybody's to damage, the count is this handle's.
            self.held -= self.group.view.drop_held(self.entry, position).min(self.held);
            if self.held == 0 {
                self.group.view.clear_held(self.entry);
            }
        }
        self.adopted.ack(&self.group, position);
    }

    pub(in crate::consumer) fn nack(&mut self, core: &mut Core) -> Result<()> {
        let own = self.handed > self.acked || self.held > 0;
        self.walk_away(core, own)
    }

    /// Give back what is claimed and was not handed out, and with it what is not acknowledged.
    pub(in crate::consumer) fn give_back_ahead(&mut self, core: &mut Core) -> Result<()> {
        if self.handed < self.count || self.adopted.delivering() {
            self.walk_away(core, self.handed < self.count)?;
        }
        Ok(())
    }

    fn walk_away(&mut self, core: &mut Core, own: bool) -> Result<()> {
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
    pub(in crate::consumer) fn leave(&mut self, core: &Core) {
        self.adopted.give_back(&self.group);
        if self.count > 0 && self.acked == self.count {
            self.group.view.set_idle(self.entry);
        }
        self.group.disown(self.entry);
        self.group.mem().store(CONSUMERS, self.group.live_consumers() as u64, Release);
        self.entry = usize::MAX;
        core.shared.returned(&self.group);
    }
}
