//! What is in a message, and its check: a word that says who sent it and as which, then a word made of that again and
//! again. A message of more than [`WRITTEN`] bytes comes from one of a few buffers made before, of which the first word
//! alone is written: copying is what is measured there.

use anyhow::{ensure, Result};
use libc::{c_void, iovec};

use crate::control::Control;

/// Messages of up to so many bytes are written whole, one by one.
const WRITTEN: usize = 4096;
/// Buffers of longer ones.
const KINDS: u64 = 8;
/// Messages whose count is told to the others at once.
const TOLD: u64 = 256;

fn head(producer: usize, sequence: u64) -> u64 {
    (producer as u64) << 48 | sequence
}

/// The word that fills a message.
fn filling(size: usize, sequence: u64) -> u64 {
    let from = if size > WRITTEN { sequence % KINDS } else { sequence };
    (from + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn fill(bytes: &mut [u8], word: u64) {
    let word = word.to_le_bytes();
    let mut chunks = bytes.chunks_exact_mut(8);
    chunks.by_ref().for_each(|c| c.copy_from_slice(&word));
    let rest = chunks.into_remainder();
    let len = rest.len();
    rest.copy_from_slice(&word[..len]);
}

/// Makes the messages of one producer.
pub struct Maker {
    producer: usize,
    size: usize,
    sequence: u64,
    end: u64,
    buffers: Vec<Box<[u8]>>,
    parts: Vec<iovec>,
}

impl Maker {
    pub fn new(producer: usize, size: usize, count: u64, batch: usize) -> Maker {
        assert!(size >= 16);
        let buffers = if size > WRITTEN { batch.max(KINDS as usize) } else { batch.max(1) };
        let mut maker = Maker {
            producer,
            size,
            sequence: 0,
            end: count,
            buffers: (0..buffers).map(|_| vec![0; size].into_boxed_slice()).collect(),
            parts: vec![iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; batch.max(1)],
        };
        for (i, buffer) in maker.buffers.iter_mut().enumerate() {
            fill(&mut buffer[8..], filling(size, i as u64));
        }
        maker
    }

    #[inline(always)]
    fn write(&mut self, i: usize) {
        let (size, sequence) = (self.size, self.sequence);
        let buffer = &mut self.buffers[i];
        buffer[..8].copy_from_slice(&head(self.producer, sequence).to_le_bytes());
        if size <= WRITTEN {
            fill(&mut buffer[8..], filling(size, sequence));
        }
        self.sequence += 1;
    }

    /// The next message; `None`: that was all.
    #[inline(always)]
    pub fn next(&mut self) -> Option<&[u8]> {
        if self.sequence == self.end {
            return None;
        }
        let i = if self.size > WRITTEN { (self.sequence % KINDS) as usize } else { 0 };
        self.write(i);
        Some(&self.buffers[i])
    }

    /// The next messages, as many as a batch has; none: those were all.
    #[inline(always)]
    pub fn next_batch(&mut self) -> &[iovec] {
        let count = (self.end - self.sequence).min(self.parts.len() as u64) as usize;
        for i in 0..count {
            let from = self.sequence as usize % self.buffers.len();
            let at = if self.size > WRITTEN { from } else { i };
            self.write(at);
            self.parts[i] = iovec {
                iov_base: self.buffers[at].as_mut_ptr().cast::<c_void>(),
                iov_len: self.size,
            };
        }
        &self.parts[..count]
    }
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
    /// All that are to come to all consumers of this one's group.
    total: u64,
    mates: std::ops::Range<usize>,
}

impl<'a> Checker<'a> {
    pub fn new(
        control: &'a Control,
        consumer: usize,
        mates: std::ops::Range<usize>,
        size: usize,
        producers: usize,
        total: u64,
    ) -> Self {
        Checker {
            control,
            consumer,
            size,
            next: vec![0; producers],
            count: 0,
            told: 0,
            total,
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
        if self.count - self.told >= TOLD {
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
        if sequence < *next {
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
            "a message of {} bytes is not what was sent or not in order: {begin:x?}",
            message.len()
        )
    }

    fn tell(&mut self) {
        self.told = self.count;
        self.control.tell(self.consumer, self.count);
    }

    /// Nothing came: whether everything has.
    pub fn all(&mut self) -> Result<bool> {
        self.tell();
        let received: u64 = self.mates.clone().map(|c| self.control.told(c)).sum();
        ensure!(received <= self.total, "{received} of {} messages were received", self.total);
        Ok(received == self.total)
    }

    /// A consumer that is alone knows by itself.
    #[inline(always)]
    pub fn alone_and_done(&self) -> bool {
        self.mates.len() == 1 && self.count == self.total
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

    /// What a maker makes is right, in order; one flipped bit anywhere, a message twice, or a wrong length is not.
    #[test]
    fn every_bit_counts() {
        for size in [16, 20, 64, 100, 1024, 5000] {
            let dir = tempfile::tempdir().unwrap();
            let control = Control::create(dir.path()).unwrap();
            let mut checker = Checker::new(&control, 1, 1..2, size, 1, 20);
            let mut maker = Maker::new(0, size, 20, 1);
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
                        let mut fresh = Checker::new(&control, 1, 1..2, size, 1, 20);
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
