//! A group's file: its name, its cursor, and an entry for each consumer.

use super::Uuid;
use crate::sync::{Memory, Region, Relaxed};

/// First word of every group file: "DCGROUP1".
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"DCGROUP1");
pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const UUID_AT: usize = 8;
pub(crate) const NAME_LEN_AT: usize = 24;
pub(crate) const NAME_AT: usize = 32;

/// Next position to claim (54 bits) and the entry that claimed last (10 bits).
pub(crate) const CURSOR: usize = 1024;
/// Non-zero while a seek is deciding; nobody claims meanwhile.
pub(crate) const SEEKING: usize = 1152;
/// Grows whenever leases are given back: consumers look for them.
pub(crate) const RETURNED: usize = 1160;
/// Where the last gap made by retention ended; 0: never.
pub(crate) const GAP: usize = 1168;
/// Entries the file has room for.
pub(crate) const ENTRIES: usize = 1176;
/// Live consumers, as last counted.
pub(crate) const CONSUMERS: usize = 1184;
/// Non-zero once the group was deleted.
pub(crate) const DELETED: usize = 1192;
/// Messages dropped unread.
pub(crate) const LOST: usize = 1280;
/// Redeliveries.
pub(crate) const REDELIVERED: usize = 1288;
/// Everything before this position (54 bits) was acknowledged when it was last computed: what a machine
/// crash resets the cursor to. The low 10 bits count seeks, so that none is overtaken by a flush.
pub(crate) const FLOOR: usize = 1296;

/// Bytes of the header.
pub(crate) const HEADER: usize = 4096;
/// Entries at most: 254 live consumers, and as many left behind.
pub(crate) const ENTRY_MAX: usize = 510;
/// Live consumers at most.
pub(crate) const CONSUMER_MAX: usize = 254;
/// Messages an entry can hold unacknowledged.
pub(crate) const HELD_MAX: usize = 4096;
/// Bytes of an entry: one block of words, then the held messages.
pub(crate) const ENTRY_SIZE: usize = 4096 + 8 * HELD_MAX;

// An entry's words.
/// The lease: state (2 bits), first position (54), count (8).
pub(crate) const LEASE: usize = 0;
/// How many of the lease's messages were handed out (low half) and acknowledged (high half).
pub(crate) const PROGRESS: usize = 8;
/// Held words beyond this index were never used.
pub(crate) const HELD_TOP: usize = 16;
/// 1: a consumer's own entry; 2: taken over to redeliver what it holds.
pub(crate) const ROLE: usize = 24;
/// The held messages: position (54 bits), deliveries (10).
pub(crate) const HELD: usize = 4096;

pub(crate) const ROLE_OWN: u64 = 1;
pub(crate) const ROLE_ADOPTED: u64 = 2;

/// Bytes of the file with `entries` entries.
pub(crate) const fn file_len(entries: usize) -> usize {
    HEADER + entries * ENTRY_SIZE
}
/// Where an entry begins.
#[inline(always)]
pub(crate) fn entry_at(index: usize) -> usize {
    debug_assert!(index < ENTRY_MAX);
    HEADER + index * ENTRY_SIZE
}
/// Where a held word of an entry lies.
#[inline(always)]
pub(crate) fn held_at(entry: usize, i: usize) -> usize {
    debug_assert!(i < HELD_MAX);
    entry_at(entry) + HELD + 8 * i
}

// Bytes of the group file that are locked.
/// The entry's owner holds this byte + its index.
pub(crate) const LOCK_ENTRIES: u64 = 1 << 32;
/// Held by whoever seeks.
pub(crate) const LOCK_SEEK: u64 = LOCK_ENTRIES - 1;

/// The entry of nobody in a cursor word.
pub(crate) const NOBODY: usize = 1023;

/// The cursor word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: u64,
    pub(crate) last: usize,
}

impl Cursor {
    #[inline(always)]
    pub(crate) fn unpack(word: u64) -> Cursor {
        Cursor { position: word >> 10, last: (word & 1023) as usize }
    }
    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        (self.position << 10) | self.last as u64
    }
}

/// A lease word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lease {
    /// Nothing.
    Idle,
    /// About to move the cursor over these.
    Intended { first: u64, count: usize },
    /// These are the entry's.
    Held { first: u64, count: usize },
}

impl Lease {
    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        match self {
            Lease::Idle => 0,
            Lease::Intended { first, count } => (first << 10) | ((count as u64) << 2) | 1,
            Lease::Held { first, count } => (first << 10) | ((count as u64) << 2) | 2,
        }
    }
    /// A word with an unknown state is damage, and holds nothing.
    #[inline(always)]
    pub(crate) fn unpack(word: u64) -> Lease {
        let (first, count) = (word >> 10, ((word >> 2) & 255) as usize);
        match word & 3 {
            1 if count > 0 => Lease::Intended { first, count },
            2 if count > 0 => Lease::Held { first, count },
            _ => Lease::Idle,
        }
    }
}

/// A floor word.
pub(crate) fn floor_word(position: u64, seeks: u64) -> u64 {
    (position << 10) | (seeks & 1023)
}
/// Read a floor word: position and count of seeks.
pub(crate) fn floor_of(word: u64) -> (u64, u64) {
    (word >> 10, word & 1023)
}

/// A held word: the message at `position` was handed out `deliveries` times and not acknowledged.
#[inline(always)]
pub(crate) fn held_word(position: u64, deliveries: u32) -> u64 {
    (position << 10) | u64::from(deliveries.min(1023))
}
/// Read a held word; `None` where nothing is held.
#[inline(always)]
pub(crate) fn held(word: u64) -> Option<(u64, u32)> {
    (word != 0).then_some((word >> 10, (word & 1023) as u32))
}

/// Write the identity of a group file that nobody uses yet.
pub(crate) fn write_header(region: &Region, uuid: &Uuid, name: &[u8]) {
    region.store(MAGIC_AT, MAGIC, Relaxed);
    region.write_bytes(UUID_AT, uuid);
    region.store(NAME_LEN_AT, name.len() as u64, Relaxed);
    region.write_bytes(NAME_AT, name);
}

/// The name in a group file of this channel; `None`: it is not one.
pub(crate) fn read_name(region: &Region, uuid: &Uuid) -> Option<Vec<u8>> {
    let mut found = [0; 16];
    region.read_bytes(UUID_AT, &mut found);
    let len = region.load(NAME_LEN_AT, Relaxed) as usize;
    if region.load(MAGIC_AT, Relaxed) != MAGIC || found != *uuid || !(1..=255).contains(&len) {
        return None;
    }
    let mut name = vec![0; len];
    region.read_bytes(NAME_AT, &mut name);
    Some(name)
}

const _: () = assert!(NAME_AT + 256 <= CURSOR && FLOOR + 8 <= HEADER);
const _: () = assert!(ENTRY_MAX < NOBODY && ENTRY_SIZE % 4096 == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip() {
        let c = Cursor { position: (1 << 54) - 1, last: 509 };
        assert_eq!(Cursor::unpack(c.pack()), c);
        for l in [
            Lease::Idle,
            Lease::Intended { first: 7, count: 255 },
            Lease::Held { first: (1 << 54) - 1, count: 1 },
        ] {
            assert_eq!(Lease::unpack(l.pack()), l);
        }
        assert_eq!(held(held_word(9, 5000)), Some((9, 1023)));
    }

    #[test]
    fn damaged_leases_hold_nothing() {
        assert_eq!(Lease::unpack(3 | 4), Lease::Idle);
        assert_eq!(Lease::unpack(2), Lease::Idle);
    }
}
