//! Locks that ThreadSanitizer sees: those of the C library, behind the same calls as the standard
//! library's.
//!
//! Rust's standard library comes compiled and without instrumentation, so where a thread has to wait for
//! one of its locks, or sleeps on its condition variable, ThreadSanitizer misses who was let go by whom and
//! reports races that are none. The calls of pthread it watches. Built with `--cfg dc_tsan` only
//! (see scripts/sanitize.sh); whatever is locked, and for how long, is the same.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, TryLockError, TryLockResult};
use std::time::Duration;

pub(crate) struct Mutex<T> {
    raw: UnsafeCell<libc::pthread_mutex_t>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by whoever holds the lock.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex {
            raw: UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER),
            value: UnsafeCell::new(value),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        // SAFETY: initialised, and not moved while anybody refers to it.
        let error = unsafe { libc::pthread_mutex_lock(self.raw.get()) };
        assert_eq!(error, 0);
        Ok(MutexGuard(self))
    }

    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        Ok(self.value.get_mut())
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        // SAFETY: as above.
        match unsafe { libc::pthread_mutex_trylock(self.raw.get()) } {
            0 => Ok(MutexGuard(self)),
            _ => Err(TryLockError::WouldBlock),
        }
    }
}

pub(crate) struct MutexGuard<'a, T>(&'a Mutex<T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::pthread_mutex_unlock(self.0.raw.get()) };
    }
}

pub(crate) struct Condvar(UnsafeCell<libc::pthread_cond_t>);

// SAFETY: made for that.
unsafe impl Send for Condvar {}
// SAFETY: as above.
unsafe impl Sync for Condvar {}

impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar(UnsafeCell::new(libc::PTHREAD_COND_INITIALIZER))
    }

    pub(crate) fn notify_all(&self) {
        // SAFETY: initialised, and not moved while anybody refers to it.
        unsafe { libc::pthread_cond_broadcast(self.0.get()) };
    }

    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        most: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, ())> {
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `until` is writable; the lock is held and the condition initialised.
        unsafe {
            libc::clock_gettime(libc::CLOCK_REALTIME, &mut until);
            let nanos = until.tv_nsec as u128 + most.as_nanos();
            until.tv_sec += (nanos / 1_000_000_000) as libc::time_t;
            until.tv_nsec = (nanos % 1_000_000_000) as libc::c_long;
            libc::pthread_cond_timedwait(self.0.get(), guard.0.raw.get(), &until);
        }
        Ok((guard, ()))
    }
}
