//! One error type: what kind of failure, and a sentence about it.

use std::fmt;
use std::io;

use crate::error as codes;

/// The result of every call of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed: its [kind](Error::kind), and a sentence with path, values and remedy.
///
/// Expected outcomes ([`ErrorKind::Timeout`], [`ErrorKind::Lagged`]) cost no memory.
///
/// ```
/// use disk_chan::blocking::{ErrorKind, OpenOptions};
///
/// let missing = OpenOptions::new().existing(true).open("/nowhere/at/all").unwrap_err();
/// assert_eq!(missing.kind(), ErrorKind::Os(2)); // ENOENT
/// assert!(missing.to_string().contains("/nowhere/at/all"));
/// // As an error of the standard library:
/// assert_eq!(std::io::Error::from(missing).kind(), std::io::ErrorKind::NotFound);
/// ```
#[derive(Clone)]
pub struct Error {
    code: i32,
    position: u64,
    text: Option<Box<str>>,
}

/// What kind of failure an [`Error`] is. More kinds may come.
///
/// ```
/// use disk_chan::blocking::{Channel, ErrorKind};
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("channel");
/// let mut consumer = Channel::open(&path)?.subscribe("workers")?;
/// assert_eq!(consumer.try_recv().unwrap_err().kind(), ErrorKind::Timeout);
/// # Ok::<(), disk_chan::blocking::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No message, or no room, within the timeout. Try again.
    Timeout,
    /// Retention dropped messages this consumer had not read: told once a gap, before the first message after it.
    /// Nothing is wrong with the consumer; receive again.
    Lagged,
    /// [`Interrupter::interrupt`](super::Interrupter::interrupt) ended the wait.
    Interrupted,
    /// An option or a size is out of range, or does not go with another.
    InvalidArgument,
    /// The message can never fit a page of this channel: see
    /// [`ChannelInfo::max_message`](super::ChannelInfo::max_message).
    TooBig,
    /// What lies on disk contradicts itself or its checksum. From a receive: that one message is skipped,
    /// [`Error::position`] says which; receive again.
    Corrupt,
    /// Not a channel, or a format this version does not know.
    Format,
    /// The channel exists with other options than those asked for.
    Mismatch,
    /// A documented limit is reached: handles, groups, unacknowledged messages.
    Limit,
    /// An exclusive operation while others use the channel or the group.
    Busy,
    /// The handle was inherited across `fork`: open the channel anew in the child.
    Forked,
    /// An I/O failure made durability unknown, for every process. Receiving goes on; sending works again once all have
    /// closed and reopened the channel.
    Poisoned,
    /// The call does not fit the handle: acknowledging as an observer, sending on a read-only channel.
    State,
    /// The file system or the kernel lacks what is needed, or the options forbid it.
    Unsupported,
    /// What the operating system refused, by its `errno`.
    Os(i32),
    /// A bug in this library.
    Internal,
}

impl Error {
    /// Take over a failure of this thread, with its sentence.
    pub(crate) fn new(e: codes::Error) -> Error {
        Error::at(e, 0)
    }

    pub(crate) fn at(e: codes::Error, position: u64) -> Error {
        let silent = matches!(e.code(), codes::DC_AGAIN | codes::DC_LAGGED)
            || e.code() == -libc::ECANCELED
            || e.code() == -libc::EINTR;
        let text = (!silent).then(|| e.text().into_boxed_str()).filter(|t| !t.is_empty());
        Error { code: e.code(), position, text }
    }

    pub(crate) fn lagged() -> Error {
        Error::new(codes::Error::silent(codes::DC_LAGGED))
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        use ErrorKind::*;
        match self.code {
            codes::DC_AGAIN => Timeout,
            codes::DC_LAGGED => Lagged,
            codes::DC_E_ARGUMENT => InvalidArgument,
            codes::DC_E_TOO_BIG => TooBig,
            codes::DC_E_CORRUPT => Corrupt,
            codes::DC_E_FORMAT => Format,
            codes::DC_E_MISMATCH => Mismatch,
            codes::DC_E_LIMIT => Limit,
            codes::DC_E_BUSY => Busy,
            codes::DC_E_FORKED => Forked,
            codes::DC_E_POISONED => Poisoned,
            codes::DC_E_STATE => State,
            codes::DC_E_UNSUPPORTED => Unsupported,
            c if c == -libc::ECANCELED => Interrupted,
            c if (-4096..0).contains(&c) => Os(-c),
            _ => Internal,
        }
    }

    /// The code of the C interface: a constant `DC_…`, or a negative `errno`.
    pub fn code(&self) -> i32 {
        self.code
    }

    /// Of a receive that is [`ErrorKind::Corrupt`]: the position of the message that was skipped.
    pub fn position(&self) -> Option<u64> {
        (self.position != 0).then_some(self.position)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or(codes::describe(self.code)))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}): {self}", self.kind(), self.code)
    }
}

impl std::error::Error for Error {}

impl From<codes::Error> for Error {
    fn from(e: codes::Error) -> Error {
        Error::new(e)
    }
}

/// With the kind that fits, and this error inside.
impl From<Error> for io::Error {
    fn from(e: Error) -> io::Error {
        let kind = match e.kind() {
            ErrorKind::Timeout => io::ErrorKind::WouldBlock,
            ErrorKind::Interrupted => io::ErrorKind::Interrupted,
            ErrorKind::InvalidArgument | ErrorKind::TooBig | ErrorKind::Mismatch => {
                io::ErrorKind::InvalidInput
            }
            ErrorKind::Corrupt | ErrorKind::Format => io::ErrorKind::InvalidData,
            ErrorKind::Busy => io::ErrorKind::ResourceBusy,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Os(errno) => io::Error::from_raw_os_error(errno).kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
