//! Sending.

use std::fmt;
use std::io::IoSlice;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::{waiting, Error, Events, Interrupter, Result};
use crate::error::DC_AGAIN;
use crate::producer;

/// Sends messages. One thread at a time uses it; [`try_clone`](Producer::try_clone) makes more.
///
/// Sending is all or nothing, and waits only while there is no room; what was sent survives the end of the process at any
/// moment.
///
/// ```
/// use disk_chan::blocking::Channel;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = Channel::open(&path)?;
/// let mut producer = channel.producer()?;
/// producer.send("text")?;
/// producer.send([1, 2, 3])?;
/// assert_eq!(channel.info()?.messages, 2);
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
pub struct Producer(pub(super) producer::Producer);

/// Messages that are handed to the engine at once.
const AT_ONCE: usize = 64;

impl Producer {
    /// Another producer of the channel.
    ///
    /// # Errors
    /// As of [`Channel::producer`](super::Channel::producer).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// let mut other = producer.try_clone()?;
    /// std::thread::spawn(move || other.send("from another thread")).join().unwrap()?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Producer> {
        Ok(Producer(self.0.try_clone()?))
    }

    /// Send one message, waiting for room for as long as it takes (in a ring, never).
    ///
    /// # Errors
    /// [`TooBig`](super::ErrorKind::TooBig), [`Poisoned`](super::ErrorKind::Poisoned),
    /// [`Interrupted`](super::ErrorKind::Interrupted), a full disk: it is not sent. Under
    /// [`Durability::Always`](super::Durability::Always), `Poisoned`: that is unknown.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// disk_chan::blocking::Channel::open(&path)?.producer()?.send("hello")?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    #[inline]
    pub fn send(&mut self, message: impl AsRef<[u8]>) -> Result<()> {
        self.send_waiting(message.as_ref(), None)
    }

    /// Send one message if there is room.
    ///
    /// # Errors
    /// As of [`send`](Producer::send), and [`Timeout`](super::ErrorKind::Timeout): there is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// disk_chan::blocking::Channel::open(&path)?.producer()?.try_send("hello")?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    #[inline]
    pub fn try_send(&mut self, message: impl AsRef<[u8]>) -> Result<()> {
        self.send_waiting(message.as_ref(), Some(Duration::ZERO))
    }

    /// Send one message, waiting so long at most for room.
    ///
    /// # Errors
    /// As of [`send`](Producer::send), and [`Timeout`](super::ErrorKind::Timeout): there was none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// producer.send_timeout("hello", std::time::Duration::from_secs(1))?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn send_timeout(&mut self, message: impl AsRef<[u8]>, timeout: Duration) -> Result<()> {
        self.send_waiting(message.as_ref(), Some(timeout))
    }

    #[inline]
    fn send_waiting(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        waiting(timeout, |ms| self.0.send(message, ms)).map_err(Error::new)
    }

    /// Send one message gathered from parts.
    ///
    /// # Errors
    /// As of [`send_timeout`](Producer::send_timeout).
    ///
    /// ```
    /// use std::io::IoSlice;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send_vectored(&[IoSlice::new(b"head "), IoSlice::new(b"body")], None)?;
    /// assert_eq!(&channel.observe()?.recv()?[..], b"head body");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn send_vectored(
        &mut self,
        parts: &[IoSlice<'_>],
        timeout: Option<Duration>,
    ) -> Result<()> {
        waiting(timeout, |ms| self.0.send_vectored(parts, ms)).map_err(Error::new)
    }

    /// Send several messages in order, and wake receivers and flush once for many of them. How many were sent: all, or
    /// those for which there was room within the timeout.
    ///
    /// # Errors
    /// As of [`send_timeout`](Producer::send_timeout), where not even the first one was sent.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// assert_eq!(channel.producer()?.send_batch(&["one", "two", "three"], None)?, 3);
    /// assert_eq!(channel.info()?.messages, 3);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn send_batch<M: AsRef<[u8]>>(
        &mut self,
        messages: &[M],
        timeout: Option<Duration>,
    ) -> Result<usize> {
        let mut sent = 0;
        for some in messages.chunks(AT_ONCE) {
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            for (slice, message) in slices.iter_mut().zip(some) {
                *slice = IoSlice::new(message.as_ref());
            }
            let mut done = 0;
            let result = waiting(timeout, |ms| {
                let mut now = 0;
                let result = self.0.send_batch(&slices[done..some.len()], ms, &mut now);
                done += now;
                result
            });
            sent += done;
            match result {
                Err(e) if sent == 0 => return Err(e.into()),
                // It comes again with the next call, unless it is over.
                Err(_) => return Ok(sent),
                Ok(()) => {}
            }
        }
        Ok(sent)
    }

    /// Room for a message of `len` bytes, to be written in place. Receivers wait for it: one that is held for longer than
    /// the channel's stall timeout is skipped, and copied to another place as it is committed.
    ///
    /// # Errors
    /// As of [`send_timeout`](Producer::send_timeout).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let mut producer = channel.producer()?;
    /// let mut slot = producer.reserve(100, None)?;
    /// slot[..5].copy_from_slice(b"hello");
    /// slot.commit(5)?;
    /// drop(producer.reserve(100, None)?); // given back
    /// assert_eq!(&channel.observe()?.recv()?[..], b"hello");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn reserve(&mut self, len: usize, timeout: Option<Duration>) -> Result<Slot<'_>> {
        let data = waiting(timeout, |ms| self.0.reserve(len, ms))?;
        Ok(Slot { producer: Some(&mut self.0), data, len })
    }

    /// Put all that this producer sent on stable storage.
    ///
    /// # Errors
    /// As of [`Channel::sync`](super::Channel::sync).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// producer.send("hello")?;
    /// producer.sync(None)?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn sync(&mut self, timeout: Option<Duration>) -> Result<()> {
        waiting(timeout, |ms| self.0.sync(ms)).map_err(Error::new)
    }

    /// The position of the last message it sent: on stable storage once
    /// [`ChannelInfo::durable`](super::ChannelInfo::durable) is above it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let mut producer = channel.producer()?;
    /// assert_eq!(producer.sent_position(), None);
    /// producer.send("hello")?;
    /// assert_eq!(producer.sent_position(), Some(channel.observe()?.recv()?.position()));
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn sent_position(&self) -> Option<u64> {
        Some(self.0.sent_position()).filter(|p| *p != 0)
    }

    /// A descriptor for an event loop: armed by a send that had no room, readable once there may be some.
    ///
    /// # Errors
    /// [`Unsupported`](super::ErrorKind::Unsupported): the channel was opened with
    /// [`no_thread`](super::OpenOptions::no_thread).
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// let events = producer.events()?;
    /// let _for_an_event_loop = events.as_fd();
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn events(&mut self) -> Result<Events> {
        self.0.fd()?;
        Ok(Events(self.0.signal()))
    }

    /// What ends this producer's waits from another thread, or from a signal handler.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// producer.interrupter().interrupt()?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.0.interrupter())
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// Room for one message, written as a `[u8]` and then [committed](Slot::commit). What it holds before that is undefined,
/// but no secret: bytes of older messages. Dropped, it is given back.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = disk_chan::blocking::Channel::open(&path)?;
/// let mut producer = channel.producer()?;
/// let mut slot = producer.reserve(8, None)?;
/// slot.copy_from_slice(&7_u64.to_le_bytes());
/// slot.commit_all()?;
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[must_use = "it is given back where it is not committed"]
pub struct Slot<'a> {
    /// Until it is committed or given up.
    producer: Option<&'a mut producer::Producer>,
    data: *mut u8,
    len: usize,
}

// SAFETY: a place in a page that is this slot's alone, and a borrowed producer, which may change threads.
unsafe impl Send for Slot<'_> {}

impl Slot<'_> {
    /// Send the first `len` bytes. Waits for room where it was held for too long and has to be copied.
    ///
    /// # Errors
    /// As of [`Producer::send`]; [`InvalidArgument`](super::ErrorKind::InvalidArgument): there are not so many bytes. It is
    /// not sent, and given back.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// let mut slot = producer.reserve(100, None)?;
    /// slot[..2].copy_from_slice(b"ab");
    /// slot.commit(2)?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn commit(mut self, len: usize) -> Result<()> {
        let Some(producer) = &mut self.producer else { return Ok(()) };
        let mut pause = Duration::from_micros(50);
        // Bounded as a send is: by those who make room.
        loop {
            match producer.commit(len) {
                Err(e) if e.code() == DC_AGAIN => {
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(Duration::from_millis(5));
                }
                Err(e) => return Err(e.into()),
                Ok(()) => {
                    self.producer = None;
                    return Ok(());
                }
            }
        }
    }

    /// Send all of it: [`commit`](Slot::commit) with its length.
    ///
    /// # Errors
    /// As of [`commit`](Slot::commit).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut producer = disk_chan::blocking::Channel::open(&path)?.producer()?;
    /// let mut slot = producer.reserve(100, None)?;
    /// slot.fill(b'a');
    /// slot.commit_all()?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn commit_all(self) -> Result<()> {
        let len = self.len;
        self.commit(len)
    }
}

impl Deref for Slot<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the reservation's bytes are mapped, and nobody else touches them until it is committed or given back.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl DerefMut for Slot<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

impl fmt::Debug for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if let Some(producer) = &mut self.producer {
            // Where there is none (a commit that failed may have ended it), there is nothing to give back.
            let _ = producer.abort();
        }
    }
}
