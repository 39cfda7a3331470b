//! A page file: header, slot table, payload.
//!
//! ```text
//! 0      header (4,096 bytes)
//! 4096   slot table: slots + 1 entries of 16 bytes, rounded up to 4,096 (the last one holds an end mark at most)
//! ...    payload: page_size bytes
//! ```

use super::{Uuid, PAGE_LIMIT};
use crate::sync::{Memory, Region, Relaxed};

/// First word of every page file: "DCPAGE01".
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"DCPAGE01");

// The header's words.
pub(crate) const MAGIC_AT: usize = 0;
pub(crate) const UUID_AT: usize = 8;
/// The page number this file carries now; 0 while it is being prepared.
pub(crate) const NUMBER_AT: usize = 24;
pub(crate) const CAPACITY_AT: usize = 32;
pub(crate) const SLOTS_AT: usize = 40;
/// Slots before the end mark + 1 once the page is sealed; 0: not sealed, or its sealer died.
pub(crate) const ENDED_AT: usize = 48;
/// Tombstones in the page.
pub(crate) const BURIED_AT: usize = 56;
/// The count of machine crashes up to which this page was checked.
pub(crate) const VERIFIED_AT: usize = 64;
/// Payload bytes of its messages + 1 once every slot is settled; 0: not counted yet.
pub(crate) const BYTES_AT: usize = 72;
/// Messages in all pages before this one + 1; 0: not known yet.
pub(crate) const BASE_AT: usize = 80;
/// The claim word, alone on its cache lines.
pub(crate) const TAIL_AT: usize = 256;
/// Bytes of the header.
pub(crate) const HEADER: usize = 4096;

const _: () = assert!(BASE_AT + 8 <= 128 && TAIL_AT % 128 == 0 && TAIL_AT + 128 <= HEADER);

/// Bits of the tail word that count claims; the rest counts units of 8 payload bytes.
pub(crate) const COUNT_BITS: u32 = 24;
/// Payload is handed out in units of this many bytes.
pub(crate) const UNIT: usize = 8;
/// Messages of one claim at most: bounds how far a participant can overshoot a full page.
pub(crate) const CLAIM_MAX: usize = 256;

// 1,024 participants, each past the end once by a whole batch, do not overflow either half.
const _: () = assert!(65_536 + 1_025 * CLAIM_MAX < 1 << COUNT_BITS);
const _: () = assert!((1u64 << 29) * 1_026 < 1 << (64 - COUNT_BITS));

/// The sizes of a channel's pages, from the superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Payload bytes.
    pub(crate) capacity: u64,
    /// Messages at most.
    pub(crate) slots: usize,
}

impl Geometry {
    /// Units of payload.
    #[inline(always)]
    pub(crate) fn units(&self) -> u64 {
        self.capacity / UNIT as u64
    }
    /// Where the payload begins.
    #[inline(always)]
    pub(crate) fn payload_at(&self) -> usize {
        HEADER + (16 * (self.slots + 1)).next_multiple_of(4096)
    }
    /// Bytes of a page file.
    pub(crate) fn file_len(&self) -> u64 {
        self.payload_at() as u64 + self.capacity
    }
    /// The largest message.
    pub(crate) fn max_message(&self) -> u64 {
        self.capacity.min(u32::MAX as u64 & !7)
    }
}

/// Where slot `i`'s publication word lies; its second word follows.
#[inline(always)]
pub(crate) fn slot_at(i: usize) -> usize {
    HEADER + 16 * i
}

/// The tail of a page: how many claims were made, and how many units they took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) count: u64,
    pub(crate) units: u64,
}

impl Tail {
    #[inline(always)]
    pub(crate) fn unpack(word: u64) -> Tail {
        Tail { count: word & ((1 << COUNT_BITS) - 1), units: word >> COUNT_BITS }
    }
    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        (self.units << COUNT_BITS) | self.count
    }
    /// Whether a claim went past the end: the page takes no more messages.
    #[inline(always)]
    pub(crate) fn sealed(self, geometry: &Geometry) -> bool {
        self.count > geometry.slots as u64 || self.units > geometry.units()
    }
}

/// What a slot's publication word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not published.
    Empty,
    /// A message of so many bytes.
    Message(usize),
    /// Nothing here: the claim was given back, skipped, or torn.
    Tombstone,
    /// No message here or after.
    End,
    /// Not a word of this page: damage.
    Foreign,
}

const KIND_SHIFT: u32 = 32;
const STAMP_SHIFT: u32 = 34;
const MESSAGE: u64 = 1;
const TOMBSTONE: u64 = 2;
const END: u64 = 3;

/// Length (32 bits), kind (2), and the low 30 bits of the page number, by which a word left from
/// another page of a reused file is recognised.
#[inline(always)]
fn word(kind: u64, len: u64, page: u64) -> u64 {
    (page << STAMP_SHIFT) | (kind << KIND_SHIFT) | len
}
/// The word that publishes a message.
#[inline(always)]
pub(crate) fn message_word(len: usize, page: u64) -> u64 {
    word(MESSAGE, len as u64, page)
}
/// The word of a slot that holds nothing.
#[inline(always)]
pub(crate) fn tombstone_word(page: u64) -> u64 {
    word(TOMBSTONE, 0, page)
}
/// The word of the page's end.
#[inline(always)]
pub(crate) fn end_word(page: u64) -> u64 {
    word(END, 0, page)
}

/// Read a publication word found in page `page`.
#[inline(always)]
pub(crate) fn state(w: u64, page: u64) -> State {
    if w == 0 {
        return State::Empty;
    }
    if w >> STAMP_SHIFT != page & ((1 << 30) - 1) {
        return State::Foreign;
    }
    match (w >> KIND_SHIFT) & 3 {
        MESSAGE => State::Message((w & 0xFFFF_FFFF) as usize),
        TOMBSTONE => State::Tombstone,
        END => State::End,
        _ => State::Foreign,
    }
}

/// The second word: where the payload begins (in units), and its checksum.
#[inline(always)]
pub(crate) fn place_word(unit: u64, checksum: u32) -> u64 {
    (u64::from(checksum) << 32) | unit
}
/// Read the second word: unit and checksum.
#[inline(always)]
pub(crate) fn place(w: u64) -> (u64, u32) {
    (w & 0xFFFF_FFFF, (w >> 32) as u32)
}

/// Everything a fresh page's header says but its number, which is stored last.
pub(crate) struct Header {
    pub(crate) uuid: Uuid,
    pub(crate) geometry: Geometry,
    pub(crate) verified: u64,
    pub(crate) base: u64,
}

impl Header {
    /// Write the header of a page that nobody uses yet. The number stays 0.
    pub(crate) fn write(&self, region: &Region) {
        region.store(MAGIC_AT, MAGIC, Relaxed);
        region.write_bytes(UUID_AT, &self.uuid);
        region.store(CAPACITY_AT, self.geometry.capacity, Relaxed);
        region.store(SLOTS_AT, self.geometry.slots as u64, Relaxed);
        region.store(ENDED_AT, 0, Relaxed);
        region.store(BURIED_AT, 0, Relaxed);
        region.store(VERIFIED_AT, self.verified, Relaxed);
        region.store(BYTES_AT, 0, Relaxed);
        region.store(BASE_AT, self.base, Relaxed);
        region.store(TAIL_AT, 0, Relaxed);
    }

    /// Whether a page file belongs to this channel and has its sizes.
    pub(crate) fn fits(region: &Region, uuid: &Uuid, geometry: &Geometry) -> bool {
        let mut found = [0; 16];
        region.read_bytes(UUID_AT, &mut found);
        region.load(MAGIC_AT, Relaxed) == MAGIC
            && found == *uuid
            && region.load(CAPACITY_AT, Relaxed) == geometry.capacity
            && region.load(SLOTS_AT, Relaxed) == geometry.slots as u64
            && region.load(NUMBER_AT, Relaxed) < PAGE_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_packs_count_and_units() {
        let t = Tail { count: 65_535, units: (1 << 29) + 77 };
        assert_eq!(Tail::unpack(t.pack()), t);
    }

    #[test]
    fn a_word_of_another_page_is_foreign() {
        assert_eq!(state(message_word(u32::MAX as usize, 9), 9), State::Message(u32::MAX as usize));
        assert_eq!(state(message_word(5, 9), 10), State::Foreign);
        assert_eq!(state(tombstone_word(9), 9), State::Tombstone);
        assert_eq!(state(end_word(9), 9), State::End);
        assert_eq!(state(0, 9), State::Empty);
        assert_eq!(state(7, 0), State::Foreign);
    }

    #[test]
    fn the_largest_page_has_addressable_units() {
        let g = Geometry { capacity: 1 << 32, slots: 65_535 };
        assert_eq!(g.units(), 1 << 29);
        assert_eq!(place(place_word(g.units(), 0xFFFF_FFFF)), (1 << 29, 0xFFFF_FFFF));
    }
}
