//! Where everything that means something lies in a channel's files: the offsets of `docs/FORMAT.md`, as
//! lists, for whoever writes over them (the fuzz target and the torturer of hostile files).

/// The kinds of files a channel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Channel,
    Page,
    Group,
}

impl File {
    /// By a file's name.
    pub fn of(name: &str) -> Option<File> {
        match name {
            "channel" => Some(File::Channel),
            _ if name.starts_with("page-") => Some(File::Page),
            _ if name.starts_with("group-") => Some(File::Group),
            _ => None,
        }
    }
}

/// Bytes of one superblock, and of both.
pub const SUPERBLOCK: u64 = 4096;
/// Where the sum over a superblock lies in it.
pub const SUM: u64 = 4088;
/// Fields of a superblock: offset, bytes.
pub const SUPERBLOCK_FIELDS: [(u64, u64); 15] = [
    (0, 8),
    (8, 4),
    (12, 4),
    (16, 8),
    (24, 8),
    (32, 8),
    (40, 8),
    (48, 8),
    (64, 4),
    (68, 4),
    (72, 4),
    (76, 4),
    (80, 4),
    (84, 4),
    (SUM, 8),
];

/// Words of the shared state: WINDOW to the boot id.
pub const STATE: [u64; 20] = [
    8192, 8320, 8448, 8576, 8704, 8712, 8720, 8728, 8736, 8832, 8960, 8968, 8976, 8984, 8992, 9000,
    9088, 9096, 9216, 9344,
];
pub const BOOT_ID: u64 = 9088;
/// SLEEPERS and ROOM_WAITERS, 16 words each.
pub const SLEEPERS: u64 = 9216;
pub const ROOM_WAITERS: u64 = 9344;
/// Handle records: where, how many bytes each, how many, and the words of one.
pub const HANDLES: (u64, u64, u64) = (12_288, 128, 1024);
pub const HANDLE_WORDS: [u64; 7] = [0, 8, 16, 24, 32, 40, 48];
/// Member records: where, how many bytes each, how many; word 0 alone means something.
pub const MEMBERS: (u64, u64, u64) = (143_360, 64, 1024);

/// Words of a page's header.
pub const PAGE: [u64; 12] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 256];
/// Where the slot table begins, of two words each.
pub const SLOTS: u64 = 4096;

/// Words of a group's header; the name is four words from 32 on here, and may be longer.
pub const GROUP: [u64; 16] =
    [0, 8, 16, 24, 32, 40, 1024, 1152, 1160, 1168, 1176, 1184, 1192, 1280, 1288, 1296];
/// Entries: where, how many bytes each, how many; the words of one; its held words.
pub const ENTRIES: (u64, u64, u64) = (4096, 36_864, 510);
pub const ENTRY_WORDS: [u64; 4] = [0, 8, 16, 24];
pub const HELD: (u64, u64) = (4096, 4096);

/// All words of a file's metadata (of superblocks those that hold fields). Of arrays of equal records the
/// first ones: `handles` handle and member records, `slots` slots, `entries` entries with `held` words.
pub fn words(file: File, handles: u64, slots: u64, entries: u64, held: u64) -> Vec<u64> {
    let mut words = Vec::new();
    match file {
        File::Channel => {
            for copy in [0, SUPERBLOCK] {
                let mut fields: Vec<u64> =
                    SUPERBLOCK_FIELDS.iter().map(|(at, _)| copy + at / 8 * 8).collect();
                fields.dedup();
                words.extend(fields);
            }
            words.extend(&STATE[..18]);
            words.extend((0..16).flat_map(|i| [SLEEPERS + 8 * i, ROOM_WAITERS + 8 * i]));
            for h in 0..handles {
                words.extend(HANDLE_WORDS.iter().map(|w| HANDLES.0 + HANDLES.1 * h + w));
                words.push(MEMBERS.0 + MEMBERS.1 * h);
            }
        }
        File::Page => {
            words.extend(PAGE);
            words.extend((0..slots).flat_map(|i| [SLOTS + 16 * i, SLOTS + 16 * i + 8]));
        }
        File::Group => {
            words.extend(GROUP);
            for e in 0..entries {
                let at = ENTRIES.0 + ENTRIES.1 * e;
                words.extend(ENTRY_WORDS.iter().map(|w| at + w));
                words.extend((0..held).map(|i| at + HELD.0 + 8 * i));
            }
        }
    }
    words
}

/// Values at which arithmetic on a packed word may go wrong.
pub const BOUNDS: [u64; 40] = [
    0,
    1,
    2,
    3,
    7,
    0xFF,
    0x100,
    0x3FF,
    0x400,
    0xFFFF,
    0x1_0000,
    0x1_0001,
    0xFF_FFFF,
    1 << 24,
    (1 << 26) - 1,
    1 << 26,
    1 << 30,
    i32::MAX as u64,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 34) - 1,
    1 << 37,
    (1 << 38) - 2,
    (1 << 38) - 1,
    1 << 38,
    1 << 53,
    (1 << 54) - 1,
    1 << 54,
    i64::MAX as u64,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1024,
    u64::MAX - 2,
    u64::MAX - 1,
    u64::MAX,
    0x5555_5555_5555_5555,
    0xAAAA_AAAA_AAAA_AAAA,
    1 << 16 << 10 | 0x3FF,
    1 << 26 | 1,
];
