//! The operating system, knowing nothing of channels: files, locks, maps, sleeping, forking.
//!
//! Each file wraps one thing that Linux offers, says what it guarantees when a process is killed,
//! forked or interrupted there, and returns a plain errno ([`errno::Os`]): the caller knows what it
//! was doing and writes the sentence.

pub(crate) mod alloc;
pub(crate) mod clock;
pub(crate) mod dir;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod fs;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod random;
pub(crate) mod sigbus;
pub(crate) mod thread;
