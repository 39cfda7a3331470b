//! The shared state in the `channel` file, behind the two superblocks: words that every process maps.
//!
//! Words that change often lie on cache-line pairs of their own (128 bytes).

use super::PAGE_LIMIT;

/// Where the shared state begins in the file.
pub(crate) const CONTROL_AT: usize = 8192;

/// Oldest page (38 bits) and the count of group creations (26 bits), changed together.
pub(crate) const WINDOW: usize = CONTROL_AT;
/// The page that takes new messages.
pub(crate) const NEWEST: usize = CONTROL_AT + 128;
/// Which words of `SLEEPERS` may be non-zero.
pub(crate) const SLEEPING: usize = CONTROL_AT + 256;
/// Which words of `ROOM_WAITERS` may be non-zero.
pub(crate) const WAITING: usize = CONTROL_AT + 384;
/// Everything before this position is on stable storage.
pub(crate) const DURABLE: usize = CONTROL_AT + 512;
/// Counts finished flushes; a futex for those who wait for one.
pub(crate) const FLUSHED: usize = CONTROL_AT + 520;
/// Non-zero while a flush is under way (or its owner died in it).
pub(crate) const FLUSHING: usize = CONTROL_AT + 528;
/// Page up to which directory entries are on stable storage.
pub(crate) const NAMED: usize = CONTROL_AT + 536;
/// Without checksums: what `DURABLE` is about to become, flushed before it does.
pub(crate) const MARK: usize = CONTROL_AT + 544;
/// Non-zero after an I/O failure.
pub(crate) const POISONED: usize = CONTROL_AT + 640;
pub(crate) const ABANDONED: usize = CONTROL_AT + 768;
pub(crate) const DISCARDED: usize = CONTROL_AT + 776;
/// Machine crashes recovered from.
pub(crate) const RECOVERIES: usize = CONTROL_AT + 784;
/// Pages below this were written before the last machine crash: checked before first use.
pub(crate) const SUSPECT_BELOW: usize = CONTROL_AT + 792;
/// Everything before this was on stable storage at the last machine crash.
pub(crate) const DURABLE_THEN: usize = CONTROL_AT + 800;
/// No page has a number at or above this; raised ahead of need.
pub(crate) const HIGH_WATER: usize = CONTROL_AT + 808;
/// Boot id (16 bytes) of the machine that uses the channel.
pub(crate) const BOOT_ID: usize = CONTROL_AT + 896;
/// One bit for each handle that sleeps or has an armed descriptor: 16 words.
pub(crate) const SLEEPERS: usize = CONTROL_AT + 1024;
/// One bit for each producer that waits for room: 16 words.
pub(crate) const ROOM_WAITERS: usize = CONTROL_AT + 1152;

/// Handles (producers and consumers) a channel can have at once.
pub(crate) const HANDLES: usize = 1024;
/// Where their records begin.
pub(crate) const HANDLES_AT: usize = CONTROL_AT + 4096;
/// Bytes of a handle's record.
pub(crate) const HANDLE_SIZE: usize = 128;
/// What the handle is.
pub(crate) const KIND: usize = 0;
/// Odd while the producer is between claim and publication.
pub(crate) const EPOCH: usize = 8;
/// 1 while asleep: the futex word itself.
pub(crate) const ASLEEP: usize = 16;
/// Which group it belongs to; handles of one tag share a wake.
pub(crate) const TAG: usize = 24;
/// The open of the channel it was made from.
pub(crate) const MEMBER: usize = 32;
/// 1 while its event descriptor wants a signal, 2 while a task does (see `engine::sleepers`).
pub(crate) const ARMED: usize = 40;
/// 1 while another process asks this one's library thread to signal the descriptor.
pub(crate) const SIGNAL: usize = 48;

pub(crate) const KIND_PRODUCER: u64 = 1;
pub(crate) const KIND_CONSUMER: u64 = 2;

/// Opens of a channel there can be at once.
pub(crate) const MEMBERS: usize = 1024;
/// Where their records begin.
pub(crate) const MEMBERS_AT: usize = HANDLES_AT + HANDLES * HANDLE_SIZE;
/// Bytes of a member's record: its wake word.
pub(crate) const MEMBER_SIZE: usize = 64;

/// Bytes of the `channel` file.
pub(crate) const CHANNEL_LEN: usize = MEMBERS_AT + MEMBERS * MEMBER_SIZE;

const _: () = assert!(ROOM_WAITERS + 128 <= HANDLES_AT);
const _: () = assert!(CHANNEL_LEN % 4096 == 0);

// Bytes of the `channel` file that are locked (beyond its end, so that they never meet data).
/// Shared by every open; exclusive for creation, recovery and destruction.
pub(crate) const LOCK_OPEN: u64 = 1 << 32;
/// Held, shared, by every read-only open; those do not keep a machine crash from being recovered.
pub(crate) const LOCK_READERS: u64 = LOCK_OPEN + 3;
/// Held while flushing.
pub(crate) const LOCK_FLUSH: u64 = LOCK_OPEN + 1;
/// Held, at one of 64 bytes from here on, by one who flushes beside suspended flushers.
pub(crate) const LOCK_FLUSH_BESIDE: u64 = LOCK_OPEN + 1024;
/// Held while preparing the next page.
pub(crate) const LOCK_PREPARE: u64 = LOCK_OPEN + 2;
/// Held by each open on its member record.
pub(crate) const LOCK_MEMBERS: u64 = LOCK_OPEN + 4096;
/// Held for each live handle on its record.
pub(crate) const LOCK_HANDLES: u64 = LOCK_OPEN + 8192;

const EPOCH_BITS: u32 = 26;

/// The window word: oldest page and group epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) oldest: u64,
    pub(crate) groups: u64,
}

impl Window {
    pub(crate) fn unpack(word: u64) -> Window {
        Window { oldest: word >> EPOCH_BITS, groups: word & ((1 << EPOCH_BITS) - 1) }
    }
    pub(crate) fn pack(self) -> u64 {
        debug_assert!(self.oldest < PAGE_LIMIT);
        (self.oldest << EPOCH_BITS) | (self.groups & ((1 << EPOCH_BITS) - 1))
    }
    /// The same window after a group was created or a consumer joined.
    pub(crate) fn joined(self) -> Window {
        Window { groups: self.groups + 1, ..self }
    }
}

/// Where a handle's record lies.
#[inline(always)]
pub(crate) fn handle_at(index: usize) -> usize {
    debug_assert!(index < HANDLES);
    HANDLES_AT + index * HANDLE_SIZE
}

/// Where a member's wake word lies.
pub(crate) fn member_at(index: usize) -> usize {
    debug_assert!(index < MEMBERS);
    MEMBERS_AT + index * MEMBER_SIZE
}
