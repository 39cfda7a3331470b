//! What a hostile writer does to files.

use super::fields::{self, File, BOUNDS, SUM, SUPERBLOCK};
use super::program::Step;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// The files there are, and what was done to them.
pub struct Files {
    pub dir: PathBuf,
    pub names: Vec<String>,
    /// A message may have been forged: a word of a table, a payload, an identity was written.
    pub forged: bool,
}

impl Files {
    fn name(&self, step: &Step) -> &str {
        &self.names[step.a as usize % self.names.len()]
    }

    fn open(&self, name: &str) -> Option<std::fs::File> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::File::options();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(self.dir.join(name)).ok()?;
        file.metadata().is_ok_and(|m| m.is_file()).then_some(file)
    }

    /// A field of the step's file.
    fn field(&self, step: &Step, name: &str) -> Option<u64> {
        let words = fields::words(File::of(name)?, 8, 17, 3, 12);
        Some(words[usize::from(u16::from_le_bytes([step.b, step.c])) % words.len()])
    }

    fn write_word(&mut self, name: &str, at: u64, value: u64) {
        let Some(file) = self.open(name) else { return };
        // Not beyond the end: files grow by cuts only.
        if file.metadata().is_ok_and(|m| at + 8 <= m.len()) {
            let _ = file.write_all_at(&value.to_le_bytes(), at);
        }
        self.note(name, at);
    }

    fn note(&mut self, name: &str, at: u64) {
        let table = File::of(name) == Some(File::Page) && at >= fields::SLOTS;
        // The identity is in every checksum; whether there are any is a field beside it.
        let identity = name == "channel" && at % SUPERBLOCK < 96 && at < 2 * SUPERBLOCK;
        self.forged |= table || identity;
    }

    fn read_word(&self, name: &str, at: u64) -> u64 {
        let mut word = [0; 8];
        match self.open(name) {
            Some(file) if file.read_exact_at(&mut word, at).is_ok() => u64::from_le_bytes(word),
            _ => 0,
        }
    }

    /// A field becomes what `value` makes of it.
    pub fn word(&mut self, step: &Step, value: impl Fn(u64) -> u64) {
        let name = self.name(step).to_string();
        if let Some(at) = self.field(step, &name) {
            let value = value(self.read_word(&name, at));
            self.write_word(&name, at, value);
        }
    }

    pub fn bound(&mut self, step: &Step) {
        self.word(step, |_| BOUNDS[step.v as usize % BOUNDS.len()]);
    }

    /// Bytes anywhere.
    pub fn bytes(&mut self, step: &Step) {
        let name = self.name(step).to_string();
        let Some(file) = self.open(&name) else { return };
        let len = file.metadata().map_or(0, |m| m.len()).max(8);
        let at = u64::from(u16::from_le_bytes([step.b, step.c])) * 4 % (len - 7);
        self.write_word(&name, at, step.v);
    }

    /// The word of one field becomes that of another.
    pub fn copy(&mut self, step: &Step) {
        let from = self.names[step.v as usize % self.names.len()].clone();
        let other = Step { b: (step.v >> 8) as u8, c: (step.v >> 16) as u8, ..*step };
        if let Some(at) = self.field(&other, &from) {
            let value = self.read_word(&from, at);
            self.word(step, |_| value);
        }
    }

    /// Another length.
    pub fn length(&mut self, step: &Step) {
        let name = self.name(step).to_string();
        let Some(file) = self.open(&name) else { return };
        let len = file.metadata().map_or(0, |m| m.len());
        let to = match step.b % 6 {
            0 => 0,
            1 => step.v % (len + 1),
            2 => len.saturating_sub(1 + step.v % 8),
            3 => step.v % 0x2000 & !7,
            4 => (step.v % 64) * 4096,
            _ => (len + 1 + step.v % 9000).min(30 << 20),
        };
        let _ = file.set_len(to);
    }

    /// Names come and go.
    pub fn name_of(&mut self, step: &Step) {
        let name = self.name(step).to_string();
        let path = self.dir.join(&name);
        let other = match step.b % 8 {
            0 => format!("page-{:010x}", step.v % 12),
            1 => format!("page-{:010x}", step.v % (1 << 38)),
            2 => format!("tmp-{:016x}", step.v),
            3 => format!("group-{:032x}", step.v % 3),
            4 => self.names[step.c as usize % self.names.len()].clone(),
            _ => {
                let _ = std::fs::remove_file(path);
                return;
            }
        };
        self.forged |= File::of(&other) == Some(File::Page);
        let to = self.dir.join(&other);
        match step.c % 5 {
            0 => drop(std::fs::rename(path, &to)),
            1 => drop(std::fs::hard_link(path, &to)),
            2 => drop(std::os::unix::fs::symlink(&name, &to)),
            3 => drop(std::fs::create_dir(&to)),
            // Holes stay holes only where copying keeps them: the large file is a group's.
            // Nor over a file that may be mapped: copying cuts it first.
            _ if File::of(&name) != Some(File::Group) && to.symlink_metadata().is_err() => {
                drop(std::fs::copy(path, &to));
            }
            _ => {}
        }
        if !self.names.contains(&other) && self.names.len() < 12 {
            self.names.push(other);
        }
    }

    /// Make the superblocks' sums fit what is in them.
    pub fn seal(&mut self) {
        let Some(file) = self.open("channel") else { return };
        for copy in [0, SUPERBLOCK] {
            let mut block = [0; SUM as usize];
            if file.read_exact_at(&mut block, copy).is_ok() {
                let _ = file.write_all_at(&xxh3_64(&block).to_le_bytes(), copy + SUM);
            }
        }
    }

    /// Another boot: the next open recovers.
    pub fn reboot(&mut self) {
        let id: u64 = 0x5A5A_5A5A_5A5A_5A5A;
        self.write_word("channel", fields::BOOT_ID, id);
    }

    pub fn clear(&self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.dir));
    }
}
