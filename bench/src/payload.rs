//! What is in a message, and its check: a word that says who sent it and as which, then a word made of that again and
//! again. A message of more than [`WRITTEN`] bytes comes from one of a few buffers made before, of which the first word
//! alone is written: copying is what is measured there.

use anyhow::{ensure, Result};

use crate::control::Control;

/// Messages of up to so many bytes are written whole, one by one.
pub const WRITTEN: usize = 4096;
/// Buffers of longer ones.
pub const KINDS: u64 = 8;
/// Messages whose count is told to the others at once; in runs that time ends, where counts are compared, fewer.
const TOLD: u64 = 256;
const TOLD_BY_TIME: u64 = 16;

pub fn head(producer: usize, sequence: u64) -> u64 {
    (producer as u64) << 48 | sequence
}

/// The word that fills a message.
pub fn filling(size: usize, sequence: u64) -> u64 {
    let from = if size > WRITTEN { sequence % KINDS } else { sequence };
    (from + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub fn fill(bytes: &mut [u8], word: u64) {
    let word = word.to_le_bytes();
    let mut chunks = bytes.chunks_exact_mut(8);
    chunks.by_ref().for_each(|c| c.copy_from_slice(&word));
    let rest = chunks.into_remainder();
    let len = rest.len();
    rest.copy_from_slice(&word[..len]);
}

/// Checks and counts what one consumer receives.
pub struct Checker<'a> {
    control: &'a Control,
    consumer: usize,
    size: usize,
    /// By producer: the sequence number that may come next at the earliest.
    next: Vec<u64>,
    count: u64,
    told: u64,
    every: u64,
    /// It has no mates.
    alone: bool,
    /// All that are to come to all consumers of this one's group; the largest number while nobody knows.
    total: u64,
    producers: usize,
    mates: std::ops::Range<usize>,
}

impl<'a> Checker<'a> {
    /// `total`: how many messages the consumers of its group get together; `None`: as many as the producers
    /// say when they have ended.
    pub fn new(
        control: &'a Control,
        consumer: usize,
        mates: std::ops::Range<usize>,
        size: usize,
        producers: usize,
        total: Option<u64>,
    ) -> Self {
        Checker {
            control,
            consumer,
            size,
            next: vec![0; producers],
            count: 0,
            told: 0,
            alone: mates.len() == 1,
            every: if total.is_some() { TOLD } else { TOLD_BY_TIME },
            total: total.unwrap_or(u64::MAX),
            producers,
            mates,
        }
    }

    /// One message.
    #[inline(always)]
    pub fn check(&mut self, message: &[u8]) -> Result<()> {
        if !self.sound(message) {
            return self.wrong(message);
        }
        self.count += 1;
        if self.count - self.told >= self.every {
            self.tell();
        }
        Ok(())
    }

    #[inline(always)]
    fn sound(&mut self, message: &[u8]) -> bool {
        if message.len() != self.size {
            return false;
        }
        let word = |c: &[u8]| u64::from_le_bytes(c.try_into().unwrap_or_default());
        let first = word(&message[..8]);
        let (producer, sequence) = ((first >> 48) as usize, first << 16 >> 16);
        let Some(next) = self.next.get_mut(producer) else { return false };
        // Who shares with others does not get all; who is alone does.
        if sequence < *next || self.alone && sequence != *next {
            return false;
        }
        *next = sequence + 1;
        let filling = filling(self.size, sequence);
        let chunks = message[8..].chunks_exact(8);
        // What is left of a last word.
        let rest = chunks.remainder().iter().rev().fold(0, |w, b| w << 8 | u64::from(*b));
        let kept = u64::MAX.checked_shr(64 - 8 * chunks.remainder().len() as u32).unwrap_or(0);
        chunks.fold(rest ^ filling & kept, |d, c| d | (word(c) ^ filling)) == 0
    }

    #[cold]
    fn wrong(&self, message: &[u8]) -> Result<()> {
        let begin = &message[..message.len().min(32)];
        anyhow::bail!(
            "a message of {} bytes is not what was sent or not the next one, {:x?} by producer: {begin:x?}",
            message.len(),
            self.next
        )
    }

    fn tell(&mut self) {
        self.told = self.count;
        self.control.tell(self.consumer, self.count);
    }

    /// Nothing came: whether everything has.
    pub fn all(&mut self) -> Result<bool> {
        self.tell();
        ensure!(
            !self.control.has_failed(),
            "another role failed; of {} messages {} were received",
            self.total,
            self.count
        );
        if self.total == u64::MAX {
            self.total = self.control.made(self.producers).unwrap_or(u64::MAX);
        }
        let received: u64 = self.mates.clone().map(|c| self.control.told(c)).sum();
        ensure!(received <= self.total, "{received} of {} messages were received", self.total);
        Ok(received == self.total)
    }

    /// Its number among all roles.
    #[cfg(any(feature = "redis", feature = "iceoryx2"))]
    pub fn consumer(&self) -> usize {
        self.consumer
    }

    /// A consumer that is alone knows by itself.
    #[inline(always)]
    pub fn alone_and_done(&self) -> bool {
        self.alone && self.count == self.total
    }
}

impl Drop for Checker<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maker::{Maker, Watch};

    /// What a maker makes is right, in order; one flipped bit anywhere, a message twice, or a wrong length is not.
    #[test]
    fn every_bit_counts() {
        for size in [16, 20, 64, 100, 1024, 5000] {
            let dir = tempfile::tempdir().unwrap();
            let control = Control::create(dir.path()).unwrap();
            let mut checker = Checker::new(&control, 1, 1..2, size, 1, Some(20));
            let mut maker = Maker::new(0, size, 20, 1, Watch::Nothing);
            let mut all = Vec::new();
            while let Some(message) = maker.next() {
                all.push(message.to_vec());
            }
            assert_eq!(all.len(), 20);
            for (n, message) in all.iter().enumerate() {
                for bit in (64..8 * size).filter(|_| n < 2) {
                    let mut other = message.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    let filled = |m: &[u8]| {
                        let mut fresh = Checker::new(&control, 1, 1..2, size, 1, Some(20));
                        fresh.check(m).is_ok()
                    };
                    assert!(!filled(&other), "bit {bit} of {size} bytes");
                }
                checker.check(message).unwrap();
                assert!(checker.check(message).is_err());
                assert!(checker.check(&message[1..]).is_err());
            }
            assert!(checker.alone_and_done() && checker.all().unwrap());
        }
    }
}
