//! The calls that processes of a test make, without the unsafe noise: each returns its code and what it
//! wrote. Handles are raw: whoever calls closes each once, and uses it on one thread.

use std::ffi::{c_int, CStr};
use std::path::Path;
use std::ptr::{null, null_mut};

use anyhow::{bail, Result};

use crate::abi::*;
use crate::payload::Load;

/// A message received, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got {
    pub load: Load,
    pub position: u64,
    pub flagged: bool,
    pub deliveries: u32,
}

impl Got {
    /// Take apart what a receiving call has just filled in.
    pub fn new(m: &Message) -> Result<Got> {
        // SAFETY: received just now; no page was turned since.
        let load = Load::check(unsafe { m.payload() })?;
        let flagged = m.flags & DC_MESSAGE_REDELIVERED != 0;
        Ok(Got { load, position: m.position, flagged, deliveries: m.deliveries })
    }
}

/// Wrap calls that take handles and numbers only.
macro_rules! plain {
    ($($name:ident = $call:ident($($arg:ident: $type:ty),*) $(-> $out:ty)?;)*) => {
        $(pub fn $name(&self, $($arg: $type),*) $(-> $out)? {
            // SAFETY: live handles, by the rule at the head of this file; numbers.
            unsafe { (self.$call)($($arg),*) }
        })*
    };
}

impl Lib {
    plain! {
        close = dc_close(channel: Handle);
        channel_sync = dc_channel_sync(channel: Handle, timeout_ms: c_int) -> c_int;
        maintain = dc_maintain(channel: Handle, timeout_ms: c_int) -> c_int;
        producer_close = dc_producer_close(p: Handle);
        commit = dc_commit(p: Handle, len: usize) -> c_int;
        abort = dc_abort(p: Handle) -> c_int;
        sync = dc_sync(p: Handle, timeout_ms: c_int) -> c_int;
        sent_position = dc_sent_position(p: Handle) -> u64;
        consumer_close = dc_consumer_close(c: Handle);
        next_page = dc_next_page(c: Handle) -> c_int;
        ack = dc_ack(c: Handle, position: u64) -> c_int;
        nack = dc_nack(c: Handle) -> c_int;
        seek = dc_seek(c: Handle, position: u64) -> c_int;
    }

    /// Open a channel, or fail with the code in words.
    pub fn must_open(&self, path: &Path, options: &Options) -> Result<Handle> {
        self.open(path, options).or_else(|code| bail!("dc_open: {}", self.why(code)))
    }

    pub fn producer(&self, channel: Handle) -> (c_int, Handle) {
        let mut p = null_mut();
        // SAFETY: valid pointers.
        (unsafe { (self.dc_producer_open)(channel, &mut p) }, p)
    }

    pub fn subscribe(
        &self,
        channel: Handle,
        group: Option<&CStr>,
        o: &SubscribeOptions,
    ) -> (c_int, Handle) {
        let (mut c, name) = (null_mut(), group.map_or(null(), CStr::as_ptr));
        // SAFETY: valid pointers.
        (unsafe { (self.dc_subscribe)(channel, name, o, &mut c) }, c)
    }

    pub fn send(&self, p: Handle, bytes: &[u8], timeout_ms: c_int) -> c_int {
        // SAFETY: valid pointers.
        unsafe { (self.dc_send)(p, bytes.as_ptr().cast(), bytes.len(), timeout_ms) }
    }

    /// Its code, and how many were sent.
    pub fn send_batch(&self, p: Handle, loads: &[Vec<u8>], timeout_ms: c_int) -> (c_int, usize) {
        let parts: Vec<_> = loads.iter().map(|l| part(l)).collect();
        let mut sent = 0;
        // SAFETY: valid pointers.
        let code =
            unsafe { (self.dc_send_batch)(p, parts.as_ptr(), parts.len(), timeout_ms, &mut sent) };
        (code, sent)
    }

    /// Reserve room for these bytes and copy them there.
    pub fn reserve(&self, p: Handle, bytes: &[u8], timeout_ms: c_int) -> c_int {
        let mut to = null_mut();
        // SAFETY: valid pointers; reserved for as many bytes.
        unsafe {
            let code = (self.dc_reserve)(p, bytes.len(), timeout_ms, &mut to);
            if code == DC_OK {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len());
            }
            code
        }
    }

    /// Its code, and the message of DC_OK.
    pub fn recv(&self, c: Handle, timeout_ms: c_int) -> Result<(c_int, Option<Got>)> {
        let mut m = Message::default();
        // SAFETY: valid pointers.
        let code = unsafe { (self.dc_recv)(c, &mut m, timeout_ms) };
        Ok((code, if code == DC_OK { Some(Got::new(&m)?) } else { None }))
    }

    /// Its code, and the messages of DC_OK.
    pub fn recv_batch(
        &self,
        c: Handle,
        max: usize,
        timeout_ms: c_int,
    ) -> Result<(c_int, Vec<Got>)> {
        let (mut m, mut n) = (vec![Message::default(); max], 0);
        // SAFETY: valid pointers, room for `max`.
        let code = unsafe { (self.dc_recv_batch)(c, m.as_mut_ptr(), max, timeout_ms, &mut n) };
        let got: Result<Vec<_>> = m[..n].iter().map(Got::new).collect();
        Ok((code, got?))
    }

    pub fn channel_stats(&self, channel: Handle) -> (c_int, ChannelInfo) {
        let mut info = ChannelInfo::default();
        // SAFETY: valid pointers.
        (unsafe { (self.dc_channel_stats)(channel, &mut info) }, info)
    }

    pub fn group_stats(&self, channel: Handle, group: &CStr) -> (c_int, GroupInfo) {
        let mut info = GroupInfo::default();
        // SAFETY: valid pointers.
        (unsafe { (self.dc_group_stats)(channel, group.as_ptr(), &mut info) }, info)
    }

    pub fn group_delete(&self, channel: Handle, group: &CStr) -> c_int {
        // SAFETY: valid pointers.
        unsafe { (self.dc_group_delete)(channel, group.as_ptr()) }
    }

    pub fn verify(&self, path: &Path) -> (c_int, VerifyInfo) {
        let mut info = VerifyInfo::default();
        // SAFETY: valid pointers.
        (unsafe { (self.dc_verify)(c_path(path).as_ptr(), &mut info) }, info)
    }

    pub fn destroy(&self, path: &Path) -> c_int {
        // SAFETY: a valid path.
        unsafe { (self.dc_destroy)(c_path(path).as_ptr()) }
    }
}

/// A piece of memory as `writev` wants it.
pub fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}
