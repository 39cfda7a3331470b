//! A descriptor that polls readable while it is signalled: how a channel meets `poll` and `epoll`.

use super::errno::{self, Os};
use super::file::Fd;

/// An eventfd, closed in forked children like every [`Fd`].
pub struct EventFd(Fd);

impl EventFd {
    /// A new one, not signalled.
    pub fn new() -> Os<EventFd> {
        // SAFETY: eventfd has no preconditions.
        let open = || unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        Fd::from_open(open).map(EventFd)
    }

    /// The descriptor, to poll; -1 in a forked child.
    pub fn raw(&self) -> i32 {
        self.0.raw()
    }

    /// Make it readable. Async-signal-safe: neither lock nor memory, and errno is kept.
    pub fn signal(&self) {
        let errno = errno::last();
        let one = 1_u64;
        // SAFETY: reads the 8 bytes of `one`. A full counter (EAGAIN) is readable already; -1, in a
        // forked child, is EBADF.
        unsafe { libc::write(self.raw(), (&raw const one).cast(), 8) };
        errno::set(errno);
    }

    /// Make it not readable, until the next [`EventFd::signal`]. Async-signal-safe.
    pub fn drain(&self) {
        let errno = errno::last();
        let mut count = 0_u64;
        // SAFETY: writes at most the 8 bytes of `count`. Not signalled is EAGAIN.
        unsafe { libc::read(self.raw(), (&raw mut count).cast(), 8) };
        errno::set(errno);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: &EventFd) -> bool {
        let mut p = libc::pollfd { fd: fd.raw(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut p, 1, 0) == 1 && p.revents == libc::POLLIN }
    }

    #[test]
    fn readable_from_signal_to_drain() {
        let fd = EventFd::new().unwrap();
        assert!(!readable(&fd));
        fd.drain();
        errno::set(7);
        fd.signal();
        fd.signal();
        assert!(readable(&fd));
        fd.drain();
        assert!(!readable(&fd));
        assert_eq!(errno::last(), 7);
    }
}
