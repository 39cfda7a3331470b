//! The C ABI: one file for each C object, and nothing here that anybody imports.
//!
//! Every export does the same three things: check what it was handed ([`args`], [`sized`]), call the
//! method of the same name, and turn the outcome into a code ([`guard`]). The doc comments of the
//! exports, constants and structs are copied into `include/disk_chan.h` by cbindgen, so they are
//! written for a C programmer, in C terms; what only a maintainer needs to know is a plain comment.
//!
//! No panic crosses: [`guard`] turns one into `DC_E_INTERNAL`. The default panic hook would print a
//! line first; the C libraries, which have a Rust runtime of their own, silence it ([`keep_quiet`]).

// What the caller owes is said in the header in C terms, function by function.
#![allow(clippy::missing_safety_doc)]
#![allow(non_camel_case_types)]

mod args;
mod channel;
mod codes;
mod consumer;
mod errno;
mod info;
mod message;
mod options;
mod producer;
mod sized;
mod version;

use crate::error::{fail, Error, Result, DC_E_INTERNAL, DC_OK};
use crate::sys::alloc;
use std::any::Any;
use std::ffi::c_int;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Runs one call and gives its code; whatever unwinds ends here.
///
/// `AssertUnwindSafe` is honest about the caller's data (a call that failed has written no more than
/// its documentation says) and about handles: their shared state lives on disk, where every
/// intermediate state is one that a killed process may leave.
#[inline]
fn guard(call: impl FnOnce() -> Result<c_int>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => failed(error.code()),
        Err(payload) => internal(payload),
    }
}

/// [`guard`] for a call that has nothing but success to report.
#[inline]
fn guard_unit(call: impl FnOnce() -> Result<()>) -> c_int {
    guard(|| call().map(|()| DC_OK))
}

/// Gives a failure its sentence where the crate sets none: a wait that ended early costs it nothing, but
/// `dc_last_error` must not tell of an older failure then.
#[inline]
fn failed(code: c_int) -> c_int {
    let why = match code {
        INTERRUPTED => "a signal handler ran: call again",
        CANCELED => "the handle was interrupted",
        _ => return code,
    };
    fail!(code, "{why}").code()
}

const INTERRUPTED: c_int = -libc::EINTR;
const CANCELED: c_int = -libc::ECANCELED;

/// No call prints: have a panic say nothing, in the C libraries, whose panic hook is theirs alone (in a
/// Rust program it is the program's). Every handle comes from an open, so opening is where it is done.
fn keep_quiet() {
    #[cfg(feature = "capi")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    }
}

#[cold]
fn internal(payload: Box<dyn Any + Send>) -> c_int {
    // Its destructor could panic again, with nobody left to catch that.
    std::mem::forget(payload);
    fail!(
        DC_E_INTERNAL,
        "disk_chan has a bug: a call panicked; the handle should not be used any more"
    )
    .code()
}

/// Refuses a call that may allocate once memory has run out, instead of eating into the reserve.
fn room(call: &str) -> Result<()> {
    if alloc::room() {
        Ok(())
    } else {
        Err(no_memory(call))
    }
}

/// Makes something of memory, or nothing: what was made with the emergency reserve's help is given
/// back, and the reserve with it.
fn make<T>(call: &str, f: impl FnOnce() -> Result<T>) -> Result<T> {
    room(call)?;
    let before = alloc::failures();
    let made = f()?;
    if alloc::failures() == before {
        Ok(made)
    } else {
        drop(made);
        Err(no_memory(call))
    }
}

#[cold]
fn no_memory(call: &str) -> Error {
    Error::os(libc::ENOMEM, format_args!("{call}"))
}
