//! The limits. Here: bytes copied into populated pages of a mapped file, and two words that say how far. One producer, one
//! consumer; nothing survives, nobody sleeps, nothing is checked but by the benchmark. `flush`: blocks that are written
//! again and flushed. `sleep`: what two processes that wake each other need at least.

pub mod flush;
pub mod sleep;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{ensure, Result};
use memmap2::MmapRaw;

use super::{Peer, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::Spec;

/// Bytes of the ring, as many as 16 pages of 16 MiB.
const RING: usize = 256 << 20;
const PAYLOAD_AT: usize = 4096;

pub struct Raw {
    map: MmapRaw,
    size: usize,
}

impl Raw {
    pub fn at(spec: &Spec, dir: &Path) -> Result<Raw> {
        let path = dir.join("raw");
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let len = PAYLOAD_AT + RING;
        if file.metadata()?.len() < len as u64 {
            // SAFETY: plain integers.
            let code = unsafe {
                libc::posix_fallocate(std::os::fd::AsRawFd::as_raw_fd(&file), 0, len as i64)
            };
            ensure!(code == 0, "no room for the ring");
        }
        let map = MmapRaw::map_raw(&file)?;
        // SAFETY: within the map; where the kernel cannot, the first lap does it.
        unsafe { libc::madvise(map.as_mut_ptr().cast(), len, libc::MADV_POPULATE_WRITE) };
        Ok(Raw { map, size: spec.size })
    }

    /// A word on a line of its own: 0 written, 1 read, 2 and 3 of round trips.
    fn word(&self, n: usize) -> &AtomicU64 {
        // SAFETY: aligned, within the map, and accessed as an atomic by all.
        unsafe { AtomicU64::from_ptr(self.map.as_mut_ptr().add(128 * n).cast()) }
    }

    fn place(&self, n: u64) -> *mut u8 {
        let slots = (RING / self.size.next_multiple_of(8)) as u64;
        let at = (n % slots) as usize * self.size.next_multiple_of(8);
        // SAFETY: within the map.
        unsafe { self.map.as_mut_ptr().add(PAYLOAD_AT + at) }
    }

    fn slots(&self) -> u64 {
        (RING / self.size.next_multiple_of(8)) as u64
    }
}

impl Peer for Raw {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        Ok(Box::new(move || {
            let (mut n, mut room) = (0, self.slots());
            while let Some(message) = maker.next() {
                while n == room {
                    room = self.word(1).load(Ordering::Acquire) + self.slots();
                    std::hint::spin_loop();
                }
                // SAFETY: a place that the consumer has read.
                unsafe {
                    std::ptr::copy_nonoverlapping(message.as_ptr(), self.place(n), message.len())
                };
                n += 1;
                self.word(0).store(n, Ordering::Release);
            }
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, _group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        Ok(Box::new(move || {
            let (mut n, mut there) = (0, 0);
            while !checker.alone_and_done() {
                while n == there {
                    there = self.word(0).load(Ordering::Acquire);
                    std::hint::spin_loop();
                }
                // SAFETY: a place that the producer has written and waits for.
                checker.check(unsafe { std::slice::from_raw_parts(self.place(n), self.size) })?;
                n += 1;
                self.word(1).store(n, Ordering::Release);
            }
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        let (ours, theirs) = if first { (2, 3) } else { (3, 2) };
        Ok(Box::new(move |turns| {
            let (mut sent, mut seen) = (0, 0);
            let send = |_: &[u8]| {
                sent += 1;
                self.word(ours).store(sent, Ordering::Release);
                Ok(())
            };
            turns.play(send, || {
                seen += 1;
                while self.word(theirs).load(Ordering::Acquire) != seen {
                    std::hint::spin_loop();
                }
                Ok(())
            })
        }))
    }
}
