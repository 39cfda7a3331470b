//! An open channel.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::{
    waiting, Consumer, Error, GroupInfo, OpenOptions, Producer, Result, Retention,
    SubscribeOptions, VerifyInfo,
};
use crate::channel;
use crate::options::CHECKSUM_ON;

/// An open channel. It may be used by any number of threads; what is made from it stays usable when it is dropped.
///
/// ```
/// use disk_chan::blocking::Channel;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = Channel::open(&path)?;
/// channel.producer()?.send("hello")?;
/// assert_eq!(channel.info()?.messages, 1);
/// drop(channel);
/// Channel::destroy(&path)?;
/// assert!(!path.exists());
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
pub struct Channel(pub(super) channel::Channel);

/// A channel's figures: exact when nothing moves and nobody was killed amid a call.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let info = disk_chan::blocking::Channel::open(&path)?.info()?;
/// assert_eq!((info.page_size, info.max_pages), (16 << 20, 16));
/// assert_eq!(info.oldest, info.end); // it is empty
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Payload bytes of a page.
    pub page_size: u64,
    /// Pages kept at most; `u64::MAX`: no limit.
    pub max_pages: u64,
    /// Messages a page holds at most.
    pub max_messages_per_page: u64,
    /// Bytes of the largest message.
    pub max_message: u64,
    /// What happens when it is full.
    pub retention: Retention,
    /// Whether messages carry checksums.
    pub checksum: bool,
    /// Version of the format on disk.
    pub format_version: u64,
    /// Position at or before the oldest message kept.
    pub oldest: u64,
    /// Position after the newest message.
    pub end: u64,
    /// Everything before this position is on stable storage.
    pub durable: u64,
    /// Messages kept.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes of disk all files take.
    pub disk_bytes: u64,
    /// Live producers.
    pub producers: u64,
    /// Live consumers.
    pub consumers: u64,
    /// Sends of dead or stalled producers that were skipped.
    pub abandoned: u64,
    /// Machine crashes recovered from.
    pub recoveries: u64,
    /// Messages torn by a machine crash.
    pub discarded: u64,
    /// Whether an I/O failure made durability unknown.
    pub poisoned: bool,
}

impl Channel {
    /// Open the channel in the directory `path` as it is, or make it with the defaults; [`OpenOptions`] has the rest.
    ///
    /// # Errors
    /// As of [`OpenOptions::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Channel> {
        OpenOptions::new().open(path)
    }

    /// Remove the channel in `path`, and the directory where nothing else is in it.
    ///
    /// # Errors
    /// [`Busy`](super::ErrorKind::Busy): it is open somewhere. [`Format`](super::ErrorKind::Format): that is no channel; it
    /// stays as it is.
    ///
    /// ```
    /// use disk_chan::blocking::{Channel, ErrorKind};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = Channel::open(&path)?;
    /// assert_eq!(Channel::destroy(&path).unwrap_err().kind(), ErrorKind::Busy);
    /// drop(channel);
    /// Channel::destroy(&path)?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn destroy(path: impl AsRef<Path>) -> Result<()> {
        Ok(channel::Channel::destroy(path.as_ref())?)
    }

    /// Check every structure and every checksum of the channel in `path`, and change nothing.
    ///
    /// # Errors
    /// [`Format`](super::ErrorKind::Format), and what keeps it from being read. What is damaged is counted, no error.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use disk_chan::blocking::Channel;
    /// Channel::open(&path)?.producer()?.send("hello")?;
    /// let found = Channel::verify(&path)?;
    /// assert_eq!((found.messages, found.corrupt), (1, 0));
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn verify(path: impl AsRef<Path>) -> Result<VerifyInfo> {
        Ok(channel::Channel::verify(path.as_ref())?)
    }

    /// The directory it was opened as.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// assert_eq!(disk_chan::blocking::Channel::open(&path)?.path(), path);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A new producer.
    ///
    /// # Errors
    /// [`Limit`](super::ErrorKind::Limit): 1,024 handles live. [`State`](super::ErrorKind::State): the channel is
    /// read-only. What the operating system refuses, a full disk among it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// disk_chan::blocking::Channel::open(&path)?.producer()?.send("hello")?;
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn producer(&self) -> Result<Producer> {
        Ok(Producer(self.0.producer()?))
    }

    /// A consumer of the group of this name, with the defaults; [`SubscribeOptions`] has the rest.
    ///
    /// # Errors
    /// As of [`SubscribeOptions::subscribe`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let consumer = channel.subscribe("workers")?;
    /// assert_eq!(channel.groups()?, [b"workers"]);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn subscribe(&self, group: impl AsRef<[u8]>) -> Result<Consumer> {
        SubscribeOptions::new().subscribe(self, group)
    }

    /// A consumer that sees every message, from the oldest on.
    ///
    /// # Errors
    /// As of [`SubscribeOptions::observe`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("hello")?;
    /// assert_eq!(&channel.observe()?.recv()?[..], b"hello");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn observe(&self) -> Result<Consumer> {
        SubscribeOptions::new().observe(self)
    }

    /// The channel's figures.
    ///
    /// # Errors
    /// What keeps its files from being read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// assert_eq!(channel.info()?.messages, 0);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn info(&self) -> Result<ChannelInfo> {
        let i = self.0.stats()?;
        Ok(ChannelInfo {
            page_size: i.page_size,
            max_pages: i.max_pages,
            max_messages_per_page: i.max_messages_per_page,
            max_message: i.max_message,
            retention: Retention::from_code(i.retention),
            checksum: i.checksum == CHECKSUM_ON.into(),
            format_version: i.format_version,
            oldest: i.oldest,
            end: i.end,
            durable: i.durable,
            messages: i.messages,
            bytes: i.bytes,
            disk_bytes: i.disk_bytes,
            producers: i.producers,
            consumers: i.consumers,
            abandoned: i.abandoned,
            recoveries: i.recoveries,
            discarded: i.discarded,
            poisoned: i.poisoned != 0,
        })
    }

    /// The names of all groups, in the order of their bytes.
    ///
    /// # Errors
    /// What keeps the directory from being read.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.subscribe("b")?;
    /// channel.subscribe("a")?;
    /// assert_eq!(channel.groups()?, [b"a", b"b"]);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn groups(&self) -> Result<Vec<Vec<u8>>> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        // Bounded: the names ascend.
        loop {
            match self.0.group_next(all.last().map(Vec::as_slice)) {
                Ok(name) => all.push(name),
                Err(e) if e.code() == -libc::ENOENT => return Ok(all),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// A group's figures.
    ///
    /// # Errors
    /// [`Os`](super::ErrorKind::Os)`(ENOENT)`: there is no such group.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// let consumer = channel.subscribe("workers")?;
    /// channel.producer()?.send("job")?;
    /// let group = channel.group_info("workers")?;
    /// assert_eq!((group.consumers, group.lag), (1, 1));
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn group_info(&self, group: impl AsRef<[u8]>) -> Result<GroupInfo> {
        Ok(self.0.group_stats(group.as_ref())?)
    }

    /// Delete a group, and its place in the channel.
    ///
    /// # Errors
    /// [`Busy`](super::ErrorKind::Busy): it has consumers. [`Os`](super::ErrorKind::Os)`(ENOENT)`: there is no such group.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// drop(channel.subscribe("workers")?);
    /// channel.delete_group("workers")?;
    /// assert!(channel.groups()?.is_empty());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn delete_group(&self, group: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.group_delete(group.as_ref())?)
    }

    /// Put everything that was sent, and all acknowledgements, on stable storage.
    ///
    /// # Errors
    /// [`Timeout`](super::ErrorKind::Timeout), [`Poisoned`](super::ErrorKind::Poisoned), what the disk says.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("hello")?;
    /// channel.sync(None)?;
    /// let info = channel.info()?;
    /// assert_eq!(info.durable, info.end);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn sync(&self, timeout: Option<Duration>) -> Result<()> {
        waiting(timeout, |ms| self.0.sync(ms)).map_err(Error::new)
    }

    /// Do what the library's thread does, for a channel opened with [`OpenOptions::no_thread`]: wait for work, and do it.
    ///
    /// # Errors
    /// [`Timeout`](super::ErrorKind::Timeout): there was none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use disk_chan::blocking::{ErrorKind, OpenOptions};
    /// let channel = OpenOptions::new().no_thread(true).open(&path)?;
    /// let idle = channel.maintain(Some(std::time::Duration::ZERO)).unwrap_err();
    /// assert_eq!(idle.kind(), ErrorKind::Timeout);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn maintain(&self, timeout: Option<Duration>) -> Result<()> {
        waiting(timeout, |ms| self.0.maintain(ms)).map_err(Error::new)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.path()).finish()
    }
}

const _: fn() = || {
    fn both<T: Send + Sync>() {}
    both::<Channel>();
};
