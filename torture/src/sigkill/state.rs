//! What every process did, in memory that outlives it: the witness against the channel.

use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64, AtomicU8,
    Ordering::{Relaxed, SeqCst},
};

use anyhow::{ensure, Result};

use crate::payload::Load;
use crate::process::Note;

pub const PRODUCERS: usize = 3;
/// Two groups that may lose nothing, and one that acknowledges on receipt.
pub const GROUPS: usize = 3;
pub const NAMES: [&std::ffi::CStr; GROUPS] = [c"one", c"two", c"once"];
pub const ONCE: usize = 2;
/// Messages of a producer at most.
pub const MOST: usize = 1 << 16;
/// Processes of a round at most.
pub const SLOTS: usize = 16;

/// A message in the eyes of one group.
pub struct Seen {
    /// Times it came without the flag, and with it.
    fresh: AtomicU8,
    again: AtomicU16,
    /// 1: some consumer is about to acknowledge it; 2: the acknowledging call has returned.
    done: AtomicU8,
}

pub struct Group {
    pub seen: [[Seen; MOST]; PRODUCERS],
    pub received: AtomicU64,
    /// Came flagged though nobody has noted to have been handed it: handed to one who was killed.
    pub unnoted: AtomicU64,
    /// Came unflagged after a later one of its producer: claimed ahead by one who was killed.
    pub late: AtomicU64,
    /// What the consumers of this group that were killed may have held claimed or just handed out.
    pub excused: AtomicU64,
}

#[derive(Default)]
pub struct Slot {
    /// Changes with every call that returns.
    pub beat: AtomicU64,
    /// A consumer: messages it may hold claimed without having been handed them.
    pub claims: AtomicU64,
    /// What it is doing, for one that does nothing any more.
    pub call: AtomicU32,
}

pub struct State {
    pub stop: AtomicU8,
    pub drained: AtomicU8,
    pub note: Note,
    pub slots: [Slot; SLOTS],
    pub started: [AtomicU64; PRODUCERS],
    pub returned: [[AtomicU8; MOST]; PRODUCERS],
    pub groups: [Group; GROUPS],
}

impl State {
    pub fn stopped(&self) -> bool {
        self.stop.load(SeqCst) != 0
    }

    /// Sequences for `many` messages, never used before; `None`: there are no more.
    pub fn start(&self, producer: usize, many: usize) -> Option<u64> {
        let first = self.started[producer].fetch_add(many as u64, SeqCst);
        if first as usize + many >= MOST {
            self.started[producer].fetch_sub(many as u64, SeqCst);
            return None;
        }
        Some(first)
    }

    pub fn has_returned(&self, producer: usize, sequence: u64) {
        self.returned[producer][sequence as usize].store(1, SeqCst);
    }

    pub fn received(&self) -> u64 {
        self.groups.iter().map(|g| g.received.load(SeqCst)).sum()
    }

    fn seen(&self, group: usize, load: Load) -> &Seen {
        &self.groups[group].seen[load.sender as usize][load.sequence as usize]
    }

    /// A consumer was handed a message just now: whether that may be.
    pub fn take(&self, group: usize, load: Load, flagged: bool, deliveries: u32) -> Result<()> {
        let what = format!("{} got {load:?}", NAMES[group].to_string_lossy());
        ensure!((load.sender as usize) < PRODUCERS, "{what}: of nobody");
        let started = self.started[load.sender as usize].load(SeqCst);
        ensure!(load.sequence < started, "{what}: never sent");
        ensure!(flagged == (deliveries > 1), "{what}: flag {flagged}, deliveries {deliveries}");
        let seen = self.seen(group, load);
        ensure!(seen.done.load(SeqCst) != 2, "{what} again though it was acknowledged");
        let before = u32::from(seen.fresh.load(SeqCst)) + u32::from(seen.again.load(SeqCst));
        if flagged {
            ensure!(group != ONCE, "{what} flagged, where receiving acknowledges");
            ensure!(deliveries > before, "{what}: deliveries {deliveries} after {before}");
            if before == 0 {
                self.groups[group].unnoted.fetch_add(1, SeqCst);
            }
            seen.again.fetch_add(1, SeqCst);
        } else {
            ensure!(before == 0, "{what} without the flag, after {before} times");
            seen.fresh.fetch_add(1, SeqCst);
        }
        self.groups[group].received.fetch_add(1, SeqCst);
        Ok(())
    }

    pub fn about_to_ack(&self, group: usize, load: Load) {
        let _ = self.seen(group, load).done.compare_exchange(0, 1, SeqCst, SeqCst);
    }

    pub fn acked(&self, group: usize, load: Load) {
        self.seen(group, load).done.store(2, SeqCst);
    }

    /// Messages whose send returned and that a group never got to the end of; the first of them.
    pub fn missing(&self, group: usize) -> (u64, Option<Load>) {
        let (mut missing, mut first) = (0, None);
        for p in 0..PRODUCERS {
            for n in 0..self.started[p].load(SeqCst) {
                let seen = &self.groups[group].seen[p][n as usize];
                let done = if group == ONCE {
                    seen.fresh.load(Relaxed) > 0
                } else {
                    seen.done.load(Relaxed) > 0
                };
                if self.returned[p][n as usize].load(Relaxed) != 0 && !done {
                    missing += 1;
                    first = first.or(Some(Load { sender: p as u32, sequence: n }));
                }
            }
        }
        (missing, first)
    }

    /// Messages that came flagged.
    pub fn repeated(&self, group: usize) -> u64 {
        let all = self.groups[group].seen.iter().flatten();
        all.filter(|s| s.again.load(Relaxed) > 0).count() as u64
    }
}
