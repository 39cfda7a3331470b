//! A message as C sees it: the crate's own, under its C name.

use crate::options::{self, Message};
use std::ffi::c_void;
use std::mem::{align_of, offset_of, size_of};

/// MESSAGES. `flags` of dc_message: some consumer of the group was handed this message before and
/// did not acknowledge it. A message that nobody was handed is never flagged.
pub const DC_MESSAGE_REDELIVERED: u32 = 1;

const _: () = assert!(DC_MESSAGE_REDELIVERED == options::MESSAGE_REDELIVERED);

/// A received message. 32 bytes for ever; the offset of each field stands before it.
///
/// The library fills it; the program owns the struct, but not the bytes that `data` points to: they
/// lie in the page, are never written to by anybody, and stay valid until this handle's
/// dc_next_page, seek or close (under DC_AUTO_NEXT_PAGE: until its next receiving call).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct dc_message {
    /// 0: its bytes; 8-byte aligned, never NULL, also when it is empty (but after DC_E_CORRUPT,
    /// NULL).
    pub data: *const c_void,
    /// 8: how many.
    pub len: usize,
    /// 16: its position; never 0, larger than that of every message before it in the channel.
    pub position: u64,
    /// 24: DC_MESSAGE_REDELIVERED or 0. Ignore bits you do not know.
    pub flags: u32,
    /// 28: how often it was handed out, this time included: 1 the first time. A message that keeps
    /// killing its consumers shows here.
    pub deliveries: u32,
}

// A pointer to one is used as a pointer to the other.
const _: () = assert!(
    size_of::<dc_message>() == 32
        && size_of::<Message>() == 32
        && align_of::<dc_message>() == align_of::<Message>()
        && offset_of!(dc_message, data) == offset_of!(Message, data)
        && offset_of!(dc_message, len) == offset_of!(Message, len)
        && offset_of!(dc_message, position) == offset_of!(Message, position)
        && offset_of!(dc_message, flags) == offset_of!(Message, flags)
        && offset_of!(dc_message, deliveries) == offset_of!(Message, deliveries)
);
