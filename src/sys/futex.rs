//! Sleeping on a word of shared memory until somebody changes it and says so.
//!
//! All futexes here are shared: the words lie in mapped files, and the sleepers in several
//! processes. Every sleep has a timeout, and not only because a waker may be killed before it wakes
//! anybody: `FUTEX_WAIT` without one, and `futex_waitv` in any case, are restarted by the kernel
//! after a signal handler installed with `SA_RESTART`, so that the caller would never learn of it.

use std::ffi::c_long;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{clock, errno};

/// The most words of one `futex_waitv`.
const MANY: usize = 128;
/// The longest sleep while there are words that are not watched.
const PARTIAL: Duration = Duration::from_millis(5);
/// The longest sleep: a caller who wants more sleeps again.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Why a wait ended. The caller looks at its words again, whatever the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody woke the word (or nobody: the kernel may say so spuriously).
    Woken,
    /// The word was not, or cannot be told to be, as expected.
    Changed,
    /// The timeout passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

/// `struct futex_waitv` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Waiter {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32`, and not private.
const SHARED_U32: u32 = 2;

fn timespec(d: Duration) -> libc::timespec {
    let d = d.min(LONGEST);
    libc::timespec { tv_sec: d.as_secs() as libc::time_t, tv_nsec: d.subsec_nanos().into() }
}

fn result(returned: c_long) -> Wake {
    if returned >= 0 {
        return Wake::Woken;
    }
    match errno::last() {
        libc::EAGAIN => Wake::Changed,
        libc::ETIMEDOUT => Wake::TimedOut,
        libc::EINTR => Wake::Interrupted,
        _ => {
            // A word that is gone (its file was truncated). Slow down a caller who tries again.
            sleep(Duration::from_millis(1));
            Wake::Changed
        }
    }
}

fn sleep(timeout: Duration) -> Wake {
    let t = timespec(timeout);
    // SAFETY: `t` is a valid timespec; the rest of an interrupted sleep is not asked for.
    match unsafe { libc::nanosleep(&t, ptr::null_mut()) } {
        0 => Wake::TimedOut,
        _ => Wake::Interrupted,
    }
}

/// Sleep while `*word == expected`, at most `timeout`.
pub fn wait(word: *const u32, expected: u32, timeout: Duration) -> Wake {
    let t = timespec(timeout);
    // SAFETY: the kernel checks the address itself, and `t` is a valid timespec.
    result(unsafe {
        libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, expected, &raw const t)
    })
}

/// Wake at most `count` sleepers of a word; the number woken. Async-signal-safe, errno is kept.
pub fn wake(word: *const u32, count: i32) -> i32 {
    let errno = errno::last();
    // SAFETY: the kernel checks the address itself.
    let n = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, count) };
    errno::set(errno);
    n.max(0) as i32
}

/// Sleep while each word is as expected. Where not all can be watched at once, those that can are,
/// for at most 5 ms (128 words; one word before Linux 5.16).
pub fn wait_many(words: &[(*const u32, u32)], timeout: Duration) -> Wake {
    static LACKING: AtomicBool = AtomicBool::new(false);
    let &[(word, expected), ref others @ ..] = words else {
        return sleep(timeout);
    };
    // Relaxed: a flag about the kernel, with no data behind it.
    if !others.is_empty() && !LACKING.load(Ordering::Relaxed) {
        let n = words.len().min(MANY);
        let timeout = if n < words.len() { timeout.min(PARTIAL) } else { timeout };
        let returned = wait_vector(&words[..n], timeout);
        // EPERM: sandboxes that refuse what they do not know.
        if returned >= 0 || !matches!(errno::last(), libc::ENOSYS | libc::EPERM) {
            return result(returned);
        }
        LACKING.store(true, Ordering::Relaxed);
    }
    wait(word, expected, if others.is_empty() { timeout } else { timeout.min(PARTIAL) })
}

fn wait_vector(words: &[(*const u32, u32)], timeout: Duration) -> c_long {
    let mut waiters = [Waiter { val: 0, uaddr: 0, flags: SHARED_U32, reserved: 0 }; MANY];
    for (waiter, (word, expected)) in waiters.iter_mut().zip(words) {
        waiter.val = u64::from(*expected);
        waiter.uaddr = *word as u64;
    }
    let now = Duration::from_nanos(clock::now_ns());
    let end = now + timeout.min(LONGEST);
    // Not `timespec`, which bounds a length of time.
    let end = libc::timespec {
        tv_sec: end.as_secs() as libc::time_t,
        tv_nsec: end.subsec_nanos().into(),
    };
    let (count, flags) = (words.len().min(MANY), 0);
    // SAFETY: `count` waiters are initialised, `end` is a valid timespec, and the kernel checks the
    // addresses of the words itself.
    unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            flags,
            &raw const end,
            libc::CLOCK_MONOTONIC,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;
    use std::time::Instant;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn wait_ends_by_timeout_or_change() {
        let word = AtomicU32::new(1);
        let start = Instant::now();
        assert_eq!(wait(word.as_ptr(), 1, SHORT), Wake::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert_eq!(wait(word.as_ptr(), 1, Duration::ZERO), Wake::TimedOut);
        assert_eq!(wait(word.as_ptr(), 2, LONG), Wake::Changed);
        assert_eq!(wait(ptr::null(), 2, LONG), Wake::Changed);
        errno::set(7);
        assert_eq!(wake(word.as_ptr(), 1), 0);
        assert_eq!(wake(ptr::null(), 1), 0);
        assert_eq!(errno::last(), 7);
    }

    #[test]
    fn wait_many_ends_by_any_word() {
        let words = [AtomicU32::new(0), AtomicU32::new(1), AtomicU32::new(2)];
        let mut list: Vec<_> =
            words.iter().zip(0..).map(|(w, v)| (w.as_ptr().cast_const(), v)).collect();
        let start = Instant::now();
        assert_eq!(wait_many(&list, SHORT), Wake::TimedOut);
        assert_eq!(wait_many(&[], SHORT), Wake::TimedOut);
        assert!(start.elapsed() >= 2 * SHORT);
        std::thread::scope(|s| {
            s.spawn(|| {
                // Until somebody was woken: the sleeper may not have got there.
                while wake(words[2].as_ptr(), 1) == 0 {
                    std::thread::yield_now();
                }
            });
            let mut woken = wait_many(&list, LONG);
            while woken != Wake::Woken {
                woken = wait_many(&list, LONG); // Only without futex_waitv.
            }
        });
        list[1].1 = 5;
        let changed = wait_many(&list, LONG);
        assert!(changed == Wake::Changed || changed == Wake::TimedOut);
        list[1].1 = 1;
        list.resize(200, list[0]);
        assert_eq!(wait_many(&list, LONG), Wake::TimedOut);
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_signal_handler_interrupts_even_with_sa_restart() {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: a handler that does nothing, for a signal nobody else uses here.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            assert_eq!(libc::sigaction(libc::SIGURG, &action, ptr::null_mut()), 0);
        }
        let word = AtomicU32::new(1);
        // SAFETY: no preconditions.
        let me = unsafe { libc::pthread_self() };
        std::thread::scope(|s| {
            let signaller = s.spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                // SAFETY: that thread waits for this one.
                unsafe { libc::pthread_kill(me, libc::SIGURG) };
            });
            assert_eq!(wait(word.as_ptr(), 1, LONG), Wake::Interrupted);
            signaller.join().unwrap();
        });
    }
}
