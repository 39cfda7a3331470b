//! Options that several commands share.

use clap::{Args, ValueEnum};
use disk_chan::raw::options::{
    CHECKSUM_OFF, CHECKSUM_ON, RETAIN_LIVE, RETAIN_RING, RETAIN_UNREAD, SYNC_ALWAYS, SYNC_INTERVAL,
    SYNC_NONE,
};
use disk_chan::raw::Options;

use crate::units;

/// What a channel is made as.
#[derive(Args)]
pub struct ChannelOptions {
    /// Bytes of a page, 64K to 4G; default 16M
    #[arg(long, value_parser = units::size, value_name = "BYTES")]
    pub page_size: Option<u64>,
    /// Pages kept at most, 2 or more, or "unlimited"; default 16
    #[arg(long, value_parser = units::pages, value_name = "N")]
    pub max_pages: Option<u64>,
    /// Messages a page holds at most; default 65,535
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_535), value_name = "N")]
    pub messages_per_page: Option<u32>,
    /// What goes when a new page is needed; default ring
    #[arg(long, value_enum)]
    pub retention: Option<Retention>,
    /// Whether messages carry checksums; default on
    #[arg(long, value_enum)]
    pub checksum: Option<Checksum>,
    /// Permission bits of every file, octal; default 600
    #[arg(long, value_parser = units::mode, value_name = "OCTAL")]
    pub mode: Option<u32>,
    /// After this time a message that its sender does not finish is passed over; default 1s
    #[arg(long, value_parser = units::duration, value_name = "TIME")]
    pub stall_timeout: Option<std::time::Duration>,
    /// Of this run only: it is not stored, each sender chooses its own (see `send`)
    #[arg(long, value_enum)]
    pub durability: Option<Durability>,
}

impl ChannelOptions {
    /// As the library wants them.
    pub fn options(&self) -> Options {
        Options {
            page_size: self.page_size.unwrap_or(0),
            max_pages: self.max_pages.unwrap_or(0),
            max_messages_per_page: self.messages_per_page.unwrap_or(0),
            retention: self.retention.map_or(0, |r| r as u32),
            durability: self.durability.map_or(0, |d| d as u32),
            checksum: self.checksum.map_or(0, |c| c as u32),
            stall_timeout_ms: self.stall_timeout.map_or(0, |t| t.as_millis().max(1) as u32),
            mode: self.mode.unwrap_or(0),
            ..Options::default()
        }
    }
}

/// What goes when a new page is needed.
#[derive(Clone, Copy, ValueEnum)]
#[repr(u32)]
pub enum Retention {
    /// The oldest page
    Ring = RETAIN_RING,
    /// The oldest page, but nothing that a group with a living consumer has not acknowledged
    Live = RETAIN_LIVE,
    /// Nothing that any group has not acknowledged: sends wait
    Unread = RETAIN_UNREAD,
}

#[derive(Clone, Copy, ValueEnum)]
#[repr(u32)]
pub enum Checksum {
    On = CHECKSUM_ON,
    Off = CHECKSUM_OFF,
}

/// What a power cut may take.
#[derive(Clone, Copy, ValueEnum)]
#[repr(u32)]
pub enum Durability {
    /// What the kernel has not written yet
    None = SYNC_NONE,
    /// The last second
    Interval = SYNC_INTERVAL,
    /// Nothing that was sent
    Always = SYNC_ALWAYS,
}

/// How a stream of bytes is cut into messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Lines,
    Nul,
    LengthPrefixed,
    Escape,
}

/// How messages are told apart in what is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Lines,
    Nul,
    LengthPrefixed,
    Escape,
    Raw,
}

/// The formats of `send`; lines where none is asked for.
#[derive(Args)]
#[group(id = "cut", multiple = false)]
pub struct CutOptions {
    /// A NUL byte ends each message, not a newline
    #[arg(long)]
    nul: bool,
    /// Each message follows its length, 4 bytes, little-endian
    #[arg(long)]
    length_prefixed: bool,
    /// Lines in which \n, \0 and \\ stand for a newline, a NUL byte and a backslash
    #[arg(long)]
    escape: bool,
}

impl CutOptions {
    pub fn cut(&self) -> Cut {
        match self {
            CutOptions { nul: true, .. } => Cut::Nul,
            CutOptions { length_prefixed: true, .. } => Cut::LengthPrefixed,
            CutOptions { escape: true, .. } => Cut::Escape,
            _ => Cut::Lines,
        }
    }
}

/// The formats of what is printed; lines where none is asked for.
#[derive(Args)]
pub struct ShapeOptions {
    /// A NUL byte after each message, not a newline
    #[arg(long, group = "shape")]
    nul: bool,
    /// Each message after its length, 4 bytes, little-endian
    #[arg(long, group = "shape")]
    length_prefixed: bool,
    /// Lines in which \n, \0 and \\ stand for a newline, a NUL byte and a backslash
    #[arg(long, group = "shape")]
    escape: bool,
    /// The messages alone, nothing between them
    #[arg(long, group = "shape")]
    raw: bool,
    /// Begin each message with its position and a tab
    #[arg(long, conflicts_with_all = ["length_prefixed", "raw"])]
    pub positions: bool,
}

impl ShapeOptions {
    pub fn shape(&self) -> Shape {
        match self {
            ShapeOptions { nul: true, .. } => Shape::Nul,
            ShapeOptions { length_prefixed: true, .. } => Shape::LengthPrefixed,
            ShapeOptions { escape: true, .. } => Shape::Escape,
            ShapeOptions { raw: true, .. } => Shape::Raw,
            _ => Shape::Lines,
        }
    }
}
