//! Errno numbers and their English: static, since a failure's text must need no memory.

use std::ffi::{c_int, CStr};

/// The result of a call into the system: `Err` holds the errno, positive.
pub type Os<T> = Result<T, i32>;

/// The errno of this thread.
pub fn last() -> i32 {
    // SAFETY: points to this thread's errno, valid as long as the thread.
    unsafe { *libc::__errno_location() }
}

/// Give this thread's errno a value: what signal-safe functions do before they return.
pub fn set(errno: i32) {
    // SAFETY: as in `last`.
    unsafe { *libc::__errno_location() = errno };
}

/// Call `f` until it is not interrupted by a signal; -1 becomes errno. Not bounded: every caller's
/// `f` is a short, non-waiting system call, which only a signal storm could interrupt for ever.
pub fn retry(mut f: impl FnMut() -> c_int) -> Os<c_int> {
    loop {
        match f() {
            -1 if last() == libc::EINTR => continue,
            -1 => return Err(last()),
            n => return Ok(n),
        }
    }
}

/// As [`retry`], of calls that return a byte count.
pub fn retry_len(mut f: impl FnMut() -> isize) -> Os<usize> {
    loop {
        match f() {
            n if n >= 0 => return Ok(n as usize),
            _ if last() == libc::EINTR => continue,
            _ => return Err(last()),
        }
    }
}

/// The text of an errno, as `strerror` has it in the C locale.
pub fn text(errno: i32) -> &'static str {
    text_c(errno).to_str().unwrap_or("unknown error")
}

/// As [`text`], NUL-terminated.
pub fn text_c(errno: i32) -> &'static CStr {
    TEXTS.iter().find(|t| t.0 == errno).map_or(c"unknown error", |t| t.1)
}

// By name and not by number: a few architectures number some of them differently.
const TEXTS: &[(i32, &CStr)] = &[
    (libc::EPERM, c"Operation not permitted"),
    (libc::ENOENT, c"No such file or directory"),
    (libc::ESRCH, c"No such process"),
    (libc::EINTR, c"Interrupted system call"),
    (libc::EIO, c"Input/output error"),
    (libc::ENXIO, c"No such device or address"),
    (libc::E2BIG, c"Argument list too long"),
    (libc::ENOEXEC, c"Exec format error"),
    (libc::EBADF, c"Bad file descriptor"),
    (libc::ECHILD, c"No child processes"),
    (libc::EAGAIN, c"Resource temporarily unavailable"),
    (libc::ENOMEM, c"Cannot allocate memory"),
    (libc::EACCES, c"Permission denied"),
    (libc::EFAULT, c"Bad address"),
    (libc::ENOTBLK, c"Block device required"),
    (libc::EBUSY, c"Device or resource busy"),
    (libc::EEXIST, c"File exists"),
    (libc::EXDEV, c"Invalid cross-device link"),
    (libc::ENODEV, c"No such device"),
    (libc::ENOTDIR, c"Not a directory"),
    (libc::EISDIR, c"Is a directory"),
    (libc::EINVAL, c"Invalid argument"),
    (libc::ENFILE, c"Too many open files in system"),
    (libc::EMFILE, c"Too many open files"),
    (libc::ENOTTY, c"Inappropriate ioctl for device"),
    (libc::ETXTBSY, c"Text file busy"),
    (libc::EFBIG, c"File too large"),
    (libc::ENOSPC, c"No space left on device"),
    (libc::ESPIPE, c"Illegal seek"),
    (libc::EROFS, c"Read-only file system"),
    (libc::EMLINK, c"Too many links"),
    (libc::EPIPE, c"Broken pipe"),
    (libc::EDOM, c"Numerical argument out of domain"),
    (libc::ERANGE, c"Numerical result out of range"),
    (libc::EDEADLK, c"Resource deadlock avoided"),
    (libc::ENAMETOOLONG, c"File name too long"),
    (libc::ENOLCK, c"No locks available"),
    (libc::ENOSYS, c"Function not implemented"),
    (libc::ENOTEMPTY, c"Directory not empty"),
    (libc::ELOOP, c"Too many levels of symbolic links"),
    (libc::ENOMSG, c"No message of desired type"),
    (libc::EIDRM, c"Identifier removed"),
    (libc::ECHRNG, c"Channel number out of range"),
    (libc::EL2NSYNC, c"Level 2 not synchronized"),
    (libc::EL3HLT, c"Level 3 halted"),
    (libc::EL3RST, c"Level 3 reset"),
    (libc::ELNRNG, c"Link number out of range"),
    (libc::EUNATCH, c"Protocol driver not attached"),
    (libc::ENOCSI, c"No CSI structure available"),
    (libc::EL2HLT, c"Level 2 halted"),
    (libc::EBADE, c"Invalid exchange"),
    (libc::EBADR, c"Invalid request descriptor"),
    (libc::EXFULL, c"Exchange full"),
    (libc::ENOANO, c"No anode"),
    (libc::EBADRQC, c"Invalid request code"),
    (libc::EBADSLT, c"Invalid slot"),
    (libc::EBFONT, c"Bad font file format"),
    (libc::ENOSTR, c"Device not a stream"),
    (libc::ENODATA, c"No data available"),
    (libc::ETIME, c"Timer expired"),
    (libc::ENOSR, c"Out of streams resources"),
    (libc::ENONET, c"Machine is not on the network"),
    (libc::ENOPKG, c"Package not installed"),
    (libc::EREMOTE, c"Object is remote"),
    (libc::ENOLINK, c"Link has been severed"),
    (libc::EADV, c"Advertise error"),
    (libc::ESRMNT, c"Srmount error"),
    (libc::ECOMM, c"Communication error on send"),
    (libc::EPROTO, c"Protocol error"),
    (libc::EMULTIHOP, c"Multihop attempted"),
    (libc::EDOTDOT, c"RFS specific error"),
    (libc::EBADMSG, c"Bad message"),
    (libc::EOVERFLOW, c"Value too large for defined data type"),
    (libc::ENOTUNIQ, c"Name not unique on network"),
    (libc::EBADFD, c"File descriptor in bad state"),
    (libc::EREMCHG, c"Remote address changed"),
    (libc::ELIBACC, c"Can not access a needed shared library"),
    (libc::ELIBBAD, c"Accessing a corrupted shared library"),
    (libc::ELIBSCN, c".lib section in a.out corrupted"),
    (libc::ELIBMAX, c"Attempting to link in too many shared libraries"),
    (libc::ELIBEXEC, c"Cannot exec a shared library directly"),
    (libc::EILSEQ, c"Invalid or incomplete multibyte or wide character"),
    (libc::ERESTART, c"Interrupted system call should be restarted"),
    (libc::ESTRPIPE, c"Streams pipe error"),
    (libc::EUSERS, c"Too many users"),
    (libc::ENOTSOCK, c"Socket operation on non-socket"),
    (libc::EDESTADDRREQ, c"Destination address required"),
    (libc::EMSGSIZE, c"Message too long"),
    (libc::EPROTOTYPE, c"Protocol wrong type for socket"),
    (libc::ENOPROTOOPT, c"Protocol not available"),
    (libc::EPROTONOSUPPORT, c"Protocol not supported"),
    (libc::ESOCKTNOSUPPORT, c"Socket type not supported"),
    (libc::EOPNOTSUPP, c"Operation not supported"),
    (libc::EPFNOSUPPORT, c"Protocol family not supported"),
    (libc::EAFNOSUPPORT, c"Address family not supported by protocol"),
    (libc::EADDRINUSE, c"Address already in use"),
    (libc::EADDRNOTAVAIL, c"Cannot assign requested address"),
    (libc::ENETDOWN, c"Network is down"),
    (libc::ENETUNREACH, c"Network is unreachable"),
    (libc::ENETRESET, c"Network dropped connection on reset"),
    (libc::ECONNABORTED, c"Software caused connection abort"),
    (libc::ECONNRESET, c"Connection reset by peer"),
    (libc::ENOBUFS, c"No buffer space available"),
    (libc::EISCONN, c"Transport endpoint is already connected"),
    (libc::ENOTCONN, c"Transport endpoint is not connected"),
    (libc::ESHUTDOWN, c"Cannot send after transport endpoint shutdown"),
    (libc::ETOOMANYREFS, c"Too many references: cannot splice"),
    (libc::ETIMEDOUT, c"Connection timed out"),
    (libc::ECONNREFUSED, c"Connection refused"),
    (libc::EHOSTDOWN, c"Host is down"),
    (libc::EHOSTUNREACH, c"No route to host"),
    (libc::EALREADY, c"Operation already in progress"),
    (libc::EINPROGRESS, c"Operation now in progress"),
    (libc::ESTALE, c"Stale file handle"),
    (libc::EUCLEAN, c"Structure needs cleaning"),
    (libc::ENOTNAM, c"Not a XENIX named type file"),
    (libc::ENAVAIL, c"No XENIX semaphores available"),
    (libc::EISNAM, c"Is a named type file"),
    (libc::EREMOTEIO, c"Remote I/O error"),
    (libc::EDQUOT, c"Disk quota exceeded"),
    (libc::ENOMEDIUM, c"No medium found"),
    (libc::EMEDIUMTYPE, c"Wrong medium type"),
    (libc::ECANCELED, c"Operation canceled"),
    (libc::ENOKEY, c"Required key not available"),
    (libc::EKEYEXPIRED, c"Key has expired"),
    (libc::EKEYREVOKED, c"Key has been revoked"),
    (libc::EKEYREJECTED, c"Key was rejected by service"),
    (libc::EOWNERDEAD, c"Owner died"),
    (libc::ENOTRECOVERABLE, c"State not recoverable"),
    (libc::ERFKILL, c"Operation not possible due to RF-kill"),
    (libc::EHWPOISON, c"Memory page has hardware error"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_the_text_of_strerror() {
        for errno in 1..=libc::EHWPOISON {
            let mut buffer = [0; 128];
            // SAFETY: the buffer is as long as said.
            unsafe { libc::strerror_r(errno, buffer.as_mut_ptr(), buffer.len()) };
            // SAFETY: strerror_r terminated the text within the buffer.
            let libc_text = unsafe { CStr::from_ptr(buffer.as_ptr()) };
            if !libc_text.to_bytes().starts_with(b"Unknown error") {
                assert_eq!(text_c(errno), libc_text, "errno {errno}");
            }
        }
        assert_eq!(text(libc::ENOSPC), "No space left on device");
        for unknown in [0, -1, 5_000, i32::MIN] {
            assert_eq!(text(unknown), "unknown error");
        }
    }
}
