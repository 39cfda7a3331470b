//! What is done to the files: one word, or one length, at a time.

use std::fmt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use super::bases::{Base, PAGE_SLOTS};
use super::fields::{self, File, BOUNDS, HANDLES, HANDLE_WORDS, MEMBERS, SUM, SUPERBLOCK};

/// Lengths of one case.
const BLOCK: u64 = 256;

/// One word of a file, or a block of its lengths.
pub struct Case {
    pub number: u64,
    pub base: usize,
    pub file: String,
    at: At,
}

enum At {
    Word(u64),
    /// A field of a superblock, with sums that fit: offset, bytes.
    Field(u64, u64),
    Lengths(Vec<u64>),
}

/// One change.
pub enum Change {
    Word { at: u64, value: u64 },
    Field { at: u64, bytes: u64, value: u64 },
    Length(u64),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Change::Word { at, value } => write!(f, "the word at {at} is {value:#x}"),
            Change::Field { at, value, .. } => {
                write!(f, "the superblocks' field {at} is {value:#x}, with sums that fit")
            }
            Change::Length(n) => write!(f, "{n} bytes long"),
        }
    }
}

/// All cases, always the same ones in the same order.
pub fn all(bases: &[Base]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, base) in bases.iter().enumerate() {
        for packed in &base.files {
            let Some(kind) = File::of(&packed.name) else { continue };
            let mut add = |at| {
                let (number, file) = (cases.len() as u64, packed.name.clone());
                cases.push(Case { number, base: index, file, at });
            };
            words(kind).into_iter().for_each(|at| add(At::Word(at)));
            if kind == File::Channel {
                let fields = fields::SUPERBLOCK_FIELDS.iter().filter(|(at, _)| *at != SUM);
                fields.for_each(|&(at, bytes)| add(At::Field(at, bytes)));
            }
            // All lengths of two bases, some of the others.
            let every = if (3..5).contains(&index) { 1 } else { 61 };
            for block in lengths(kind, packed.len, every).chunks(BLOCK as usize) {
                add(At::Lengths(block.to_vec()));
            }
        }
    }
    cases
}

fn words(kind: File) -> Vec<u64> {
    let mut words = fields::words(kind, 2, u64::from(PAGE_SLOTS) + 1, 3, 12);
    if kind == File::Channel {
        let last = HANDLES.0 + HANDLES.1 * (HANDLES.2 - 1);
        words.extend(HANDLE_WORDS.iter().map(|w| last + w));
        words.push(MEMBERS.0 + MEMBERS.1 * (MEMBERS.2 - 1));
    }
    words
}

/// Lengths at which something may change: every one within the metadata, around every memory page and
/// disk sector behind it, and around the file's own end.
fn lengths(kind: File, len: u64, every: u64) -> Vec<u64> {
    let metadata = match kind {
        // What follows the superblocks is one block: a file that is too short for it is refused.
        File::Channel => 2 * SUPERBLOCK + 64,
        File::Page => 4096 + 4096,
        File::Group => 4096 + 4200,
    };
    let mut lengths: Vec<u64> = (0..metadata).step_by(every as usize).collect();
    let step = match kind {
        File::Channel => 64 * every,
        File::Page => 512,
        File::Group => 4096 * every,
    };
    let around = |n: u64| [n.saturating_sub(1), n, n + 1];
    lengths.extend((metadata..len).step_by(step as usize).flat_map(around));
    lengths.extend((len - 9..len + 9).chain([len + 4095, len + 4096, len + 70_000]));
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

impl Case {
    /// All changes of the case.
    pub fn changes(&self, base: &Base) -> Vec<Change> {
        match &self.at {
            At::Lengths(lengths) => lengths.iter().map(|&n| Change::Length(n)).collect(),
            &At::Word(at) => {
                let now = base.file(&self.file).map_or(0, |f| f.word(at));
                values(now).into_iter().map(|value| Change::Word { at, value }).collect()
            }
            &At::Field(at, bytes) => {
                let now = base.file(&self.file).map_or(0, |f| f.word(at / 8 * 8));
                let now = if at % 8 == 4 { now >> 32 } else { now };
                let mask = if bytes == 4 { u64::from(u32::MAX) } else { u64::MAX };
                let mut values: Vec<_> = values(now).into_iter().map(|v| v & mask).collect();
                values.sort_unstable();
                values.dedup();
                values.into_iter().map(|value| Change::Field { at, bytes, value }).collect()
            }
        }
    }
}

/// Every bit of the word flipped; its neighbours; the powers of two and what lies beside them; the bounds
/// of packed words.
fn values(now: u64) -> Vec<u64> {
    let mut values: Vec<u64> = (0..64).map(|bit| now ^ 1 << bit).collect();
    values.extend([now.wrapping_add(1), now.wrapping_sub(1)]);
    values.extend((0..64).map(|bit| 1u64 << bit));
    values.extend((3..64).map(|bit| (1u64 << bit) - 1));
    values.extend(BOUNDS);
    values.sort_unstable();
    values.dedup();
    values.retain(|&v| v != now);
    values
}

impl Change {
    /// Make it in a channel's directory.
    pub fn make(&self, dir: &Path, name: &str) -> Result<()> {
        let file = std::fs::File::options().read(true).write(true).open(dir.join(name))?;
        match *self {
            Change::Word { at, value } => file.write_all_at(&value.to_le_bytes(), at)?,
            Change::Length(n) => file.set_len(n)?,
            Change::Field { at, bytes, value } => {
                for copy in [0, SUPERBLOCK] {
                    file.write_all_at(&value.to_le_bytes()[..bytes as usize], copy + at)?;
                    let mut block = [0; SUM as usize];
                    file.read_exact_at(&mut block, copy)?;
                    let sum = xxhash_rust::xxh3::xxh3_64(&block);
                    file.write_all_at(&sum.to_le_bytes(), copy + SUM)?;
                }
            }
        }
        Ok(())
    }
}
