//! How the bridge ends: an exit code, and one sentence that ends with the remedy. And what does not end it.

use std::fmt::Display;

/// The exit codes; `args::EXIT_CODES` explains them to the user.
pub const FAILURE: u8 = 1;
pub const USAGE: u8 = 2;
pub const REFUSED: u8 = 3;
pub const FENCED: u8 = 4;
pub const BEHIND: u8 = 5;

/// Why the bridge ends.
#[derive(Clone, Debug)]
pub struct Failure {
    pub code: u8,
    pub text: String,
}

impl Failure {
    pub fn new(code: u8, text: impl Display) -> Failure {
        Failure { code, text: text.to_string() }
    }

    /// What the operating system refused.
    pub fn io(what: impl Display, e: &std::io::Error) -> Failure {
        Failure::new(FAILURE, format_args!("{what}: {e}"))
    }
}

pub type Result<T> = std::result::Result<T, Failure>;

/// What went wrong on the way to the cluster.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// It may pass: ask the cluster where things stand, and go on from there.
    Passing(String),
    /// It will not.
    Final(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Final(failure)
    }
}

pub fn passing(why: impl Display) -> Trouble {
    Trouble::Passing(why.to_string())
}
