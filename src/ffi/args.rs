//! What a caller hands over: handles, strings, out-pointers, buffers. Each is checked here, and each
//! refusal names the call and the argument.

use crate::error::{fail, Error, Result, DC_E_ARGUMENT};
use libc::iovec;
use std::ffi::{c_char, c_void, CStr, OsStr};
use std::io::IoSlice;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// No object is larger, so no honest length is.
pub(super) const LEN_MAX: usize = isize::MAX as usize;

#[cold]
pub(super) fn null(call: &str, argument: &str) -> Error {
    fail!(DC_E_ARGUMENT, "{call}: {argument} is NULL")
}

/// A handle that its own kind of open made and nobody has closed.
///
/// # Safety
/// `p` is NULL or such a handle, and stays open for `'a`.
#[inline]
pub(super) unsafe fn handle<'a, T>(call: &str, argument: &str, p: *const T) -> Result<&'a T> {
    // SAFETY: by this function's own contract.
    unsafe { p.as_ref() }.ok_or_else(|| null(call, argument))
}

/// An out-pointer that may be written with `value` at once.
///
/// # Safety
/// `p` is NULL or points to memory for a `T`, whatever it holds.
#[inline]
pub(super) unsafe fn preset<T>(call: &str, argument: &str, p: *mut T, value: T) -> Result<()> {
    if p.is_null() {
        return Err(null(call, argument));
    }
    // SAFETY: not NULL, so memory for a `T`; plain data, so nothing there wants dropping.
    unsafe { p.write(value) };
    Ok(())
}

/// Where a new handle goes: NULL until there is one.
pub(super) struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// # Safety
    /// `p` is NULL or points to memory for a pointer, until [`Out::set`].
    pub(super) unsafe fn new(call: &str, p: *mut *mut T) -> Result<Out<T>> {
        // SAFETY: by this function's own contract.
        unsafe { preset(call, "out", p, std::ptr::null_mut()) }?;
        Ok(Out(p))
    }

    /// Hands the value over to the caller, who gives it back by the matching close.
    pub(super) fn set(self, value: Box<T>) {
        // SAFETY: checked in `new`, and still the caller's memory during this call.
        unsafe { self.0.write(Box::into_raw(value)) }
    }
}

/// Takes back what [`Out::set`] handed over; NULL is nothing.
///
/// # Safety
/// `p` is NULL or such a pointer, given back only once.
pub(super) unsafe fn close<T>(p: *mut T) {
    if !p.is_null() {
        // SAFETY: `Out::set` made it from a box of the same type, and this is its only return.
        drop(unsafe { Box::from_raw(p) });
    }
}

/// A path: not empty.
///
/// # Safety
/// `p` is NULL or a C string that stays unchanged for `'a`.
pub(super) unsafe fn path<'a>(call: &str, p: *const c_char) -> Result<&'a Path> {
    if p.is_null() {
        return Err(null(call, "path"));
    }
    // SAFETY: not NULL, so a C string.
    let bytes = unsafe { CStr::from_ptr(p) }.to_bytes();
    if bytes.is_empty() {
        return Err(fail!(DC_E_ARGUMENT, "{call}: path is empty"));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// The name of a group, where one must be given.
///
/// # Safety
/// `p` is NULL or a C string that stays unchanged for `'a`.
pub(super) unsafe fn group<'a>(call: &str, p: *const c_char) -> Result<&'a [u8]> {
    // SAFETY: by this function's own contract.
    unsafe { optional_name(p) }.ok_or_else(|| null(call, "group"))
}

/// The name of a group, where NULL means something else.
///
/// # Safety
/// `p` is NULL or a C string that stays unchanged for `'a`.
pub(super) unsafe fn optional_name<'a>(p: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: not NULL where it is read, so a C string.
    (!p.is_null()).then(|| unsafe { CStr::from_ptr(p) }.to_bytes())
}

/// Checks a length alone.
#[inline]
pub(super) fn length(call: &str, argument: &str, len: usize) -> Result<()> {
    if len > LEN_MAX {
        return Err(too_long(call, argument, len));
    }
    Ok(())
}

#[cold]
fn too_long(call: &str, argument: &str, len: usize) -> Error {
    fail!(
        DC_E_ARGUMENT,
        "{call}: {argument} is {len}, more than memory can hold: a negative number?"
    )
}

/// The bytes of a message; NULL stands for none.
///
/// # Safety
/// `data` is NULL or points to `len` bytes that stay unchanged for `'a`.
#[inline]
pub(super) unsafe fn bytes<'a>(call: &str, data: *const c_void, len: usize) -> Result<&'a [u8]> {
    length(call, "len", len)?;
    if data.is_null() {
        return if len == 0 { Ok(&[]) } else { Err(null_with_len(call, len)) };
    }
    // SAFETY: not NULL, and the length is one that memory can have.
    Ok(unsafe { std::slice::from_raw_parts(data.cast(), len) })
}

#[cold]
fn null_with_len(call: &str, len: usize) -> Error {
    fail!(DC_E_ARGUMENT, "{call}: data is NULL but len is {len}")
}

/// An array of buffers, checked through.
pub(super) struct Buffers<'a> {
    raw: &'a [iovec],
    /// All lengths together.
    pub(super) total: usize,
    /// Whether one of them is NULL (and empty).
    has_null: bool,
}

impl<'a> Buffers<'a> {
    /// # Safety
    /// `p` is NULL or points to `count` buffers that stay unchanged, with their bytes, for `'a`.
    pub(super) unsafe fn new(
        call: &str,
        argument: &str,
        p: *const iovec,
        count: usize,
    ) -> Result<Buffers<'a>> {
        if count == 0 {
            return Ok(Buffers { raw: &[], total: 0, has_null: false });
        }
        if p.is_null() {
            return Err(fail!(DC_E_ARGUMENT, "{call}: {argument} is NULL but count is {count}"));
        }
        if count > LEN_MAX / size_of::<iovec>() {
            return Err(too_long(call, "count", count));
        }
        // SAFETY: not NULL, and as many elements as memory can have.
        let raw = unsafe { std::slice::from_raw_parts(p, count) };
        let (mut total, mut has_null) = (0usize, false);
        for (i, part) in raw.iter().enumerate() {
            if part.iov_base.is_null() {
                has_null = true;
                if part.iov_len != 0 {
                    return Err(null_buffer(call, argument, i, part.iov_len));
                }
            }
            // Two lengths of at most LEN_MAX do not overflow, and the sum is checked each time.
            total = match total.checked_add(part.iov_len) {
                Some(total) if total <= LEN_MAX => total,
                _ => return Err(overflow(call, argument, i)),
            };
        }
        Ok(Buffers { raw, total, has_null })
    }

    /// The array itself, unless a NULL in it would make an invalid slice.
    #[inline]
    pub(super) fn slices(&self) -> Option<&'a [IoSlice<'a>]> {
        if self.has_null {
            return None;
        }
        // SAFETY: `IoSlice` is documented to have the layout of `iovec`; every base is not NULL, and
        // the caller keeps the array and its bytes for 'a.
        Some(unsafe { std::slice::from_raw_parts(self.raw.as_ptr().cast(), self.raw.len()) })
    }

    /// Each as a slice, NULL as an empty one.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.raw.iter().map(|part| match part.iov_base.is_null() {
            true => &[][..],
            // SAFETY: not NULL, checked in `new`, kept by the caller for 'a.
            false => unsafe { std::slice::from_raw_parts(part.iov_base.cast(), part.iov_len) },
        })
    }
}

#[cold]
fn null_buffer(call: &str, argument: &str, i: usize, len: usize) -> Error {
    fail!(DC_E_ARGUMENT, "{call}: {argument}[{i}].iov_base is NULL but its iov_len is {len}")
}

#[cold]
fn overflow(call: &str, argument: &str, i: usize) -> Error {
    fail!(
        DC_E_ARGUMENT,
        "{call}: the lengths up to {argument}[{i}] add up to more than memory can hold"
    )
}
