//! `dc_producer`: send, in one piece, in several, in batches, or in place.

use super::args::{self, Buffers, Out};
use super::channel::dc_channel;
use super::{guard, guard_unit, make, room};
use crate::error::{Result, DC_AGAIN, DC_E_ARGUMENT};
use crate::raw::{Interrupter, Producer};
use crate::sys::errno;
use libc::iovec;
use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// A handle that sends. One thread at a time uses it; it may move between threads. Only
/// dc_producer_interrupt may be called at any time, from any thread or signal handler.
///
/// Made by dc_producer_open or dc_producer_clone, given back by dc_producer_close.
pub struct dc_producer {
    inner: UnsafeCell<Producer>,
    // Beside the producer, not in it: an interrupt comes while another thread is inside.
    interrupter: Interrupter,
}

impl dc_producer {
    fn boxed(inner: Producer) -> Box<dc_producer> {
        let interrupter = inner.interrupter();
        Box::new(dc_producer { inner: UnsafeCell::new(inner), interrupter })
    }

    /// The producer itself.
    ///
    /// # Safety
    /// `p` is NULL or open, and no other thread is in a call with it (interrupts aside).
    #[inline]
    unsafe fn get<'a>(call: &str, p: *mut dc_producer) -> Result<&'a mut Producer> {
        // SAFETY: an open handle; the cell is used by this thread alone.
        unsafe { Ok(&mut *args::handle(call, "producer", p)?.inner.get()) }
    }

    /// The producer itself, to look at.
    ///
    /// # Safety
    /// As of [`dc_producer::get`].
    #[inline]
    unsafe fn look<'a>(call: &str, p: *const dc_producer) -> Result<&'a Producer> {
        // SAFETY: an open handle; the cell is used by this thread alone.
        unsafe { Ok(&*args::handle(call, "producer", p)?.inner.get()) }
    }
}

/// Makes a producer of a channel.
///
/// `*out` is the new handle, NULL on failure; give it back with dc_producer_close. It does not need
/// the channel handle to stay open. Thread-safe on `channel`. May block for the disk.
///
/// - DC_OK: made.
/// - DC_E_STATE: the channel is read-only.
/// - DC_E_POISONED: an I/O failure; close and reopen the channel everywhere.
/// - DC_E_LIMIT: 1,024 handles of this channel are live, in all processes; close some.
/// - DC_E_ARGUMENT: channel or out is NULL.
/// - -ENOMEM, -EMFILE, -ENOSPC and others of the operating system.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_producer_open(
    channel: *mut dc_channel,
    out: *mut *mut dc_producer,
) -> c_int {
    const CALL: &str = "dc_producer_open";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let out = Out::new(CALL, out)?;
        let channel = args::handle(CALL, "channel", channel)?;
        make(CALL, || channel.inner.producer().map(dc_producer::boxed)).map(|p| out.set(p))
    })
}

/// Makes another producer of the same channel, for another thread, say.
///
/// `*out` is a handle of its own, NULL on failure; a reservation, sent position and fd are not
/// inherited. The calling thread must be the one that uses `producer`. May block for the disk.
///
/// Codes as of dc_producer_open; DC_E_ARGUMENT: producer or out is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_producer_clone(
    producer: *const dc_producer,
    out: *mut *mut dc_producer,
) -> c_int {
    const CALL: &str = "dc_producer_clone";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let out = Out::new(CALL, out)?;
        let producer = dc_producer::look(CALL, producer)?;
        make(CALL, || producer.try_clone().map(dc_producer::boxed)).map(|p| out.set(p))
    })
}

/// Closes a producer. NULL is accepted and does nothing.
///
/// Aborts a reservation that is still held, and closes its fd. What was sent stays sent. Closing
/// while another thread is in a call with this handle, an interrupt included, is undefined. In a
/// forked child it only frees memory.
#[no_mangle]
pub unsafe extern "C" fn dc_producer_close(producer: *mut dc_producer) {
    // SAFETY: the header demands a handle of this kind that is closed once.
    let _ = guard_unit(|| unsafe {
        args::close(producer);
        Ok(())
    });
}

/// Sends one message, all or nothing.
///
/// The `len` bytes at `data` are copied; an empty message is a message (`data` may be NULL then).
/// The bytes must not change during the call. One thread at a time.
///
/// Blocks up to `timeout_ms` for room, and only for that: once placed, the call completes, under
/// DC_SYNC_ALWAYS with the flush included. Consumers may see the message before it is durable.
/// Never allocates memory.
///
/// - DC_OK: sent; under DC_SYNC_ALWAYS, durable.
/// - DC_AGAIN: not sent: no room within the timeout (consumers of a lossless channel lag), or no
///   prepared page under DC_PREPARED_ONLY. Send again later, or when the fd becomes readable.
/// - -EINTR: not sent: a signal handler ran during the wait. Send again.
/// - -ECANCELED: not sent: dc_producer_interrupt.
/// - DC_E_TOO_BIG: not sent, ever: longer than max_message.
/// - DC_E_POISONED: an I/O failure. Under DC_SYNC_ALWAYS it is unknown whether the message was
///   sent; else it was not. Close and reopen the channel everywhere.
/// - DC_E_CORRUPT: lost: somebody truncated a page file (under DC_SIGBUS_GUARD only, else a
///   signal).
/// - DC_E_STATE: a reservation is held; commit or abort it first.
/// - DC_E_ARGUMENT: not sent: producer is NULL, data is NULL but len is not 0, timeout_ms is below
///   -1.
/// - -ENOSPC, -EDQUOT: not sent: no room on disk for the next page. Everything sent stays readable;
///   send again when there is room.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_send(
    producer: *mut dc_producer,
    data: *const c_void,
    len: usize,
    timeout_ms: c_int,
) -> c_int {
    const CALL: &str = "dc_send";
    // SAFETY: the header demands an open handle and `len` bytes.
    guard_unit(|| unsafe {
        let producer = dc_producer::get(CALL, producer)?;
        producer.send(args::bytes(CALL, data, len)?, timeout_ms)
    })
}

/// Sends one message that lies in `count` parts: gathers them, in order. Otherwise as dc_send.
///
/// A part may be empty (and its iov_base NULL then); count 0 sends an empty message (`parts` may be
/// NULL then).
///
/// Codes as of dc_send; also DC_E_ARGUMENT: parts is NULL but count is not 0, a part's iov_base is
/// NULL but its iov_len is not 0, or the lengths overflow.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_sendv(
    producer: *mut dc_producer,
    parts: *const iovec,
    count: usize,
    timeout_ms: c_int,
) -> c_int {
    const CALL: &str = "dc_sendv";
    // SAFETY: the header demands an open handle, and parts with their bytes.
    guard_unit(|| unsafe {
        let producer = dc_producer::get(CALL, producer)?;
        let parts = Buffers::new(CALL, "parts", parts, count)?;
        match parts.slices() {
            Some(slices) => producer.send_vectored(slices, timeout_ms),
            None => gather(producer, &parts, timeout_ms),
        }
    })
}

/// Sends parts some of which are NULL, which no slice can be: gathered in place.
#[cold]
fn gather(producer: &mut Producer, parts: &Buffers<'_>, timeout_ms: i32) -> Result<()> {
    let mut to = producer.reserve(parts.total, timeout_ms)?;
    for part in parts.iter() {
        // SAFETY: the reservation has room for all parts together; the caller's bytes are not in it.
        to = unsafe {
            to.copy_from_nonoverlapping(part.as_ptr(), part.len());
            to.add(part.len())
        };
    }
    let sent = producer.commit(parts.total);
    if sent.is_err_and(|error| error.code() == DC_AGAIN) {
        // Not sent, and so the handle goes back to having no reservation, as after any failed send.
        producer.abort()?;
    }
    sent
}

/// Sends `count` messages, one each entry, in order: cheaper than as many dc_send, and under
/// DC_SYNC_ALWAYS with few flushes instead of many. Otherwise as dc_send.
///
/// Always sends a prefix: `*sent` says how many, is written on every return, and is `count` exactly
/// when the code is DC_OK. To go on, pass messages + *sent and count - *sent. (It is 0 when
/// DC_E_POISONED leaves unknown which of them were sent.) An entry may be empty (its iov_base NULL
/// then); count 0 is DC_OK.
///
/// Codes as of dc_send, about the first message that was not sent; but DC_E_TOO_BIG, of any of
/// them, is found before the first is sent. Also DC_E_ARGUMENT: sent is NULL, messages is NULL but
/// count is not 0, an iov_base is NULL but its iov_len is not 0, or the lengths overflow (*sent is
/// 0 then).
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_send_batch(
    producer: *mut dc_producer,
    messages: *const iovec,
    count: usize,
    timeout_ms: c_int,
    sent: *mut usize,
) -> c_int {
    const CALL: &str = "dc_send_batch";
    // SAFETY: the header demands an open handle, messages with their bytes, and a size_t.
    guard_unit(|| unsafe {
        args::preset(CALL, "sent", sent, 0)?;
        let producer = dc_producer::get(CALL, producer)?;
        let messages = Buffers::new(CALL, "messages", messages, count)?;
        let mut done = 0;
        let outcome = match messages.slices() {
            Some(slices) => producer.send_batch(slices, timeout_ms, &mut done),
            None => in_chunks(producer, &messages, timeout_ms, &mut done),
        };
        sent.write(done);
        outcome
    })
}

/// Sends messages some of which are NULL, which no slice can be: by copies of the array, chunk by
/// chunk under one deadline.
#[cold]
fn in_chunks(
    producer: &mut Producer,
    messages: &Buffers<'_>,
    timeout_ms: i32,
    done: &mut usize,
) -> Result<()> {
    let (begin, limit) = (Instant::now(), Duration::from_millis(timeout_ms.max(0) as u64));
    let mut messages = messages.iter();
    let mut left = timeout_ms;
    loop {
        let mut chunk = [IoSlice::new(&[]); 64];
        let mut filled = 0;
        for (entry, message) in chunk.iter_mut().zip(messages.by_ref()) {
            *entry = IoSlice::new(message);
            filled += 1;
        }
        if filled == 0 {
            return Ok(());
        }
        let mut sent = 0;
        let outcome = producer.send_batch(&chunk[..filled], left, &mut sent);
        *done += sent;
        outcome?;
        if timeout_ms > 0 {
            // Never more than `timeout_ms`, so it fits.
            left = limit.saturating_sub(begin.elapsed()).as_millis() as i32;
        }
    }
}

/// Reserves room for a message of up to `len` bytes, to write it where it will lie: no copy.
///
/// `*data` points to `len` writable bytes, 8-byte aligned, of undefined content; NULL on failure.
/// They are the program's until dc_commit, dc_abort or dc_producer_close on this handle. Every
/// other send on the handle is DC_E_STATE meanwhile.
///
/// A reservation delays the readers behind it: write and commit at once. One held beyond
/// stall_timeout_ms is skipped by the readers, and dc_commit then copies it to a new place.
///
/// Blocks as dc_send does. One thread at a time.
///
/// - DC_OK: reserved.
/// - DC_AGAIN, -EINTR, -ECANCELED, DC_E_TOO_BIG, DC_E_POISONED, -ENOSPC: nothing is reserved;
///   remedies as of dc_send.
/// - DC_E_STATE: a reservation is held already; commit or abort it first.
/// - DC_E_ARGUMENT: producer or data is NULL, or timeout_ms is below -1.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_reserve(
    producer: *mut dc_producer,
    len: usize,
    timeout_ms: c_int,
    data: *mut *mut c_void,
) -> c_int {
    const CALL: &str = "dc_reserve";
    // SAFETY: the header demands an open handle and memory for a pointer.
    guard_unit(|| unsafe {
        args::preset(CALL, "data", data, std::ptr::null_mut())?;
        let producer = dc_producer::get(CALL, producer)?;
        args::length(CALL, "len", len)?;
        data.write(producer.reserve(len, timeout_ms)?.cast());
        Ok(())
    })
}

/// Publishes the first `len` bytes of the reservation as one message; `len` may be smaller than
/// what was reserved.
///
/// Never waits for room. Under DC_SYNC_ALWAYS it waits for the flush. One thread at a time.
///
/// - DC_OK: sent; the pointer is no longer yours.
/// - DC_AGAIN, -ENOSPC and others of the operating system: not sent: the reservation was skipped, and
///   there is no room for it elsewhere now. It is still held, content and all: commit again, or
///   abort.
/// - -ECANCELED: the same, once after dc_producer_interrupt.
/// - DC_E_STATE: no reservation is held.
/// - DC_E_ARGUMENT: producer is NULL, or len is more than was reserved (it is still held).
/// - DC_E_POISONED, DC_E_CORRUPT: as of dc_send. The reservation is gone.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_commit(producer: *mut dc_producer, len: usize) -> c_int {
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe { dc_producer::get("dc_commit", producer)?.commit(len) })
}

/// Gives the reservation back; readers will pass over it. Never blocks. One thread at a time.
///
/// - DC_OK: given back; the pointer is no longer yours.
/// - DC_E_STATE: no reservation is held.
/// - DC_E_ARGUMENT: producer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_abort(producer: *mut dc_producer) -> c_int {
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe { dc_producer::get("dc_abort", producer)?.abort() })
}

/// Waits until all that this handle sent is on stable storage, flushing where nobody else does.
///
/// Blocks for the disk; the timeout bounds only the wait for others (a message in front that is
/// being written, somebody else's flush), a flush once begun completes. One thread at a time.
///
/// - DC_OK: all of it would survive a power cut now.
/// - DC_AGAIN: not within the timeout; repeat.
/// - -EINTR: a signal handler ran during the wait; repeat.
/// - -ECANCELED: dc_producer_interrupt.
/// - DC_E_POISONED: a flush failed, now or before: whether it is durable is unknown. Close and
///   reopen the channel everywhere.
/// - DC_E_ARGUMENT: producer is NULL, or timeout_ms is below -1.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_sync(producer: *mut dc_producer, timeout_ms: c_int) -> c_int {
    const CALL: &str = "dc_sync";
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe {
        let producer = dc_producer::get(CALL, producer)?;
        room(CALL)?;
        producer.sync(timeout_ms)
    })
}

/// The position of the last message this handle sent; 0 when there is none, and for NULL.
///
/// With `durable` of dc_channel_info it makes an asynchronous commit: that message, and all before
/// it, is on stable storage once durable > its position. Never blocks. One thread at a time.
#[no_mangle]
pub unsafe extern "C" fn dc_sent_position(producer: *const dc_producer) -> u64 {
    let mut position = 0;
    // SAFETY: the header demands an open handle.
    let _ = guard_unit(|| unsafe {
        position = dc_producer::look("dc_sent_position", producer)?.sent_position();
        Ok(())
    });
    position
}

/// The handle's eventfd, for poll, epoll (level- or edge-triggered), io_uring and event libraries:
/// readable once there may be room again, woken by any process, or after dc_producer_interrupt.
///
/// Armed by a send that returned DC_AGAIN: send with timeout 0, on DC_AGAIN wait for the fd, send
/// again. It belongs to the handle, is the same on every call, is closed with the handle and by
/// exec: never close, read or write it. Never blocks for long. One thread at a time.
///
/// - 0 or more: the file descriptor.
/// - DC_E_UNSUPPORTED: the channel was opened with DC_NO_THREAD.
/// - DC_E_ARGUMENT: producer is NULL.
/// - -EMFILE, -ENFILE, -ENOMEM: none to be had; close some and repeat.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_producer_fd(producer: *mut dc_producer) -> c_int {
    const CALL: &str = "dc_producer_fd";
    // SAFETY: the header demands an open handle.
    guard(|| unsafe {
        let producer = dc_producer::get(CALL, producer)?;
        make(CALL, || producer.fd())
    })
}

/// Interrupts the call that is waiting on this handle: it returns -ECANCELED.
///
/// Sticky: if nothing waits, the next call that would wait (with timeout 0: that would return
/// DC_AGAIN) returns -ECANCELED, once. Makes the fd readable. From any thread or signal handler, at
/// any time before dc_producer_close; keeps errno, sets no error text, never blocks.
///
/// - DC_OK: done.
/// - DC_E_ARGUMENT: producer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_producer_interrupt(producer: *mut dc_producer) -> c_int {
    interrupt(
        // SAFETY: the header demands an open handle; this field is never borrowed mutably.
        unsafe { producer.as_ref() }.map(|producer| &producer.interrupter),
    )
}

/// Interrupts, and touches nothing of this thread that a signal handler must not: errno is as
/// before, and NULL, too, fails without a sentence.
pub(super) fn interrupt(interrupter: Option<&Interrupter>) -> c_int {
    let Some(interrupter) = interrupter else {
        return DC_E_ARGUMENT;
    };
    let before = errno::last();
    let code = guard_unit(|| interrupter.interrupt());
    errno::set(before);
    code
}
