//! What lies on disk: offsets, bit packing, validation. No I/O. `docs/FORMAT.md` says the same in words.

mod checksum;
pub(crate) mod control;
pub(crate) mod group;
pub(crate) mod page;
pub(crate) mod superblock;

pub(crate) use checksum::{checksum, checksum_seed};

/// Identity of a channel, drawn at random when it is created; every file carries it.
pub(crate) type Uuid = [u8; 16];

/// Bits of a position below the page number.
pub(crate) const SLOT_BITS: u32 = 16;
/// Page numbers are below this.
pub(crate) const PAGE_LIMIT: u64 = 1 << 38;
/// The first page's number: position 0 is never used.
pub(crate) const FIRST_PAGE: u64 = 1;

/// The position of a slot.
#[inline(always)]
pub(crate) fn position(page: u64, slot: usize) -> u64 {
    (page << SLOT_BITS) | slot as u64
}
/// The page of a position.
#[inline(always)]
pub(crate) fn page_of(position: u64) -> u64 {
    position >> SLOT_BITS
}
/// The slot of a position.
#[inline(always)]
pub(crate) fn slot_of(position: u64) -> usize {
    (position & ((1 << SLOT_BITS) - 1)) as usize
}

/// A file's name; on the stack, because sending and receiving turn pages and allocate nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileName {
    bytes: [u8; 20],
    len: usize,
}

impl FileName {
    /// A prefix and a number in hexadecimal digits.
    fn numbered(prefix: &[u8], number: u64, digits: usize) -> FileName {
        let mut name = FileName { bytes: [0; 20], len: prefix.len() + digits };
        name.bytes[..prefix.len()].copy_from_slice(prefix);
        for (i, byte) in name.bytes[prefix.len()..name.len].iter_mut().rev().enumerate() {
            *byte = b"0123456789abcdef"[(number >> (4 * i)) as usize & 15];
        }
        name
    }
}

impl std::ops::Deref for FileName {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

/// Name of a page's file: "page-" and ten digits.
pub(crate) fn page_name(number: u64) -> FileName {
    FileName::numbered(b"page-", number, 10)
}

/// Name of a file that is being made: "tmp-" and sixteen digits.
pub(crate) fn temporary_name(random: u64) -> FileName {
    FileName::numbered(b"tmp-", random, 16)
}

/// The number in a page file's name.
pub(crate) fn page_number(name: &str) -> Option<u64> {
    let hex = name.strip_prefix("page-").filter(|h| h.len() == 10)?;
    let number = u64::from_str_radix(hex, 16).ok()?;
    ((FIRST_PAGE..PAGE_LIMIT).contains(&number) && *page_name(number) == *name).then_some(number)
}

/// Name of a group's file: names of groups never become paths, only their hash does.
pub(crate) fn group_file_name(group: &[u8]) -> String {
    format!("group-{:032x}", xxhash_rust::xxh3::xxh3_128(group))
}

/// Whether a file name is a group's.
pub(crate) fn is_group_file(name: &str) -> bool {
    name.strip_prefix("group-").is_some_and(|h| h.len() == 32)
}

/// Name of the file with the superblocks and the shared state.
pub(crate) const CHANNEL_FILE: &str = "channel";

/// The number in an unfinished file's name.
pub(crate) fn temporary_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_prefix("tmp-")?, 16).ok()?;
    (*temporary_name(number) == *name).then_some(number)
}

/// Whether a file name is that of an unfinished file.
pub(crate) fn is_temporary(name: &str) -> bool {
    temporary_number(name).is_some()
}

/// Whether a file name can be one of a channel's.
pub(crate) fn is_ours(name: &str) -> bool {
    name == CHANNEL_FILE || is_temporary(name) || page_number(name).is_some() || is_group_file(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_refused() {
        assert_eq!(page_number(&page_name(77)), Some(77));
        for bad in ["page-", "page-1", "page-000000000G", "page-0000000000", "page-ffffffffff"] {
            assert_eq!(page_number(bad), None, "{bad}");
        }
        assert!(is_group_file(&group_file_name(b"../../etc/passwd")));
        assert!(is_temporary(&temporary_name(u64::MAX - 7)) && !is_temporary("tmp-notours"));
    }

    #[test]
    fn positions_order_slots_within_pages() {
        assert_eq!(page_of(position(5, 65_535)), 5);
        assert_eq!(slot_of(position(5, 65_535)), 65_535);
        assert!(position(5, 65_535) < position(6, 0));
    }
}
