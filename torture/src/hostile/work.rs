//! Everything one can do with a channel. What the calls return is free, but for codes that are none and
//! the code of a bug; what is received is what was sent.

use std::ffi::{c_int, CStr};
use std::path::Path;

use anyhow::{ensure, Result};

use super::bases::{message, GROUP};
use crate::abi::*;
use crate::payload::Load;

/// Receiving calls of one consumer at most: whatever the files say, there are not that many messages.
const CALLS: usize = 5_000;

/// A code is one of ours or the kernel's, and not the one of a bug.
pub fn a_code(lib: Lib, what: &str, code: c_int) -> Result<c_int> {
    ensure!((DC_E_UNSUPPORTED..=DC_LAGGED).contains(&code), "{what}: {}", lib.why(code));
    Ok(code)
}

/// A message lies where it says, and is one that was sent.
pub fn sound(m: &Message, checked: bool) -> Result<()> {
    ensure!(!m.data.is_null() && m.data as usize % 8 == 0 && m.position != 0, "{m:?}");
    // SAFETY: what the library says; a lie shows as a crash here.
    let payload = unsafe { m.payload() };
    std::hint::black_box(payload.iter().fold(0u8, |sum, byte| sum ^ byte));
    if checked {
        Load::check(payload)?;
    }
    Ok(())
}

struct Work<'a> {
    lib: Lib,
    dir: &'a Path,
    /// Messages have checksums: what was changed is never delivered.
    checked: bool,
}

/// Do everything, in one of three orders: damage that one use mends is there for another.
pub fn everything(lib: Lib, dir: &Path, order: u64, checked: bool) -> Result<()> {
    let work = Work { lib, dir, checked };
    for i in 0..3 {
        match (order + i) % 3 {
            0 => work.use_it(order)?,
            1 => work.flush_it()?,
            _ => work.read_it()?,
        }
    }
    a_code(lib, "dc_destroy", lib.destroy(dir)).map(drop)
}

impl Work<'_> {
    fn code(&self, what: &str, code: c_int) -> Result<c_int> {
        a_code(self.lib, what, code)
    }

    fn open(&self, flags: u32, durability: u32) -> Result<Option<Handle>> {
        let o = Options { flags, durability, stall_timeout_ms: 2, ..Options::default() };
        match self.lib.open(self.dir, &o) {
            Ok(channel) => Ok(Some(channel)),
            Err(code) => self.code("dc_open", code).map(|_| None),
        }
    }

    fn use_it(&self, order: u64) -> Result<()> {
        let lib = self.lib;
        // Now and then with the library's thread, which looks at the words as well.
        let thread = if order % 16 == 0 { 0 } else { DC_NO_THREAD };
        let Some(ch) = self.open(DC_EXISTING | thread, 0)? else { return Ok(()) };
        self.look(ch)?;
        self.send(ch, 100)?;
        for start in [DC_EARLIEST, u64::MAX - 7, 2 << 16 | 3] {
            self.observe(ch, start)?;
        }
        self.member(ch, GROUP, DC_ACK_MANUAL)?;
        self.member(ch, GROUP, DC_ACK_NEXT)?;
        self.member(ch, c"new", DC_ACK_RECEIVE)?;
        self.turn(ch)?;
        self.look(ch)?;
        self.code("dc_channel_sync", lib.channel_sync(ch, 20))?;
        self.code("dc_maintain", lib.maintain(ch, 0))?;
        self.code("dc_group_delete", lib.group_delete(ch, GROUP))?;
        lib.close(ch);
        Ok(())
    }

    fn flush_it(&self) -> Result<()> {
        let flags = DC_EXISTING | DC_NO_THREAD;
        let Some(ch) = self.open(flags, DC_SYNC_ALWAYS)? else { return Ok(()) };
        self.member(ch, GROUP, DC_ACK_NEXT)?;
        let (code, p) = self.lib.producer(ch);
        if self.code("dc_producer_open", code)? == DC_OK {
            for n in 200..205 {
                self.code("dc_send", self.lib.send(p, &message(n), 0))?;
            }
            self.lib.producer_close(p);
        }
        self.code("dc_channel_sync", self.lib.channel_sync(ch, 50))?;
        self.lib.close(ch);
        Ok(())
    }

    fn read_it(&self) -> Result<()> {
        let (code, info) = self.lib.verify(self.dir);
        self.code("dc_verify", code)?;
        ensure!(info.pages < 100 && info.groups < 100, "{info:?}");
        if let Some(ch) = self.open(DC_READ_ONLY, 0)? {
            self.look(ch)?;
            self.observe(ch, DC_EARLIEST)?;
            self.lib.close(ch);
        }
        Ok(())
    }

    fn look(&self, ch: Handle) -> Result<()> {
        self.code("dc_channel_stats", self.lib.channel_stats(ch).0)?;
        let mut name = [0; 256];
        let mut after = std::ptr::null();
        for _ in 0..20 {
            // SAFETY: valid pointers; `after` is NULL or `name` itself, as the header allows.
            let code =
                unsafe { (self.lib.dc_group_next)(ch, after, name.as_mut_ptr(), name.len()) };
            if self.code("dc_group_next", code)? != DC_OK {
                break;
            }
            after = name.as_ptr();
            // SAFETY: NUL-terminated by the call.
            let text = unsafe { CStr::from_ptr(name.as_ptr()) };
            self.code("dc_group_stats", self.lib.group_stats(ch, text).0)?;
        }
        Ok(())
    }

    /// Send more than two pages, in all ways.
    fn send(&self, ch: Handle, from: u64) -> Result<()> {
        let lib = self.lib;
        let (code, p) = lib.producer(ch);
        if self.code("dc_producer_open", code)? != DC_OK {
            return Ok(());
        }
        for n in from..from + 24 {
            if self.code("dc_send", lib.send(p, &message(n), 0))? != DC_OK {
                break;
            }
        }
        let batch: Vec<_> = (from..from + 20).map(message).collect();
        let (code, sent) = lib.send_batch(p, &batch, 0);
        let code = self.code("dc_send_batch", code)?;
        ensure!(sent <= batch.len() && (code != DC_OK || sent == batch.len()), "{sent} sent");
        let bytes = message(from);
        if self.code("dc_reserve", lib.reserve(p, &bytes, 0))? == DC_OK {
            self.code("dc_commit", lib.commit(p, bytes.len()))?;
        }
        self.code("dc_sync", lib.sync(p, 20))?;
        lib.producer_close(p);
        Ok(())
    }

    fn observe(&self, ch: Handle, start: u64) -> Result<()> {
        let o = SubscribeOptions { start, ..SubscribeOptions::default() };
        let (code, c) = self.lib.subscribe(ch, None, &o);
        if self.code("dc_subscribe", code)? == DC_OK {
            self.drain(c, true)?;
            self.consumer_stats(c)?;
            self.lib.consumer_close(c);
        }
        Ok(())
    }

    fn member(&self, ch: Handle, group: &CStr, ack: u32) -> Result<()> {
        let o = SubscribeOptions { ack, ..SubscribeOptions::default() };
        let (code, c) = self.lib.subscribe(ch, Some(group), &o);
        if self.code("dc_subscribe", code)? == DC_OK {
            self.drain(c, false)?;
            self.consumer_stats(c)?;
            self.lib.consumer_close(c);
        }
        Ok(())
    }

    fn consumer_stats(&self, c: Handle) -> Result<()> {
        let mut info = ConsumerInfo::default();
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_consumer_stats)(c, &mut info) };
        self.code("dc_consumer_stats", code).map(drop)
    }

    /// Receive, one by one and in batches, until there is nothing. An observer's positions only grow.
    fn drain(&self, c: Handle, ordered: bool) -> Result<()> {
        let mut last = 0;
        for call in 0..CALLS {
            let mut batch = [Message::default(); 10];
            let mut n = 0;
            let code = if call % 16 == 5 {
                // SAFETY: valid pointers, room for ten.
                unsafe { (self.lib.dc_recv_batch)(c, batch.as_mut_ptr(), 10, 0, &mut n) }
            } else {
                // SAFETY: valid pointers.
                let code = unsafe { (self.lib.dc_recv)(c, &mut batch[0], 0) };
                n = usize::from(code == DC_OK);
                code
            };
            match self.code("dc_recv", code)? {
                DC_OK => {
                    ensure!((1..=10).contains(&n), "{n} received");
                    for m in &batch[..n] {
                        sound(m, self.checked)?;
                        ensure!(!ordered || m.position > last, "{} after {last}", m.position);
                        last = m.position;
                    }
                }
                DC_END_OF_PAGE => drop(self.code("dc_next_page", self.lib.next_page(c))?),
                DC_LAGGED => {}
                DC_E_CORRUPT if batch[0].position != 0 => {}
                _ => return Ok(()),
            }
        }
        anyhow::bail!("{CALLS} receiving calls, and no end")
    }

    /// Acknowledge, give back, seek.
    fn turn(&self, ch: Handle) -> Result<()> {
        let lib = self.lib;
        let o =
            SubscribeOptions { ack: DC_ACK_MANUAL, flags: DC_AUTO_NEXT_PAGE, ..Default::default() };
        let (code, c) = lib.subscribe(ch, Some(GROUP), &o);
        if self.code("dc_subscribe", code)? != DC_OK {
            return Ok(());
        }
        for to in [DC_EARLIEST, 2 << 16, 1 << 53, DC_LATEST, u64::MAX - 3, 1 << 16 | 40] {
            self.code("dc_seek", lib.seek(c, to))?;
            let at = self.receive_one(c, 0)?;
            self.code("dc_ack", lib.ack(c, at.max(1)))?;
            self.receive_one(c, 0)?;
            self.code("dc_nack", lib.nack(c))?;
            self.receive_one(c, i32::from(to == DC_EARLIEST))?;
        }
        lib.consumer_close(c);
        Ok(())
    }

    fn receive_one(&self, c: Handle, timeout_ms: c_int) -> Result<u64> {
        let mut m = Message::default();
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_recv)(c, &mut m, timeout_ms) };
        if self.code("dc_recv", code)? == DC_OK {
            sound(&m, self.checked)?;
        }
        Ok(m.position)
    }
}
