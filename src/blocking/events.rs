//! Other ways to wait, and to end a wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use super::Result;
use crate::channel::handles::{self, Signal};

/// An `eventfd` that becomes readable when its producer or consumer may go on: for `poll`, `epoll`, io_uring, or any event
/// library (tokio's `AsyncFd`, async-io's `Async`). Woken by any process; nobody but the library reads or writes it.
///
/// When it is readable, call the handle with no timeout until that is [`ErrorKind::Timeout`](super::ErrorKind::Timeout),
/// which arms it anew. Every call gives the same descriptor; it is closed with the handle and the last of these.
///
/// ```
/// use disk_chan::blocking::{Channel, ErrorKind};
/// use std::os::fd::AsRawFd;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = Channel::open(&path)?;
/// let mut consumer = channel.subscribe("workers")?;
/// let events = consumer.events()?;
/// let readable = |timeout_ms| {
///     let mut fd = libc::pollfd { fd: events.as_raw_fd(), events: libc::POLLIN, revents: 0 };
///     // SAFETY: one valid pollfd.
///     unsafe { libc::poll(&mut fd, 1, timeout_ms) == 1 }
/// };
/// assert_eq!(consumer.try_recv().unwrap_err().kind(), ErrorKind::Timeout);
/// assert!(!readable(0));
/// channel.producer()?.send("hello")?;
/// assert!(readable(-1));
/// assert_eq!(&consumer.try_recv()?[..], b"hello");
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone)]
pub struct Events(pub(super) Arc<Signal>);

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor was made before, and is open for as long as the signal lives.
        unsafe { BorrowedFd::borrow_raw(self.as_raw_fd()) }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.raw_fd()
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Events").field(&self.as_raw_fd()).finish()
    }
}

/// Ends the waits of one producer or consumer, from any thread or signal handler.
///
/// ```
/// use disk_chan::blocking::{Channel, ErrorKind};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let mut consumer = Channel::open(&path)?.subscribe("workers")?;
/// let interrupter = consumer.interrupter();
/// let other = std::thread::spawn(move || interrupter.interrupt());
/// assert_eq!(consumer.recv().unwrap_err().kind(), ErrorKind::Interrupted);
/// other.join().unwrap()?;
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone)]
pub struct Interrupter(pub(super) handles::Interrupter);

impl Interrupter {
    /// Make the wait that goes on, or else the next one, end with [`ErrorKind::Interrupted`](super::ErrorKind::Interrupted),
    /// once. Async-signal-safe.
    ///
    /// # Errors
    /// [`Forked`](super::ErrorKind::Forked).
    ///
    /// ```
    /// use disk_chan::blocking::{Channel, ErrorKind};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut consumer = Channel::open(&path)?.subscribe("workers")?;
    /// consumer.interrupter().interrupt()?;
    /// assert_eq!(consumer.recv().unwrap_err().kind(), ErrorKind::Interrupted);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn interrupt(&self) -> Result<()> {
        Ok(self.0.interrupt()?)
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}
