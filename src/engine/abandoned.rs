//! Claims that nobody will publish: telling that the claimer is gone without knowing who it is.
//!
//! A producer's epoch is odd from before its claim until after its publication. A reader that finds an
//! unpublished claim looks at every producer once: one that is idle, has moved on, or is dead cannot own
//! the claim. (RCU's grace period, McKenney and Slingwine 1998, with processes for readers.) Since the
//! slot is decided by compare-exchange, a wrong answer would cost a resend and never a message.

use crate::layout::control::{handle_at, EPOCH, HANDLES, KIND, KIND_PRODUCER};
use crate::sync::{planted, Acquire, Memory, Release};

/// A reader's progress over the producers for one position; restart it for another position.
#[derive(Clone, Copy, Default)]
pub(crate) struct Watch {
    /// The position that is not published; 0: none.
    pub(crate) position: u64,
    /// When it was first seen so, in nanoseconds.
    pub(crate) since: u64,
    /// Every claim of its page made by then lies before this position.
    claimed: u64,
    next: usize,
    seen: u64,
}

impl Watch {
    /// Watch a position from now on; `claimed`: claims end before this position. An earlier watch goes
    /// on if it was of this position, or of one before it when both were claimed already: what is known
    /// of the claimers of the one holds for the other, and a batch of claims is waited for once.
    pub(crate) fn on(&mut self, position: u64, claimed: u64, now: u64) {
        if position < self.position || position >= self.claimed {
            *self = Watch { position, since: now, claimed, next: 0, seen: 0 };
        }
        self.position = position;
    }

    /// Whether by now no live producer can own the claim. `alive` asks the kernel about a record.
    pub(crate) fn cleared<M: Memory>(&mut self, mem: &M, alive: impl Fn(usize) -> bool) -> bool {
        while self.next < HANDLES {
            let at = handle_at(self.next);
            if mem.load(at + KIND, Acquire) == KIND_PRODUCER {
                // S-EPOCH
                let epoch = mem.load(at + EPOCH, Acquire);
                if epoch & 1 == 1 {
                    if self.seen == 0 {
                        self.seen = epoch;
                    }
                    if self.seen == epoch && alive(self.next) {
                        return false;
                    }
                }
            }
            self.next += 1;
            self.seen = 0;
        }
        true
    }
}

/// Enter a send: the epoch turns odd. Release, with the claim at least Release after it: a reader that
/// sees the claim sees the epoch (S-EPOCH).
#[inline(always)]
pub(crate) fn enter<M: Memory>(mem: &M, record: usize, epoch: &mut u64) {
    *epoch |= 1;
    if planted!("epoch_even") {
        return;
    }
    mem.store(record + EPOCH, *epoch, Release);
}

/// Leave a send: the epoch turns even.
#[inline(always)]
pub(crate) fn leave<M: Memory>(mem: &M, record: usize, epoch: &mut u64) {
    *epoch = epoch.wrapping_add(1);
    mem.store(record + EPOCH, *epoch, Release);
}

/// The epoch to start a record with: even, and different from whatever a dead owner left. Never reset,
/// or a record left odd would come back with its parity inverted.
pub(crate) fn register<M: Memory>(mem: &M, record: usize) -> u64 {
    let before = mem.load(record + EPOCH, Acquire);
    let epoch = if planted!("epoch_reset") { 0 } else { (before | 1).wrapping_add(1) };
    mem.store(record + EPOCH, epoch, Release);
    epoch
}
