//! What is chosen when a channel is opened, and when a consumer subscribes.

use std::path::Path;
use std::time::Duration;

use super::{Channel, Consumer, Result};
use crate::options as raw;

/// What happens when a channel is full. Chosen when it is made.
///
/// ```
/// use disk_chan::blocking::{ErrorKind, OpenOptions, Retention};
/// # let dir = tempfile::tempdir().unwrap();
/// let channel = OpenOptions::new()
///     .retention(Retention::Unread)
///     .page_size(64 << 10)
///     .max_pages(2)
///     .open(dir.path().join("outbox"))?;
/// let mut producer = channel.producer()?;
/// let full = (0..1000).find_map(|_| producer.try_send([0; 1000]).err()).unwrap();
/// assert_eq!(full.kind(), ErrorKind::Timeout); // nobody has received anything
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retention {
    /// The oldest page goes, read or not.
    Ring,
    /// As `Ring`, but never what a group with a live consumer has not acknowledged: sends wait.
    Live,
    /// Nothing goes that any group has not acknowledged; with no group, nothing at all: sends wait.
    Unread,
}

impl Retention {
    pub(super) fn from_code(code: u64) -> Retention {
        match code as u32 {
            raw::RETAIN_LIVE => Retention::Live,
            raw::RETAIN_UNREAD => Retention::Unread,
            _ => Retention::Ring,
        }
    }
}

/// When what is sent reaches stable storage. Each open chooses.
///
/// ```
/// use disk_chan::blocking::{Durability, OpenOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// let channel = OpenOptions::new().durability(Durability::Always).open(dir.path().join("c"))?;
/// channel.producer()?.send("on stable storage when this returns")?;
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// When the operating system likes; what is sent survives the crash of every process.
    None,
    /// The library's thread flushes this often; whole milliseconds, at least one.
    Interval(Duration),
    /// A send returns when its message is on stable storage; many producers share a flush.
    Always,
}

/// How to open a channel. What is not said takes its default, or what the channel was made with; what a channel was made
/// with cannot be changed ([`ErrorKind::Mismatch`](super::ErrorKind::Mismatch)).
///
/// ```
/// use disk_chan::blocking::{ErrorKind, OpenOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let made = OpenOptions::new().new_channel(true).page_size(1 << 20).max_pages(8).open(&path)?;
/// let again = OpenOptions::new().existing(true).open(&path)?;
/// assert_eq!(again.info()?.page_size, 1 << 20);
/// let other = OpenOptions::new().page_size(2 << 20).open(&path);
/// assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct OpenOptions(raw::Options);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident $flag:ident;)*) => { $(
        $(#[$doc])*
        pub fn $name(&mut self, yes: bool) -> &mut Self {
            self.0.flags = if yes { self.0.flags | raw::$flag } else { self.0.flags & !raw::$flag };
            self
        }
    )* };
}

impl OpenOptions {
    /// The defaults: open the channel, or make it.
    pub fn new() -> OpenOptions {
        OpenOptions::default()
    }

    /// Payload bytes of a page: 64 KiB to 4 GiB, rounded up to 4,096; default 16 MiB.
    pub fn page_size(&mut self, bytes: u64) -> &mut Self {
        self.0.page_size = bytes;
        self
    }

    /// Pages kept at most: 2 to 2^32, or `u64::MAX`: no limit; default 16.
    pub fn max_pages(&mut self, pages: u64) -> &mut Self {
        self.0.max_pages = pages;
        self
    }

    /// Messages a page holds at most: 1 to 65,535, which is the default.
    pub fn max_messages_per_page(&mut self, messages: u32) -> &mut Self {
        self.0.max_messages_per_page = messages;
        self
    }

    /// What happens when the channel is full; default [`Retention::Ring`].
    pub fn retention(&mut self, retention: Retention) -> &mut Self {
        self.0.retention = match retention {
            Retention::Ring => raw::RETAIN_RING,
            Retention::Live => raw::RETAIN_LIVE,
            Retention::Unread => raw::RETAIN_UNREAD,
        };
        self
    }

    /// When what is sent reaches stable storage, for this open; default [`Durability::None`].
    pub fn durability(&mut self, durability: Durability) -> &mut Self {
        (self.0.durability, self.0.sync_interval_ms) = match durability {
            Durability::None => (raw::SYNC_NONE, 0),
            Durability::Interval(every) => {
                let ms = every.as_millis().clamp(1, u32::MAX.into());
                (raw::SYNC_INTERVAL, ms as u32)
            }
            Durability::Always => (raw::SYNC_ALWAYS, 0),
        };
        self
    }

    /// Whether every message carries a checksum, verified on receipt; default true.
    pub fn checksum(&mut self, yes: bool) -> &mut Self {
        self.0.checksum = if yes { raw::CHECKSUM_ON } else { raw::CHECKSUM_OFF };
        self
    }

    /// After so long an unpublished message in front is skipped; whole milliseconds, default 1 s, at most 60 s.
    pub fn stall_timeout(&mut self, after: Duration) -> &mut Self {
        self.0.stall_timeout_ms = after.as_millis().clamp(1, u32::MAX.into()) as u32;
        self
    }

    /// Permission bits of every file of a new channel; default 0600.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.0.mode = mode;
        self
    }

    flags! {
        /// The channel must exist (else [`ErrorKind::Os`](super::ErrorKind::Os)`(ENOENT)`).
        existing EXISTING;
        /// The channel must not exist (else [`ErrorKind::Os`](super::ErrorKind::Os)`(EEXIST)`).
        new_channel NEW;
        /// Observers and figures only, with read permission alone; the channel must exist.
        read_only READ_ONLY;
        /// The library starts no thread for this open: call [`Channel::maintain`]; there are no [`Events`](super::Events).
        no_thread NO_THREAD;
        /// A send never prepares a page itself (for real-time threads): it is
        /// [`ErrorKind::Timeout`](super::ErrorKind::Timeout) where none is ready.
        prepared_only PREPARED_ONLY;
        /// A file that somebody truncates while it is mapped gives [`ErrorKind::Corrupt`](super::ErrorKind::Corrupt)
        /// instead of a signal; installs a handler that chains.
        sigbus_guard SIGBUS_GUARD;
    }

    /// Open the channel in the directory `path`, making both where there is none.
    ///
    /// # Errors
    /// [`Mismatch`](super::ErrorKind::Mismatch): the channel was made with other options.
    /// [`Format`](super::ErrorKind::Format): the directory holds something else, which stays as it is.
    /// [`InvalidArgument`](super::ErrorKind::InvalidArgument), [`Unsupported`](super::ErrorKind::Unsupported) (a network
    /// file system), [`Busy`](super::ErrorKind::Busy) (its recovery by another process takes too long), and what the
    /// operating system refuses.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Channel> {
        Ok(Channel(crate::channel::Channel::open(path.as_ref(), &self.0)?))
    }
}

/// Where a new group or an observer begins.
///
/// ```
/// use disk_chan::blocking::{Channel, Start, SubscribeOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// let channel = Channel::open(dir.path().join("channel"))?;
/// let mut producer = channel.producer()?;
/// for word in ["one", "two", "three"] {
///     producer.send(word)?;
/// }
/// let mut tail = SubscribeOptions::new().start(Start::Last(2)).observe(&channel)?;
/// assert_eq!(&tail.recv()?[..], b"two");
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Start {
    /// At the oldest message kept.
    Earliest,
    /// After the newest message.
    Latest,
    /// So many messages from the end.
    Last(u32),
    /// At the first message at or after this position.
    At(u64),
}

impl Start {
    pub(super) fn position(self) -> u64 {
        match self {
            Start::Earliest => raw::EARLIEST,
            Start::Latest => raw::LATEST,
            Start::Last(n) => raw::last(n),
            Start::At(position) => position.max(raw::EARLIEST),
        }
    }
}

/// When what a consumer received counts as done. What is not acknowledged comes again, to another consumer of the group,
/// when its consumer is dropped or its process dies.
///
/// ```
/// use disk_chan::blocking::{Ack, Channel, SubscribeOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// let channel = Channel::open(dir.path().join("channel"))?;
/// channel.producer()?.send("job")?;
/// let careful = SubscribeOptions::new().ack(Ack::Manual).clone();
/// let mut first = careful.subscribe(&channel, "workers")?;
/// first.recv()?;
/// drop(first); // it did not say that the job is done
/// let mut second = careful.subscribe(&channel, "workers")?;
/// let again = second.recv()?;
/// assert!(again.redelivered());
/// let position = again.position();
/// second.ack(position)?;
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ack {
    /// The next receiving call acknowledges what was received before: at least once.
    Next,
    /// [`Consumer::ack`] alone: at least once.
    Manual,
    /// On receipt: at most once.
    Receive,
}

/// How to receive.
///
/// ```
/// use disk_chan::blocking::{Ack, Channel, Start, SubscribeOptions};
/// # let dir = tempfile::tempdir().unwrap();
/// let channel = Channel::open(dir.path().join("channel"))?;
/// let consumer = SubscribeOptions::new()
///     .start(Start::Latest)
///     .ack(Ack::Manual)
///     .max_unacked(100)
///     .subscribe(&channel, "billing")?;
/// assert_eq!(consumer.info()?.unacked, 0);
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SubscribeOptions(raw::SubscribeOptions);

impl SubscribeOptions {
    /// The defaults: from the oldest message on, acknowledged by the next call.
    pub fn new() -> SubscribeOptions {
        SubscribeOptions::default()
    }

    /// Where a new group, or an observer, begins; default [`Start::Earliest`].
    pub fn start(&mut self, start: Start) -> &mut Self {
        self.0.start = start.position();
        self
    }

    /// When a message counts as done; default [`Ack::Next`].
    pub fn ack(&mut self, ack: Ack) -> &mut Self {
        self.0.ack = match ack {
            Ack::Next => raw::ACK_NEXT,
            Ack::Manual => raw::ACK_MANUAL,
            Ack::Receive => raw::ACK_RECEIVE,
        };
        self
    }

    /// Messages held unacknowledged at most; default 1,024, at most 4,096.
    pub fn max_unacked(&mut self, messages: u32) -> &mut Self {
        self.0.max_unacked = messages;
        self
    }

    /// Messages claimed ahead, at most 255; 1: none. Default: a few while the consumer is alone in its group.
    pub fn prefetch(&mut self, messages: u32) -> &mut Self {
        self.0.prefetch = messages;
        self
    }

    /// A consumer of the group of this name (1 to 255 bytes, any but NUL), which is made where there is none.
    ///
    /// # Errors
    /// [`Limit`](super::ErrorKind::Limit): 254 consumers a group, at least 64 groups, 1,024 handles.
    /// [`State`](super::ErrorKind::State): the channel is read-only. [`InvalidArgument`](super::ErrorKind::InvalidArgument).
    pub fn subscribe(&self, channel: &Channel, group: impl AsRef<[u8]>) -> Result<Consumer> {
        Ok(Consumer::new(channel.0.subscribe(Some(group.as_ref()), &self.0)?))
    }

    /// A consumer without a group: it sees every message and keeps nothing on disk.
    ///
    /// # Errors
    /// [`Limit`](super::ErrorKind::Limit), [`InvalidArgument`](super::ErrorKind::InvalidArgument).
    pub fn observe(&self, channel: &Channel) -> Result<Consumer> {
        Ok(Consumer::new(channel.0.subscribe(None, &self.0)?))
    }
}
