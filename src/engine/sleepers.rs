//! Who sleeps: a bit a handle, and a summary word that says which words of bits may be non-zero.
//!
//! A sleeper sets its own flag (the futex word), then its bit, then the summary, then looks once more
//! for what it waits for, and only then sleeps. A waker makes its news visible first and then reads the
//! summary. All of these are SeqCst, so one of the two sees the other (S-SLEEP): the interleaving in
//! which the sleeper misses the message *and* the waker misses the bit would need each side's read to
//! come before the other side's write.

use crate::layout::control::{
    handle_at, ARMED, ASLEEP, HANDLES, ROOM_WAITERS, SIGNAL, SLEEPERS, SLEEPING, TAG, WAITING,
};
use crate::sync::{planted, Acquire, Memory, SeqCst};

/// One of the two sets of bits.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    bits: usize,
    summary: usize,
}

/// What a handle is armed by: a descriptor, which may belong to somebody who is not polling, so that every one of a
/// group is signalled; or a task, which passes on what it does not take, so that one of a group is enough.
pub(crate) const BY_DESCRIPTOR: u64 = 1;
pub(crate) const BY_TASK: u64 = 2;

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
    fn wakes_all(self) -> bool {
        self.bits == ROOM_WAITERS
    }

    /// Announce a sleeper and have it `wait` (unless there is news by now) while its flag is 1; true: somebody took
    /// its bit to wake it.
    pub(crate) fn sleep<M: Memory>(self, mem: &M, index: usize, wait: impl FnOnce()) -> bool {
        let at = handle_at(index);
        // S-SLEEP
        mem.store(at + ASLEEP, 1, SeqCst);
        self.enter(mem, index);
        wait();
        mem.store(at + ASLEEP, 0, SeqCst);
        // The bit of one whose descriptor is armed stays for that.
        mem.load(at + ARMED, SeqCst) == 0 && !self.take(mem, index)
    }

    /// Announce that a descriptor, or a task, wants a signal; the caller looks for news once more.
    pub(crate) fn arm<M: Memory>(self, mem: &M, index: usize, by: u64) {
        // S-SLEEP
        mem.store(handle_at(index) + ARMED, by, SeqCst);
        self.enter(mem, index);
    }

    /// A task waits no more. True: somebody took its bit to wake it; it passes that on, unless it took what there was.
    pub(crate) fn disarm<M: Memory>(self, mem: &M, index: usize) -> bool {
        // Whoever takes the bit, the task or a waker, the other one finds it gone.
        mem.store(handle_at(index) + ARMED, 0, SeqCst);
        !self.take(mem, index)
    }

    /// Wake sleepers and tasks: one of each group (all those that wait for room), and every armed descriptor;
    /// of one tag only, if given. `rouse` ends a sleep, unless there was none (false). True: once more.
    #[must_use]
    pub(crate) fn wake<M: Memory>(
        self,
        mem: &M,
        tag: Option<u64>,
        mut rouse: impl FnMut(usize) -> bool,
        mut signal: impl FnMut(usize),
    ) -> bool {
        let mut woken = [0; 64];
        let mut groups = 0;
        self.scan(mem, |index| {
            let at = handle_at(index);
            let its = mem.load(at + TAG, Acquire);
            if tag.is_some_and(|t| t != its) {
                return;
            }
            let armed = || mem.load(at + ARMED, SeqCst);
            let shares = |armed: u64| matches!(armed, 0 | BY_TASK);
            if !self.wakes_all() && woken[..groups].contains(&its) && shares(armed()) {
                return;
            }
            if !self.take(mem, index) {
                return;
            }
            let slept = rouse(index);
            // Asked after the bit was taken: it may be that of an arming a moment ago.
            let armed = armed();
            if armed != 0 {
                signal(index);
            }
            if shares(armed) && (slept || armed != 0) && groups < woken.len() {
                woken[groups] = its;
                groups += 1;
            }
        })
    }

    /// Set a handle's bit and the summary.
    fn enter<M: Memory>(self, mem: &M, index: usize) {
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
    fn scan<M: Memory>(self, mem: &M, mut visit: impl FnMut(usize)) -> bool {
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

/// Clear the flag of a sleeper whose bit was taken; false: it was not set.
pub(crate) fn clear<M: Memory>(mem: &M, index: usize) -> bool {
    mem.swap(handle_at(index) + ASLEEP, 0, SeqCst) != 0
}

/// A descriptor is about to be written by its own process: it counts as told. An arming that this
/// overtakes is followed by the signal, so it costs a look and loses nothing.
pub(crate) fn told<M: Memory>(mem: &M, index: usize) {
    mem.store(handle_at(index) + ARMED, 0, SeqCst);
}

/// Ask the process of a descriptor to write it. A waker that dies before it asked leaves the descriptor
/// armed, for the scan.
pub(crate) fn ask<M: Memory>(mem: &M, index: usize) {
    mem.store(handle_at(index) + SIGNAL, 1, SeqCst);
}

/// The descriptor's process: whether to write it, and then it counts as told. Asked to, or (in a `scan`) because
/// it is armed and there is news.
pub(crate) fn answer<M: Memory>(
    mem: &M,
    index: usize,
    scan: bool,
    news: impl FnOnce() -> bool,
) -> bool {
    let asked = mem.swap(handle_at(index) + SIGNAL, 0, SeqCst) != 0;
    let armed = scan && mem.load(handle_at(index) + ARMED, SeqCst) != 0;
    let due = asked || (armed && news());
    if due {
        told(mem, index);
    }
    due
}
