//! `verify`: every structure and checksum, read-only.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use disk_chan::raw::{Channel, VerifyInfo};
use serde::Serialize;

use super::{open_to_look, print_json, print_pairs};
use crate::args::Show;
use crate::disk::page_of;
use crate::fail::{warn, Ended, Result, DAMAGED, OK};
use crate::progress::Progress;
use crate::units::{bytes, count};

/// The result by the names that scripts rely on: `cli/README.md`.
#[derive(Serialize)]
struct Figures {
    sound: bool,
    pages: u64,
    messages: u64,
    bytes: u64,
    groups: u64,
    corrupt: u64,
    torn: u64,
}

pub fn run(args: &Show) -> Ended {
    let path = &args.at.channel;
    // Guards this process against files that are cut meanwhile, and is not there yet if there is no channel.
    let channel = open_to_look(path)?;
    let info = channel.stats()?;
    let first = page_of(info.oldest);
    let total = page_of(info.end).saturating_sub(first) + 1;
    let v = with_bar(path, first, total, || Ok(Channel::verify(path)?))?;
    let sound = v.corrupt == 0;
    let code = if sound { OK } else { DAMAGED };
    if args.json {
        let VerifyInfo { pages, messages, bytes, groups, corrupt, torn } = v;
        let figures = Figures { sound, pages, messages, bytes, groups, corrupt, torn };
        return print_json(&figures).map(|_| code);
    }
    print_pairs(&[
        ("pages", count(v.pages)),
        ("messages", format!("{} ({})", count(v.messages), bytes(v.bytes))),
        ("groups", count(v.groups)),
        ("corrupt", count(v.corrupt)),
        ("torn", format!("{} (claimed and not, or not yet, published)", count(v.torn))),
    ])?;
    if !sound {
        warn(format_args!(
            "{} is damaged: receiving passes over what is; `disk-chan export` saves what is sound",
            path.display()
        ));
    }
    Ok(code)
}

/// Do it under a bar. The library says nothing while it checks, but it goes from page to page, and the kernel says
/// which one is mapped.
fn with_bar<T>(path: &Path, first: u64, total: u64, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let progress = Progress::of("pages checked", Some(total));
    if !progress.shown() {
        return work();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            while !over.load(SeqCst) {
                if let Some(page) = mapped_page(&path) {
                    progress.set(page.saturating_sub(first).min(total));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let result = work();
        over.store(true, SeqCst);
        progress.done();
        result
    })
}

/// The highest page of this channel that this process has mapped.
fn mapped_page(path: &Path) -> Option<u64> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let prefix = [path.as_os_str().as_bytes(), b"/page-"].concat();
    let number = |line: &[u8]| {
        let at = line.windows(prefix.len()).position(|w| w == prefix)? + prefix.len();
        let digits = std::str::from_utf8(line.get(at..at + 10)?).ok()?;
        u64::from_str_radix(digits, 16).ok()
    };
    maps.split(|&b| b == b'\n').filter_map(number).max()
}
