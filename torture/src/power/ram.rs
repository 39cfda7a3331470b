//! A disk in memory for one channel at a time: its directory, files, locks and open descriptions.
//!
//! Opening, recovering and checking one state costs a thousand page faults and system calls on a tmpfs, and
//! almost nothing here: a file is a range of one big reservation, mapping it gives its address, locks are
//! entries of a list. `hooks` binds the library's calls of the C library to it. Only one thread uses it.

use std::collections::BTreeMap;

use super::check::{Step, STEP};

pub const BLOCK: usize = 4096;
/// The longest file: a group's, rounded up.
const STRIDE: usize = 20 << 20;
/// Files of one state, the nameless included.
const FILES: usize = 48;
/// Where descriptors begin that are ours.
const FD_BASE: i32 = 4096;
/// So much of a mapping may be written though nobody allocated it here: superblocks, shared state and the first
/// records of a channel; header, table and what these tests send of a page (`marks_are_true` looks).
const WRITTEN: usize = 10 * BLOCK;
/// Where the member records lie, of which an open takes any.
const MEMBERS: std::ops::Range<usize> = 143_360..208_896;

pub struct Inode {
    pub len: u64,
    pub links: u32,
    /// By block: may be other than zero.
    dirty: Vec<u64>,
    locks: Vec<Lock>,
    /// As of the last flush, while a second cut is planned.
    durable: Option<Flushed>,
}

#[derive(Clone, Default)]
pub struct Flushed {
    pub len: u64,
    pub blocks: BTreeMap<u32, Box<[u8; BLOCK]>>,
}

#[derive(Clone, Copy)]
struct Lock {
    owner: usize,
    exclusive: bool,
    from: u64,
    to: u64,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    File(usize),
    Dir,
    Parent,
    /// The kernel's boot id, as text.
    Boot,
}

#[derive(Clone, Copy)]
pub struct Open {
    pub kind: Kind,
    pub at: u64,
    pub writable: bool,
}

/// What lies on the disk and what only in memory, at a flush that is about to begin.
pub struct Snapshot {
    /// Where the check was, and how many flushes it had made.
    pub step: Step,
    pub flush: u32,
    pub names_durable: Vec<(String, usize)>,
    pub names: Vec<(String, usize)>,
    /// By inode: on the disk, and in memory.
    pub files: Vec<(Flushed, Flushed)>,
}

pub struct Ram {
    base: *mut u8,
    pub exists: bool,
    pub names: Vec<(String, usize)>,
    names_durable: Vec<(String, usize)>,
    pub inodes: Vec<Inode>,
    fds: Vec<Option<Open>>,
    /// The kernel's boot id, as its file has it.
    pub boot: Vec<u8>,
    pub random: u64,
    /// Flushes still to come before the one at which a snapshot is taken.
    countdown: Option<u32>,
    flush: u32,
    pub snapshot: Option<Snapshot>,
}

type Errno = i32;

impl Ram {
    pub fn new() -> anyhow::Result<Ram> {
        let (len, prot) = (STRIDE * FILES, libc::PROT_READ | libc::PROT_WRITE);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) };
        anyhow::ensure!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
        Ok(Ram {
            base: base.cast(),
            exists: false,
            names: Vec::new(),
            names_durable: Vec::new(),
            inodes: Vec::new(),
            fds: Vec::new(),
            boot: Vec::new(),
            random: 1,
            countdown: None,
            flush: 0,
            snapshot: None,
        })
    }

    pub fn owns(&self, at: usize) -> bool {
        (self.base as usize..self.base as usize + STRIDE * FILES).contains(&at)
    }

    pub fn address(&self, inode: usize) -> *mut u8 {
        // SAFETY: inside the reservation: inodes are fewer than FILES.
        unsafe { self.base.add(inode * STRIDE) }
    }

    /// A file's bytes.
    pub fn bytes(&mut self, inode: usize) -> &mut [u8] {
        // SAFETY: inside the reservation; the library is not running while this is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(inode * STRIDE), STRIDE) }
    }

    /// Forget everything: an empty disk under another boot, of which this number is the seed.
    pub fn clear(&mut self, boot: u64) {
        for inode in 0..self.inodes.len() {
            for (from, to) in self.runs(inode) {
                self.bytes(inode)[from..to].fill(0);
            }
        }
        self.inodes.clear();
        self.names.clear();
        self.names_durable.clear();
        self.fds.clear();
        self.exists = true;
        self.boot_again(boot);
        self.countdown = None;
        self.snapshot = None;
    }

    pub fn boot_again(&mut self, boot: u64) {
        self.boot =
            format!("b0b0b0b0-b0b0-b0b0-{:04x}-{:012x}\n", boot >> 48, boot & ((1 << 48) - 1))
                .into_bytes();
        self.random = boot.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    /// Runs of blocks that may be other than zero, in bytes.
    fn runs(&self, inode: usize) -> Vec<(usize, usize)> {
        let dirty = &self.inodes[inode].dirty;
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for (word, mut bits) in dirty.iter().copied().enumerate() {
            while bits != 0 {
                let at = (word * 64 + bits.trailing_zeros() as usize) * BLOCK;
                bits &= bits - 1;
                match runs.last_mut() {
                    Some(last) if last.1 == at => last.1 += BLOCK,
                    _ => runs.push((at, at + BLOCK)),
                }
            }
        }
        runs
    }

    fn mark(&mut self, inode: usize, from: usize, to: usize) {
        let dirty = &mut self.inodes[inode].dirty;
        let end = to.div_ceil(BLOCK);
        dirty.resize(dirty.len().max(end.div_ceil(64)), 0);
        for block in from / BLOCK..end {
            dirty[block / 64] |= 1 << (block % 64);
        }
    }

    /// A new file without a name.
    pub fn add(&mut self, len: u64) -> Option<usize> {
        if self.inodes.len() == FILES || len > STRIDE as u64 {
            return None;
        }
        self.inodes.push(Inode {
            len,
            links: 0,
            dirty: Vec::new(),
            locks: Vec::new(),
            durable: None,
        });
        Some(self.inodes.len() - 1)
    }

    pub fn link(&mut self, name: &str, inode: usize) {
        self.inodes[inode].links += 1;
        self.names.push((name.to_string(), inode));
    }

    pub fn write(&mut self, inode: usize, at: usize, bytes: &[u8]) {
        self.mark(inode, at, at + bytes.len());
        self.bytes(inode)[at..at + bytes.len()].copy_from_slice(bytes);
        let inode = &mut self.inodes[inode];
        inode.len = inode.len.max((at + bytes.len()) as u64);
    }

    /// What the disk holds when everything here is on it.
    pub fn copy(&mut self, inode: usize) -> Flushed {
        let len = self.inodes[inode].len;
        let mut blocks = BTreeMap::new();
        for (from, to) in self.runs(inode) {
            for at in (from..to).step_by(BLOCK) {
                let block: &[u8] = &self.bytes(inode)[at..at + BLOCK];
                if block != [0; BLOCK] {
                    let block = Box::new(block.try_into().expect("a block"));
                    blocks.insert((at / BLOCK) as u32, block);
                }
            }
        }
        Flushed { len, blocks }
    }

    /// Take a snapshot before the flush that is `flushes` later than the next one.
    pub fn plan(&mut self, flushes: u32) {
        self.countdown = Some(flushes);
        self.flush = flushes;
        for inode in 0..self.inodes.len() {
            let content = self.copy(inode);
            self.inodes[inode].durable = Some(content);
        }
        self.names_durable = self.names.clone();
    }

    fn flushing(&mut self) {
        match &mut self.countdown {
            Some(0) => self.countdown = None,
            Some(n) => {
                *n -= 1;
                return;
            }
            None => return,
        }
        let files = (0..self.inodes.len())
            .map(|inode| {
                let now = self.copy(inode);
                (self.inodes[inode].durable.take().unwrap_or_default(), now)
            })
            .collect();
        self.snapshot = Some(Snapshot {
            step: STEP.get(),
            flush: self.flush,
            names_durable: self.names_durable.clone(),
            names: self.names.clone(),
            files,
        });
    }

    pub fn sync(&mut self, fd: i32) -> Result<(), Errno> {
        let open = *self.open(fd)?;
        self.flushing();
        if self.countdown.is_some() {
            match open.kind {
                Kind::File(inode) => {
                    let content = self.copy(inode);
                    self.inodes[inode].durable = Some(content);
                }
                Kind::Dir => self.names_durable = self.names.clone(),
                _ => {}
            }
        }
        Ok(())
    }

    pub fn is_ours(&self, fd: i32) -> bool {
        fd >= FD_BASE && (fd - FD_BASE) < self.fds.len() as i32
    }

    pub fn open(&mut self, fd: i32) -> Result<&mut Open, Errno> {
        let at = usize::try_from(fd - FD_BASE).map_err(|_| libc::EBADF)?;
        self.fds.get_mut(at).and_then(Option::as_mut).ok_or(libc::EBADF)
    }

    pub fn file(&mut self, fd: i32) -> Result<usize, Errno> {
        match self.open(fd)?.kind {
            Kind::File(inode) => Ok(inode),
            _ => Err(libc::EISDIR),
        }
    }

    pub fn new_fd(&mut self, kind: Kind, writable: bool) -> i32 {
        let open = Some(Open { kind, at: 0, writable });
        let at = match self.fds.iter().position(Option::is_none) {
            Some(free) => {
                self.fds[free] = open;
                free
            }
            None => {
                self.fds.push(open);
                self.fds.len() - 1
            }
        };
        at as i32 + FD_BASE
    }

    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let kind = self.open(fd)?.kind;
        let owner = (fd - FD_BASE) as usize;
        if let Kind::File(inode) = kind {
            self.inodes[inode].locks.retain(|l| l.owner != owner);
        }
        self.fds[owner] = None;
        Ok(())
    }

    /// Descriptors that are open: none, after a check.
    pub fn opened(&self) -> usize {
        self.fds.iter().flatten().count()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|n| n.0 == name).map(|n| n.1)
    }

    pub fn create(&mut self, name: &str) -> Result<usize, Errno> {
        let inode = self.add(0).ok_or(libc::ENOSPC)?;
        self.inodes[inode].durable = self.countdown.map(|_| Flushed::default());
        self.link(name, inode);
        Ok(inode)
    }

    pub fn unlink(&mut self, name: &str) -> Result<(), Errno> {
        let at = self.names.iter().position(|n| n.0 == name).ok_or(libc::ENOENT)?;
        let inode = self.names.remove(at).1;
        self.inodes[inode].links -= 1;
        Ok(())
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let at = self.names.iter().position(|n| n.0 == from).ok_or(libc::ENOENT)?;
        if self.find(to).is_some() {
            return Err(libc::EEXIST);
        }
        self.names[at].0 = to.to_string();
        Ok(())
    }

    pub fn allocate(&mut self, inode: usize, at: u64, len: u64) -> Result<(), Errno> {
        let end = at + len;
        if end > STRIDE as u64 {
            return Err(libc::ENOSPC);
        }
        self.mark(inode, at as usize, end as usize);
        self.inodes[inode].len = self.inodes[inode].len.max(end);
        Ok(())
    }

    pub fn punch(&mut self, inode: usize, at: u64, len: u64) {
        let (at, end) = (at as usize, (at + len) as usize);
        for (from, to) in self.runs(inode) {
            let (from, to) = (from.max(at), to.min(end));
            if from < to {
                self.bytes(inode)[from..to].fill(0);
            }
        }
    }

    pub fn resize(&mut self, inode: usize, len: u64) -> Result<(), Errno> {
        if len > STRIDE as u64 {
            return Err(libc::ENOSPC);
        }
        let now = self.inodes[inode].len;
        if len < now {
            self.punch(inode, len, now - len);
        }
        self.inodes[inode].len = len;
        Ok(())
    }

    /// Map a file.
    pub fn map(&mut self, inode: usize, len: usize) -> *mut u8 {
        self.mark(inode, 0, len.min(WRITTEN));
        if len == MEMBERS.end {
            self.mark(inode, MEMBERS.start, MEMBERS.end);
        }
        self.address(inode)
    }

    /// Blocks that are taken, in units of 512 bytes.
    pub fn blocks(&self, inode: usize) -> u64 {
        let blocks: u32 = self.inodes[inode].dirty.iter().map(|w| w.count_ones()).sum();
        u64::from(blocks) * 8
    }

    /// F_OFD_SETLK: `None` unlocks.
    pub fn lock(
        &mut self,
        fd: i32,
        exclusive: Option<bool>,
        from: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let to = if len == 0 { u64::MAX } else { from + len };
        let inode = self.file(fd)?;
        let owner = (fd - FD_BASE) as usize;
        if exclusive == Some(true) && !self.open(fd)?.writable {
            return Err(libc::EBADF);
        }
        if let Some(exclusive) = exclusive {
            if self.conflict(inode, owner, exclusive, from, to) {
                return Err(libc::EAGAIN);
            }
        }
        let locks = &mut self.inodes[inode].locks;
        for at in (0..locks.len()).rev() {
            let l = locks[at];
            if l.owner != owner || l.to <= from || to <= l.from {
                continue;
            }
            locks.swap_remove(at);
            for (from, to) in [(l.from, from), (to, l.to)] {
                if from < to {
                    locks.push(Lock { from, to, ..l });
                }
            }
        }
        if let Some(exclusive) = exclusive {
            locks.push(Lock { owner, exclusive, from, to });
        }
        Ok(())
    }

    fn conflict(&self, inode: usize, owner: usize, exclusive: bool, from: u64, to: u64) -> bool {
        self.inodes[inode]
            .locks
            .iter()
            .any(|l| l.owner != owner && from < l.to && l.from < to && (exclusive || l.exclusive))
    }

    /// F_OFD_GETLK: whether somebody else has any of it.
    pub fn locked(&mut self, fd: i32, exclusive: bool, from: u64, len: u64) -> Result<bool, Errno> {
        let to = if len == 0 { u64::MAX } else { from + len };
        let inode = self.file(fd)?;
        Ok(self.conflict(inode, (fd - FD_BASE) as usize, exclusive, from, to))
    }

    /// Whether everything that was not marked is zero indeed.
    pub fn marks_are_true(&mut self) -> bool {
        (0..self.inodes.len()).all(|inode| {
            let mut from = 0;
            let mut runs = self.runs(inode);
            runs.push((STRIDE, STRIDE));
            runs.into_iter().all(|(start, end)| {
                let zero = self.bytes(inode)[from..start].iter().all(|b| *b == 0);
                from = end;
                zero
            })
        })
    }
}
