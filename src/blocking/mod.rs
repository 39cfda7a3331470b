//! The synchronous interface: calls that block, or do not wait, or wait for so long; borrowed messages; typed errors.
//!
//! A [`Channel`] is a directory. [`Producer`]s send to it, [`Consumer`]s receive from it: as members of a group, which share
//! its messages and keep their place on disk, or as observers, which see everything. Both may be in any number of threads
//! and processes.
//!
//! ```
//! use disk_chan::blocking::{Channel, OpenOptions, Retention};
//!
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("jobs");
//! let channel = OpenOptions::new().retention(Retention::Unread).open(&path)?;
//! let mut producer = channel.producer()?;
//! let mut consumer = channel.subscribe("workers")?;
//!
//! producer.send("hello")?;
//! let message = consumer.recv()?; // waits; recv_timeout and try_recv do not
//! assert_eq!(&message[..], b"hello");
//! assert_eq!(message.deliveries(), 1);
//! # Ok::<(), disk_chan::blocking::Error>(())
//! ```
//!
//! # Messages are borrowed
//!
//! A message lies in its page and is not copied. The page stays, unchanged, until the consumer goes on to the next one, so a
//! [`Message`] borrows the consumer. [`Consumer::recv`] goes from page to page by itself, and a message ends with the
//! next call. With [`Consumer::page`] and [`Consumer::next_page`] you say when, and hold as many as you like until then:
//!
//! ```compile_fail,E0502
//! # fn f(mut consumer: disk_chan::blocking::Consumer) -> disk_chan::blocking::Result<()> {
//! let kept: Vec<_> = consumer.page(None).collect::<Result<_, _>>()?;
//! consumer.next_page()?; // error: `consumer` is still borrowed by the messages
//! println!("{}", kept.len());
//! # Ok(()) }
//! ```
//!
//! # Timeouts
//!
//! `None` waits for ever, `Some(Duration::ZERO)` does not wait; a timeout that passes is [`ErrorKind::Timeout`]. Signal
//! handlers do not end a wait; an [`Interrupter`] does, from another thread or from such a handler.

mod channel;
mod consumer;
mod error;
mod events;
mod iterators;
mod message;
mod options;
mod producer;

use std::time::{Duration, Instant};

pub use self::channel::{Channel, ChannelInfo};
pub use self::consumer::Consumer;
pub use self::error::{Error, ErrorKind, Result};
pub use self::events::{Events, Interrupter};
pub use self::iterators::{Page, Vecs};
pub use self::message::Message;
pub use self::options::{Ack, Durability, OpenOptions, Retention, Start, SubscribeOptions};
pub use self::producer::{Producer, Slot};
pub use crate::options::{ConsumerInfo, GroupInfo, VerifyInfo};

use crate::error as codes;

/// Call what takes a timeout in milliseconds until it is done or the timeout has passed, whatever signals come.
#[inline]
fn waiting<T>(
    timeout: Option<Duration>,
    mut call: impl FnMut(i32) -> codes::Result<T>,
) -> codes::Result<T> {
    match timeout {
        // Nearly always there is something, and nobody needs to look at a clock.
        Some(_) => match call(0) {
            Err(e) if e.code() == codes::DC_AGAIN && timeout != Some(Duration::ZERO) => {}
            done => return done,
        },
        None => match call(-1) {
            Err(e) if e.code() == -libc::EINTR => {}
            done => return done,
        },
    }
    let end = timeout.and_then(|t| Instant::now().checked_add(t));
    // Bounded by the timeout.
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let ms = left.map_or(-1, |left| left.as_nanos().div_ceil(1_000_000).min(1 << 30) as i32);
        match call(ms) {
            Err(e) if e.code() == -libc::EINTR => {}
            Err(e) if e.code() == codes::DC_AGAIN && ms != 0 => {}
            done => return done,
        }
    }
}
