//! Who sleeps: a bit a handle, and a summary word that says which words of bits may be non-zero.
//!
//! A sleeper sets its own flag (the futex word), then its bit, then the summary, then looks once more
//! for what it waits for, and only then sleeps. A waker makes its news visible first and then reads the
//! summary. All of these are SeqCst, so one of the two sees the other (S-SLEEP): the interleaving in
//! which the sleeper misses the message *and* the waker misses the bit would need each side's read to
//! come before the other side's write.

use crate::layout::control::{HANDLES, ROOM_WAITERS, SLEEPERS, SLEEPING, WAITING};
use crate::sync::{planted, Acquire, Memory, SeqCst};

/// One of the two sets of bits.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    bits: usize,
    summary: usize,
}

/// Those who wait for messages.
pub(crate) const FOR_MESSAGES: Set = Set { bits: SLEEPERS, summary: SLEEPING };
/// Those who wait for room.
pub(crate) const FOR_ROOM: Set = Set { bits: ROOM_WAITERS, summary: WAITING };

impl Set {
    /// Whether anybody may be asleep: one load.
    #[inline(always)]
    pub(crate) fn any<M: Memory>(self, mem: &M) -> bool {
        mem.load(self.summary, if planted!("no_fence") { Acquire } else { SeqCst }) != 0
    }

    /// Whether news is for everybody of the set, not for one of each group.
    pub(crate) fn wakes_all(self) -> bool {
        self.bits == ROOM_WAITERS
    }

    /// Announce a sleeper; its flag was set before.
    pub(crate) fn enter<M: Memory>(self, mem: &M, index: usize) {
        let word = index / 64;
        mem.or(self.bits + 8 * word, 1 << (index % 64), SeqCst);
        if !planted!("summary_unset") {
            mem.or(self.summary, 1 << word, SeqCst);
        }
    }

    /// Take a handle's bit; true: it was set.
    pub(crate) fn take<M: Memory>(self, mem: &M, index: usize) -> bool {
        let bit = 1 << (index % 64);
        mem.and(self.bits + 8 * (index / 64), !bit, SeqCst) & bit != 0
    }

    /// Call `visit` for every handle whose bit is set, and drop summary bits of words found empty.
    /// True: somebody came in while a summary bit was down, so that other wakers may have missed it:
    /// the caller acts for them and scans again.
    #[must_use]
    pub(crate) fn scan<M: Memory>(self, mem: &M, mut visit: impl FnMut(usize)) -> bool {
        let mut again = false;
        let mut words = mem.load(self.summary, SeqCst) & ((1 << (HANDLES / 64)) - 1);
        while words != 0 {
            let word = words.trailing_zeros() as usize;
            words &= words - 1;
            let at = self.bits + 8 * word;
            let mut bits = mem.load(at, SeqCst);
            while bits != 0 {
                visit(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
            if mem.load(at, SeqCst) == 0 {
                mem.and(self.summary, !(1 << word), SeqCst);
                // A sleeper may have set its bit before the summary was cleared.
                if mem.load(at, SeqCst) != 0 {
                    mem.or(self.summary, 1 << word, SeqCst);
                    again = true;
                }
            }
        }
        again
    }
}
