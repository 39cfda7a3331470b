//! `info`: what a channel is, and what it holds.

use disk_chan::raw::options::{CHECKSUM_ON, RETAIN_LIVE, RETAIN_RING, RETAIN_UNREAD, UNLIMITED};
use disk_chan::raw::ChannelInfo;
use serde::Serialize;

use super::{open_to_look, print_json, print_pairs};
use crate::args::Show;
use crate::fail::Ended;
use crate::units::{bytes, count};

/// The figures by the names that scripts rely on: `cli/README.md`.
#[derive(Serialize)]
pub struct Figures {
    format_version: u64,
    page_size: u64,
    /// `null`: unlimited.
    max_pages: Option<u64>,
    max_messages_per_page: u64,
    max_message: u64,
    retention: &'static str,
    checksum: bool,
    messages: u64,
    bytes: u64,
    disk_bytes: u64,
    oldest: u64,
    end: u64,
    durable: u64,
    producers: u64,
    consumers: u64,
    abandoned: u64,
    recoveries: u64,
    discarded: u64,
    poisoned: bool,
}

impl Figures {
    pub fn of(info: &ChannelInfo) -> Figures {
        Figures {
            format_version: info.format_version,
            page_size: info.page_size,
            max_pages: (info.max_pages != UNLIMITED).then_some(info.max_pages),
            max_messages_per_page: info.max_messages_per_page,
            max_message: info.max_message,
            retention: retention(info.retention),
            checksum: info.checksum == u64::from(CHECKSUM_ON),
            messages: info.messages,
            bytes: info.bytes,
            disk_bytes: info.disk_bytes,
            oldest: info.oldest,
            end: info.end,
            durable: info.durable,
            producers: info.producers,
            consumers: info.consumers,
            abandoned: info.abandoned,
            recoveries: info.recoveries,
            discarded: info.discarded,
            poisoned: info.poisoned != 0,
        }
    }
}

/// As `create` is told.
pub fn retention(value: u64) -> &'static str {
    match u32::try_from(value) {
        Ok(RETAIN_RING) => "ring",
        Ok(RETAIN_LIVE) => "live",
        Ok(RETAIN_UNREAD) => "unread",
        _ => "unknown",
    }
}

pub fn run(args: &Show) -> Ended {
    let channel = open_to_look(&args.at.channel)?;
    let info = channel.stats()?;
    if args.json {
        return print_json(&Figures::of(&info));
    }
    let pages = match info.max_pages {
        UNLIMITED => "unlimited".to_string(),
        n => count(n),
    };
    let poisoned = match info.poisoned {
        0 => "no".to_string(),
        _ => "yes: a flush failed; end every process that has the channel open".to_string(),
    };
    print_pairs(&[
        ("messages", format!("{} ({})", count(info.messages), bytes(info.bytes))),
        ("on disk", bytes(info.disk_bytes)),
        ("page size", bytes(info.page_size)),
        ("pages at most", pages),
        ("messages a page", count(info.max_messages_per_page)),
        ("largest message", format!("{} bytes", count(info.max_message))),
        ("retention", retention(info.retention).to_string()),
        ("checksums", if info.checksum == u64::from(CHECKSUM_ON) { "on" } else { "off" }.into()),
        ("format version", info.format_version.to_string()),
        ("oldest position", info.oldest.to_string()),
        ("end position", info.end.to_string()),
        ("durable before", info.durable.to_string()),
        ("producers", info.producers.to_string()),
        ("consumers", info.consumers.to_string()),
        ("abandoned claims", count(info.abandoned)),
        ("recoveries", format!("{} ({} torn)", info.recoveries, count(info.discarded))),
        ("poisoned", poisoned),
    ])
}
