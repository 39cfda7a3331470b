//! The library's own thread, which the program should never notice.

use std::mem::MaybeUninit;
use std::ptr;

use super::errno::Os;

/// Enough for what the library does there; the default is 2 MiB.
const STACK: usize = 256 * 1024;

/// Signals that a thread raises by its own fault. Blocked, they would kill the process without
/// asking any handler: not the program's crash reporter, and not our own SIGBUS guard.
const SYNCHRONOUS: [libc::c_int; 5] =
    [libc::SIGBUS, libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];

/// Run `f(of)` in a thread of its own, which nobody joins, and to which no signal is delivered (but
/// those that it raises itself by a fault). Allocates nothing on the heap of Rust, whose thread type
/// would abort where there is no memory.
pub fn spawn<T: Sync + 'static>(f: fn(&'static T), of: &'static T) -> Os<()> {
    let before = block_signals()?;
    let spawned = create(f, of);
    // SAFETY: `before` was filled by the C library.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    spawned
}

fn create<T: Sync + 'static>(f: fn(&'static T), of: &'static T) -> Os<()> {
    // The two words the thread starts with; its creator waits until they are read.
    struct Start<T: 'static> {
        f: fn(&'static T),
        of: &'static T,
        taken: std::sync::atomic::AtomicU32,
    }
    extern "C" fn run<T: Sync + 'static>(start: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the creator keeps `start` until `taken` is set, which is the last use of it.
        let (f, of) = unsafe {
            let start = &*start.cast::<Start<T>>();
            let words = (start.f, start.of);
            let taken = start.taken.as_ptr();
            start.taken.store(1, std::sync::atomic::Ordering::Release);
            super::futex::wake(taken, 1);
            words
        };
        // SAFETY: names this thread; a string of at most 15 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"disk_chan".as_ptr()) };
        f(of);
        ptr::null_mut()
    }
    let start = Start { f, of, taken: std::sync::atomic::AtomicU32::new(0) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are initialised before use and destroyed after; `start` outlives the
    // thread's use of it, see below.
    let error = unsafe {
        match libc::pthread_attr_init(attributes.as_mut_ptr()) {
            0 => {}
            e => return Err(e),
        }
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let error = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            run::<T>,
            (&raw const start).cast_mut().cast(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        error
    };
    if error != 0 {
        return Err(error);
    }
    // Bounded by the scheduling of the new thread.
    while start.taken.load(std::sync::atomic::Ordering::Acquire) == 0 {
        super::futex::wait(start.taken.as_ptr(), 0, std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Block signals in this thread: the new one starts with its mask. Returns the mask until now.
fn block_signals() -> Os<libc::sigset_t> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises `all` before it is used.
    let error = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in SYNCHRONOUS {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
    };
    match error {
        // SAFETY: filled by the successful call.
        0 => Ok(unsafe { before.assume_init() }),
        e => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(signal: libc::c_int) -> bool {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: with no new mask, only writes the present one to `set`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, ptr::null(), set.as_mut_ptr());
            libc::sigismember(set.as_ptr(), signal) == 1
        }
    }

    #[test]
    fn signals_are_blocked_there_and_only_there() {
        static REPORT: std::sync::OnceLock<(bool, bool)> = std::sync::OnceLock::new();
        fn report(to: &'static std::sync::OnceLock<(bool, bool)>) {
            let _ = to.set((blocked(libc::SIGTERM), blocked(libc::SIGBUS)));
        }
        spawn(report, &REPORT).unwrap();
        while REPORT.get().is_none() {
            std::thread::yield_now();
        }
        assert_eq!(REPORT.get(), Some(&(true, false)));
        assert!(!blocked(libc::SIGTERM));
    }
}
