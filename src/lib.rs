//! disk_chan: an on-disk, memory-mapped, crash-safe multi-producer multi-consumer channel.
//!
//! A channel is a directory that any number of processes open at once. A message's journey follows the
//! modules: [`Producer`] claims a place in a page (`engine::page`), writes it and publishes it; pages
//! come and go (`channel`); a [`Consumer`] finds it by its group's cursor (`engine::cursor`) and
//! receives it where it lies. `docs/CONCURRENCY.md` has the protocols, `docs/FORMAT.md` the bytes.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("disk_chan runs on 64-bit little-endian Linux");

mod channel;
mod consumer;
mod engine;
pub mod error;
mod ffi;
mod layout;
pub mod options;
mod producer;
mod recover;
mod sync;
mod sys;

pub use channel::handles::Interrupter;
pub use channel::Channel;
pub use consumer::Consumer;
pub use error::{Error, Result};
pub use options::{
    ChannelInfo, ConsumerInfo, GroupInfo, Message, Options, Received, SubscribeOptions, VerifyInfo,
};
pub use producer::Producer;
