//! A group's cursor and its consumers' leases: each message to one consumer, whoever dies.
//!
//! A claim is three steps on two words: the lease says what is *intended*, the cursor moves by
//! compare-exchange, the lease says *held*. Whoever wants to move the cursor next first confirms the
//! intended lease of the one who moved it last (*helping*), so the cursor never runs ahead of a claim
//! that could still be taken for undecided. Whoever holds the kernel lock on an entry owns its lease:
//! there is no owner word to go stale.

use crate::layout::group::{
    entry_at, Cursor, Lease, CURSOR, ENTRIES, ENTRY_MAX, LEASE, NOBODY, PROGRESS, SEEKING,
};
use crate::sync::{planted, AcqRel, Acquire, Memory, Release, SeqCst};

/// A group's words.
#[derive(Clone, Copy)]
pub(crate) struct GroupView<M>(pub(crate) M);

/// How often a seek tries to move the cursor.
const SEEK_TRIES: usize = 100_000;

/// Whether an intent became a claim: the cursor says so, until somebody moves it, who confirms the intent first.
#[inline(always)]
fn moved_by(c: Cursor, entry: usize, first: u64, count: usize) -> bool {
    c.last == entry && c.position == first + count as u64
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The entry holds the messages now; of a hop: the cursor moved.
    Yes,
    /// Somebody else moved the cursor.
    Raced,
    /// A seek is deciding.
    Seeking,
}

impl<M: Memory> GroupView<M> {
    /// Where the group stands.
    #[inline(always)]
    pub(crate) fn cursor(&self) -> Cursor {
        // S-CURSOR
        Cursor::unpack(self.0.load(CURSOR, Acquire))
    }

    /// An entry's lease.
    #[inline(always)]
    pub(crate) fn lease(&self, entry: usize) -> Lease {
        // S-LEASE
        Lease::unpack(self.0.load(entry_at(entry) + LEASE, Acquire))
    }

    /// What an entry has claimed, by a cursor read before: an intent that moved the cursor is a claim, also where its
    /// owner stands, or died, between the two.
    pub(crate) fn claimed(&self, entry: usize, c: Cursor) -> Option<(u64, usize)> {
        match self.lease(entry) {
            Lease::Held { first, count } => Some((first, count)),
            Lease::Intended { first, count } => {
                moved_by(c, entry, first, count).then_some((first, count))
            }
            Lease::Idle => None,
        }
    }

    /// Messages of the lease handed out, and acknowledged.
    pub(crate) fn progress(&self, entry: usize) -> (usize, usize) {
        let word = self.0.load(entry_at(entry) + PROGRESS, Acquire);
        ((word & 0xFFFF_FFFF) as usize, (word >> 32) as usize)
    }

    /// Record how many of the lease's messages were handed out and acknowledged; its owner only.
    #[inline(always)]
    pub(crate) fn set_progress(&self, entry: usize, handed: usize, acked: usize) {
        // Before the message is handed over: a successor must flag what was seen.
        self.0.store(entry_at(entry) + PROGRESS, ((acked as u64) << 32) | handed as u64, Release);
    }

    /// Confirm the claim of the one who moved the cursor to `c`, if it is still undecided.
    #[inline(always)]
    fn help(&self, c: Cursor, me: usize) {
        if c.last == NOBODY || c.last == me || c.last >= ENTRY_MAX || planted!("no_helping") {
            return;
        }
        let at = entry_at(c.last) + LEASE;
        // S-LEASE: the intent was stored before the cursor moved, and the cursor was acquired.
        let word = self.0.load(at, Acquire);
        if let Lease::Intended { first, count } = Lease::unpack(word) {
            if first + count as u64 == c.position {
                let _ = self.0.cas(at, word, Lease::Held { first, count }.pack(), AcqRel);
            }
        }
    }

    /// Claim `count` messages at `c` for an idle entry.
    #[inline(always)]
    pub(crate) fn claim(&self, entry: usize, c: Cursor, count: usize) -> Claimed {
        let at = entry_at(entry);
        self.set_progress(entry, 0, 0);
        // S-SEEK: SeqCst on both sides, the intent before the look at SEEKING; a seek announces itself
        // before it looks at the leases. One of the two sees the other.
        self.0.swap(at + LEASE, Lease::Intended { first: c.position, count }.pack(), SeqCst);
        if self.0.load(SEEKING, SeqCst) != 0 && !planted!("claim_during_seek") {
            self.set_idle(entry);
            return Claimed::Seeking;
        }
        // From the intent on no seek gets by. One that did between reading `c` and here may have let
        // positions come round again: helping by an old `c` could confirm what was never claimed.
        if self.0.load(CURSOR, Acquire) != c.pack() {
            self.set_idle(entry);
            return Claimed::Raced;
        }
        self.help(c, entry);
        let next = Cursor { position: c.position + count as u64, last: entry };
        // S-CURSOR, and releases the intent (S-LEASE).
        if self.0.cas(CURSOR, c.pack(), next.pack(), AcqRel).is_err() {
            self.set_idle(entry);
            return Claimed::Raced;
        }
        self.0.store(at + LEASE, Lease::Held { first: c.position, count }.pack(), Release);
        Claimed::Yes
    }

    /// Move the cursor over something that is no message, or gone (the end of a page), for a consumer.
    pub(crate) fn hop(&self, entry: usize, c: Cursor, position: u64) -> Claimed {
        // S-SEEK, as in a claim: while this entry holds something, or says that it is about to, no seek
        // gets by, and `c` means what it meant. The intent is one that no cursor confirms.
        let idle = self.lease(entry) == Lease::Idle;
        if idle {
            let intent = Lease::Intended { first: c.position, count: 1 };
            self.0.swap(entry_at(entry) + LEASE, intent.pack(), SeqCst);
        }
        let done = if idle && self.0.load(SEEKING, SeqCst) != 0 {
            Claimed::Seeking
        } else if self.move_cursor(c, position) {
            Claimed::Yes
        } else {
            Claimed::Raced
        };
        if idle {
            self.set_idle(entry);
        }
        done
    }

    /// Move the group, unless somebody else holds something: `alone` says so, and is asked anew for each
    /// try. The caller holds the lock on seeking, and says `end_seek` once it has forgotten what was held.
    pub(crate) fn seek(&self, position: u64, mut alone: impl FnMut() -> bool) -> bool {
        // S-SEEK
        self.0.swap(SEEKING, 1, SeqCst);
        let mut moved = false;
        // Bounded: a failed exchange means a page hop, a dropped page, or a claim of somebody who took
        // this seek for dead.
        for _ in 0..SEEK_TRIES {
            // Read before the leases: who claims after they were looked at moves the cursor.
            let c = self.cursor();
            if !alone() {
                break;
            }
            moved = self.move_cursor(c, position);
            if moved {
                break;
            }
        }
        moved
    }

    /// Claims go on.
    pub(crate) fn end_seek(&self) {
        let _ = self.0.cas(SEEKING, 1, 0, SeqCst);
    }

    /// Move the cursor without claiming; false: it moved meanwhile. By whoever keeps seeks away: after one, positions
    /// come round again, and what `c` says may be true of another claim.
    pub(crate) fn move_cursor(&self, c: Cursor, position: u64) -> bool {
        if self.0.load(CURSOR, Acquire) != c.pack() {
            return false;
        }
        self.help(c, NOBODY);
        self.0.cas(CURSOR, c.pack(), Cursor { position, last: NOBODY }.pack(), AcqRel).is_ok()
    }

    /// The lease holds nothing any more; its owner only.
    #[inline(always)]
    pub(crate) fn set_idle(&self, entry: usize) {
        self.0.store(entry_at(entry) + LEASE, Lease::Idle.pack(), Release);
    }

    /// Decide what a dead owner left undecided; the new owner of the entry only. By compare-exchange:
    /// a helper may be deciding the same.
    pub(crate) fn resolve(&self, entry: usize) -> Lease {
        let at = entry_at(entry) + LEASE;
        let word = self.0.load(at, Acquire);
        if let Lease::Intended { first, count } = Lease::unpack(word) {
            let won = moved_by(self.cursor(), entry, first, count);
            let to = if won { Lease::Held { first, count } } else { Lease::Idle };
            if planted!("resolve_blindly") {
                self.0.store(at, to.pack(), Release);
                return to;
            }
            let _ = self.0.cas(at, word, to.pack(), AcqRel);
        }
        self.lease(entry)
    }

    /// Whether an entry holds anything.
    pub(crate) fn busy(&self, entry: usize) -> bool {
        // S-SEEK
        let lease = Lease::unpack(self.0.load(entry_at(entry) + LEASE, SeqCst));
        lease != Lease::Idle || self.held_top(entry) != 0
    }

    /// The first position some entry may still need. The cursor is read before the number of entries
    /// and before the leases: a claim writes its intent (in an entry counted before) before it moves
    /// the cursor, so what the cursor has passed is already in a lease.
    pub(crate) fn floor(&self) -> u64 {
        let mut floor = self.cursor().position;
        let entries = (self.0.load(ENTRIES, Acquire) as usize).min(ENTRY_MAX);
        for entry in 0..entries {
            floor = floor.min(self.entry_floor(entry));
        }
        floor
    }

    /// The first position an entry holds; `u64::MAX`: nothing. The lease is read before the held words:
    /// its owner moves messages from the one to the other, in this direction only.
    pub(crate) fn entry_floor(&self, entry: usize) -> u64 {
        let mut floor = u64::MAX;
        if let Lease::Intended { first, count } | Lease::Held { first, count } = self.lease(entry) {
            // Progress is read after the lease: at worst it is that of a later claim, and then it is
            // smaller than or equal to this claim's, or the lease was idle in between, which means
            // that everything it held was acknowledged or moved to the held words.
            let acked = self.progress(entry).1.min(count);
            floor = first + acked as u64;
        }
        for i in 0..self.held_top(entry) {
            if let Some((position, _)) = self.held(entry, i) {
                floor = floor.min(position);
            }
        }
        floor
    }
}
