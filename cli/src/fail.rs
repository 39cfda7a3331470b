//! How a command ends: an exit code, and one sentence on standard error that ends with the remedy.

use std::fmt::Display;
use std::io;

use disk_chan::raw::error::{
    DC_AGAIN, DC_E_BUSY, DC_E_CORRUPT, DC_E_FORMAT, DC_E_MISMATCH, DC_E_POISONED, DC_E_TOO_BIG,
};
use disk_chan::raw::Error;

/// The exit codes; `args::EXIT_CODES` explains them to the user.
pub const OK: u8 = 0;
pub const FAILURE: u8 = 1;
pub const USAGE: u8 = 2;
pub const NOTHING: u8 = 3;
pub const DAMAGED: u8 = 4;
/// Added to the number of the signal that ended the command.
pub const SIGNALLED: u8 = 128;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    /// What is said on standard error; empty: nothing.
    pub text: String,
}

pub type Result<T> = std::result::Result<T, Failure>;

/// What a command that did not fail ends with.
pub type Ended = Result<u8>;

impl Failure {
    pub fn new(code: u8, text: impl Display) -> Failure {
        Failure { code, text: text.to_string() }
    }

    /// What the operating system refused.
    pub fn io(what: impl Display, e: &io::Error) -> Failure {
        Failure::new(FAILURE, format_args!("{what}: {e}"))
    }

    /// The same failure with another remedy.
    pub fn with_remedy(mut self, remedy: &str) -> Failure {
        self.text = format!("{}; {remedy}", self.text);
        self
    }
}

impl From<Error> for Failure {
    /// The library keeps the sentence only until the thread's next failure: take it at once.
    fn from(e: Error) -> Failure {
        let (code, remedy) = match e.code() {
            // Expected outcomes set no sentence.
            DC_AGAIN => return Failure::new(NOTHING, "nothing happened within the timeout"),
            DC_E_CORRUPT => (DAMAGED, "`disk-chan verify` says how far the damage goes"),
            DC_E_FORMAT => (FAILURE, "check the path; `disk-chan create` makes a new channel"),
            DC_E_MISMATCH => (FAILURE, "leave the option out to use the channel as it is"),
            DC_E_BUSY => (FAILURE, "end the others and repeat"),
            DC_E_TOO_BIG => (FAILURE, "split it, or make a channel with larger pages"),
            DC_E_POISONED => (FAILURE, "end every process that has the channel open, and repeat"),
            _ => (FAILURE, ""),
        };
        let text = match e.text() {
            text if text.is_empty() => e.to_string(),
            text => text,
        };
        match remedy {
            "" => Failure::new(code, text),
            remedy => Failure::new(code, text).with_remedy(remedy),
        }
    }
}

/// A sentence on standard error that does not end the command.
pub fn warn(text: impl Display) {
    // Who cannot be told cannot be told; the command goes on.
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("disk-chan: {text}\n"));
}
