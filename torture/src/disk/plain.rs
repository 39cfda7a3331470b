//! Plain files, to know the disk and the file systems: which of the usual ways to make a file durable are?
//!
//! Some ways must hold on every file system, or this harness is wrong; of the others it counts how often
//! they do not. (`docs/RELIABILITY.md` has the table: which syncs of a channel are needed where.)

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{ensure, Result};
use rand::Rng;

use super::log::{Cut, Log};
use super::record::say;

/// A way to make a file durable, what it is called, and whether it must be everywhere.
pub struct Way {
    pub name: &'static str,
    pub must: bool,
    run: fn(&Path, &str, u64) -> Result<()>,
}

const LEN: usize = 12_000;

pub const WAYS: [Way; 9] = [
    Way { name: "write, fsync, rename, fsync of the directory", must: true, run: rename_and_dir },
    Way {
        name: "store to a mapping, rename, fdatasync, fsync of the directory",
        must: true,
        run: mapped_and_dir,
    },
    Way {
        name: "store to a mapping of a file that was there, fdatasync",
        must: true,
        run: in_place,
    },
    Way { name: "write, fsync, rename", must: false, run: rename_only },
    Way { name: "write, fsync, rename, fdatasync", must: false, run: rename_then_data },
    Way { name: "store to a mapping, rename, fdatasync", must: false, run: mapped_only },
    Way { name: "create, write, fsync", must: false, run: created },
    Way { name: "create, write, fdatasync", must: false, run: created_data },
    Way { name: "write, rename, fsync of the directory", must: false, run: never_synced },
];

fn content(n: u64) -> Vec<u8> {
    let mut rng = crate::pool::rng(n, "plain", 0);
    (0..LEN).map(|_| rng.random_range(1..=255)).collect()
}

fn create(dir: &Path, name: &str) -> Result<File> {
    Ok(OpenOptions::new().read(true).write(true).create_new(true).open(dir.join(name))?)
}

fn sync_dir(dir: &Path) -> Result<()> {
    Ok(File::open(dir)?.sync_all()?)
}

fn rename(dir: &Path, name: &str) -> Result<()> {
    Ok(fs::rename(dir.join("tmp"), dir.join(name))?)
}

fn rename_only(dir: &Path, name: &str, n: u64) -> Result<()> {
    let mut file = create(dir, "tmp")?;
    file.write_all(&content(n))?;
    file.sync_all()?;
    rename(dir, name)
}

fn rename_and_dir(dir: &Path, name: &str, n: u64) -> Result<()> {
    rename_only(dir, name, n)?;
    sync_dir(dir)
}

fn rename_then_data(dir: &Path, name: &str, n: u64) -> Result<()> {
    rename_only(dir, name, n)?;
    Ok(File::open(dir.join(name))?.sync_data()?)
}

fn never_synced(dir: &Path, name: &str, n: u64) -> Result<()> {
    create(dir, "tmp")?.write_all(&content(n))?;
    rename(dir, name)?;
    sync_dir(dir)
}

fn created(dir: &Path, name: &str, n: u64) -> Result<()> {
    let mut file = create(dir, name)?;
    file.write_all(&content(n))?;
    Ok(file.sync_all()?)
}

fn created_data(dir: &Path, name: &str, n: u64) -> Result<()> {
    let mut file = create(dir, name)?;
    file.write_all(&content(n))?;
    Ok(file.sync_data()?)
}

fn allocate(file: &File) -> Result<()> {
    // SAFETY: a plain system call on our descriptor.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, LEN as i64) };
    ensure!(result == 0, "fallocate: {}", std::io::Error::last_os_error());
    Ok(())
}

fn store(file: &File, bytes: &[u8]) -> Result<()> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping of a file of LEN bytes; `bytes` has as many; unmapped before it is used again.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), LEN, prot, libc::MAP_SHARED, file.as_raw_fd(), 0);
        ensure!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len().min(LEN));
        libc::munmap(at, LEN);
    }
    Ok(())
}

fn mapped_only(dir: &Path, name: &str, n: u64) -> Result<()> {
    let file = create(dir, "tmp")?;
    allocate(&file)?;
    store(&file, &[1; 100])?;
    rename(dir, name)?;
    store(&file, &content(n))?;
    Ok(file.sync_data()?)
}

fn mapped_and_dir(dir: &Path, name: &str, n: u64) -> Result<()> {
    mapped_only(dir, name, n)?;
    sync_dir(dir)
}

/// The file was there, old, with other content: it is made ahead of all.
fn in_place(dir: &Path, name: &str, n: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(dir.join(name))?;
    store(&file, &content(n))?;
    Ok(file.sync_data()?)
}

const FILES: u64 = 270;

/// Make files in all ways, in a random order, and say of each that it is there.
pub fn run(at: &Path, events: &mut File, seed: u64) -> Result<()> {
    let mut rng = crate::pool::rng(seed, "plain", 1);
    let ahead = (0..FILES).filter(|n| n % WAYS.len() as u64 == 2);
    for n in ahead {
        let file = create(at, &n.to_string())?;
        allocate(&file)?;
        file.write_all_at(&[255; LEN], 0)?;
    }
    super::record::sync_fs(at)?;
    for n in 0..FILES {
        let way = n % WAYS.len() as u64;
        (WAYS[way as usize].run)(at, &n.to_string(), n)?;
        say(events, &format!("E {n}"))?;
        // What is not reclaimed by now may get in the way of what comes.
        if n > 40 && rng.random_bool(0.3) {
            let old = rng.random_range(0..n - 30);
            let _ = fs::remove_file(at.join(old.to_string()));
            say(events, &format!("D {old}"))?;
        }
    }
    Ok(())
}

/// See which files are not as they were when they were said to be there, and note it in the file `counts`.
pub fn check(at: &Path, log: &Log, cut: Cut, counts: &Path) -> Result<()> {
    let mut there = BTreeSet::new();
    for line in log.said(cut) {
        match line.split_once(' ') {
            Some(("E", n)) => there.insert(n.parse::<u64>()?),
            Some(("D", n)) => there.remove(&n.parse()?),
            _ => false,
        };
    }
    // What was being removed at the cut may be gone: whatever was removed later is left out.
    for line in log.said(Cut { at: log.records.len(), ..cut }) {
        if let Some(("D", n)) = line.split_once(' ') {
            there.remove(&n.parse()?);
        }
    }
    let lost = |n: &u64| fs::read(at.join(n.to_string())).ok() != Some(content(*n));
    let lost: Vec<u64> = there.into_iter().filter(lost).collect();
    let of = |way: usize| lost.iter().filter(|n| **n % WAYS.len() as u64 == way as u64).count();
    let line: String = (0..WAYS.len()).map(|way| format!("{} ", of(way))).collect();
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(counts)?
        .write_all((line + "\n").as_bytes())?;
    for (index, way) in WAYS.iter().enumerate() {
        ensure!(!way.must || of(index) == 0, "{}: {} are not there: {lost:?}", way.name, of(index));
    }
    Ok(())
}

/// Say of each way how often it did not hold.
pub fn report(counts: &Path) -> Result<()> {
    let counts = fs::read_to_string(counts)?;
    for (index, way) in WAYS.iter().enumerate() {
        let lost = counts.lines().filter(|l| l.split(' ').nth(index) != Some("0")).count();
        println!("  {lost:>5} images lack a file: {}", way.name);
    }
    Ok(())
}
