//! A received message.

use std::fmt;
use std::ops::Deref;

/// A received message: its bytes, where they lie. It borrows the consumer, which keeps the page.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let channel = disk_chan::blocking::Channel::open(&path)?;
/// channel.producer()?.send("hello")?;
/// let mut consumer = channel.subscribe("workers")?;
/// let message = consumer.recv()?;
/// assert_eq!(message.len(), 5); // it is a slice
/// assert_eq!((message.deliveries(), message.redelivered()), (1, false));
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) data: &'a [u8],
    pub(super) position: u64,
    pub(super) deliveries: u32,
}

impl<'a> Message<'a> {
    /// Its bytes, for as long as the consumer is borrowed.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("hello")?;
    /// let mut consumer = channel.observe()?;
    /// let bytes: &[u8] = consumer.recv()?.bytes();
    /// assert_eq!(bytes, b"hello");
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn bytes(self) -> &'a [u8] {
        self.data
    }

    /// Its position: what orders messages, and what [`Consumer::ack`] takes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send_batch(&["one", "two"], None)?;
    /// let mut consumer = channel.observe()?;
    /// let first = consumer.recv()?.position();
    /// assert!(first < consumer.recv()?.position());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How often it was handed to a consumer of the group, this time included.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("job")?;
    /// assert_eq!(channel.subscribe("workers")?.recv()?.deliveries(), 1);
    /// assert_eq!(channel.subscribe("workers")?.recv()?.deliveries(), 2);
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn deliveries(&self) -> u32 {
        self.deliveries
    }

    /// Whether it was handed out before, to somebody who did not acknowledge it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// let channel = disk_chan::blocking::Channel::open(&path)?;
    /// channel.producer()?.send("job")?;
    /// assert!(!channel.subscribe("workers")?.recv()?.redelivered());
    /// assert!(channel.subscribe("workers")?.recv()?.redelivered());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn redelivered(&self) -> bool {
        self.deliveries > 1
    }
}

impl Deref for Message<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.data
    }
}

impl AsRef<[u8]> for Message<'_> {
    fn as_ref(&self) -> &[u8] {
        self.data
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Message");
        all.field("position", &self.position).field("len", &self.data.len());
        all.field("deliveries", &self.deliveries).finish()
    }
}
