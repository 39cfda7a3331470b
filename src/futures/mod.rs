//! The interface of the crate disk-chan 0.3.0, over this engine: futures that any executor polls.
//!
//! A future tries, without waiting; where there is nothing, it leaves its waker with its handle
//! (`channel::handles::task`) and is pending. No future owns a message or a place: dropping one loses nothing.

mod consumer;
mod producer;

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use crate::channel::Channel;
use crate::error::Result;
use crate::options::{Options, RETAIN_LIVE, UNLIMITED};
use crate::sync::Mutex;

pub use self::consumer::Consumer;
pub use self::producer::Producer;

/// The engine's limits; 0.3.0 took smaller pages, and a single one.
const PAGE_MIN: u64 = 64 << 10;
const PAGES_MIN: u64 = 2;
const PAGES_MAX: u64 = 1 << 32;

/// One open of a channel, with the consumers made from it.
struct Open {
    channel: Channel,
    consumers: Mutex<Vec<(usize, Weak<consumer::Shared>)>>,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Channel").field(&self.channel.path()).finish()
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A number of bytes: `u32` as in disk-chan 0.3.0, `usize` as its README has it, `u64`, or a literal.
///
/// ```
/// # fn main() -> std::io::Result<()> { pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// disk_chan::new(path.join("a"), 2_u32.pow(24), 16).await?;
/// disk_chan::new(path.join("b"), 2_usize.pow(24), 16).await?;
/// disk_chan::new(path.join("c"), 16 << 20, 16).await?;
/// # Ok(()) }) }
/// ```
pub trait PageSize: sealed::Sealed {
    #[doc(hidden)]
    fn bytes(self) -> io::Result<u64>;
}

macro_rules! page_sizes {
    ($($number:ty),*) => { $(
        impl sealed::Sealed for $number {}
        impl PageSize for $number {
            fn bytes(self) -> io::Result<u64> {
                u64::try_from(self).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
            }
        }
    )* };
}
// `i32` is what a literal is where several types would do.
page_sizes!(u32, usize, u64, i32);

/// Open the channel in the directory `path`, or make it (with the directories above it), and get a [`Producer`].
///
/// `page_size` is how many bytes of messages a page holds at most (65,535 messages is the other limit), `max_pages` how
/// many pages are kept; `usize::MAX` pages is no limit. At least 64 KiB and 2 pages are taken. A channel that exists keeps
/// what it was made with: other numbers are an error, and so is a directory with something else in it.
///
/// Where no group has a live consumer the channel is a ring: the oldest page goes when a new one is needed. What a live
/// consumer's group has not received is kept: [`send`](Producer::send) waits for room meanwhile.
///
/// Any number of processes may open the path, this one more than once; [`blocking`](crate::blocking) opens the same
/// channels.
///
/// ```
/// # fn main() -> std::io::Result<()> { pollster::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("channel");
/// let mut tx = disk_chan::new(&path, 2_usize.pow(24), 16).await?;
/// let rx = tx.subscribe(0).await?;
/// tx.send("hello").await?;
/// assert_eq!(rx.recv().await, Some(&b"hello"[..]));
/// # Ok(()) }) }
/// ```
///
/// # Errors
/// Those of [`blocking::OpenOptions::open`](crate::blocking::OpenOptions::open), as a [`std::io::Error`] with the
/// [`blocking::Error`](crate::blocking::Error) inside.
pub async fn new<P: AsRef<Path>>(
    path: P,
    page_size: impl PageSize,
    max_pages: usize,
) -> io::Result<Producer> {
    let max_pages = max_pages as u64;
    let options = Options {
        page_size: page_size.bytes()?.max(PAGE_MIN),
        max_pages: if max_pages > PAGES_MAX { UNLIMITED } else { max_pages.max(PAGES_MIN) },
        retention: RETAIN_LIVE,
        ..Options::default()
    };
    let path = path.as_ref();
    // As 0.3.0 does; where it fails, opening says why.
    if let Some(above) = path.parent() {
        let _ = std::fs::create_dir_all(above);
    }
    let channel = Channel::open(path, &options).map_err(failed)?;
    let open = Open { channel, consumers: Mutex::new(Vec::new()) };
    Producer::first(Arc::new(open)).map_err(failed)
}

/// A failure as users of 0.3.0 get it.
fn failed(e: crate::error::Error) -> io::Error {
    crate::blocking::Error::new(e).into()
}

impl Open {
    /// A consumer of a group by its number. Those of the group that claimed ahead while they were alone give that back.
    fn subscribe(self: &Arc<Self>, group: usize) -> Result<Consumer> {
        let consumer = Consumer::join(self.clone(), group)?;
        let mut all = self.consumers.lock();
        all.retain(|(_, c)| c.strong_count() > 0);
        let mates = all.iter().filter(|(g, _)| *g == group).filter_map(|(_, c)| c.upgrade());
        let mates: Vec<_> = mates.collect();
        all.push((group, consumer.downgrade()));
        drop(all);
        for mate in mates {
            mate.give_back_ahead()?;
        }
        Ok(consumer)
    }
}
