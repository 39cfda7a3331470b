//! The hostile writer: words of metadata, lengths, names; and now and then the channel as it was.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::hostile::bases::Base;
use crate::hostile::fields::{self, File, BOUNDS};

struct Hand<'a> {
    dir: &'a Path,
    /// Cuts files, too.
    cuts: bool,
    rng: ChaCha8Rng,
}

/// Write until the round is over.
pub fn write(
    dir: &Path,
    base: &Base,
    rng: ChaCha8Rng,
    until: Instant,
    cuts: bool,
    writes: &AtomicU64,
) -> Result<()> {
    let mut hand = Hand { dir, cuts, rng };
    // In some rounds the hand is slow, and the channel lives between two blows.
    let pause = [0, 50, 500, 5_000][hand.rng.random_range(0..4)];
    while Instant::now() < until {
        let names: Vec<String> = std::fs::read_dir(dir)?
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .collect();
        for _ in 0..16 {
            if !names.is_empty() {
                let name = &names[hand.rng.random_range(0..names.len())];
                // Files come and go: what cannot be written is not.
                let _ = hand.blow(name, base);
                writes.fetch_add(1, SeqCst);
            }
            if pause > 0 {
                std::thread::sleep(Duration::from_micros(hand.rng.random_range(0..pause)));
            }
        }
    }
    Ok(())
}

impl Hand<'_> {
    fn blow(&mut self, name: &str, base: &Base) -> std::io::Result<()> {
        match self.rng.random_range(0..100) {
            0..80 => self.word(name),
            80..90 if self.cuts => self.length(name),
            80..90 => self.word(name),
            90..93 => self.name(name),
            93..96 => self.superblock(base),
            _ => self.restore(base),
        }
    }

    fn open(&self, name: &str) -> std::io::Result<std::fs::File> {
        std::fs::File::options().read(true).write(true).open(self.dir.join(name))
    }

    fn word(&mut self, name: &str) -> std::io::Result<()> {
        let file = self.open(name)?;
        let Some(kind) = File::of(name) else { return Ok(()) };
        // Superblocks have a blow of their own: with both damaged nothing else would be seen.
        let words: Vec<u64> = fields::words(kind, 12, 17, 4, 20)
            .into_iter()
            .filter(|&at| kind != File::Channel || at >= 2 * fields::SUPERBLOCK)
            .collect();
        let at = words[self.rng.random_range(0..words.len())];
        let mut now = [0; 8];
        file.read_exact_at(&mut now, at)?;
        let now = u64::from_le_bytes(now);
        let value = match self.rng.random_range(0..6) {
            0 => self.rng.random(),
            1 | 2 => BOUNDS[self.rng.random_range(0..BOUNDS.len())],
            3 => now ^ 1 << self.rng.random_range(0..64),
            4 => now.wrapping_add(self.rng.random_range(0..40)).wrapping_sub(20),
            _ => now.rotate_left(self.rng.random_range(0..64)),
        };
        file.write_all_at(&value.to_le_bytes(), at)
    }

    /// Cut it or lengthen it; mostly it is as long as before soon after.
    fn length(&mut self, name: &str) -> std::io::Result<()> {
        let file = self.open(name)?;
        let len = file.metadata()?.len();
        let to = match self.rng.random_range(0..4) {
            0 => 0,
            1 => self.rng.random_range(0..=len),
            2 => self.rng.random_range(0..=3) * 4096,
            _ => (len + self.rng.random_range(0..9000)).min(32 << 20),
        };
        file.set_len(to)?;
        if self.rng.random_range(0..8) != 0 {
            std::thread::sleep(Duration::from_micros(self.rng.random_range(0..400)));
            file.set_len(len)?;
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> std::io::Result<()> {
        let path = self.dir.join(name);
        let other = self.dir.join(match self.rng.random_range(0..3) {
            0 => format!("page-{:010x}", self.rng.random_range(1..12)),
            1 => format!("tmp-{:016x}", self.rng.random::<u64>()),
            _ => format!("group-{:032x}", self.rng.random_range(0..3)),
        });
        match self.rng.random_range(0..5) {
            0 if name != "channel" => std::fs::remove_file(path),
            1 if name != "channel" => std::fs::rename(path, other),
            2 => std::fs::hard_link(path, other),
            3 => std::os::unix::fs::symlink(name, other),
            _ => std::fs::create_dir(other),
        }
    }

    /// Damage one or both superblocks, and mend them.
    fn superblock(&mut self, base: &Base) -> std::io::Result<()> {
        let file = self.open("channel")?;
        for copy in [0, fields::SUPERBLOCK] {
            if self.rng.random_range(0..2) == 0 {
                let at = copy + self.rng.random_range(0..12) * 8;
                file.write_all_at(&self.rng.random::<u64>().to_le_bytes(), at)?;
            }
        }
        std::thread::sleep(Duration::from_micros(self.rng.random_range(0..300)));
        self.restore(base)
    }

    /// Put the `channel` file back as it was in the beginning: no damage, and as false as any.
    fn restore(&mut self, base: &Base) -> std::io::Result<()> {
        let file = self.open("channel")?;
        let Some(packed) = base.file("channel") else { return Ok(()) };
        if self.cuts {
            file.set_len(packed.len)?;
        }
        let few = self.rng.random_range(0..3);
        for (at, bytes) in &packed.runs {
            // The superblocks alone, mostly.
            if *at < 2 * fields::SUPERBLOCK || few == 0 {
                file.write_all_at(bytes, *at)?;
            }
        }
        Ok(())
    }
}
