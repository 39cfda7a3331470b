//! Which library this is.

use std::ffi::{c_char, CStr};

/// Major version of the library this header belongs to. While it is 0, the minor version counts as
/// the major one.
pub const DC_VERSION_MAJOR: u32 = 0;
/// Minor version.
pub const DC_VERSION_MINOR: u32 = 1;
/// Patch version.
pub const DC_VERSION_PATCH: u32 = 0;
/// All three in one number, major<<16 | minor<<8 | patch, to compare with dc_version().
pub const DC_VERSION: u32 = DC_VERSION_MAJOR << 16 | DC_VERSION_MINOR << 8 | DC_VERSION_PATCH;

// The three numbers above are spelled out so that they stand in the header; they are the crate's.
const _: () = assert!(
    number(env!("CARGO_PKG_VERSION_MAJOR")) == DC_VERSION_MAJOR
        && number(env!("CARGO_PKG_VERSION_MINOR")) == DC_VERSION_MINOR
        && number(env!("CARGO_PKG_VERSION_PATCH")) == DC_VERSION_PATCH,
    "src/ffi/version.rs and Cargo.toml name different versions"
);

const fn number(digits: &str) -> u32 {
    let (digits, mut i, mut n) = (digits.as_bytes(), 0, 0);
    while i < digits.len() {
        n = n * 10 + (digits[i] - b'0') as u32;
        i += 1;
    }
    n
}

const TEXT: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version has no NUL"),
    };

/// The version of the library that is running: DC_VERSION as that library was built.
///
/// Any thread, never blocks, cannot fail.
#[no_mangle]
pub extern "C" fn dc_version() -> u32 {
    DC_VERSION
}

/// The version of the library that is running, as text ("0.1.0").
///
/// The text is static: never NULL, never freed. Any thread, never blocks, cannot fail.
#[no_mangle]
pub extern "C" fn dc_version_string() -> *const c_char {
    TEXT.as_ptr()
}
