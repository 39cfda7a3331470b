//! What the library counts: four structs of 64-bit numbers, each after its size.

use super::sized::Sized_;
use crate::options as core;
use std::mem::size_of;

/// Says of a struct that it is its size and then `$words` numbers without a gap, and fills it from
/// the crate's own struct of the same fields.
macro_rules! info {
    ($name:ident from $from:ident, $words:literal: $($field:ident)*) => {
        const _: () = assert!(size_of::<$name>() == 8 * (1 + $words));

        // SAFETY: `repr(C)`, the size first, and as large as its 64-bit fields together.
        unsafe impl Sized_ for $name {
            const NAME: &'static str = stringify!($name);
        }

        impl From<core::$from> for $name {
            fn from(info: core::$from) -> $name {
                $name { size: size_of::<$name>(), $($field: info.$field),* }
            }
        }
    };
}

/// A channel's figures, of all processes together. Initialise with DC_CHANNEL_INFO_INIT.
///
/// Counts are derived from positions where they can be; they are exact when nothing moves and
/// nobody was killed in mid-call, and otherwise a snapshot of things in motion. 160 bytes: after
/// `size`, field n lies at offset 8 n.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_channel_info {
    /// sizeof(dc_channel_info).
    pub size: usize,
    /// Payload bytes of a page.
    pub page_size: u64,
    /// Pages kept at most, or DC_UNLIMITED.
    pub max_pages: u64,
    /// Messages of a page at most.
    pub max_messages_per_page: u64,
    /// Bytes of the largest message that can be sent; a larger one is DC_E_TOO_BIG.
    pub max_message: u64,
    /// DC_RETAIN_RING, DC_RETAIN_LIVE or DC_RETAIN_UNREAD.
    pub retention: u64,
    /// DC_CHECKSUM_ON or DC_CHECKSUM_OFF.
    pub checksum: u64,
    /// Version of the format on disk.
    pub format_version: u64,
    /// Position at or before the oldest message kept. The channel is empty when oldest == end.
    pub oldest: u64,
    /// Position after the newest message.
    pub end: u64,
    /// Everything before this position is on stable storage: a message is, once durable > its
    /// position.
    pub durable: u64,
    /// Messages kept.
    pub messages: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Bytes of disk that all files of the channel take.
    pub disk_bytes: u64,
    /// Live producers, in all processes.
    pub producers: u64,
    /// Live consumers, in all processes; observers of a DC_READ_ONLY channel are not counted.
    pub consumers: u64,
    /// Claims of dead or stalled producers that were skipped.
    pub abandoned: u64,
    /// Machine crashes that the channel recovered from.
    pub recoveries: u64,
    /// Messages torn by a machine crash, and so dropped.
    pub discarded: u64,
    /// 1 after an I/O failure (DC_E_POISONED), else 0.
    pub poisoned: u64,
}

info! { dc_channel_info from ChannelInfo, 19:
    page_size max_pages max_messages_per_page max_message retention checksum format_version oldest end
    durable messages bytes disk_bytes producers consumers abandoned recoveries discarded poisoned
}

/// A group's figures. Initialise with DC_GROUP_INFO_INIT. 56 bytes: after `size`, field n lies at
/// offset 8 n.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_group_info {
    /// sizeof(dc_group_info).
    pub size: usize,
    /// Position of the next message that one of its consumers will claim.
    pub position: u64,
    /// Messages published and not yet received.
    pub lag: u64,
    /// Messages handed out and not acknowledged.
    pub unacked: u64,
    /// Messages that retention dropped before the group read them.
    pub lost: u64,
    /// Redeliveries.
    pub redelivered: u64,
    /// Live consumers, in all processes.
    pub consumers: u64,
}

info! { dc_group_info from GroupInfo, 6: position lag unacked lost redelivered consumers }

/// A consumer's figures. Initialise with DC_CONSUMER_INFO_INIT. 56 bytes: after `size`, field n
/// lies at offset 8 n.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_consumer_info {
    /// sizeof(dc_consumer_info).
    pub size: usize,
    /// Position of the next message that it (or its group) will receive.
    pub position: u64,
    /// Messages published and not yet received by it (or its group).
    pub lag: u64,
    /// Messages that this handle was handed and has not acknowledged.
    pub unacked: u64,
    /// Messages that it (or its group) lost to retention since it subscribed.
    pub lost: u64,
    /// Redelivered messages that it received.
    pub redelivered: u64,
    /// Corrupt messages that it skipped.
    pub corrupt: u64,
}

info! { dc_consumer_info from ConsumerInfo, 6: position lag unacked lost redelivered corrupt }

/// What dc_verify counted. Initialise with DC_VERIFY_INFO_INIT. 56 bytes: after `size`, field n
/// lies at offset 8 n.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_verify_info {
    /// sizeof(dc_verify_info).
    pub size: usize,
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
    /// Claims that were never published: the sends of processes that died.
    pub torn: u64,
}

info! { dc_verify_info from VerifyInfo, 6: pages messages bytes groups corrupt torn }
