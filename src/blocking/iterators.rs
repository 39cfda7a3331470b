//! Messages one after the other.

use std::time::Duration;

use super::{Consumer, Message, Result};
use crate::error::DC_AGAIN;

/// The messages of a page: see [`Consumer::page`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// use std::time::Duration;
/// let channel = disk_chan::blocking::Channel::open(&path)?;
/// channel.producer()?.send_batch(&["one", "two"], None)?;
/// let consumer = channel.subscribe("workers")?;
/// let mut bytes = 0;
/// for message in consumer.page(Some(Duration::ZERO)) {
///     bytes += message?.len();
/// }
/// assert_eq!(bytes, 6);
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Debug)]
pub struct Page<'a> {
    pub(super) consumer: &'a Consumer,
    pub(super) timeout: Option<Duration>,
    pub(super) over: bool,
}

impl Page<'_> {
    /// Whether the page was read to its end: [`Consumer::next_page`] is due.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("channel");
    /// use disk_chan::blocking::OpenOptions;
    /// use std::time::Duration;
    /// let channel = OpenOptions::new().max_messages_per_page(2).open(&path)?;
    /// channel.producer()?.send_batch(&["one", "two", "three"], None)?;
    /// let consumer = channel.subscribe("workers")?;
    /// let mut page = consumer.page(Some(Duration::ZERO));
    /// assert_eq!(page.by_ref().count(), 2);
    /// assert!(page.is_over());
    /// # Ok::<(), disk_chan::blocking::Error>(())
    /// ```
    pub fn is_over(&self) -> bool {
        self.over
    }
}

impl<'a> Iterator for Page<'a> {
    type Item = Result<Message<'a>>;
    fn next(&mut self) -> Option<Result<Message<'a>>> {
        match self.consumer.receive(self.timeout) {
            Ok(Some(message)) => Some(Ok(message)),
            Ok(None) => {
                self.over = true;
                None
            }
            Err(e) if e.code() == DC_AGAIN => None,
            Err(e) => Some(Err(e)),
        }
    }
}

/// Messages as vectors of their own: see [`Consumer::vecs`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// use std::time::Duration;
/// let channel = disk_chan::blocking::Channel::open(&path)?;
/// channel.producer()?.send("hello")?;
/// for message in channel.observe()?.vecs(Some(Duration::ZERO)) {
///     assert_eq!(message?, b"hello");
/// }
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Debug)]
pub struct Vecs<'a> {
    pub(super) consumer: &'a mut Consumer,
    pub(super) timeout: Option<Duration>,
}

impl Iterator for Vecs<'_> {
    type Item = Result<Vec<u8>>;
    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        match self.consumer.receive_on(self.timeout) {
            Ok(message) => Some(Ok(message.to_vec())),
            Err(e) if e.code() == DC_AGAIN => None,
            Err(e) => Some(Err(e)),
        }
    }
}
