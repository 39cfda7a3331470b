//! What a stepped program did to a channel's files: a list of events, and the files as of any of them.
//!
//! An [`Image`] holds the files of the channel's directory in blocks of 4 KiB that clones share; to apply
//! an event costs what it changed. `write_to` puts an image into a directory, `read_from` takes one from it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// An inode of the channel's directory, in order of appearance.
pub type FileId = u32;

pub const BLOCK: u64 = 4096;

/// One thing that happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One instruction changed these bytes of a mapping, or one `pwrite` did.
    Store {
        file: FileId,
        at: u64,
        bytes: Vec<u8>,
    },
    /// `open(O_CREAT)` made it, empty.
    Create {
        file: FileId,
        name: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        name: String,
    },
    /// `ftruncate`, or `fallocate` growing the file.
    Resize {
        file: FileId,
        len: u64,
    },
    /// `fallocate(PUNCH_HOLE)`: zeros.
    Punch {
        file: FileId,
        at: u64,
        len: u64,
    },
    /// `fsync` or `fdatasync` returned 0: at its return.
    SyncFile {
        file: FileId,
    },
    SyncDir,
    SyncParent,
    MakeDir,
    RemoveDir,
    /// The driver is about to make the call of this line of its script.
    Begin {
        op: usize,
    },
    /// It has returned.
    End {
        op: usize,
        outcome: Outcome,
    },
}

impl Event {
    /// Whether the files may look different afterwards.
    pub fn changes(&self) -> bool {
        use Event::*;
        !matches!(self, SyncFile { .. } | SyncDir | SyncParent | Begin { .. } | End { .. })
    }
}

/// What a call of the driver gave back. `driver.c` says which operation fills what; else 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub code: i32,
    /// Sending: messages sent, and the position of the last.
    pub sent: u64,
    pub position: u64,
    /// Receiving: what was handed out.
    pub received: Vec<Got>,
    /// `stats` and the like: their words in the header's order, without `size`.
    pub words: Vec<u64>,
}

/// A message as it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Got {
    pub position: u64,
    /// Its first 8 bytes.
    pub id: u64,
    pub len: u64,
    pub flags: u32,
    pub deliveries: u32,
    /// Whether every byte is the one that `id` and the length determine.
    pub whole: bool,
}

/// A file's content; what is not in `blocks` is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub len: u64,
    pub blocks: BTreeMap<u64, Arc<[u8; BLOCK as usize]>>,
}

impl Content {
    /// Write at an offset; the file grows where needed.
    pub fn write(&mut self, mut at: u64, mut bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len() as u64);
        while !bytes.is_empty() {
            let inside = (at % BLOCK) as usize;
            let n = bytes.len().min(BLOCK as usize - inside);
            let block = self.blocks.entry(at / BLOCK).or_insert_with(|| Arc::new([0; 4096]));
            Arc::make_mut(block)[inside..inside + n].copy_from_slice(&bytes[..n]);
            (at, bytes) = (at + n as u64, &bytes[n..]);
        }
    }

    pub fn read(&self, mut at: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let inside = (at % BLOCK) as usize;
            let n = out.len().min(BLOCK as usize - inside);
            let (now, rest) = out.split_at_mut(n);
            match self.blocks.get(&(at / BLOCK)) {
                Some(block) => now.copy_from_slice(&block[inside..inside + n]),
                None => now.fill(0),
            }
            (at, out) = (at + n as u64, rest);
        }
    }

    pub fn punch(&mut self, at: u64, len: u64) {
        let end = at.saturating_add(len).min(self.len);
        let (first, last) = (at.div_ceil(BLOCK), end / BLOCK);
        let inside = self.blocks.range(first..last.max(first));
        let whole: Vec<u64> = inside.map(|(n, _)| *n).collect();
        for number in whole {
            self.blocks.remove(&number);
        }
        for (from, to) in
            [(at, end.min(at.next_multiple_of(BLOCK))), (at.max(end / BLOCK * BLOCK), end)]
        {
            if from < to && self.blocks.contains_key(&(from / BLOCK)) {
                self.write(from, &vec![0; (to - from) as usize]);
            }
        }
    }

    pub fn resize(&mut self, len: u64) {
        if len < self.len {
            self.punch(len, self.len - len);
        }
        self.len = len;
        self.blocks.split_off(&len.div_ceil(BLOCK));
    }

    /// Without blocks that are all zeros, which mean the same as none.
    pub fn compact(&mut self) {
        self.blocks.retain(|_, block| block.iter().any(|b| *b != 0));
    }

    fn read_from(file: &File) -> io::Result<Content> {
        use std::os::fd::AsRawFd;
        let mut content = Content { len: file.metadata()?.len(), blocks: BTreeMap::new() };
        let mut at = 0;
        loop {
            // SAFETY: plain system calls on our descriptor.
            let data = unsafe { libc::lseek(file.as_raw_fd(), at, libc::SEEK_DATA) };
            if data < 0 {
                break;
            }
            // SAFETY: as above.
            let hole = unsafe { libc::lseek(file.as_raw_fd(), data, libc::SEEK_HOLE) };
            let mut bytes = vec![0; (hole - data) as usize];
            file.read_exact_at(&mut bytes, data as u64)?;
            for (n, part) in bytes.chunks(BLOCK as usize).enumerate() {
                if part.iter().any(|b| *b != 0) {
                    content.write(data as u64 + n as u64 * BLOCK, part);
                }
            }
            at = hole;
        }
        Ok(content)
    }

    fn write_to(&self, file: &File) -> io::Result<()> {
        file.set_len(self.len)?;
        let mut run: Vec<u8> = Vec::new();
        let mut from = 0;
        for (number, block) in &self.blocks {
            if !run.is_empty() && from + run.len() as u64 != number * BLOCK {
                file.write_all_at(&run, from)?;
                run.clear();
            }
            if run.is_empty() {
                from = number * BLOCK;
            }
            let n = (self.len - number * BLOCK).min(BLOCK) as usize;
            run.extend_from_slice(&block[..n]);
        }
        file.write_all_at(&run, from)
    }
}

/// The files of a channel's directory at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Whether the directory itself is there.
    pub exists: bool,
    pub names: BTreeMap<String, FileId>,
    /// Files that have a name, or had one and may still be mapped.
    pub files: BTreeMap<FileId, Arc<Content>>,
}

impl Image {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Store { file, at, bytes } => self.file(*file).write(*at, bytes),
            Event::Create { file, name } => {
                self.file(*file);
                self.names.insert(name.clone(), *file);
            }
            Event::Rename { from, to } => {
                if let Some(file) = self.names.remove(from) {
                    self.names.insert(to.clone(), file);
                }
            }
            Event::Link { from, to } => {
                if let Some(file) = self.names.get(from).copied() {
                    self.names.insert(to.clone(), file);
                }
            }
            Event::Unlink { name } => drop(self.names.remove(name)),
            Event::Resize { file, len } => self.file(*file).resize(*len),
            Event::Punch { file, at, len } => self.file(*file).punch(*at, *len),
            Event::MakeDir => self.exists = true,
            Event::RemoveDir => self.exists = false,
            Event::SyncFile { .. }
            | Event::SyncDir
            | Event::SyncParent
            | Event::Begin { .. }
            | Event::End { .. } => {}
        }
    }

    /// A file, to change it.
    pub fn file(&mut self, file: FileId) -> &mut Content {
        Arc::make_mut(self.files.entry(file).or_default())
    }

    /// A file by its name.
    pub fn named(&self, name: &str) -> Option<&Content> {
        self.files.get(self.names.get(name)?).map(Arc::as_ref)
    }

    /// Make `dir` this image: files that have a name, hard links kept. `dir` must not exist, its parent must.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        if !self.exists {
            return Ok(());
        }
        fs::create_dir(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
        let mut written: BTreeMap<FileId, &str> = BTreeMap::new();
        for (name, id) in &self.names {
            if let Some(first) = written.get(id) {
                fs::hard_link(dir.join(first), dir.join(name))?;
                continue;
            }
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(dir.join(name))?;
            if let Some(content) = self.files.get(id) {
                content.write_to(&file)?;
            }
            written.insert(*id, name);
        }
        Ok(())
    }

    /// The image of a directory, and the inode number of each file. A directory that is missing is one too.
    pub fn read_from(dir: &Path) -> io::Result<(Image, BTreeMap<u64, FileId>)> {
        let (mut image, mut inodes) = (Image::default(), BTreeMap::new());
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((image, inodes)),
            other => other?,
        };
        image.exists = true;
        let mut names: Vec<String> = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for name in names {
            let file = File::open(dir.join(&name))?;
            let next = inodes.len() as FileId;
            let id = *inodes.entry(file.metadata()?.ino()).or_insert(next);
            if id == next {
                image.files.insert(id, Arc::new(Content::read_from(&file)?));
            }
            image.names.insert(name, id);
        }
        Ok((image, inodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_written_cut_and_punched() {
        let mut content = Content::default();
        content.write(4090, &[7; 20]);
        assert_eq!((content.len, content.blocks.len()), (4110, 2));
        content.punch(4100, 4);
        let mut bytes = [9; 20];
        content.read(4090, &mut bytes);
        assert_eq!(bytes, [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0, 7, 7, 7, 7, 7, 7]);
        content.resize(4092);
        content.resize(100_000);
        content.read(4090, &mut bytes);
        assert_eq!(bytes[..4], [7, 7, 0, 0]);
        content.write(8192, &[1; 8192]);
        content.punch(8000, 10_000);
        assert_eq!(content.blocks.len(), 1);
    }

    #[test]
    fn images_go_to_disk_and_back() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("channel");
        let mut image = Image::default();
        let name = |s: &str| s.to_string();
        for event in [
            Event::MakeDir,
            Event::Create { file: 0, name: name("tmp-1") },
            Event::Resize { file: 0, len: 50_000 },
            Event::Store { file: 0, at: 9_000, bytes: vec![1; 5_000] },
            Event::Rename { from: name("tmp-1"), to: name("a") },
            Event::Create { file: 1, name: name("gone") },
            Event::Link { from: name("a"), to: name("b") },
            Event::Punch { file: 0, at: 8_192, len: 4_096 },
            Event::Store { file: 0, at: 49_999, bytes: vec![2] },
        ] {
            image.apply(&event);
        }
        let mut after = image.clone();
        after.apply(&Event::Unlink { name: name("gone") });
        after.files.remove(&1);
        after.write_to(&dir).expect("written");
        let (read, inodes) = Image::read_from(&dir).expect("read");
        assert_eq!(inodes.len(), 1);
        assert_eq!(read, after);
        assert_ne!(read, image);
        after.apply(&Event::RemoveDir);
        assert!(!after.exists);
    }
}
