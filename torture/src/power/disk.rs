//! What the disk may hold when the power goes: a model fed with the events of a trace.
//!
//! A file is what its last flush left, and of every 512-byte sector written since, any version it had in
//! memory; so with its length. What one flush wrote is the only certainty. Names: the operations since the
//! directory's last flush, in order, each of which may be missing (what it would have moved is not there
//! then, and it does nothing). The channel's directory itself exists for certain once its parent was flushed.
//! Flushing a file does not make its name last, nor the other way round.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::trace::{Content, Event, FileId, Image, BLOCK};

pub const SECTOR: u64 = 512;

/// What a sector holds.
#[derive(Clone, Debug)]
pub struct Sector {
    pub bytes: Arc<[u8; SECTOR as usize]>,
    /// Of its place and content.
    pub hash: u64,
}

impl PartialEq for Sector {
    fn eq(&self, other: &Sector) -> bool {
        self.bytes == other.bytes
    }
}

/// The hash of a sector's place and content; 0 for zeros, which mean the same as none.
pub fn hash_sector(file: FileId, number: u64, bytes: &[u8]) -> u64 {
    if bytes.iter().all(|b| *b == 0) {
        return 0;
    }
    let mut hasher = std::hash::DefaultHasher::new();
    (file, number, bytes).hash(&mut hasher);
    hasher.finish()
}

/// Values something had since it was flushed last: the first is what the flush left.
#[derive(Clone, Debug)]
pub struct Versions<T> {
    /// Different ones, in order of first appearance.
    pub values: Vec<T>,
    /// From which event on it had which.
    pub times: Vec<(usize, usize)>,
}

impl<T: PartialEq> Versions<T> {
    fn new(value: T) -> Versions<T> {
        Versions { values: vec![value], times: vec![(0, 0)] }
    }

    fn push(&mut self, when: usize, value: T) {
        let index = self.values.iter().position(|v| *v == value).unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        if self.times.last().map(|t| t.1) != Some(index) {
            self.times.push((when, index));
        }
    }

    /// Which one it was after event `when`.
    pub fn as_of(&self, when: usize) -> usize {
        self.times.iter().rev().find(|t| t.0 <= when).map_or(0, |t| t.1)
    }
}

impl<T> Versions<T> {
    pub fn last(&self) -> usize {
        self.times.last().map_or(0, |t| t.1)
    }
}

#[derive(Clone, Debug)]
pub struct Inode {
    id: FileId,
    /// In memory.
    pub now: Content,
    pub len: Versions<u64>,
    /// By sector number; those that were written since the last flush.
    pub sectors: BTreeMap<u64, Versions<Sector>>,
}

/// One change of a directory.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create(String, FileId),
    Rename(String, String),
    Link(String, String),
    Unlink(String),
}

pub type Names = BTreeMap<String, FileId>;

impl Change {
    pub fn apply(&self, names: &mut Names) {
        match self {
            Change::Create(name, file) => drop(names.insert(name.clone(), *file)),
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Link(from, to) => {
                if let Some(file) = names.get(from).copied() {
                    names.insert(to.clone(), file);
                }
            }
            Change::Unlink(name) => drop(names.remove(name)),
        }
    }
}

/// A directory: names as of its last flush, and what was done since (at which event).
#[derive(Clone, Debug, Default)]
pub struct Directory {
    pub names: Names,
    pub since: Vec<(usize, Change)>,
}

impl Directory {
    /// The names with all that was done.
    pub fn now(&self) -> Names {
        let mut names = self.names.clone();
        self.since.iter().for_each(|(_, change)| change.apply(&mut names));
        names
    }
}

/// The model.
#[derive(Clone, Debug)]
pub struct Disk {
    pub files: BTreeMap<FileId, Inode>,
    /// What the parent had under the channel's name since it was flushed: `None`: nothing.
    pub directories: Vec<(usize, Option<Directory>)>,
    events: usize,
}

impl Disk {
    /// All of this is on the disk.
    pub fn new(start: &Image) -> Disk {
        let files = start.files.iter().map(|(id, content)| {
            let mut now = Content::clone(content);
            now.compact();
            let len = Versions::new(now.len);
            (*id, Inode { id: *id, now, len, sectors: BTreeMap::new() })
        });
        let directory = Directory { names: start.names.clone(), since: Vec::new() };
        Disk {
            files: files.collect(),
            directories: vec![(0, start.exists.then_some(directory))],
            events: 0,
        }
    }

    /// The events applied so far.
    pub fn events(&self) -> usize {
        self.events
    }

    /// The names there are, by those who look now.
    pub fn names(&self) -> Names {
        match self.directories.last() {
            Some((_, Some(directory))) => directory.now(),
            _ => Names::new(),
        }
    }

    /// A word of a file, by those who look now.
    pub fn word(&self, name: &str, at: u64) -> Option<u64> {
        let file = self.files.get(self.names().get(name)?)?;
        let mut word = [0; 8];
        file.now.read(at, &mut word);
        Some(u64::from_le_bytes(word))
    }

    /// Whether this event puts something on the disk for certain: the moment before it is a cut.
    pub fn flushes(event: &Event) -> bool {
        matches!(event, Event::SyncFile { .. } | Event::SyncDir | Event::SyncParent)
    }

    pub fn apply(&mut self, event: &Event) {
        self.events += 1;
        let when = self.events;
        let change = match event {
            Event::Store { file, at, bytes } => {
                self.inode(*file).write(when, *at, bytes);
                return;
            }
            Event::Resize { file, len } => {
                self.inode(*file).resize(when, *len);
                return;
            }
            Event::Punch { file, at, len } => {
                self.inode(*file).punch(when, *at, *len);
                return;
            }
            Event::SyncFile { file } => {
                let inode = self.inode(*file);
                inode.sectors.clear();
                inode.len = Versions::new(inode.now.len);
                return;
            }
            Event::Create { file, name } => {
                self.inode(*file);
                Change::Create(name.clone(), *file)
            }
            Event::Rename { from, to } => Change::Rename(from.clone(), to.clone()),
            Event::Link { from, to } => Change::Link(from.clone(), to.clone()),
            Event::Unlink { name } => Change::Unlink(name.clone()),
            Event::MakeDir => {
                self.directories.push((when, Some(Directory::default())));
                return;
            }
            Event::RemoveDir => {
                self.directories.push((when, None));
                return;
            }
            Event::SyncParent => {
                self.directories.drain(..self.directories.len() - 1);
                return;
            }
            Event::SyncDir => {
                if let Some((_, Some(directory))) = self.directories.last_mut() {
                    directory.names = directory.now();
                    directory.since.clear();
                }
                return;
            }
            Event::Begin { .. } | Event::End { .. } => return,
        };
        if let Some((_, Some(directory))) = self.directories.last_mut() {
            directory.since.push((when, change));
        }
    }

    fn inode(&mut self, file: FileId) -> &mut Inode {
        self.files.entry(file).or_insert_with(|| Inode {
            id: file,
            now: Content::default(),
            len: Versions::new(0),
            sectors: BTreeMap::new(),
        })
    }
}

impl Inode {
    fn sector(&self, number: u64) -> Sector {
        let mut bytes = [0; SECTOR as usize];
        self.now.read(number * SECTOR, &mut bytes);
        Sector { hash: hash_sector(self.id, number, &bytes), bytes: Arc::new(bytes) }
    }

    /// Change the sectors in a range, and note what they are afterwards.
    fn change(&mut self, when: usize, sectors: Vec<u64>, act: impl FnOnce(&mut Content)) {
        for number in &sectors {
            let before = self.sector(*number);
            self.sectors.entry(*number).or_insert_with(|| Versions::new(before));
        }
        act(&mut self.now);
        for number in sectors {
            let after = self.sector(number);
            if let Some(versions) = self.sectors.get_mut(&number) {
                versions.push(when, after);
            }
        }
        self.len.push(when, self.now.len);
    }

    fn write(&mut self, when: usize, at: u64, bytes: &[u8]) {
        let sectors = at / SECTOR..(at + bytes.len() as u64).div_ceil(SECTOR);
        self.change(when, sectors.collect(), |now| now.write(at, bytes));
    }

    fn punch(&mut self, when: usize, at: u64, len: u64) {
        let end = at.saturating_add(len);
        let blocks = self.now.blocks.range(at / BLOCK..end.div_ceil(BLOCK));
        let sectors = blocks.flat_map(|(b, _)| b * BLOCK / SECTOR..(b + 1) * BLOCK / SECTOR);
        let inside = |s: &u64| (s + 1) * SECTOR > at && s * SECTOR < end;
        self.change(when, sectors.filter(inside).collect(), |now| now.punch(at, len));
    }

    fn resize(&mut self, when: usize, len: u64) {
        if len < self.now.len {
            self.punch(when, len, self.now.len - len);
        }
        self.now.resize(len);
        self.len.push(when, len);
    }

    /// The blocks that are not zero, as the last flush left them.
    pub fn flushed(&self) -> BTreeMap<u64, [u8; BLOCK as usize]> {
        let mut blocks: BTreeMap<u64, [u8; BLOCK as usize]> =
            self.now.blocks.iter().map(|(n, b)| (*n, **b)).collect();
        for (number, versions) in &self.sectors {
            let block = blocks.entry(number * SECTOR / BLOCK).or_insert([0; BLOCK as usize]);
            let at = (number * SECTOR % BLOCK) as usize;
            block[at..at + SECTOR as usize].copy_from_slice(&*versions.values[0].bytes);
        }
        blocks.retain(|_, block| block.iter().any(|b| *b != 0));
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(file: FileId, at: u64, byte: u8) -> Event {
        Event::Store { file, at, bytes: vec![byte; 8] }
    }

    fn name(s: &str) -> String {
        s.to_string()
    }

    #[test]
    fn sectors_keep_the_versions_since_the_last_flush() {
        let mut disk = Disk::new(&Image::default());
        for event in [
            Event::MakeDir,
            Event::Create { file: 0, name: name("a") },
            Event::Resize { file: 0, len: 4096 },
            store(0, 0, 1),
            store(0, 508, 2),
            store(0, 508, 0),
        ] {
            disk.apply(&event);
        }
        let inode = &disk.files[&0];
        assert_eq!(inode.len.values, [0, 4096]);
        // Zeros, 1 at the start, then 2 at the end, then that again without: four in the first sector,
        // and the second goes to 2 and back.
        assert_eq!(inode.sectors[&0].values.len(), 3);
        assert_eq!(inode.sectors[&0].times.len(), 4);
        assert_eq!(inode.sectors[&1].values.len(), 2);
        assert_eq!(inode.sectors[&1].last(), 0);
        assert_eq!(inode.sectors[&0].as_of(4), 1);
        disk.apply(&Event::SyncFile { file: 0 });
        let inode = &disk.files[&0];
        assert!(inode.sectors.is_empty() && inode.len.values == [4096]);
        assert_eq!(inode.flushed()[&0][..8], [1; 8]);
        disk.apply(&store(0, 0, 3));
        assert_eq!(disk.files[&0].flushed()[&0][..8], [1; 8]);
    }

    #[test]
    fn a_hole_is_a_version_of_what_was_there() {
        let mut start = Image { exists: true, ..Image::default() };
        start.names.insert(name("a"), 0);
        start.file(0).write(0, &[7; 10_000]);
        start.file(0).resize(18_000_000);
        let mut disk = Disk::new(&start);
        disk.apply(&Event::Punch { file: 0, at: 4096, len: 17_000_000 });
        let inode = &disk.files[&0];
        // 10,000 bytes lie in three blocks.
        assert_eq!(inode.sectors.len(), 16);
        assert_eq!(inode.flushed().len(), 3);
        assert_eq!(inode.now.blocks.len(), 1);
        disk.apply(&Event::Resize { file: 0, len: 100 });
        assert_eq!(disk.files[&0].len.values, [18_000_000, 100]);
        assert_eq!(disk.files[&0].flushed().len(), 3);
    }

    #[test]
    fn names_last_with_their_directory_and_it_with_its_parent() {
        let mut disk = Disk::new(&Image::default());
        disk.apply(&Event::MakeDir);
        disk.apply(&Event::Create { file: 0, name: name("tmp-1") });
        disk.apply(&Event::Rename { from: name("tmp-1"), to: name("a") });
        assert_eq!(disk.directories.len(), 2);
        let (_, Some(directory)) = &disk.directories[1] else { panic!("made") };
        assert!(directory.names.is_empty() && directory.since.len() == 2);
        disk.apply(&Event::SyncDir);
        disk.apply(&Event::SyncParent);
        assert_eq!(disk.directories.len(), 1);
        assert_eq!(disk.names(), Names::from([(name("a"), 0)]));
        let (_, Some(directory)) = &disk.directories[0] else { panic!("made") };
        assert!(directory.since.is_empty());
    }

    #[test]
    fn a_change_whose_source_is_missing_does_nothing() {
        let mut names = Names::from([(name("a"), 0)]);
        Change::Rename(name("tmp"), name("b")).apply(&mut names);
        Change::Unlink(name("tmp")).apply(&mut names);
        assert_eq!(names.len(), 1);
        Change::Rename(name("a"), name("b")).apply(&mut names);
        assert_eq!(names, Names::from([(name("b"), 0)]));
    }
}
