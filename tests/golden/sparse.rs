//! Directories as one small file: for each file its name, its length, and the bytes of its blocks that
//! are not all zeros.
//!
//! Integers are little-endian: a file is `u16` name length, name, `u64` length, `u32` count of runs; a
//! run is `u64` offset, `u32` length, bytes. Runs begin and end at multiples of 32 bytes.

#![allow(dead_code)]

use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: usize = 32;

/// A file of a packed directory.
#[derive(Clone, Debug)]
pub struct Packed {
    pub name: String,
    pub len: u64,
    pub runs: Vec<(u64, Vec<u8>)>,
}

impl Packed {
    fn new(name: String, bytes: &[u8]) -> Packed {
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        for (i, block) in bytes.chunks(BLOCK).enumerate() {
            if block.iter().all(|b| *b == 0) {
                continue;
            }
            let at = (i * BLOCK) as u64;
            match runs.last_mut() {
                Some((from, run)) if *from + run.len() as u64 == at => run.extend(block),
                _ => runs.push((at, block.to_vec())),
            }
        }
        Packed { name, len: bytes.len() as u64, runs }
    }

    /// Write the file into a directory, with holes where it has zeros.
    pub fn unpack(&self, dir: &Path) {
        let file = std::fs::File::create(dir.join(&self.name)).unwrap();
        file.set_len(self.len).unwrap();
        for (at, bytes) in &self.runs {
            file.write_all_at(bytes, *at).unwrap();
        }
    }

    /// A word of the file.
    pub fn word(&self, at: u64) -> u64 {
        let run = self.runs.iter().find(|(from, r)| (*from..from + r.len() as u64).contains(&at));
        run.map_or(0, |(from, r)| {
            let i = (at - from) as usize;
            u64::from_le_bytes(r[i..i + 8].try_into().unwrap())
        })
    }
}

/// Every file of a directory, in the order of their names.
pub fn pack(dir: &Path) -> Vec<Packed> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap());
    let mut files: Vec<Packed> = entries
        .map(|e| {
            Packed::new(e.file_name().into_string().unwrap(), &std::fs::read(e.path()).unwrap())
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

pub fn encode(files: &[Packed]) -> Vec<u8> {
    let mut out = Vec::new();
    for f in files {
        out.extend((f.name.len() as u16).to_le_bytes());
        out.extend(f.name.as_bytes());
        out.extend(f.len.to_le_bytes());
        out.extend((f.runs.len() as u32).to_le_bytes());
        for (at, bytes) in &f.runs {
            out.extend(at.to_le_bytes());
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend(bytes);
        }
    }
    out
}

pub fn decode(mut b: &[u8]) -> Vec<Packed> {
    let mut files = Vec::new();
    let mut take = |n: usize| {
        let (head, tail) = b.split_at(n);
        b = tail;
        (head, tail.is_empty())
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    loop {
        let len = number(take(2).0) as usize;
        let name = String::from_utf8(take(len).0.to_vec()).unwrap();
        let len = number(take(8).0);
        let (count, mut done) = take(4);
        let mut runs = Vec::new();
        for _ in 0..number(count) {
            let at = number(take(8).0);
            let n = number(take(4).0) as usize;
            let (bytes, last) = take(n);
            runs.push((at, bytes.to_vec()));
            done = last;
        }
        files.push(Packed { name, len, runs });
        if done {
            return files;
        }
    }
}
