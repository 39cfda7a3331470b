//! What a caller may choose: `dc_options`, `dc_subscribe_options` and their constants.

use super::sized::Sized_;
use crate::options as core;
use std::mem::{offset_of, size_of};

/// OPTIONS. `max_pages`: as many as the disk has room for.
pub const DC_UNLIMITED: u64 = u64::MAX;

/// `retention` (default): when a new page is needed and there are max_pages, the oldest one goes,
/// read or not. Sends never wait for consumers; a slow consumer finds DC_LAGGED.
pub const DC_RETAIN_RING: u32 = 1;
/// `retention`: the same, but what a group with a live consumer has not acknowledged never goes:
/// sends wait for it.
pub const DC_RETAIN_LIVE: u32 = 2;
/// `retention`: nothing goes that any group has not acknowledged, and with no group nothing at all:
/// sends wait, or return DC_AGAIN.
pub const DC_RETAIN_UNREAD: u32 = 3;

/// `durability` (default): a message survives the death of any process; the operating system writes
/// it to disk when it likes, so a power cut may take the newest messages.
pub const DC_SYNC_NONE: u32 = 1;
/// `durability`: what this process sent is flushed every sync_interval_ms, by the library thread or
/// by dc_maintain.
pub const DC_SYNC_INTERVAL: u32 = 2;
/// `durability`: a send returns when its message is on stable storage. Many producers share one
/// flush, and so does a batch.
pub const DC_SYNC_ALWAYS: u32 = 3;

/// `checksum` (default): each message carries one, checked when it is received.
pub const DC_CHECKSUM_ON: u32 = 1;
/// `checksum`: none. After a power cut nothing beyond the durable position is delivered.
pub const DC_CHECKSUM_OFF: u32 = 2;

/// `flags` of dc_options: the channel must exist (-ENOENT otherwise).
pub const DC_EXISTING: u32 = 1;
/// `flags` of dc_options: the channel must not exist (-EEXIST otherwise).
pub const DC_NEW: u32 = 2;
/// `flags` of dc_options: observers and stats only, with read permission alone; implies
/// DC_EXISTING. Producers, groups, sync and maintenance are DC_E_STATE.
pub const DC_READ_ONLY: u32 = 4;
/// `flags` of dc_options: this open starts no thread. The program calls dc_maintain instead, and
/// fds are DC_E_UNSUPPORTED.
pub const DC_NO_THREAD: u32 = 8;
/// `flags` of dc_options: a send never prepares a page itself (allocating and clearing files takes
/// milliseconds); without a prepared page it returns DC_AGAIN. For real-time threads.
pub const DC_PREPARED_ONLY: u32 = 16;
/// `flags` of dc_options: a channel file that somebody truncates while it is mapped gives
/// DC_E_CORRUPT (a send or sync may give DC_E_POISONED) instead of SIGBUS, from then on and for every
/// handle that needs that file. Installs a SIGBUS handler for the process, which hands every fault
/// that is not the library's on to the handler that was there before; a thread that blocks SIGBUS,
/// or a program that replaces the handler later, has no guard.
pub const DC_SIGBUS_GUARD: u32 = 32;

/// `start` (default), and dc_seek: the oldest message kept.
pub const DC_EARLIEST: u64 = 1;
/// `start`, and dc_seek: after the newest message. See DC_LAST(n) for the newest n.
pub const DC_LATEST: u64 = u64::MAX;

/// `ack` (default): any receiving call first acknowledges what the handle received before. At least
/// once: what a consumer had in hand when it died is delivered again, to another one.
pub const DC_ACK_NEXT: u32 = 1;
/// `ack`: the program calls dc_ack. At least once.
pub const DC_ACK_MANUAL: u32 = 2;
/// `ack`: acknowledged when received. At most once, over process crashes; the fastest.
pub const DC_ACK_RECEIVE: u32 = 3;

/// `flags` of dc_subscribe_options: dc_recv moves to the next page by itself and never returns
/// DC_END_OF_PAGE; message pointers live until the handle's next receiving call only.
pub const DC_AUTO_NEXT_PAGE: u32 = 1;

/// Bytes of a group's name at most, without its NUL; at least one. Any byte but NUL may occur.
pub const DC_GROUP_NAME_MAX: usize = 255;

const _: () = assert!(
    DC_UNLIMITED == core::UNLIMITED
        && DC_RETAIN_RING == core::RETAIN_RING
        && DC_RETAIN_LIVE == core::RETAIN_LIVE
        && DC_RETAIN_UNREAD == core::RETAIN_UNREAD
        && DC_SYNC_NONE == core::SYNC_NONE
        && DC_SYNC_INTERVAL == core::SYNC_INTERVAL
        && DC_SYNC_ALWAYS == core::SYNC_ALWAYS
        && DC_CHECKSUM_ON == core::CHECKSUM_ON
        && DC_CHECKSUM_OFF == core::CHECKSUM_OFF
        && DC_EXISTING == core::EXISTING
        && DC_NEW == core::NEW
        && DC_READ_ONLY == core::READ_ONLY
        && DC_NO_THREAD == core::NO_THREAD
        && DC_PREPARED_ONLY == core::PREPARED_ONLY
        && DC_SIGBUS_GUARD == core::SIGBUS_GUARD
        && DC_EARLIEST == core::EARLIEST
        && DC_LATEST == core::LATEST
        && DC_ACK_NEXT == core::ACK_NEXT
        && DC_ACK_MANUAL == core::ACK_MANUAL
        && DC_ACK_RECEIVE == core::ACK_RECEIVE
        && DC_AUTO_NEXT_PAGE == core::AUTO_NEXT_PAGE
        && DC_GROUP_NAME_MAX == core::GROUP_NAME_MAX,
    "the header and the crate give different values"
);

/// What dc_open may be told. Initialise with DC_OPTIONS_INIT and set what matters; 0 in any field
/// but `size` means its default, or, for a channel that exists, what it has stored.
///
/// What a channel IS (page_size, max_pages, max_messages_per_page, retention, checksum, mode) is
/// stored when it is made: another value than the stored one is DC_E_MISMATCH. The rest belongs to
/// this open and may differ from process to process.
///
/// Page size: a page is what is allocated, recycled and pinned at a time. Take at least 100 of your
/// messages a page, and at most a quarter of the disk space the channel may use.
///
/// 56 bytes; the offset of each field stands before it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_options {
    /// 0: sizeof(dc_options).
    pub size: usize,
    /// 8: payload bytes of a page: 64 KiB to 4 GiB, rounded up to 4,096; default 16 MiB.
    pub page_size: u64,
    /// 16: pages kept at most: 2 to 2^32, or DC_UNLIMITED; default 16.
    pub max_pages: u64,
    /// 24: messages of a page at most: 1 to 65,535; default 65,535.
    pub max_messages_per_page: u32,
    /// 28: DC_RETAIN_RING (default), DC_RETAIN_LIVE or DC_RETAIN_UNREAD.
    pub retention: u32,
    /// 32: DC_SYNC_NONE (default), DC_SYNC_INTERVAL or DC_SYNC_ALWAYS; of this open.
    pub durability: u32,
    /// 36: milliseconds between flushes under DC_SYNC_INTERVAL; default 1,000; of this open.
    pub sync_interval_ms: u32,
    /// 40: DC_CHECKSUM_ON (default) or DC_CHECKSUM_OFF.
    pub checksum: u32,
    /// 44: after this many milliseconds a message that is claimed but not published no longer holds
    /// up the readers behind it; default 1,000, at most 60,000; of this open.
    pub stall_timeout_ms: u32,
    /// 48: permission bits (as of chmod), default 0600; given to every file of the channel by
    /// fchmod, whoever creates it and whatever the umask; the directory gets the matching x bits.
    pub mode: u32,
    /// 52: DC_EXISTING, DC_NEW, DC_READ_ONLY, DC_NO_THREAD, DC_PREPARED_ONLY, DC_SIGBUS_GUARD, or
    /// 0: open the channel or create it; of this open.
    pub flags: u32,
}

const _: () = assert!(
    size_of::<dc_options>() == 56
        && offset_of!(dc_options, page_size) == 8
        && offset_of!(dc_options, max_pages) == 16
        && offset_of!(dc_options, max_messages_per_page) == 24
        && offset_of!(dc_options, retention) == 28
        && offset_of!(dc_options, durability) == 32
        && offset_of!(dc_options, sync_interval_ms) == 36
        && offset_of!(dc_options, checksum) == 40
        && offset_of!(dc_options, stall_timeout_ms) == 44
        && offset_of!(dc_options, mode) == 48
        && offset_of!(dc_options, flags) == 52
);

// SAFETY: `repr(C)` integers, the size first; the offsets above leave no gap.
unsafe impl Sized_ for dc_options {
    const NAME: &'static str = "dc_options";
}

impl From<dc_options> for core::Options {
    fn from(o: dc_options) -> core::Options {
        core::Options {
            page_size: o.page_size,
            max_pages: o.max_pages,
            max_messages_per_page: o.max_messages_per_page,
            retention: o.retention,
            durability: o.durability,
            sync_interval_ms: o.sync_interval_ms,
            checksum: o.checksum,
            stall_timeout_ms: o.stall_timeout_ms,
            mode: o.mode,
            flags: o.flags,
        }
    }
}

/// What dc_subscribe may be told. Initialise with DC_SUBSCRIBE_OPTIONS_INIT; 0 in any field but
/// `size` means its default. All of it belongs to the handle, but for `start`.
///
/// 32 bytes; the offset of each field stands before it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_subscribe_options {
    /// 0: sizeof(dc_subscribe_options).
    pub size: usize,
    /// 8: where a new group or an observer starts: a position (then the first message at or after
    /// it), DC_EARLIEST (default), DC_LATEST or DC_LAST(n). A group that exists goes on where it
    /// stands.
    pub start: u64,
    /// 16: DC_ACK_NEXT (default), DC_ACK_MANUAL or DC_ACK_RECEIVE.
    pub ack: u32,
    /// 20: messages this handle may hold unacknowledged under DC_ACK_MANUAL, at most 4,096; default
    /// 1,024. Holding as many, receiving is DC_E_LIMIT.
    pub max_unacked: u32,
    /// 24: messages claimed ahead for this handle, at most 255; 1: none; default: a small batch
    /// while it is the group's only live consumer, else none. Slow work (a message takes long) wants
    /// 1: what is claimed ahead waits for this handle. Should it be killed, what it had claimed ahead
    /// and nobody was handed comes unflagged, possibly after later messages of the same producer
    /// that another consumer of the group has received meanwhile.
    pub prefetch: u32,
    /// 28: DC_AUTO_NEXT_PAGE or 0.
    pub flags: u32,
}

const _: () = assert!(
    size_of::<dc_subscribe_options>() == 32
        && offset_of!(dc_subscribe_options, start) == 8
        && offset_of!(dc_subscribe_options, ack) == 16
        && offset_of!(dc_subscribe_options, max_unacked) == 20
        && offset_of!(dc_subscribe_options, prefetch) == 24
        && offset_of!(dc_subscribe_options, flags) == 28
);

// SAFETY: `repr(C)` integers, the size first; the offsets above leave no gap.
unsafe impl Sized_ for dc_subscribe_options {
    const NAME: &'static str = "dc_subscribe_options";
}

impl From<dc_subscribe_options> for core::SubscribeOptions {
    fn from(o: dc_subscribe_options) -> core::SubscribeOptions {
        core::SubscribeOptions {
            start: o.start,
            ack: o.ack,
            max_unacked: o.max_unacked,
            prefetch: o.prefetch,
            flags: o.flags,
        }
    }
}
