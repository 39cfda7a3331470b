//! What a disk was asked to do, in order: writes, discards, flushes, and between them what a program said.
//!
//! A log begins with an empty disk, so it holds the making of the file system too, and any state of the
//! disk can be composed from it alone. A disk with a volatile cache may have lost, at a power cut, any part
//! of what it was told to write since the last flush, in any order; what was written before the flush
//! is there. [`Log::cut`] composes such states.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use anyhow::{bail, Context, Result};
use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::trace::Content;

#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Discarded, or zeroed: reads as zeros.
    Zero {
        at: u64,
        len: u64,
    },
    Flush,
    /// A line that a program wrote to the file `events`.
    Said(String),
}

/// The line that the recorder writes when the file system is made and mounted.
pub const BEGINS: &str = "BEGINS";

/// Appends records to a file.
pub struct Writer(BufWriter<File>);

impl Writer {
    pub fn create(path: &Path) -> io::Result<Writer> {
        Ok(Writer(BufWriter::new(File::create(path)?)))
    }

    fn append(&mut self, tag: u8, at: u64, len: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(&[tag])?;
        self.0.write_all(&at.to_le_bytes())?;
        self.0.write_all(&len.to_le_bytes())?;
        self.0.write_all(bytes)
    }

    pub fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.append(b'W', at, bytes.len() as u64, bytes)
    }

    pub fn zero(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.append(b'Z', at, len, &[])
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.append(b'F', 0, 0, &[])
    }

    pub fn said(&mut self, line: &str) -> io::Result<()> {
        self.append(b'S', 0, line.len() as u64, line.as_bytes())
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A whole log, and where it was flushed.
pub struct Log {
    pub size: u64,
    pub records: Vec<Record>,
    /// Index of each flush after [`BEGINS`], but for those with nothing to flush since the one before.
    pub flushes: Vec<usize>,
    begins: usize,
}

/// Where the power went, and what had reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Everything before this record happened.
    pub at: usize,
    /// Everything before this record is on the disk.
    pub flushed: usize,
}

impl Log {
    pub fn read(path: &Path, size: u64) -> Result<Log> {
        let mut from = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut records = Vec::new();
        let mut head = [0; 17];
        while from.read(&mut head[..1])? == 1 {
            from.read_exact(&mut head[1..])?;
            let word = |i: usize| u64::from_le_bytes(head[i..i + 8].try_into().expect("8 bytes"));
            let (at, len) = (word(1), word(9));
            let mut bytes = vec![0; if head[0] == b'Z' { 0 } else { len as usize }];
            from.read_exact(&mut bytes)?;
            records.push(match head[0] {
                b'W' => Record::Write { at, bytes },
                b'Z' => Record::Zero { at, len },
                b'F' => Record::Flush,
                b'S' => Record::Said(String::from_utf8(bytes)?),
                tag => bail!("{}: no record begins with {tag}", path.display()),
            });
        }
        Log::new(size, records)
    }

    fn new(size: u64, records: Vec<Record>) -> Result<Log> {
        let begins = records.iter().position(|r| matches!(r, Record::Said(line) if line == BEGINS));
        let begins = begins.context("the file system was never ready")?;
        let (mut flushes, mut dirty) = (Vec::new(), false);
        for (index, record) in records.iter().enumerate().skip(begins) {
            match record {
                Record::Flush if dirty => {
                    flushes.push(index);
                    dirty = false;
                }
                Record::Write { .. } | Record::Zero { .. } => dirty = true,
                _ => {}
            }
        }
        Ok(Log { size, records, flushes, begins })
    }

    /// The cut at flush `n`: all before it is there, nothing after it; and what the program said until the
    /// next write was said, so that what it took for confirmed by this flush must be there.
    pub fn at_flush(&self, n: usize) -> Cut {
        let at = self.next_write(self.flushes[n]);
        Cut { at, flushed: at }
    }

    fn next_write(&self, from: usize) -> usize {
        let writes = |r: &Record| matches!(r, Record::Write { .. } | Record::Zero { .. });
        self.records[from..].iter().position(writes).map_or(self.records.len(), |n| from + n)
    }

    /// A cut somewhere between two flushes.
    pub fn between(&self, rng: &mut ChaCha8Rng) -> Cut {
        let n = rng.random_range(0..=self.flushes.len());
        let flushed = if n == 0 { self.begins } else { self.flushes[n - 1] + 1 };
        let end = self.flushes.get(n).copied().unwrap_or(self.records.len());
        // Just before a flush most is at stake.
        let at = if rng.random_bool(0.3) { end } else { rng.random_range(flushed..=end) };
        Cut { at, flushed }
    }

    /// Bring `disk` from `done` records to `to`, all of them applied.
    pub fn advance(&self, disk: &mut Content, done: &mut usize, to: usize) {
        if *done > to {
            (*disk, *done) = (Content { len: self.size, ..Content::default() }, 0);
        }
        for record in &self.records[*done..to] {
            match record {
                Record::Write { at, bytes } => disk.write(*at, bytes),
                Record::Zero { at, len } => disk.punch(*at, *len),
                _ => {}
            }
        }
        *done = to;
    }

    /// On a disk as of `cut.flushed`: some of what was written since, at random: of each write nothing, all,
    /// or some of its sectors.
    pub fn scatter(&self, disk: &mut Content, cut: Cut, sector: u64, rng: &mut ChaCha8Rng) {
        let keep = *[0.1, 0.3, 0.5, 0.7, 0.9, 0.97].choose(rng).expect("not empty");
        let torn = *[0.0, 0.1, 0.5].choose(rng).expect("not empty");
        // Some disks lose the same places all the time (a region whose cache is never written).
        let lost: BTreeSet<u64> = (0..self.size >> 20).filter(|_| rng.random_bool(0.1)).collect();
        let regions = rng.random_bool(0.3);
        for record in &self.records[cut.flushed..cut.at] {
            let (at, len) = match record {
                Record::Write { at, bytes } => (*at, bytes.len() as u64),
                Record::Zero { at, len } => (*at, *len),
                _ => continue,
            };
            if regions && lost.contains(&(at >> 20)) {
                continue;
            }
            let in_parts = rng.random_bool(torn);
            if !in_parts && !rng.random_bool(keep) {
                continue;
            }
            let step = if in_parts { sector } else { len };
            for from in (0..len).step_by(step.max(1) as usize) {
                if in_parts && !rng.random_bool(keep) {
                    continue;
                }
                let n = step.min(len - from);
                match record {
                    Record::Write { bytes, .. } => {
                        disk.write(at + from, &bytes[from as usize..(from + n) as usize]);
                    }
                    _ => disk.punch(at + from, n),
                }
            }
        }
    }

    /// What was said before a cut, in order.
    pub fn said(&self, cut: Cut) -> impl Iterator<Item = &str> {
        self.records[..cut.at].iter().filter_map(|r| match r {
            Record::Said(line) => Some(line.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let write = |at, byte| Record::Write { at, bytes: vec![byte; 1024] };
        let said = |line: &str| Record::Said(line.to_string());
        let records = vec![
            write(0, 1),
            Record::Flush,
            said(BEGINS),
            Record::Flush,
            write(1024, 2),
            said("B 0"),
            write(0, 3),
            Record::Flush,
            said("E 0 0"),
            write(2048, 4),
            Record::Zero { at: 0, len: 512 },
        ];
        Log::new(1 << 20, records).expect("it begins")
    }

    #[test]
    fn a_flush_confirms_what_is_said_until_the_next_write() {
        let log = log();
        assert_eq!(log.flushes, [7]);
        let cut = log.at_flush(0);
        assert_eq!(cut, Cut { at: 9, flushed: 9 });
        assert_eq!(log.said(cut).collect::<Vec<_>>(), [BEGINS, "B 0", "E 0 0"]);
        let (mut disk, mut done) = (Content::default(), 0);
        log.advance(&mut disk, &mut done, cut.flushed);
        let mut bytes = [0; 2049];
        disk.read(0, &mut bytes);
        assert_eq!((bytes[0], bytes[1024], bytes[2048]), (3, 2, 0));
    }

    #[test]
    fn what_was_flushed_stays_and_the_rest_is_any() {
        let log = log();
        let mut seen = BTreeSet::new();
        for case in 0..4000 {
            let mut rng = crate::pool::rng(1, "disk", case);
            let cut = log.between(&mut rng);
            let (mut disk, mut done) = (Content::default(), 0);
            log.advance(&mut disk, &mut done, cut.flushed);
            log.scatter(&mut disk, cut, 512, &mut rng);
            let mut bytes = [0; 3072];
            disk.read(0, &mut bytes);
            if cut.flushed > 7 {
                assert!([0, 3].contains(&bytes[0]) && bytes[512] == 3 && bytes[1024] == 2);
            }
            seen.insert([0, 512, 1024, 1536, 2048, 2560].map(|at| bytes[at]));
        }
        // Torn in halves, reordered, lost.
        for state in
            [[3, 1, 0, 0, 0, 0], [1, 1, 2, 0, 0, 0], [0, 3, 2, 2, 0, 4], [3, 3, 2, 2, 4, 4]]
        {
            assert!(seen.contains(&state), "{state:?} never came");
        }
    }

    #[test]
    fn logs_go_to_a_file_and_back() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join("log");
        let mut writer = Writer::create(&path).expect("made");
        for record in &log().records {
            match record {
                Record::Write { at, bytes } => writer.write(*at, bytes),
                Record::Zero { at, len } => writer.zero(*at, *len),
                Record::Flush => writer.flush(),
                Record::Said(line) => writer.said(line),
            }
            .expect("written");
        }
        writer.finish().expect("written");
        assert_eq!(Log::read(&path, 1 << 20).expect("read").records, log().records);
    }
}
