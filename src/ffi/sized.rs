//! Structs that grow: each begins with its size, so that programs and libraries of different
//! versions agree on what the other one knows.
//!
//! Read: fields that the caller does not know are zero, which means default; fields that this
//! library does not know must be zero. Write: only what fits, and zeroes beyond what is known.

use crate::error::{fail, Error, Result, DC_E_ARGUMENT};
use std::mem::{size_of, MaybeUninit};

/// A struct of the ABI that begins with `size_t size`.
///
/// # Safety
/// `#[repr(C)]`, integers only, no padding, a `usize` first: any bytes are a valid value.
pub(super) unsafe trait Sized_: Copy {
    /// Its name in C.
    const NAME: &'static str;
}

/// The leading size field: the least a struct can have.
const HEAD: usize = size_of::<usize>();

/// More than any version will have: a larger size is a field that was never set.
const SANE_MAX: usize = 4096;

/// The size the caller wrote, once it makes sense.
///
/// # Safety
/// `p` is NULL or points to a struct that begins with its size.
unsafe fn claimed<T: Sized_>(call: &str, argument: &str, p: *const T) -> Result<usize> {
    if p.is_null() {
        return Err(super::args::null(call, argument));
    }
    // SAFETY: not NULL, so at least the size can be read.
    let size = unsafe { p.cast::<usize>().read_unaligned() };
    if (HEAD..=SANE_MAX).contains(&size) {
        Ok(size)
    } else {
        Err(senseless(call, argument, T::NAME, size))
    }
}

#[cold]
fn senseless(call: &str, argument: &str, name: &str, size: usize) -> Error {
    let init = Upper(name);
    fail!(DC_E_ARGUMENT, "{call}: {argument}->size is {size}: initialise a {name} with {init}_INIT")
}

/// A name of the ABI in capitals.
struct Upper<'a>(&'a str);

impl std::fmt::Display for Upper<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        self.0.chars().try_for_each(|c| f.write_char(c.to_ascii_uppercase()))
    }
}

/// Reads an input struct of any version.
///
/// # Safety
/// `p` is NULL or points to a struct that begins with its size and is at least that large.
pub(super) unsafe fn read<T: Sized_>(call: &str, argument: &str, p: *const T) -> Result<T> {
    // SAFETY: by this function's own contract.
    let size = unsafe { claimed(call, argument, p) }?;
    let from = p.cast::<u8>();
    for at in size_of::<T>()..size {
        // SAFETY: `at` is below the size that the caller vouches for.
        if unsafe { from.add(at).read() } != 0 {
            return Err(fail!(
                DC_E_ARGUMENT,
                "{call}: {argument} sets byte {at} of a {}, which this library ({}) does not know",
                T::NAME,
                env!("CARGO_PKG_VERSION")
            ));
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both sides have at least `min` bytes; any bytes are a valid `T`.
    unsafe {
        from.copy_to_nonoverlapping(value.as_mut_ptr().cast(), size.min(size_of::<T>()));
        Ok(value.assume_init())
    }
}

/// An output struct of any version, checked before the work that fills it.
pub(super) struct Output<T> {
    to: *mut T,
    size: usize,
}

impl<T: Sized_> Output<T> {
    /// # Safety
    /// `p` is NULL or points to a struct that begins with its size and is at least that large, until
    /// [`Output::fill`].
    pub(super) unsafe fn new(call: &str, p: *mut T) -> Result<Output<T>> {
        // SAFETY: by this function's own contract.
        let size = unsafe { claimed(call, "out", p) }?;
        Ok(Output { to: p, size })
    }

    /// Writes what fits after the size, and zeroes behind it.
    pub(super) fn fill(self, value: &T) {
        let (from, to) = (std::ptr::from_ref(value).cast::<u8>(), self.to.cast::<u8>());
        let known = self.size.min(size_of::<T>());
        // SAFETY: `HEAD <= known`, which neither side is smaller than; the caller's memory is as
        // large as it said, which was checked in `new`; `T` has no padding to copy.
        unsafe {
            from.add(HEAD).copy_to_nonoverlapping(to.add(HEAD), known - HEAD);
            to.add(known).write_bytes(0, self.size - known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DC_E_ARGUMENT;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Two {
        size: usize,
        a: u64,
        b: u64,
    }
    // SAFETY: `repr(C)`, three words, the size first.
    unsafe impl Sized_ for Two {
        const NAME: &'static str = "dc_two";
    }

    fn get(words: &[u64]) -> Result<Two> {
        // SAFETY: every test below claims no more than it has, but for sizes that are refused.
        unsafe { read("dc_test", "options", words.as_ptr().cast()) }
    }

    #[test]
    fn reads_every_version() {
        assert_eq!(get(&[24, 1, 2]).unwrap(), Two { size: 24, a: 1, b: 2 });
        assert_eq!(get(&[16, 1, 2]).unwrap(), Two { size: 16, a: 1, b: 0 });
        assert_eq!(get(&[8, 1, 2]).unwrap(), Two { size: 8, a: 0, b: 0 });
        assert_eq!(get(&[32, 1, 2, 0]).unwrap(), Two { size: 32, a: 1, b: 2 });
        for bad in [[0, 1, 2, 0], [7, 1, 2, 0], [u64::MAX, 0, 0, 0], [4097, 0, 0, 0]] {
            assert_eq!(get(&bad).unwrap_err().code(), DC_E_ARGUMENT, "{bad:?}");
        }
        let tail = get(&[32, 1, 2, 3]).unwrap_err();
        assert_eq!(tail.code(), DC_E_ARGUMENT);
        assert!(tail.text().starts_with("dc_test: options sets byte 24 of a dc_two"), "{tail:?}");
        assert!(get(&[0]).unwrap_err().text().ends_with("with DC_TWO_INIT"));
    }

    #[test]
    fn fills_every_version() {
        let fill = |mut words: [u64; 5]| {
            // SAFETY: the sizes below are those of the array or smaller.
            let out = unsafe { Output::<Two>::new("dc_test", words.as_mut_ptr().cast()) };
            out.map(|out| out.fill(&Two { size: 99, a: 1, b: 2 })).map(|()| words)
        };
        assert_eq!(fill([8, 9, 9, 9, 9]).unwrap(), [8, 9, 9, 9, 9]);
        assert_eq!(fill([16, 9, 9, 9, 9]).unwrap(), [16, 1, 9, 9, 9]);
        assert_eq!(fill([24, 9, 9, 9, 9]).unwrap(), [24, 1, 2, 9, 9]);
        assert_eq!(fill([32, 9, 9, 9, 9]).unwrap(), [32, 1, 2, 0, 9]);
        assert_eq!(fill([40, 9, 9, 9, 9]).unwrap(), [40, 1, 2, 0, 0]);
        assert_eq!(fill([0, 9, 9, 9, 9]).unwrap_err().code(), DC_E_ARGUMENT);
    }
}
