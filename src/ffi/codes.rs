//! Return codes, and what turns them into words.

use super::errno;
use crate::error;
use std::ffi::{c_char, c_int};

/// RETURN CODES. Success: what was asked happened.
pub const DC_OK: i32 = 0;

/// Positive, from receiving calls only: this consumer has read its whole page. Call dc_next_page
/// when you no longer need this page's messages, and receive again. (Never under
/// DC_AUTO_NEXT_PAGE.)
pub const DC_END_OF_PAGE: i32 = 1;

/// Positive, from receiving calls only: retention dropped messages that this consumer (or its
/// group) had not read. Returned once per gap, before the first message after it; the number is in
/// the stats as `lost`. Receive again; to lose nothing, see DC_RETAIN_LIVE and DC_RETAIN_UNREAD.
pub const DC_LAGGED: i32 = 2;

/// No message, no room, or nothing to do within the timeout. Try again, wait longer, or wait for
/// the handle's fd. Never the operating system's EAGAIN; sets no error text.
pub const DC_AGAIN: i32 = -4097;

/// An argument that is always wrong: NULL where that is not allowed, an unknown flag, a size or
/// timeout out of range, a struct whose size is 0. dc_last_error() names it. Correct the program.
pub const DC_E_ARGUMENT: i32 = -4098;

/// The message can never fit a page of this channel; nothing was changed. `max_message` of
/// dc_channel_info says what fits. Split the message, or make a channel with larger pages.
pub const DC_E_TOO_BIG: i32 = -4099;

/// What lies on disk contradicts itself or its checksum. From dc_recv: that one message is skipped,
/// its `position` is set and `data` is NULL; the next call goes on behind it. From other calls:
/// dc_last_error() names the place, dc_verify the extent; restore the channel, or remove it.
pub const DC_E_CORRUPT: i32 = -4100;

/// Not a channel (a file, a foreign directory), or a format version or feature that this library
/// does not know. Nothing was created or changed. Check the path; use a newer library.
pub const DC_E_FORMAT: i32 = -4101;

/// The channel exists with other options than those asked for; dc_last_error() says which, and both
/// values. Leave that option 0 to adopt what is stored, or dc_destroy the channel first.
pub const DC_E_MISMATCH: i32 = -4102;

/// A documented limit is reached: participants, groups, handles, or `max_unacked` (acknowledge some
/// of what the handle holds). For the others close what is not needed.
pub const DC_E_LIMIT: i32 = -4103;

/// An exclusive operation (destroy a channel, delete or seek a group) while others use it: close the
/// other handles, in every process, and repeat. From any other call: a program that is no user of
/// the channel has locked or replaced one of its files; end it.
pub const DC_E_BUSY: i32 = -4104;

/// The handle was inherited across fork. Close it (which only frees memory there) and open the
/// channel anew in the child.
pub const DC_E_FORKED: i32 = -4105;

/// An I/O failure (a failed flush, a lost mapping) made durability unknown, for every process that
/// has the channel open. Receiving goes on. Sending works again once all have closed the channel
/// and opened it again. From a durable send: whether that message was sent is unknown.
pub const DC_E_POISONED: i32 = -4106;

/// The call does not fit the handle as it is: a commit without a reservation, a send during one, a
/// producer on a read-only channel, an acknowledgement by an observer. Correct the program.
pub const DC_E_STATE: i32 = -4107;

/// A network file system, two kernels sharing the directory, a kernel without what is needed, or an
/// fd under DC_NO_THREAD. dc_last_error() says which. Move the channel to a local file system.
pub const DC_E_UNSUPPORTED: i32 = -4108;

/// A bug in this library, caught before it reached your program. Close the handle; please report
/// it.
pub const DC_E_INTERNAL: i32 = -4109;

const _: () = assert!(
    DC_OK == error::DC_OK
        && DC_END_OF_PAGE == error::DC_END_OF_PAGE
        && DC_LAGGED == error::DC_LAGGED
        && DC_AGAIN == error::DC_AGAIN
        && DC_E_ARGUMENT == error::DC_E_ARGUMENT
        && DC_E_TOO_BIG == error::DC_E_TOO_BIG
        && DC_E_CORRUPT == error::DC_E_CORRUPT
        && DC_E_FORMAT == error::DC_E_FORMAT
        && DC_E_MISMATCH == error::DC_E_MISMATCH
        && DC_E_LIMIT == error::DC_E_LIMIT
        && DC_E_BUSY == error::DC_E_BUSY
        && DC_E_FORKED == error::DC_E_FORKED
        && DC_E_POISONED == error::DC_E_POISONED
        && DC_E_STATE == error::DC_E_STATE
        && DC_E_UNSUPPORTED == error::DC_E_UNSUPPORTED
        && DC_E_INTERNAL == error::DC_E_INTERNAL,
    "the header and the crate give different codes"
);

/// What a code means, in a few words; -errno codes included ("No space left on device").
///
/// The text is static: never NULL, never freed; a number that is no code gives "unknown code". Any
/// thread, never blocks, cannot fail. For what went wrong in this case, see dc_last_error().
#[no_mangle]
pub extern "C" fn dc_strerror(code: c_int) -> *const c_char {
    match error::private_text(code) {
        Some(text) => text.as_ptr(),
        None if errno::is_errno(code) => crate::sys::errno::text_c(-code).as_ptr(),
        None => c"unknown code".as_ptr(),
    }
}

/// The name of a code's constant: "DC_E_TOO_BIG", or "ENOSPC" for -ENOSPC.
///
/// The text is static: never NULL, never freed; a number that is no code gives "unknown". Any
/// thread, never blocks, cannot fail.
#[no_mangle]
pub extern "C" fn dc_error_name(code: c_int) -> *const c_char {
    match error::private_name(code) {
        Some(name) => name.as_ptr(),
        None if errno::is_errno(code) => errno::name(-code).unwrap_or(c"unknown").as_ptr(),
        None => c"unknown".as_ptr(),
    }
}

/// This thread's last failure, in one sentence: which call, path, values, and what to do.
///
/// Never NULL; empty before the first failure. Owned by the library and valid until this thread's
/// next failure or its end: copy it to keep it. A success leaves it as it is, and so do DC_AGAIN,
/// the -ENOENT that ends dc_group_next, and whatever dc_interrupt returns: look only after another
/// negative code. Never blocks, cannot fail.
#[no_mangle]
pub extern "C" fn dc_last_error() -> *const c_char {
    error::last_text_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(p: *const c_char) -> &'static str {
        // SAFETY: every pointer here comes from a static C string.
        unsafe { CStr::from_ptr(p) }.to_str().unwrap()
    }

    #[test]
    fn every_number_has_words() {
        assert_eq!(text(dc_error_name(DC_E_TOO_BIG)), "DC_E_TOO_BIG");
        assert_eq!(text(dc_error_name(DC_OK)), "DC_OK");
        assert_eq!(text(dc_error_name(-libc::ENOSPC)), "ENOSPC");
        assert_eq!(text(dc_error_name(-libc::EAGAIN)), "EAGAIN");
        assert_eq!(text(dc_strerror(-libc::ENOSPC)), "No space left on device");
        for code in [3, -4095, -4096, -5000, i32::MAX, i32::MIN] {
            assert_eq!(text(dc_error_name(code)), "unknown", "{code}");
            assert!(!text(dc_strerror(code)).is_empty(), "{code}");
        }
        for code in -133..0 {
            assert!(!text(dc_strerror(code)).is_empty(), "{code}");
        }
    }
}
