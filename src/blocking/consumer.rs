//! Receiving.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::{
    waiting, ConsumerInfo, Error, Events, Interrupter, Message, Page, Result, Start, Vecs,
};
use crate::consumer;
use crate::options::{self as raw, Received, BATCH_MAX};

/// Receives messages: as a member of a group, or as an observer. One thread at a time uses it;
/// [`try_clone`](Consumer::try_clone) makes more. Dropping it returns what it did not acknowledge to its group.
///
/// ```
/// use disk_chan::blocking::Channel;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = Channel::open(&path)?;
/// channel.producer()?.send_batch(&["one", "two"], None)?;
/// let mut consumer = channel.subscribe("workers")?;
/// while let Ok(message) = consumer.try_recv() {
///     println!("{}", String::from_utf8_lossy(&message));
/// }
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
pub struct Consumer {
    // So that messages of one page can be received while others of it are borrowed. The cell makes the type `!Sync`, so
    // calls follow each other; none hands out a reference into it.
    raw: UnsafeCell<consumer::Consumer>,
}

impl Consumer {
    pub(super) fn new(raw: consumer::Consumer) -> Consumer {
        Consumer { raw: UnsafeCell::new(raw) }
    }

    #[inline(always)]
    fn with<T>(&self, act: impl FnOnce(&mut consumer::Consumer) -> T) -> T {
        // SAFETY: the type is not `Sync`, so this thread alone is here, and once: `act` is the engine's code, which wakes
        // tasks of its own open only, and those of `futures` have opens of their own.
        act(unsafe { &mut *self.raw.get() })
    }

    /// A message, for as long as its page is kept.
    #[inline(always)]
    fn borrowed(&self, m: &raw::Message) -> Message<'_> {
        // SAFETY: the engine keeps the page, and nobody writes what lies in it, until `next_page`, `seek` or the end of the
        // consumer, all of which need it unborrowed.
        let data = unsafe { std::slice::from_raw_parts(m.data, m.len) };
        Message { data, position: m.position, deliveries: m.deliveries }
    }

    /// Receive one message of the page, `None` at its end.
    #[inline]
    pub(super) fn receive(&self, timeout: Option<Duration>) -> Result<Option<Message<'_>>> {
        let mut message = raw::Message::default();
        match waiting(timeout, |ms| self.with(|raw| raw.recv(&mut message, ms))) {
            Ok(Received::Message) => Ok(Some(self.borrowed(&message))),
            Ok(Received::EndOfPage) => Ok(None),
            Ok(Received::Lagged) => Err(Error::lagged()),
            Err(e) => Err(Error::at(e, message.position)),
        }
    }

    #[inline]
    pub(super) fn receive_on(&mut self, timeout: Option<Duration>) -> Result<Message<'_>> {
        let mut message = raw::Message::default();
        // Bounded: behind the end of a page is the next one, or nothing.
        loop {
            match waiting(timeout, |ms| self.raw.get_mut().recv(&mut message, ms)) {
                Ok(Received::Message) => return Ok(self.borrowed(&message)),
                Ok(Received::EndOfPage) => self.next_page()?,
                Ok(Received::Lagged) => return Err(Error::lagged()),
                Err(e) => return Err(Error::at(e, message.position)),
            }
        }
    }

    /// Receive the next message, waiting for as long as it takes; goes on from page to page.
    ///
    /// # Errors
    /// [`Lagged`](super::ErrorKind::Lagged) (a ring moved on), [`Corrupt`](super::ErrorKind::Corrupt) (one message is
    /// skipped), [`Limit`](super::ErrorKind::Limit) (`max_unacked` are unacknowledged),
    /// [`Interrupted`](super::ErrorKind::Interrupted): receive again. What the operating system refuses.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// let mut producer = channel.producer()?;
    /// let sender = std::thread::spawn(move || producer.send("hello"));
    /// assert_eq!(&consumer.recv()?[..], b"hello");
    /// sender.join().unwrap()?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    #[inline]
    pub fn recv(&mut self) -> Result<Message<'_>> {
        self.receive_on(None)
    }

    /// Receive the next message if there is one.
    ///
    /// # Errors
    /// As of [`recv`](Consumer::recv), and [`Timeout`](super::ErrorKind::Timeout): there is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut consumer = disk_chan::blocking::Channel::open(&path)?.subscribe("workers")?;
    /// assert!(consumer.try_recv().is_err());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message<'_>> {
        self.receive_on(Some(Duration::ZERO))
    }

    /// Receive the next message, waiting so long at most.
    ///
    /// # Errors
    /// As of [`recv`](Consumer::recv), and [`Timeout`](super::ErrorKind::Timeout).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut consumer = disk_chan::blocking::Channel::open(&path)?.subscribe("workers")?;
    /// assert!(consumer.recv_timeout(std::time::Duration::from_millis(5)).is_err());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Message<'_>> {
        self.receive_on(Some(timeout))
    }

    /// Receive up to `max` messages (255 at most) of one page: what is there, at least one.
    ///
    /// # Errors
    /// As of [`recv_timeout`](Consumer::recv_timeout); [`InvalidArgument`](super::ErrorKind::InvalidArgument): `max` is 0.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send_batch(&["one", "two", "three"], None)?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// let batch = consumer.recv_batch(2, None)?;
    /// assert_eq!(batch.iter().map(|m| &m[..]).collect::<Vec<_>>(), [b"one", b"two"]);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn recv_batch(
        &mut self,
        max: usize,
        timeout: Option<Duration>,
    ) -> Result<Vec<Message<'_>>> {
        let mut out = [const { MaybeUninit::<raw::Message>::uninit() }; BATCH_MAX];
        // A damaged message in front is told by its position.
        out[0].write(raw::Message::default());
        let max = max.min(BATCH_MAX);
        let mut count = 0;
        loop {
            let receive = |ms| self.raw.get_mut().recv_batch(&mut out[..max], ms, &mut count);
            match waiting(timeout, receive) {
                Ok(Received::Message) => break,
                Ok(Received::EndOfPage) => self.next_page()?,
                Ok(Received::Lagged) => return Err(Error::lagged()),
                // SAFETY: written above, and perhaps by the call.
                Err(e) => return Err(Error::at(e, unsafe { out[0].assume_init() }.position)),
            }
        }
        // SAFETY: the call has written so many.
        let found = out[..count].iter().map(|m| unsafe { m.assume_init_ref() });
        Ok(found.map(|m| self.borrowed(m)).collect())
    }

    /// The messages that are left in the page, as an iterator: they may all be held, until
    /// [`next_page`](Consumer::next_page). It ends with the page, and where a wait for a message takes longer than
    /// `timeout`; [`Page::is_over`] says which.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use std::time::Duration;
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send_batch(&["one", "two", "three"], None)?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// let held: Vec<_> = consumer.page(Some(Duration::ZERO)).collect::<Result<_, _>>()?;
    /// assert_eq!(held.len(), 3);
    /// consumer.next_page()?; // `held` is gone
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn page(&self, timeout: Option<Duration>) -> Page<'_> {
        Page { consumer: self, timeout, over: false }
    }

    /// Go on to the next page: the messages of this one are given up. Never waits, and called early it skips nothing.
    ///
    /// # Errors
    /// [`Forked`](super::ErrorKind::Forked).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("hello")?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// consumer.next_page()?;
    /// assert_eq!(&consumer.recv()?[..], b"hello");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn next_page(&mut self) -> Result<()> {
        Ok(self.raw.get_mut().next_page()?)
    }

    /// The messages from here on as vectors of their own, over all pages, as an iterator: it ends where a wait for one
    /// takes longer than `timeout`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use std::time::Duration;
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send_batch(&["one", "two"], None)?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// let all: Vec<Vec<u8>> = consumer.vecs(Some(Duration::ZERO)).collect::<Result<_, _>>()?;
    /// assert_eq!(all, [b"one", b"two"]);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn vecs(&mut self, timeout: Option<Duration>) -> Vecs<'_> {
        Vecs { consumer: self, timeout }
    }

    /// Acknowledge all that this consumer received up to this position: they are done, and do not come again.
    ///
    /// # Errors
    /// [`State`](super::ErrorKind::State): an observer acknowledges nothing.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use disk_chan::blocking::{Ack, Channel, SubscribeOptions};
    /// let channel = Channel::open(&path)?;
    /// channel.producer()?.send("job")?;
    /// let mut consumer = SubscribeOptions::new().ack(Ack::Manual).subscribe(&channel, "workers")?;
    /// let done = consumer.recv()?.position();
    /// consumer.ack(done)?;
    /// assert_eq!(consumer.info()?.unacked, 0);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn ack(&self, position: u64) -> Result<()> {
        Ok(self.with(|raw| raw.ack(position))?)
    }

    /// Give back all that this consumer received and did not acknowledge: it comes again, here or elsewhere in the group.
    ///
    /// # Errors
    /// [`State`](super::ErrorKind::State): an observer holds nothing. [`Limit`](super::ErrorKind::Limit): too many have left
    /// messages behind in the group; receive those.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("job")?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// consumer.recv()?;
    /// consumer.nack()?;
    /// assert!(consumer.recv()?.redelivered());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn nack(&self) -> Result<()> {
        Ok(self.with(|raw| raw.nack())?)
    }

    /// Move the whole group, or this observer.
    ///
    /// # Errors
    /// [`Busy`](super::ErrorKind::Busy): others of the group hold messages.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use disk_chan::blocking::{Channel, Start};
    /// let channel = Channel::open(&path)?;
    /// channel.producer()?.send("hello")?;
    /// let mut consumer = channel.subscribe("workers")?;
    /// consumer.recv()?;
    /// consumer.seek(Start::Earliest)?;
    /// assert_eq!(&consumer.recv()?[..], b"hello");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn seek(&mut self, to: Start) -> Result<()> {
        Ok(self.raw.get_mut().seek(to.position())?)
    }

    /// This consumer's figures.
    ///
    /// # Errors
    /// What keeps the channel from being read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let consumer = channel.subscribe("workers")?;
    /// channel.producer()?.send("job")?;
    /// assert_eq!(consumer.info()?.lag, 1);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn info(&self) -> Result<ConsumerInfo> {
        Ok(self.with(|raw| raw.stats())?)
    }

    /// Another consumer of the same group, with the same options; of an observer, another one at the same place.
    ///
    /// # Errors
    /// As of [`SubscribeOptions::subscribe`](super::SubscribeOptions::subscribe).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let consumer = channel.subscribe("workers")?;
    /// let other = consumer.try_clone()?;
    /// assert_eq!(channel.group_info("workers")?.consumers, 2);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn try_clone(&self) -> Result<Consumer> {
        Ok(Consumer::new(self.with(|raw| raw.try_clone())?))
    }

    /// A descriptor for an event loop: readable while a receiving call may return anything but
    /// [`Timeout`](super::ErrorKind::Timeout).
    ///
    /// # Errors
    /// [`Unsupported`](super::ErrorKind::Unsupported): the channel was opened with
    /// [`no_thread`](super::OpenOptions::no_thread).
    ///
    /// ```
    /// use std::os::fd::AsFd;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut consumer = disk_chan::blocking::Channel::open(&path)?.subscribe("workers")?;
    /// let events = consumer.events()?;
    /// let _for_an_event_loop = events.as_fd();
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn events(&mut self) -> Result<Events> {
        let raw = self.raw.get_mut();
        raw.fd()?;
        Ok(Events(raw.signal()))
    }

    /// What ends this consumer's waits from another thread, or from a signal handler.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let mut consumer = disk_chan::blocking::Channel::open(&path)?.subscribe("workers")?;
    /// consumer.interrupter().interrupt()?;
    /// assert!(consumer.recv().is_err());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.with(|raw| raw.interrupter()))
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").finish_non_exhaustive()
    }
}

const _: fn() = || {
    fn send<T: Send>() {}
    send::<Consumer>();
    send::<Message<'_>>();
};
