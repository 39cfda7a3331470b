//! disk_chan: an on-disk, memory-mapped, crash-safe channel for many producers and consumers in many processes.
//!
//! A channel is a directory that any number of processes open at once. What was sent survives the crash of every process,
//! and of the machine where you ask for it. Messages are received where they lie, without a copy; sending and receiving take
//! no lock and no system call while messages flow.
//!
//! There are two interfaces, over the same channels, which may be mixed, and used beside the C one
//! (`include/disk_chan.h`):
//!
//! * [`new`], [`Producer`], [`Consumer`]: those of the crate disk-chan 0.3.0, whose programs compile and run as they are.
//!   Their futures need no particular executor.
//! * [`blocking`]: everything that the engine can do, synchronously.
//!
//! ```
//! # fn main() -> std::io::Result<()> { pollster::block_on(async {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("channel");
//! let mut tx = disk_chan::new(&path, 2_usize.pow(24), 16).await?;
//! let mut rx = tx.subscribe(0).await?;
//! tx.send("test message").await?;
//! loop {
//!     match rx.recv().await {
//!         Some(message) => break assert_eq!(message, b"test message"),
//!         None => rx.next_page().await?,
//!     }
//! }
//!
//! // The same channel, by the other interface.
//! let channel = disk_chan::blocking::Channel::open(&path)?;
//! assert_eq!(&channel.observe()?.recv()?[..], b"test message");
//! # Ok(()) }) }
//! ```
//!
//! Linux, 64-bit, little-endian. `docs/` has what to choose and what to expect; `docs/CONCURRENCY.md` the protocols,
//! `docs/FORMAT.md` the bytes.

// A message's journey follows the modules: a producer claims a place in a page (`engine::page`), writes it and publishes it;
// pages come and go (`channel`); a consumer finds it by its group's cursor (`engine::cursor`) and receives it where it lies.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("disk_chan runs on 64-bit little-endian Linux");

pub mod blocking;
mod channel;
mod consumer;
mod engine;
#[doc(hidden)]
pub mod error;
mod ffi;
mod futures;
mod layout;
#[doc(hidden)]
pub mod options;
mod producer;
mod recover;
mod sync;
mod sys;

pub use futures::{new, Consumer, PageSize, Producer};

/// The engine as the C interface has it: codes, integers, pointers. For this repository's own programs; it may change
/// with any version.
#[doc(hidden)]
pub mod raw {
    pub use crate::channel::handles::Interrupter;
    pub use crate::channel::Channel;
    pub use crate::consumer::Consumer;
    pub use crate::error::{self, Error, Result};
    pub use crate::options::{
        self, ChannelInfo, ConsumerInfo, GroupInfo, Message, Options, Received, SubscribeOptions,
        VerifyInfo,
    };
    pub use crate::producer::Producer;
}
