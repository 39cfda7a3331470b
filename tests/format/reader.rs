//! A reader of channels written from `docs/FORMAT.md` alone. It reads files, never maps them, and uses
//! nothing of the library; numbers are those of the document.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::{xxh3_128, xxh3_64};

pub fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}
pub fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}
pub fn xxh3(b: &[u8]) -> u64 {
    xxh3_64(b)
}

/// Section 3.
pub fn check(uuid: &[u8], position: u64, payload: &[u8]) -> u32 {
    let start = xxh3_64(uuid) ^ position.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut chains = [start as u32, (start >> 32) as u32, payload.len() as u32];
    let mut padded = payload.to_vec();
    padded.resize(payload.len().next_multiple_of(8), 0);
    for (i, byte) in padded.into_iter().enumerate() {
        let sum = &mut chains[i / 8 % 3];
        *sum ^= u32::from(byte);
        for _ in 0..8 {
            *sum = *sum >> 1 ^ if *sum & 1 == 1 { 0x1EDC_6F41u32.reverse_bits() } else { 0 };
        }
    }
    let [a, b, c] = chains;
    let (b, c) =
        (b.rotate_left(11).wrapping_mul(0x85EB_CA77), c.rotate_left(22).wrapping_mul(0xC2B2_AE3D));
    a.wrapping_mul(0x9E37_79B1).wrapping_add(b).wrapping_add(c)
}

/// Section 1.
pub fn group_file(name: &[u8]) -> String {
    format!("group-{:032x}", xxh3_128(name))
}

/// Section 4.
#[derive(Debug, Clone)]
pub struct Superblock {
    pub uuid: [u8; 16],
    pub sequence: u64,
    pub page_size: u64,
    pub max_pages: u64,
    pub slots: u32,
    pub retention: u32,
    pub checksum: u32,
    pub stall_timeout_ms: u32,
    pub mode: u32,
    pub state: u32,
}

pub fn superblock(b: &[u8]) -> Option<Superblock> {
    let sound = b[..8] == *b"DISKCHAN"
        && (u32_at(b, 8), u32_at(b, 12)) == (1, 0)
        && u64_at(b, 4088) == xxh3(&b[..4088]);
    sound.then(|| Superblock {
        uuid: b[16..32].try_into().unwrap(),
        sequence: u64_at(b, 32),
        page_size: u64_at(b, 40),
        max_pages: u64_at(b, 48),
        slots: u32_at(b, 64),
        retention: u32_at(b, 68),
        checksum: u32_at(b, 72),
        stall_timeout_ms: u32_at(b, 76),
        mode: u32_at(b, 80),
        state: u32_at(b, 84),
    })
}

/// A message as it lies in a page.
pub struct Found {
    pub position: u64,
    pub payload: Vec<u8>,
    pub check: u32,
    pub sound: bool,
}

/// Section 6, "Reading".
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Slot {
    Message(usize),
    Tombstone,
    End,
    Unpublished,
    Free,
    Damaged,
}

pub struct Page {
    pub number: u64,
    pub bytes: Vec<u8>,
    pub slots: usize,
    pub payload_at: usize,
    pub count: u64,
    pub units: u64,
    pub sealed: bool,
}

impl Page {
    pub fn slot(&self, i: usize) -> Slot {
        if i >= self.slots {
            return Slot::End;
        }
        let word = u64_at(&self.bytes, 4096 + 16 * i);
        if word == 0 {
            let ended = u64_at(&self.bytes, 48);
            return match i {
                _ if self.sealed && ended != 0 && i as u64 + 1 >= ended => Slot::End,
                _ if (i as u64) < self.count.min(self.slots as u64) => Slot::Unpublished,
                _ if self.sealed => Slot::End,
                _ => Slot::Free,
            };
        }
        if word >> 34 != self.number % (1 << 30) {
            return Slot::Damaged;
        }
        match word >> 32 & 3 {
            1 => Slot::Message(word as u32 as usize),
            2 => Slot::Tombstone,
            3 => Slot::End,
            _ => Slot::Damaged,
        }
    }

    /// First unit and checksum of a message.
    pub fn place(&self, i: usize) -> (usize, u32) {
        (u32_at(&self.bytes, 4104 + 16 * i) as usize, u32_at(&self.bytes, 4108 + 16 * i))
    }

    fn messages(&self, s: &Superblock) -> Vec<Found> {
        let mut found = Vec::new();
        for i in 0..=self.slots {
            match self.slot(i) {
                Slot::Message(len) => {
                    let (unit, sum) = self.place(i);
                    let at = self.payload_at + 8 * unit;
                    let payload = self.bytes[at..at + len].to_vec();
                    let position = self.number << 16 | i as u64;
                    let sound = s.checksum == 2 || check(&s.uuid, position, &payload) == sum;
                    found.push(Found { position, payload, check: sum, sound });
                }
                Slot::Tombstone => {}
                Slot::End | Slot::Free => break,
                other => panic!("page {} slot {i}: {other:?}", self.number),
            }
        }
        found
    }
}

/// Section 7.
pub struct Group {
    pub bytes: Vec<u8>,
    pub cursor: u64,
    pub last: u64,
}

impl Group {
    pub fn word(&self, at: usize) -> u64 {
        u64_at(&self.bytes, at)
    }
    pub fn entry(&self, e: usize) -> Entry<'_> {
        Entry(&self.bytes[4096 + 36_864 * e..][..36_864])
    }
    /// What the group may still need begins here.
    pub fn needed_from(&self) -> u64 {
        let entries = (0..510).map(|e| self.entry(e).first_held());
        entries.min().unwrap().min(self.cursor)
    }
}

pub struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    pub fn word(&self, at: usize) -> u64 {
        u64_at(self.0, at)
    }
    /// First position, count, state.
    pub fn lease(&self) -> (u64, u64, u64) {
        let w = self.word(0);
        (w >> 10, w >> 2 & 255, w & 3)
    }
    pub fn handed(&self) -> u32 {
        u32_at(self.0, 8)
    }
    pub fn acked(&self) -> u32 {
        u32_at(self.0, 12)
    }
    /// Positions and deliveries.
    pub fn held(&self) -> Vec<(u64, u64)> {
        let words = (0..self.word(16) as usize).map(|i| self.word(4096 + 8 * i));
        words.filter(|w| *w != 0).map(|w| (w >> 10, w & 1023)).collect()
    }
    fn first_held(&self) -> u64 {
        let (first, count, state) = self.lease();
        let held = self.held().iter().map(|h| h.0).min().unwrap_or(u64::MAX);
        match state {
            1 | 2 if count > 0 => held.min(first + u64::from(self.acked()).min(count)),
            _ => held,
        }
    }
}

/// Every file of a channel, as it lies there.
pub struct Directory(BTreeMap<String, Vec<u8>>);

impl Directory {
    pub fn read(path: &Path) -> Directory {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(path).into_iter().flatten() {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            files.insert(entry.file_name().into_string().unwrap(), bytes);
        }
        Directory(files)
    }
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
    pub fn file(&self, name: &str) -> Vec<u8> {
        self.0[name].clone()
    }
    /// A word of the shared state.
    pub fn word(&self, at: usize) -> u64 {
        u64_at(&self.0["channel"], at)
    }
    pub fn oldest(&self) -> u64 {
        self.word(8192) >> 26
    }
    pub fn newest(&self) -> u64 {
        self.word(8320)
    }
    pub fn superblock(&self) -> Superblock {
        let c = &self.0["channel"];
        let copies = [superblock(&c[..4096]), superblock(&c[4096..8192])];
        copies.into_iter().flatten().max_by_key(|s| s.sequence).unwrap()
    }

    pub fn page(&self, number: u64) -> Page {
        let s = self.superblock();
        let bytes = self.0[&format!("page-{number:010x}")].clone();
        let slots = s.slots as usize;
        let payload_at = 4096 + (16 * (slots + 1)).next_multiple_of(4096);
        assert_eq!(bytes.len(), payload_at + s.page_size as usize);
        assert_eq!(bytes[..8], *b"DCPAGE01");
        assert_eq!(bytes[8..24], s.uuid);
        assert_eq!(u64_at(&bytes, 24), number);
        assert_eq!((u64_at(&bytes, 32), u64_at(&bytes, 40)), (s.page_size, slots as u64));
        let tail = u64_at(&bytes, 256);
        let (count, units) = (tail & 0xFF_FFFF, tail >> 24);
        let sealed = count > slots as u64 || units > s.page_size / 8;
        Page { number, bytes, slots, payload_at, count, units, sealed }
    }

    /// Every message kept, in order.
    pub fn messages(&self) -> Vec<Found> {
        let s = self.superblock();
        let kept = self.oldest()..=self.newest();
        let numbers = self.0.keys().filter_map(|n| n.strip_prefix("page-"));
        let numbers = numbers.map(|hex| u64::from_str_radix(hex, 16).unwrap());
        numbers.filter(|n| kept.contains(n)).flat_map(|n| self.page(n).messages(&s)).collect()
    }

    pub fn group(&self, name: &[u8]) -> Group {
        let bytes = self.0[&group_file(name)].clone();
        assert_eq!(bytes[..8], *b"DCGROUP1");
        assert_eq!(bytes[8..24], self.superblock().uuid);
        assert_eq!(u64_at(&bytes, 24), name.len() as u64);
        assert_eq!(bytes[32..32 + name.len()], *name);
        let cursor = u64_at(&bytes, 1024);
        Group { bytes, cursor: cursor >> 10, last: cursor & 1023 }
    }
}
