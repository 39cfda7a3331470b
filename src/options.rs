//! What a channel is made of and what it reports: options, limits, counts. Zero means default.

/// Options of [`crate::raw::Channel::open`]; a zero field takes its default, or what the channel has stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Payload bytes of a page: 64 KiB to 4 GiB, rounded up to 4,096; default 16 MiB.
    pub page_size: u64,
    /// Pages kept at most: 2 to 2^32, or [`UNLIMITED`]; default 16.
    pub max_pages: u64,
    /// Messages a page holds at most: 1 to 65,535, which is the default.
    pub max_messages_per_page: u32,
    /// [`RETAIN_RING`] (default), [`RETAIN_LIVE`] or [`RETAIN_UNREAD`].
    pub retention: u32,
    /// [`SYNC_NONE`] (default), [`SYNC_INTERVAL`] or [`SYNC_ALWAYS`]; of this open, not stored.
    pub durability: u32,
    /// Milliseconds between flushes under [`SYNC_INTERVAL`]; default 1,000.
    pub sync_interval_ms: u32,
    /// [`CHECKSUM_ON`] (default) or [`CHECKSUM_OFF`].
    pub checksum: u32,
    /// After this many milliseconds an unpublished message in front is skipped; default 1,000, at most 60,000.
    pub stall_timeout_ms: u32,
    /// Permission bits of every file of the channel; default 0600.
    pub mode: u32,
    /// Open flags, [`EXISTING`] and its neighbours; of this open, not stored.
    pub flags: u32,
}

/// `max_pages` without a bound.
pub const UNLIMITED: u64 = u64::MAX;
/// The oldest page goes when a new one is needed.
pub const RETAIN_RING: u32 = 1;
/// As [`RETAIN_RING`], but never what a group with a live consumer has not acknowledged.
pub const RETAIN_LIVE: u32 = 2;
/// Nothing that any group has not acknowledged goes; with no group, nothing at all.
pub const RETAIN_UNREAD: u32 = 3;
/// Survives process crashes; the operating system writes when it likes.
pub const SYNC_NONE: u32 = 1;
/// Flushed every `sync_interval_ms`.
pub const SYNC_INTERVAL: u32 = 2;
/// A send returns when its message is on stable storage.
pub const SYNC_ALWAYS: u32 = 3;
/// Every message carries a checksum, verified on receipt.
pub const CHECKSUM_ON: u32 = 1;
/// No checksums.
pub const CHECKSUM_OFF: u32 = 2;
/// The channel must exist.
pub const EXISTING: u32 = 1;
/// The channel must not exist.
pub const NEW: u32 = 2;
/// Observers and stats only; implies [`EXISTING`].
pub const READ_ONLY: u32 = 4;
/// The library starts no thread for this open.
pub const NO_THREAD: u32 = 8;
/// A send never prepares a page itself.
pub const PREPARED_ONLY: u32 = 16;
/// A file truncated under the mapping gives a code instead of a signal.
pub const SIGBUS_GUARD: u32 = 32;
/// Every open flag there is.
pub(crate) const OPEN_FLAGS: u32 = 63;

/// Start at the oldest message kept.
pub const EARLIEST: u64 = 1;
/// Start after the newest message.
pub const LATEST: u64 = u64::MAX;
/// Start at the `n`-th message from the end.
pub const fn last(n: u32) -> u64 {
    u64::MAX - n as u64
}
/// Starts at or above this are "the last n".
pub(crate) const LAST_BASE: u64 = u64::MAX - (1 << 32);

/// What a handle received is acknowledged by its next receiving call.
pub const ACK_NEXT: u32 = 1;
/// Acknowledged by [`crate::raw::Consumer::ack`] only.
pub const ACK_MANUAL: u32 = 2;
/// Acknowledged on receipt: at most once.
pub const ACK_RECEIVE: u32 = 3;
/// Move to the next page without being told.
pub const AUTO_NEXT_PAGE: u32 = 1;
/// The message was handed to a consumer before.
pub const MESSAGE_REDELIVERED: u32 = 1;
/// Bytes of a group's name at most.
pub const GROUP_NAME_MAX: usize = 255;
/// The largest `max_unacked`.
pub const UNACKED_MAX: u32 = 4096;
/// Messages of one [`crate::raw::Consumer::recv_batch`] at most.
pub const BATCH_MAX: usize = 255;

/// Options of [`crate::raw::Channel::subscribe`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Where a new group or an observer starts: a position, [`EARLIEST`] (default), [`LATEST`] or [`last`].
    pub start: u64,
    /// [`ACK_NEXT`] (default), [`ACK_MANUAL`] or [`ACK_RECEIVE`].
    pub ack: u32,
    /// Messages held unacknowledged at most; default 1,024, at most [`UNACKED_MAX`].
    pub max_unacked: u32,
    /// Messages claimed ahead; 1: none; default: a small batch while alone in the group. At most 255.
    pub prefetch: u32,
    /// [`AUTO_NEXT_PAGE`].
    pub flags: u32,
}

/// A message where it lies.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its bytes, in the page, 8-byte aligned, never NULL on success.
    pub data: *const u8,
    /// How many.
    pub len: usize,
    /// Its position.
    pub position: u64,
    /// [`MESSAGE_REDELIVERED`].
    pub flags: u32,
    /// How often it was handed out, this time included.
    pub deliveries: u32,
}

impl Default for Message {
    fn default() -> Message {
        Message { data: std::ptr::null(), len: 0, position: 0, flags: 0, deliveries: 0 }
    }
}

/// What a receiving call found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message (or several).
    Message,
    /// The page is read to its end: call `next_page`.
    EndOfPage,
    /// Retention dropped messages in front of the next one.
    Lagged,
}

/// A channel's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ChannelInfo {
    /// Payload bytes of a page.
    pub page_size: u64,
    /// Pages kept at most.
    pub max_pages: u64,
    /// Messages a page holds at most.
    pub max_messages_per_page: u64,
    /// Bytes of the largest message.
    pub max_message: u64,
    /// The retention.
    pub retention: u64,
    /// Whether messages carry checksums ([`CHECKSUM_ON`], [`CHECKSUM_OFF`]).
    pub checksum: u64,
    /// Version of the format on disk.
    pub format_version: u64,
    /// Position at or before the oldest message kept.
    pub oldest: u64,
    /// Position after the newest message.
    pub end: u64,
    /// Everything before this position is on stable storage.
    pub durable: u64,
    /// Messages kept.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes of disk all files take.
    pub disk_bytes: u64,
    /// Live producers.
    pub producers: u64,
    /// Live consumers.
    pub consumers: u64,
    /// Claims of dead or stalled producers that were skipped.
    pub abandoned: u64,
    /// Machine crashes recovered from.
    pub recoveries: u64,
    /// Messages torn by a machine crash.
    pub discarded: u64,
    /// 1 after an I/O failure.
    pub poisoned: u64,
}

/// A group's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GroupInfo {
    /// Position of the next message it will claim.
    pub position: u64,
    /// Messages published and not yet received.
    pub lag: u64,
    /// Messages handed out and not acknowledged.
    pub unacked: u64,
    /// Messages dropped unread.
    pub lost: u64,
    /// Redeliveries.
    pub redelivered: u64,
    /// Live consumers.
    pub consumers: u64,
}

/// A consumer's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ConsumerInfo {
    /// Position of the next message it (or its group) will receive.
    pub position: u64,
    /// Messages published and not yet received by its group.
    pub lag: u64,
    /// Messages this handle was handed and has not acknowledged.
    pub unacked: u64,
    /// Messages its group lost since it subscribed.
    pub lost: u64,
    /// Redelivered messages it received.
    pub redelivered: u64,
    /// Corrupt messages it skipped.
    pub corrupt: u64,
}

/// What [`crate::raw::Channel::verify`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VerifyInfo {
    /// Pages read.
    pub pages: u64,
    /// Sound messages.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Groups read.
    pub groups: u64,
    /// Messages and structures that contradict themselves or their checksum.
    pub corrupt: u64,
    /// Claims never published.
    pub torn: u64,
}
