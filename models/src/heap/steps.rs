//! Shuttle's side of the memory: every access is a step at which anybody may go on instead.
//!
//! Sequentially consistent but for one thing, which is what x86 does: a store that is not SeqCst may stay
//! in its actor's buffer, unseen by others, until a read-modify-write, a fence, a system call, or
//! some time later. (Weaker machines, and small cases of everything, are loom's job.)

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::thread;

use crate::sync::{Relaxed, SeqCst};

type Words = BTreeMap<usize, AtomicU64>;

/// Let anybody go on.
pub(crate) fn step() {
    // Shuttle has no clock: this is its plain scheduling point.
    thread::sleep(Duration::ZERO);
}

/// A number below `end`, of the schedule's own chance.
pub(crate) fn below(end: usize) -> usize {
    shuttle::rand::thread_rng().gen_range(0..end)
}

/// Once in `n` times.
pub(crate) fn chance(n: usize) -> bool {
    below(n) == 0
}

/// The stores of one actor that nobody else sees yet, oldest first.
#[derive(Default)]
pub(super) struct Buffer(Mutex<VecDeque<(usize, u64)>>);

impl Buffer {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(usize, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Let others see the oldest `most` stores.
    pub(super) fn drain(&self, words: &Words, most: usize) {
        let mut waiting = self.lock();
        let most = most.min(waiting.len());
        for (at, value) in waiting.drain(..most) {
            word(words, at).store(value, Relaxed);
        }
    }

    fn step(&self, words: &Words) {
        step();
        let waiting = self.lock().len();
        if waiting > 0 {
            self.drain(words, below(waiting + 1));
        }
    }

    pub(super) fn load(&self, words: &Words, at: usize) -> u64 {
        let Some(word) = words.get(&at) else {
            return 0;
        };
        self.step(words);
        let own = self.lock().iter().rev().find(|store| store.0 == at).map(|store| store.1);
        own.unwrap_or_else(|| word.load(Relaxed))
    }

    pub(super) fn store(&self, words: &Words, at: usize, value: u64, seen: bool) {
        self.step(words);
        word(words, at);
        self.lock().push_back((at, value));
        if seen {
            self.drain(words, usize::MAX);
        }
    }

    pub(super) fn update(
        &self,
        words: &Words,
        at: usize,
        torn: bool,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        step();
        self.drain(words, usize::MAX);
        let word = word(words, at);
        let seen = word.load(Relaxed);
        if torn {
            step();
        }
        match change(seen) {
            Some(new) => {
                word.store(new, Relaxed);
                Ok(seen)
            }
            None => Err(seen),
        }
    }
}

fn word(words: &Words, at: usize) -> &AtomicU64 {
    words.get(&at).unwrap_or_else(|| panic!("the model has no word at {at}"))
}

/// Where a suspended actor stands until somebody lets it go on, or kills it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    open: AtomicBool,
    kill: AtomicBool,
    stopped: AtomicBool,
    thread: Mutex<Option<thread::Thread>>,
}

impl Gate {
    /// Wait; false: the actor is killed where it stands.
    pub(super) fn pass(&self) -> bool {
        self.0.stopped.store(true, SeqCst);
        *self.0.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        while !self.0.open.load(SeqCst) {
            thread::park();
        }
        self.0.stopped.store(false, SeqCst);
        !self.0.kill.load(SeqCst)
    }

    /// Whether somebody stands here.
    pub(crate) fn stopped(&self) -> bool {
        self.0.stopped.load(SeqCst)
    }

    /// Let it go on, or kill it.
    pub(crate) fn open(&self, kill: bool) {
        self.0.kill.store(kill, SeqCst);
        self.0.open.store(true, SeqCst);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}
