//! The library's own thread, which the program should never notice.

use std::mem::MaybeUninit;
use std::ptr;

use super::errno::Os;

/// Enough for what the library does there; the default is 2 MiB.
const STACK: usize = 256 * 1024;

/// Signals that a thread raises by its own fault. Blocked, they would kill the process without
/// asking any handler: not the program's crash reporter, and not our own SIGBUS guard.
const SYNCHRONOUS: [libc::c_int; 5] = [
    libc::SIGBUS,
    libc::SIGSEGV,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
];

/// Run `f` in a thread of its own, which nobody joins, and to which no signal is delivered (but
/// those that it raises itself by a fault).
pub fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> Os<()> {
    let before = block_signals()?;
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK)
        .spawn(f);
    // SAFETY: `before` was filled by the C library.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    match spawned {
        Ok(_detached) => Ok(()),
        Err(e) => Err(e.raw_os_error().unwrap_or(libc::EAGAIN)),
    }
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
    use std::sync::mpsc;

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
        let (tx, rx) = mpsc::channel();
        spawn("dc-test", move || {
            let name = std::thread::current().name().map(str::to_owned);
            tx.send((name, blocked(libc::SIGTERM), blocked(libc::SIGBUS)))
                .unwrap();
        })
        .unwrap();
        assert_eq!(rx.recv(), Ok((Some("dc-test".to_owned()), true, false)));
        assert!(!blocked(libc::SIGTERM));
    }
}
