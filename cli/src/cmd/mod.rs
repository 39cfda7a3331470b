//! The commands, a file each, and what several of them begin or end with.

pub mod about;
pub mod bench;
pub mod create;
pub mod destroy;
pub mod export;
pub mod groups;
pub mod import;
pub mod info;
pub mod look;
pub mod recv;
pub mod seek;
pub mod send;
pub mod sender;
pub mod verify;

use std::io::{self, Write};
use std::path::Path;

use disk_chan::raw::options::{EXISTING, READ_ONLY, SIGBUS_GUARD};
use disk_chan::raw::{Channel, Options};

use crate::fail::{Ended, Failure, Result, FAILURE, OK};

/// `-ENOENT`, as the library says it.
pub const MISSING: i32 = -2;
/// `-EINTR`.
pub const SIGNAL: i32 = -4;

/// A channel there is, to look at: read permission is enough.
pub fn open_to_look(path: &Path) -> Result<Channel> {
    open(path, READ_ONLY, 0)
}

/// A channel there is, to send, receive, or move groups.
pub fn open_to_use(path: &Path, durability: u32) -> Result<Channel> {
    open(path, EXISTING, durability)
}

/// Under the guard a file that somebody cuts is a sentence, not a signal.
fn open(path: &Path, flags: u32, durability: u32) -> Result<Channel> {
    let options = Options { flags: flags | SIGBUS_GUARD, durability, ..Options::default() };
    Channel::open(path, &options).map_err(|e| match e.code() {
        MISSING => {
            let text = format_args!("there is no channel at {}", path.display()).to_string();
            Failure::new(FAILURE, text)
                .with_remedy("check the path, or make one by `disk-chan create`")
        }
        _ => e.into(),
    })
}

/// Print a result.
pub fn print(text: &str) -> Ended {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(OK),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(OK),
        Err(e) => Err(Failure::io("cannot write to standard output", &e)),
    }
}

/// Print a result for programs.
pub fn print_json(value: &impl serde::Serialize) -> Ended {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(FAILURE, format_args!("cannot write JSON: {e}")))?;
    print(&(text + "\n"))
}

/// Lines of "name  value", aligned.
pub fn print_pairs(pairs: &[(&str, String)]) -> Ended {
    let width = pairs.iter().map(|p| p.0.len()).max().unwrap_or(0);
    let line = |p: &(&str, String)| format!("{:width$}  {}\n", p.0, p.1);
    print(&pairs.iter().map(line).collect::<String>())
}
