//! Shared memory as words: the only place of the crate that touches atomics on mapped bytes.
//!
//! Every protocol in `engine` is written over [`Memory`], so the same code runs on a mapping and,
//! in the model checks, on a heap whose words are the checker's. Offsets are bytes from the start of
//! the region and a multiple of 8; the callers derive them from a geometry that was checked when the
//! file was opened, never from bytes another process can change.

pub(crate) use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

#[cfg(dc_tsan)]
#[path = "sync/pthread.rs"]
mod locks;
#[cfg(not(dc_tsan))]
use std::sync as locks;

pub(crate) use locks::{Condvar, MutexGuard};

/// Whether this build has a bug on purpose: `--cfg dc_plant="name"`. Each shows that the tests find it;
/// `torture/src/plant.rs` says by which.
macro_rules! planted {
    ($name:tt) => {
        cfg!(dc_plant = $name)
    };
}
pub(crate) use planted;

/// Words of 64 bits, addressed by byte offset.
pub(crate) trait Memory {
    fn load(&self, at: usize, order: Ordering) -> u64;
    fn store(&self, at: usize, value: u64, order: Ordering);
    /// Compare-exchange; the failure ordering is Acquire (or SeqCst with SeqCst).
    fn cas(&self, at: usize, old: u64, new: u64, order: Ordering) -> Result<u64, u64>;
    fn add(&self, at: usize, value: u64, order: Ordering) -> u64;
    fn swap(&self, at: usize, value: u64, order: Ordering) -> u64;
    fn or(&self, at: usize, value: u64, order: Ordering) -> u64;
    fn and(&self, at: usize, value: u64, order: Ordering) -> u64;

    /// Raise a word to at least `value`; returns what it was.
    fn raise(&self, at: usize, value: u64, order: Ordering) -> u64 {
        let mut seen = self.load(at, Acquire);
        // Bounded: every failure means that someone else raised the word.
        while seen < value {
            match self.cas(at, seen, value, order) {
                Ok(_) => return seen,
                Err(now) => seen = now,
            }
        }
        seen
    }
}

/// A mapped range of bytes. Copyable: whoever keeps one also keeps the mapping alive.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    base: *mut u8,
    len: usize,
}

// SAFETY: a Region is an address range; all access goes through atomics or explicit raw copies whose
// callers own the bytes they touch.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// # Safety
    /// `base` is 8-byte aligned and `len` bytes stay mapped while any copy of the region is used.
    pub(crate) unsafe fn new(base: *mut u8, len: usize) -> Region {
        debug_assert!(base as usize % 8 == 0);
        Region { base, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    pub(crate) fn pointer(&self, at: usize) -> *mut u8 {
        debug_assert!(at <= self.len);
        // SAFETY: at most one past the end of the mapped range.
        unsafe { self.base.add(at) }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at % 8 == 0 && at + 8 <= self.len);
        // SAFETY: inside the mapping and aligned (the callers' offsets come from a checked geometry);
        // every concurrent access to these bytes, in any process, is atomic.
        unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) }
    }

    /// The futex word: the low half of the word at `at`.
    pub(crate) fn futex(&self, at: usize) -> *const u32 {
        self.word(at).as_ptr().cast()
    }

    /// Copy plain bytes out, by words that other processes may be writing: each is read once.
    pub(crate) fn read_bytes(&self, at: usize, out: &mut [u8]) {
        assert!(at % 8 == 0 && at + out.len().next_multiple_of(8) <= self.len);
        for (i, chunk) in out.chunks_mut(8).enumerate() {
            let word = self.load(at + 8 * i, Relaxed).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Write plain bytes by words.
    pub(crate) fn write_bytes(&self, at: usize, bytes: &[u8]) {
        assert!(at % 8 == 0 && at + bytes.len().next_multiple_of(8) <= self.len);
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(at + 8 * i, u64::from_le_bytes(word), Relaxed);
        }
    }
}

impl Memory for Region {
    #[inline(always)]
    fn load(&self, at: usize, order: Ordering) -> u64 {
        self.word(at).load(order)
    }
    #[inline(always)]
    fn store(&self, at: usize, value: u64, order: Ordering) {
        self.word(at).store(value, order)
    }
    #[inline(always)]
    fn cas(&self, at: usize, old: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        let failure = if order == SeqCst { SeqCst } else { Acquire };
        self.word(at).compare_exchange(old, new, order, failure)
    }
    #[inline(always)]
    fn add(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.word(at).fetch_add(value, order)
    }
    #[inline(always)]
    fn swap(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.word(at).swap(value, order)
    }
    #[inline(always)]
    fn or(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.word(at).fetch_or(value, order)
    }
    #[inline(always)]
    fn and(&self, at: usize, value: u64, order: Ordering) -> u64 {
        self.word(at).fetch_and(value, order)
    }
}

/// A mutex whose poisoning is ignored: nothing in this crate panics while it holds one, and a panic
/// caught at the ABI must not turn every later call into a second failure.
pub(crate) struct Mutex<T>(locks::Mutex<T>);

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(locks::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(e)) => Some(e.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}
