//! One process's use of a channel: every call's answer is judged on the spot and entered in the ledger.

use std::ffi::{c_int, c_void};
use std::path::Path;

use crate::abi::*;
use crate::ledger::{group_name, judge, payload, Event, Ledger, Rules};

/// Calls, for marks and reports.
macro_rules! ops {
    ($($name:ident),*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, dead_code)]
        pub enum Op { $($name),* }
        pub const OPS: &[&str] = &[$(stringify!($name)),*];
    };
}
ops!(
    none,
    open,
    close,
    destroy,
    channel_stats,
    channel_sync,
    group_stats,
    group_next,
    group_delete,
    verify,
    maintain,
    producer_open,
    producer_clone,
    producer_close,
    send,
    sendv,
    send_batch,
    reserve,
    commit,
    abort,
    sync,
    producer_fd,
    subscribe,
    consumer_clone,
    consumer_close,
    recv,
    recv_batch,
    next_page,
    ack,
    nack,
    seek,
    consumer_stats,
    consumer_fd
);

/// No system call has such a number: whoever traces this process sees a call begin.
pub const MARK: u64 = 0xDC000;
/// A call has ended.
pub const MARK_END: u64 = 0xDC7FF;

pub struct Session<'a> {
    pub lib: &'a Lib,
    pub path: &'a Path,
    pub ledger: &'a Ledger,
    pub rules: Rules,
    /// Tell a tracer where calls begin and end.
    pub marks: bool,
    /// Pages may vanish under the mapping: that is a code too.
    pub guarded: bool,
}

/// A consumer and its group.
#[derive(Clone, Copy)]
pub struct Consumer {
    pub handle: Handle,
    pub group: Option<u8>,
    /// Its name in the ledger.
    by: u64,
    /// The last position received.
    pub last: u64,
}

/// The answer is in the ledger.
pub fn noted<T>(_: T) {}

/// Tell a tracer something.
pub fn mark(number: u64) {
    // SAFETY: no such system call; it does nothing.
    unsafe { libc::syscall(number as libc::c_long) };
}

impl Session<'_> {
    /// One call: only codes that say what happened are right.
    pub fn call(&self, op: Op, act: impl FnOnce() -> c_int) -> c_int {
        if self.marks {
            mark(MARK | op as u64);
        }
        let code = act();
        if self.marks {
            mark(MARK_END);
            self.ledger.add(Event::Answer { op: op as u32, code });
        }
        let fine = match code {
            DC_OK | DC_AGAIN | DC_E_POISONED | DC_E_BUSY => true,
            DC_END_OF_PAGE | DC_LAGGED => matches!(op, Op::recv | Op::recv_batch),
            // A kernel without what is needed.
            DC_E_UNSUPPORTED => matches!(op, Op::open | Op::verify | Op::destroy | Op::consumer_fd),
            DC_E_CORRUPT => self.guarded,
            // Destroyed but for its directory, which is empty.
            DC_E_FORMAT => op == Op::destroy,
            code => (-133..0).contains(&code),
        };
        if !fine {
            self.ledger.complain(&format!("dc_{}: {}", OPS[op as usize], self.lib.why(code)));
        }
        code
    }

    pub fn open(&self) -> Option<Handle> {
        self.open_with(&self.rules.options)
    }

    pub fn open_with(&self, options: &Options) -> Option<Handle> {
        let mut out = std::ptr::null_mut();
        let path = c_path(self.path);
        // SAFETY: all pointers are valid during the call.
        let code =
            self.call(Op::open, || unsafe { (self.lib.dc_open)(path.as_ptr(), options, &mut out) });
        self.made(Op::open, code, out)
    }

    fn made(&self, op: Op, code: c_int, out: Handle) -> Option<Handle> {
        if (code == DC_OK) == out.is_null() {
            self.ledger.complain(&format!("dc_{}: {code} and handle {out:?}", OPS[op as usize]));
        }
        (code == DC_OK).then_some(out)
    }

    pub fn producer(&self, channel: Handle) -> Option<Handle> {
        let mut out = std::ptr::null_mut();
        // SAFETY: a live handle, a valid pointer.
        let code = self
            .call(Op::producer_open, || unsafe { (self.lib.dc_producer_open)(channel, &mut out) });
        self.made(Op::producer_open, code, out)
    }

    pub fn subscribe(&self, channel: Handle, group: Option<u8>, flags: u32) -> Option<Consumer> {
        let options = SubscribeOptions {
            start: DC_EARLIEST,
            ack: DC_ACK_MANUAL,
            max_unacked: 4096,
            flags,
            ..SubscribeOptions::default()
        };
        let name = group.map(group_name);
        let name = name.as_ref().map_or(std::ptr::null(), |n| n.as_ptr());
        let mut out = std::ptr::null_mut();
        // SAFETY: a live handle, valid pointers.
        let code = self.call(Op::subscribe, || unsafe {
            (self.lib.dc_subscribe)(channel, name, &options, &mut out)
        });
        if let Some(group) = group {
            self.ledger.add(Event::Group { group, code });
        }
        let handle = self.made(Op::subscribe, code, out)?;
        Some(Consumer { handle, group, by: self.ledger.id(), last: 0 })
    }

    /// Send the next message in one of the ways there are.
    pub fn send(&self, producer: Handle, way: u64, timeout: i32) -> c_int {
        let id = self.ledger.id();
        let bytes = payload(id, self.rules.most);
        let at: *const c_void = bytes.as_ptr().cast();
        let (len, half) = (bytes.len(), bytes.len() / 2);
        // SAFETY: a live handle; the bytes outlive the calls; a reservation has the length asked for.
        let code = unsafe {
            match way % 3 {
                0 => self.call(Op::send, || (self.lib.dc_send)(producer, at, len, timeout)),
                1 => {
                    let part = |from: usize, to: usize| libc::iovec {
                        iov_base: bytes[from..to].as_ptr() as *mut c_void,
                        iov_len: to - from,
                    };
                    let parts = [part(0, half), part(half, len)];
                    self.call(Op::sendv, || {
                        (self.lib.dc_sendv)(producer, parts.as_ptr(), 2, timeout)
                    })
                }
                _ => {
                    let mut to = std::ptr::null_mut();
                    let code = self.call(Op::reserve, || {
                        (self.lib.dc_reserve)(producer, len, timeout, &mut to)
                    });
                    if code != DC_OK {
                        code
                    } else {
                        to.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), len);
                        self.call(Op::commit, || (self.lib.dc_commit)(producer, len))
                    }
                }
            }
        };
        self.note_sent(producer, id, code);
        code
    }

    fn note_sent(&self, producer: Handle, id: u64, code: c_int) {
        // SAFETY: a live handle.
        let position = unsafe { (self.lib.dc_sent_position)(producer) };
        self.ledger.add(Event::Send { id, code, position });
    }

    /// Send some messages as one batch.
    pub fn batch(&self, producer: Handle, count: usize, timeout: i32) -> c_int {
        let ids: Vec<u64> = (0..count).map(|_| self.ledger.id()).collect();
        let bytes: Vec<Vec<u8>> = ids.iter().map(|&id| payload(id, self.rules.most)).collect();
        let parts: Vec<_> = bytes
            .iter()
            .map(|b| libc::iovec { iov_base: b.as_ptr() as *mut c_void, iov_len: b.len() })
            .collect();
        let mut sent = usize::MAX;
        // SAFETY: a live handle; the bytes outlive the call.
        let code = self.call(Op::send_batch, || unsafe {
            (self.lib.dc_send_batch)(producer, parts.as_ptr(), count, timeout, &mut sent)
        });
        if (code == DC_OK) != (sent == count) || sent > count {
            self.ledger.complain(&format!("dc_send_batch: {code} and {sent} of {count} sent"));
        }
        // Where each one lies is not told; the last one is.
        for (i, &id) in ids.iter().enumerate() {
            let code = if i < sent { DC_OK } else { code };
            let position = 0;
            self.ledger.add(Event::Send { id, code, position });
        }
        code
    }

    /// Receive until nothing is left or `most` were received; the code that ended it.
    pub fn receive(&self, consumer: &mut Consumer, most: usize, timeout: i32) -> c_int {
        let mut failures = 0;
        for _ in 0..most {
            let mut m = Message::default();
            // SAFETY: a live handle, a valid struct.
            let mut code = self
                .call(Op::recv, || unsafe { (self.lib.dc_recv)(consumer.handle, &mut m, timeout) });
            if code == DC_END_OF_PAGE {
                // SAFETY: a live handle.
                code = self
                    .call(Op::next_page, || unsafe { (self.lib.dc_next_page)(consumer.handle) });
                if code == DC_OK {
                    continue;
                }
            }
            match code {
                // SAFETY: valid until the next page.
                DC_OK => self.handed(consumer, &m, unsafe { m.payload() }),
                DC_LAGGED => {}
                DC_AGAIN => return code,
                _ if failures < 2 => failures += 1,
                _ => return code,
            }
        }
        DC_OK
    }

    fn handed(&self, consumer: &mut Consumer, m: &Message, bytes: &[u8]) {
        match judge(bytes, self.rules.most) {
            Ok(id) => {
                consumer.last = m.position;
                if let Some(group) = consumer.group {
                    self.ledger.add(Event::Handed {
                        group,
                        by: consumer.by,
                        id,
                        position: m.position,
                    });
                }
            }
            Err(e) => self.ledger.complain(&format!("received at {}: {e}", m.position)),
        }
    }

    /// Receive once with the batch call.
    pub fn receive_batch(&self, consumer: &mut Consumer, most: usize, timeout: i32) -> c_int {
        let mut messages = vec![Message::default(); most];
        let mut n = usize::MAX;
        // SAFETY: a live handle; as many structs as said.
        let code = self.call(Op::recv_batch, || unsafe {
            (self.lib.dc_recv_batch)(consumer.handle, messages.as_mut_ptr(), most, timeout, &mut n)
        });
        if (code == DC_OK) != (n >= 1) || n > most {
            self.ledger.complain(&format!("dc_recv_batch: {code} and {n} received"));
            return code;
        }
        for m in &messages[..n] {
            // SAFETY: valid until the next page.
            self.handed(consumer, m, unsafe { m.payload() });
        }
        code
    }

    /// Acknowledge what was received up to a position.
    pub fn ack(&self, consumer: &Consumer, upto: u64) -> c_int {
        // SAFETY: a live handle.
        let code = self.call(Op::ack, || unsafe { (self.lib.dc_ack)(consumer.handle, upto) });
        if let Some(group) = consumer.group {
            self.ledger.add(Event::Ack { group, by: consumer.by, upto, code });
        }
        code
    }

    /// Give back what a member holds.
    pub fn nack(&self, consumer: &Consumer) {
        let Some(group) = consumer.group else { return };
        let code = self.with(Op::nack, consumer.handle, self.lib.dc_nack);
        self.ledger.add(Event::Nack { group, by: consumer.by, code });
    }

    pub fn stats(&self, channel: Handle) -> Option<ChannelInfo> {
        let mut info = ChannelInfo::default();
        // SAFETY: a live handle, a valid struct.
        let code = self
            .call(Op::channel_stats, || unsafe { (self.lib.dc_channel_stats)(channel, &mut info) });
        (code == DC_OK).then_some(info)
    }

    pub fn group_stats(&self, channel: Handle, group: u8) -> c_int {
        let (name, mut info) = (group_name(group), GroupInfo::default());
        // SAFETY: a live handle, a valid name and struct.
        self.call(Op::group_stats, || unsafe {
            (self.lib.dc_group_stats)(channel, name.as_ptr(), &mut info)
        })
    }

    /// A call that takes one handle and gives a code.
    pub fn with(
        &self,
        op: Op,
        handle: Handle,
        function: unsafe extern "C" fn(Handle) -> c_int,
    ) -> c_int {
        // SAFETY: a live handle.
        self.call(op, || unsafe { function(handle) })
    }

    /// A call that takes one handle and a timeout.
    pub fn within(
        &self,
        op: Op,
        handle: Handle,
        timeout: i32,
        function: unsafe extern "C" fn(Handle, c_int) -> c_int,
    ) -> c_int {
        // SAFETY: a live handle.
        self.call(op, || unsafe { function(handle, timeout) })
    }

    /// Close a handle.
    pub fn end(&self, op: Op, handle: Handle, function: unsafe extern "C" fn(Handle)) {
        // SAFETY: a live handle, closed once.
        self.call(op, || unsafe {
            function(handle);
            DC_OK
        });
    }
}
