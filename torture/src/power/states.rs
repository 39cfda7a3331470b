//! The states that a disk may be in after a cut at one moment: counted, enumerated, or drawn.
//!
//! A *shape* is what the names and lengths may be; in a shape, each sector that was written since its flush
//! has one of its versions. Sectors of files without a name, or beyond a length, make no difference and are
//! not counted. Where there are at most 2^16 states all are tried; else they are drawn: all as the flush
//! left them, all as they were in memory, one sector missing, one sector alone, everything by chance, and
//! what a file system with ordered metadata would leave (names as of one time, each block as of another).

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::disk::{hash_sector, Disk, Names, Versions, SECTOR};
use crate::trace::{Content, FileId, Image, BLOCK};

/// Changes of names that are tried in every combination; beyond, they are drawn.
const CHANGES_MAX: usize = 12;
const SHAPES_MAX: usize = 4096;
pub const EXHAUSTIVE: u64 = 1 << 16;

/// Names and lengths, and so which sectors matter.
#[derive(Clone, Debug)]
pub struct Shape {
    /// `None`: the directory is not there.
    pub names: Option<Names>,
    pub lens: BTreeMap<FileId, u64>,
    /// File, sector, number of versions.
    vars: Vec<(FileId, u64, usize)>,
    /// Product of the numbers of versions, saturating.
    pub states: u64,
    /// Of names, lengths, and all sectors as the flushes left them.
    hash: u64,
}

/// A state: a shape, and a version for each of its sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub shape: usize,
    pub choice: Vec<u16>,
}

/// All states of a cut.
pub struct Cut<'a> {
    disk: &'a Disk,
    pub shapes: Vec<Shape>,
    /// Not all shapes are there: there are too many.
    pub shapes_drawn: bool,
    pub states: u64,
    flushed: BTreeMap<FileId, Vec<(u64, [u8; BLOCK as usize])>>,
}

impl<'a> Cut<'a> {
    pub fn new(disk: &'a Disk, rng: &mut ChaCha8Rng) -> Cut<'a> {
        let (maps, mut drawn) = name_maps(disk, rng);
        let mut shapes = Vec::new();
        for names in maps {
            let files: BTreeSet<FileId> = names.iter().flatten().map(|(_, f)| *f).collect();
            let mut lens: Vec<BTreeMap<FileId, u64>> = vec![BTreeMap::new()];
            for file in &files {
                let values = &disk.files[file].len.values;
                let with = |l: &BTreeMap<FileId, u64>, v: u64| {
                    let mut l = l.clone();
                    l.insert(*file, v);
                    l
                };
                lens = values.iter().flat_map(|v| lens.iter().map(|l| with(l, *v))).collect();
                if shapes.len() + lens.len() > SHAPES_MAX {
                    drawn = true;
                    lens = lens.choose_multiple(rng, 64).cloned().collect();
                }
            }
            for lens in lens {
                shapes.push(Shape::new(disk, names.clone(), lens));
            }
            if shapes.len() > SHAPES_MAX {
                drawn = true;
                break;
            }
        }
        let states = shapes.iter().fold(0u64, |n, s| n.saturating_add(s.states));
        let files: BTreeSet<FileId> = shapes.iter().flat_map(|s| s.lens.keys().copied()).collect();
        let flushed =
            files.into_iter().map(|f| (f, disk.files[&f].flushed().into_iter().collect()));
        let flushed: BTreeMap<FileId, Vec<_>> = flushed.collect();
        let sums: BTreeMap<FileId, u64> =
            flushed.iter().map(|(f, blocks)| (*f, hash_blocks(*f, blocks))).collect();
        for shape in &mut shapes {
            let mut hasher = std::hash::DefaultHasher::new();
            (&shape.names, &shape.lens).hash(&mut hasher);
            let sum = shape.lens.keys().fold(0u64, |n, f| n.wrapping_add(sums[f]));
            shape.hash = hasher.finish().wrapping_add(sum);
        }
        Cut { disk, shapes, shapes_drawn: drawn, states, flushed }
    }

    /// Whether all states are few enough to be tried.
    pub fn exhaustive(&self) -> bool {
        !self.shapes_drawn && self.states <= EXHAUSTIVE
    }

    /// State number `n` of all, in order.
    pub fn nth(&self, mut n: u64) -> State {
        let mut shape = 0;
        while n >= self.shapes[shape].states && shape + 1 < self.shapes.len() {
            n -= self.shapes[shape].states;
            shape += 1;
        }
        let choice = self.shapes[shape].vars.iter().map(|(_, _, versions)| {
            let digit = n % *versions as u64;
            n /= *versions as u64;
            digit as u16
        });
        State { shape, choice: choice.collect() }
    }

    /// State number `n` of those drawn.
    pub fn draw(&self, n: u64, rng: &mut ChaCha8Rng) -> State {
        let realistic = n > 1 && rng.random_ratio(1, 5);
        let shape = match n {
            0 => 0,
            1 => self.newest_shape(),
            _ if realistic || rng.random_bool(0.5) => self.shape_as_of(rng),
            _ => rng.random_range(0..self.shapes.len()),
        };
        let vars = &self.shapes[shape].vars;
        let versions = |file: &FileId, sector: &u64| &self.disk.files[file].sectors[sector];
        let all = |newest: bool| -> Vec<u16> {
            let of = |(f, s, _): &(FileId, u64, usize)| versions(f, s).last() as u16;
            vars.iter().map(|v| if newest { of(v) } else { 0 }).collect()
        };
        let choice = match (n, rng.random_range(0..6)) {
            (0, _) => all(false),
            (1, _) => all(true),
            _ if realistic => self.blocks_as_of(vars, rng),
            // One sector missing, or in an older version; one sector alone.
            (_, which @ 0..=1) if !vars.is_empty() => {
                let mut choice = all(which == 0);
                let at = rng.random_range(0..vars.len());
                choice[at] = rng.random_range(0..vars[at].2) as u16;
                choice
            }
            (_, 2) => {
                let newer = rng.random_range(0.02..0.98);
                let draw = |v: &(FileId, u64, usize)| {
                    let versions = versions(&v.0, &v.1);
                    if rng.random_bool(newer) {
                        versions.last() as u16
                    } else {
                        0
                    }
                };
                vars.iter().map(draw).collect()
            }
            (_, 3) => {
                // Files as a whole, then a few sectors otherwise.
                let mut as_of: BTreeMap<FileId, usize> = BTreeMap::new();
                let draw = |(f, s, _): &(FileId, u64, usize)| {
                    let when = *as_of.entry(*f).or_insert_with(|| self.moment(rng));
                    versions(f, s).as_of(when) as u16
                };
                let mut choice: Vec<u16> = vars.iter().map(draw).collect();
                for (at, var) in vars.iter().enumerate() {
                    if rng.random_ratio(1, 1 + vars.len() as u32 / 2) {
                        choice[at] = rng.random_range(0..var.2) as u16;
                    }
                }
                choice
            }
            _ => vars.iter().map(|v| rng.random_range(0..v.2) as u16).collect(),
        };
        State { shape, choice }
    }

    /// A moment since the oldest change that is not flushed.
    fn moment(&self, rng: &mut ChaCha8Rng) -> usize {
        match rng.random_range(0..4) {
            0 => 0,
            1 => usize::MAX,
            _ => rng.random_range(0..=self.disk.events()),
        }
    }

    /// Each block of a file as of a moment of its own: what a file system writes at a time.
    fn blocks_as_of(&self, vars: &[(FileId, u64, usize)], rng: &mut ChaCha8Rng) -> Vec<u16> {
        let mut as_of: BTreeMap<(FileId, u64), usize> = BTreeMap::new();
        let draw = |(f, s, _): &(FileId, u64, usize)| {
            let block = (*f, s * SECTOR / BLOCK);
            let when = *as_of.entry(block).or_insert_with(|| self.moment(rng));
            self.disk.files[f].sectors[s].as_of(when) as u16
        };
        vars.iter().map(draw).collect()
    }

    fn newest_shape(&self) -> usize {
        let exists = matches!(self.disk.directories.last(), Some((_, Some(_))));
        let names = exists.then(|| self.disk.names());
        self.find_shape(&names, |v| v.values[v.last()]).unwrap_or(self.shapes.len() - 1)
    }

    /// Names and lengths as of one moment, in the order in which they changed.
    fn shape_as_of(&self, rng: &mut ChaCha8Rng) -> usize {
        let when = self.moment(rng);
        let directory = self.disk.directories.iter().rev().find(|d| d.0 <= when);
        let names = directory.and_then(|(_, d)| d.as_ref()).map(|directory| {
            let mut names = directory.names.clone();
            let done = directory.since.iter().take_while(|c| c.0 <= when);
            done.for_each(|(_, change)| change.apply(&mut names));
            names
        });
        self.find_shape(&names, |v| v.values[v.as_of(when)])
            .unwrap_or_else(|| rng.random_range(0..self.shapes.len()))
    }

    fn find_shape(
        &self,
        names: &Option<Names>,
        len: impl Fn(&Versions<u64>) -> u64,
    ) -> Option<usize> {
        let same = |(f, l): (&FileId, &u64)| len(&self.disk.files[f].len) == *l;
        self.shapes.iter().position(|s| s.names == *names && s.lens.iter().all(same))
    }

    /// The pieces that make a file of a state: offset and bytes, later ones over earlier ones.
    fn pieces(&self, state: &State, file: FileId, mut put: impl FnMut(u64, &[u8])) {
        let shape = &self.shapes[state.shape];
        let len = shape.lens[&file];
        for (block, bytes) in &self.flushed[&file] {
            let at = block * BLOCK;
            if at < len {
                put(at, &bytes[..(len - at).min(BLOCK) as usize]);
            }
        }
        let sectors = &self.disk.files[&file].sectors;
        for ((f, sector, _), choice) in shape.vars.iter().zip(&state.choice) {
            let at = sector * SECTOR;
            if *f == file && *choice != 0 {
                let bytes = &*sectors[sector].values[usize::from(*choice)].bytes;
                put(at, &bytes[..(len - at).min(SECTOR) as usize]);
            }
        }
    }

    /// The files of a state on the disk in memory.
    pub fn load(&self, state: &State, ram: &mut super::ram::Ram) {
        let shape = &self.shapes[state.shape];
        let Some(names) = &shape.names else {
            ram.exists = false;
            return;
        };
        for (file, len) in &shape.lens {
            let Some(inode) = ram.add(*len) else { continue };
            self.pieces(state, *file, |at, bytes| ram.write(inode, at as usize, bytes));
            ram.inodes[inode].len = *len;
            for (name, _) in names.iter().filter(|n| n.1 == file) {
                ram.link(name, inode);
            }
        }
    }

    /// The files of a state as an image, for a real file system.
    pub fn image(&self, state: &State) -> Image {
        let shape = &self.shapes[state.shape];
        let mut image = Image { exists: shape.names.is_some(), ..Image::default() };
        image.names = shape.names.clone().unwrap_or_default();
        for (file, len) in &shape.lens {
            let mut content = Content { len: *len, ..Content::default() };
            self.pieces(state, *file, |at, bytes| content.write(at, bytes));
            content.len = *len;
            content.compact();
            image.files.insert(*file, Arc::new(content));
        }
        image
    }

    /// A number for the state's content: equal states have equal numbers, also in other cuts of the trace.
    pub fn fingerprint(&self, state: &State) -> u64 {
        let shape = &self.shapes[state.shape];
        let mut sum = shape.hash;
        for ((f, sector, _), choice) in shape.vars.iter().zip(&state.choice) {
            let values = &self.disk.files[f].sectors[sector].values;
            sum = sum.wrapping_add(values[usize::from(*choice)].hash).wrapping_sub(values[0].hash);
        }
        sum
    }

    /// A state in words: what differs from what was in memory.
    pub fn describe(&self, state: &State) -> String {
        let shape = &self.shapes[state.shape];
        let Some(names) = &shape.names else { return " no directory".to_string() };
        let mut text = String::new();
        for (name, file) in names {
            text += &format!(" {name} (file {file}, {} bytes)", shape.lens[file]);
            for ((f, sector, n), choice) in shape.vars.iter().zip(&state.choice) {
                let newest = self.disk.files[f].sectors[sector].last();
                if f == file && usize::from(*choice) != newest {
                    text += &format!(" [{}: {choice} of {n}]", sector * SECTOR);
                }
            }
            text += ";";
        }
        text
    }
}

impl Shape {
    fn new(disk: &Disk, names: Option<Names>, lens: BTreeMap<FileId, u64>) -> Shape {
        let mut vars = Vec::new();
        for (file, len) in &lens {
            for (sector, versions) in &disk.files[file].sectors {
                if sector * SECTOR < *len && versions.values.len() > 1 {
                    vars.push((*file, *sector, versions.values.len().min(usize::from(u16::MAX))));
                }
            }
        }
        let states = vars.iter().fold(1u64, |n, v| n.saturating_mul(v.2 as u64));
        Shape { names, lens, vars, states, hash: 0 }
    }
}

/// Every set of names there may be; `true`: not every one of them.
fn name_maps(disk: &Disk, rng: &mut ChaCha8Rng) -> (Vec<Option<Names>>, bool) {
    let mut maps: Vec<Option<Names>> = Vec::new();
    let mut seen: BTreeSet<Option<Names>> = BTreeSet::new();
    let mut drawn = false;
    for (_, directory) in &disk.directories {
        let Some(directory) = directory else {
            if seen.insert(None) {
                maps.push(None);
            }
            continue;
        };
        let changes = &directory.since;
        let subsets = 1u64 << changes.len().min(CHANGES_MAX);
        for subset in 0..subsets {
            let mut names = directory.names.clone();
            let all = changes.len() > CHANGES_MAX;
            drawn |= all;
            // Beyond the bound: ends of the list, and anything else by chance.
            let bits: u64 = match subset {
                0 => 0,
                1 if all => u64::MAX,
                _ if all && rng.random_bool(0.5) => {
                    (1 << rng.random_range(0..changes.len().min(63))) - 1
                }
                _ if all => rng.random(),
                _ => subset,
            };
            for (at, (_, change)) in changes.iter().enumerate() {
                if bits >> at.min(63) & 1 != 0 {
                    change.apply(&mut names);
                }
            }
            if seen.insert(Some(names.clone())) {
                maps.push(Some(names));
            }
        }
    }
    (maps, drawn)
}

fn hash_blocks(file: FileId, blocks: &[(u64, [u8; BLOCK as usize])]) -> u64 {
    let sectors = blocks.iter().flat_map(|(number, block)| {
        let first = number * BLOCK / SECTOR;
        block.chunks(SECTOR as usize).enumerate().map(move |(i, s)| (first + i as u64, s))
    });
    sectors.fold(0u64, |n, (number, bytes)| n.wrapping_add(hash_sector(file, number, bytes)))
}
