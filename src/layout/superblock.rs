//! What a channel *is*: sizes, retention, identity. Two copies in blocks of their own; the valid one
//! with the higher sequence counts, so that a torn write leaves the other.

use super::page::Geometry;
use super::Uuid;
use xxhash_rust::xxh3::xxh3_64;

/// First 8 bytes of a channel file.
pub(crate) const MAGIC: [u8; 8] = *b"DISKCHAN";
/// The version of everything on disk that this library writes.
pub(crate) const VERSION: u32 = 1;
/// Bytes of one copy.
pub(crate) const SIZE: usize = 4096;

/// In use.
pub(crate) const STATE_LIVE: u32 = 1;
/// `dc_destroy` began: anyone may finish it.
pub(crate) const STATE_DESTROYED: u32 = 2;

/// A decoded superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) uuid: Uuid,
    pub(crate) sequence: u64,
    pub(crate) page_size: u64,
    pub(crate) max_pages: u64,
    pub(crate) slots: u32,
    pub(crate) retention: u32,
    pub(crate) checksum: u32,
    pub(crate) stall_timeout_ms: u32,
    pub(crate) mode: u32,
    pub(crate) state: u32,
}

/// Why a block is not a superblock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// Another file.
    NotOurs,
    /// A newer or unknown version or feature.
    Version(u32),
    /// Ours, but damaged.
    Damaged,
}

impl Superblock {
    /// The sizes of its pages.
    pub(crate) fn geometry(&self) -> Geometry {
        Geometry { capacity: self.page_size, slots: self.slots as usize }
    }

    pub(crate) fn encode(&self) -> [u8; SIZE] {
        let mut b = [0; SIZE];
        b[0..8].copy_from_slice(&MAGIC);
        b[8..12].copy_from_slice(&VERSION.to_le_bytes());
        // 12..16: features a reader must know; none yet.
        b[16..32].copy_from_slice(&self.uuid);
        for (i, v) in [self.sequence, self.page_size, self.max_pages].iter().enumerate() {
            b[32 + 8 * i..40 + 8 * i].copy_from_slice(&v.to_le_bytes());
        }
        let small = [
            self.slots,
            self.retention,
            self.checksum,
            self.stall_timeout_ms,
            self.mode,
            self.state,
        ];
        for (i, v) in small.iter().enumerate() {
            b[64 + 4 * i..68 + 4 * i].copy_from_slice(&v.to_le_bytes());
        }
        let sum = xxh3_64(&b[..SIZE - 8]);
        b[SIZE - 8..].copy_from_slice(&sum.to_le_bytes());
        b
    }

    pub(crate) fn decode(b: &[u8; SIZE]) -> Result<Superblock, Reject> {
        let u32_at = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if b[0..8] != MAGIC {
            return Err(Reject::NotOurs);
        }
        // Version and features come before the checksum: another version may compute it otherwise.
        if u32_at(8) != VERSION || u32_at(12) != 0 {
            return Err(Reject::Version(u32_at(8)));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&b[16..32]);
        let s = Superblock {
            uuid,
            sequence: u64_at(32),
            page_size: u64_at(40),
            max_pages: u64_at(48),
            slots: u32_at(64),
            retention: u32_at(68),
            checksum: u32_at(72),
            stall_timeout_ms: u32_at(76),
            mode: u32_at(80),
            state: u32_at(84),
        };
        if u64_at(SIZE - 8) != xxh3_64(&b[..SIZE - 8]) || !s.sane() {
            return Err(Reject::Damaged);
        }
        Ok(s)
    }

    /// The newer valid one of two copies; why not, when neither is.
    pub(crate) fn newest(a: &[u8; SIZE], b: &[u8; SIZE]) -> Result<Superblock, Reject> {
        match (Superblock::decode(a), Superblock::decode(b)) {
            (Ok(a), Ok(b)) => Ok(if b.sequence > a.sequence { b } else { a }),
            (Ok(s), Err(Reject::Damaged | Reject::NotOurs)) => Ok(s),
            (Err(Reject::Damaged | Reject::NotOurs), Ok(s)) => Ok(s),
            (Err(Reject::Version(v)), _) | (_, Err(Reject::Version(v))) => Err(Reject::Version(v)),
            (Err(Reject::Damaged), _) | (_, Err(Reject::Damaged)) => Err(Reject::Damaged),
            (Err(e), _) => Err(e),
        }
    }

    /// Values that no correct writer leaves outside their ranges.
    fn sane(&self) -> bool {
        (64 << 10..=4 << 30).contains(&self.page_size)
            && self.page_size % 4096 == 0
            && self.max_pages >= 2
            && (self.max_pages <= 1 << 32 || self.max_pages == u64::MAX)
            && (1..=65_535).contains(&self.slots)
            && (1..=3).contains(&self.retention)
            && (1..=2).contains(&self.checksum)
            && (1..=60_000).contains(&self.stall_timeout_ms)
            && self.mode <= 0o777
            && (1..=2).contains(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        Superblock {
            uuid: [7; 16],
            sequence: 3,
            page_size: 1 << 24,
            max_pages: 16,
            slots: 65_535,
            retention: 1,
            checksum: 1,
            stall_timeout_ms: 1000,
            mode: 0o600,
            state: STATE_LIVE,
        }
    }

    #[test]
    fn round_trip_and_every_flipped_bit_is_noticed() {
        let good = sample().encode();
        assert_eq!(Superblock::decode(&good), Ok(sample()));
        for byte in (0..96).chain(SIZE - 8..SIZE) {
            for bit in 0..8 {
                let mut bad = good;
                bad[byte] ^= 1 << bit;
                assert!(Superblock::decode(&bad).is_err(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn the_newer_copy_counts_and_a_torn_one_does_not() {
        let old = sample().encode();
        let new = Superblock { sequence: 4, retention: 2, ..sample() }.encode();
        assert_eq!(Superblock::newest(&old, &new).unwrap().retention, 2);
        let mut torn = new;
        torn[300] ^= 1;
        assert_eq!(Superblock::newest(&old, &torn).unwrap().retention, 1);
        assert_eq!(Superblock::newest(&[0; SIZE], &[0; SIZE]), Err(Reject::NotOurs));
    }
}
