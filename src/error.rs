//! One error: a code of the C ABI, and a sentence about it.
//!
//! The code travels in the `Result`; the sentence is kept in a fixed buffer of the failing thread,
//! so that failing needs no memory and a result on the hot path stays one register wide.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroI32;

/// The result of every call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Success.
pub const DC_OK: i32 = 0;
/// This consumer has read its whole page.
pub const DC_END_OF_PAGE: i32 = 1;
/// Retention dropped messages this consumer had not read.
pub const DC_LAGGED: i32 = 2;
/// No message, or no room, within the timeout.
pub const DC_AGAIN: i32 = -4097;
/// NULL where not allowed, an unknown flag, a size out of range.
pub const DC_E_ARGUMENT: i32 = -4098;
/// The message can never fit a page of this channel.
pub const DC_E_TOO_BIG: i32 = -4099;
/// What lies on disk contradicts itself or its checksum.
pub const DC_E_CORRUPT: i32 = -4100;
/// Not a channel, or a format this library does not know.
pub const DC_E_FORMAT: i32 = -4101;
/// The channel exists with other options than those asked for.
pub const DC_E_MISMATCH: i32 = -4102;
/// A documented limit is reached.
pub const DC_E_LIMIT: i32 = -4103;
/// An exclusive operation while others use the channel or group.
pub const DC_E_BUSY: i32 = -4104;
/// The handle was inherited across `fork`.
pub const DC_E_FORKED: i32 = -4105;
/// An I/O failure made durability unknown, for every process.
pub const DC_E_POISONED: i32 = -4106;
/// The call does not fit the state of the handle.
pub const DC_E_STATE: i32 = -4107;
/// The file system or the kernel lacks what is needed.
pub const DC_E_UNSUPPORTED: i32 = -4108;
/// A bug in the library.
pub const DC_E_INTERNAL: i32 = -4109;

/// Bytes kept of a sentence; longer ones (a very long path) are cut at a character boundary.
const TEXT_MAX: usize = 1024;

/// Why a call failed: its code. [`Error::text`] gives the sentence while this thread has not failed again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error(NonZeroI32);

impl Error {
    /// An error that sets no sentence ([`DC_AGAIN`] and other expected outcomes).
    #[inline]
    pub const fn silent(code: i32) -> Error {
        match NonZeroI32::new(code) {
            Some(code) => Error(code),
            None => Error(NonZeroI32::MIN),
        }
    }

    /// An error with its sentence, kept as this thread's last failure.
    #[cold]
    pub fn with(code: i32, text: fmt::Arguments<'_>) -> Error {
        set_text(text);
        Error::silent(code)
    }

    /// What the operating system refused: `-errno`, and a sentence that ends with its reason.
    #[cold]
    pub fn os(errno: i32, what: fmt::Arguments<'_>) -> Error {
        let code = if errno > 0 { -errno } else { DC_E_INTERNAL };
        Error::with(code, format_args!("{what}: {}", describe(code)))
    }

    /// The code, never 0.
    #[inline]
    pub const fn code(self) -> i32 {
        self.0.get()
    }

    /// The sentence of this thread's last failure: this error's own, when it is the last one.
    pub fn text(self) -> String {
        let mut text = String::new();
        with_text(|t| text.push_str(&String::from_utf8_lossy(t)));
        text
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", name(self.code()), self.code(), self.text())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(describe(self.code()))
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        match e.code() {
            c if (-4096..0).contains(&c) => std::io::Error::from_raw_os_error(-c),
            DC_AGAIN => std::io::ErrorKind::WouldBlock.into(),
            _ => std::io::Error::other(e),
        }
    }
}

/// Make an [`Error`] and set its sentence.
macro_rules! fail {
    ($code:expr, $($text:tt)+) => { $crate::error::Error::with($code, format_args!($($text)+)) };
}
pub(crate) use fail;

struct Text {
    bytes: [u8; TEXT_MAX],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = TEXT_MAX - 1 - self.len;
        let mut n = s.len().min(room);
        while !s.is_char_boundary(n) {
            n -= 1;
        }
        // One byte is kept for the terminating NUL.
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        self.bytes[self.len] = 0;
        Ok(())
    }
}

thread_local! {
    static TEXT: RefCell<Text> = const { RefCell::new(Text { bytes: [0; TEXT_MAX], len: 0 }) };
}

fn set_text(text: fmt::Arguments<'_>) {
    // A failure inside a failure's formatting, or after the thread's end, has nowhere to go.
    let _ = TEXT.try_with(|t| {
        if let Ok(mut t) = t.try_borrow_mut() {
            t.len = 0;
            t.bytes[0] = 0;
            let _ = fmt::write(&mut *t, text);
        }
    });
}

fn with_text<R>(f: impl FnOnce(&[u8]) -> R) -> Option<R> {
    TEXT.try_with(|t| t.try_borrow().ok().map(|t| f(&t.bytes[..t.len]))).ok().flatten()
}

/// The NUL-terminated sentence of this thread's last failure (empty before the first), valid until
/// its next failure.
pub(crate) fn last_text_ptr() -> *const std::ffi::c_char {
    TEXT.try_with(|t| t.try_borrow().map(|t| t.bytes.as_ptr().cast()).unwrap_or(c"".as_ptr()))
        .unwrap_or(c"".as_ptr())
}

const NAMED: &[(i32, &std::ffi::CStr, &std::ffi::CStr)] = &[
    (DC_OK, c"DC_OK", c"success"),
    (DC_END_OF_PAGE, c"DC_END_OF_PAGE", c"the page is read to its end: call dc_next_page"),
    (DC_LAGGED, c"DC_LAGGED", c"retention dropped messages this consumer had not read"),
    (DC_AGAIN, c"DC_AGAIN", c"no message, or no room, within the timeout"),
    (DC_E_ARGUMENT, c"DC_E_ARGUMENT", c"invalid argument"),
    (DC_E_TOO_BIG, c"DC_E_TOO_BIG", c"the message can never fit a page of this channel"),
    (DC_E_CORRUPT, c"DC_E_CORRUPT", c"the data on disk contradicts itself or its checksum"),
    (DC_E_FORMAT, c"DC_E_FORMAT", c"not a channel, or a format this library does not know"),
    (DC_E_MISMATCH, c"DC_E_MISMATCH", c"the channel exists with other options"),
    (DC_E_LIMIT, c"DC_E_LIMIT", c"a documented limit is reached"),
    (DC_E_BUSY, c"DC_E_BUSY", c"in use by others"),
    (DC_E_FORKED, c"DC_E_FORKED", c"the handle was inherited across fork: open the channel anew"),
    (DC_E_POISONED, c"DC_E_POISONED", c"an I/O failure made durability unknown: close and reopen"),
    (DC_E_STATE, c"DC_E_STATE", c"the call does not fit the state of the handle"),
    (DC_E_UNSUPPORTED, c"DC_E_UNSUPPORTED", c"the file system or the kernel lacks what is needed"),
    (DC_E_INTERNAL, c"DC_E_INTERNAL", c"a bug in the library"),
];

/// The constant's name of a private code, if it is one.
pub(crate) fn private_name(code: i32) -> Option<&'static std::ffi::CStr> {
    NAMED.iter().find(|n| n.0 == code).map(|n| n.1)
}

/// The static description of a private code, if it is one.
pub(crate) fn private_text(code: i32) -> Option<&'static std::ffi::CStr> {
    NAMED.iter().find(|n| n.0 == code).map(|n| n.2)
}

fn name(code: i32) -> &'static str {
    private_name(code).and_then(|n| n.to_str().ok()).unwrap_or("-errno")
}

/// A static description of any code.
pub(crate) fn describe(code: i32) -> &'static str {
    match private_text(code).and_then(|t| t.to_str().ok()) {
        Some(text) => text,
        None if (-4096..0).contains(&code) => crate::sys::errno::text(-code),
        None => "unknown code",
    }
}
