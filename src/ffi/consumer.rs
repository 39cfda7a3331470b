//! `dc_consumer`: receive, acknowledge, give back, seek.

use super::args::{self, Out};
use super::channel::dc_channel;
use super::codes::{DC_END_OF_PAGE, DC_LAGGED, DC_OK};
use super::info::dc_consumer_info;
use super::message::dc_message;
use super::options::dc_subscribe_options;
use super::producer::interrupt;
use super::sized::{self, Output};
use super::{guard, guard_unit, make, room};
use crate::error::{fail, Error, Result, DC_E_ARGUMENT, DC_E_CORRUPT};
use crate::options::{Message, Received, SubscribeOptions, BATCH_MAX};
use crate::raw::{Consumer, Interrupter};
use std::cell::UnsafeCell;
use std::ffi::{c_char, c_int};
use std::mem::{size_of, MaybeUninit};

/// A handle that receives. One thread at a time uses it; it may move between threads. Only
/// dc_interrupt may be called at any time, from any thread or signal handler.
///
/// Made by dc_subscribe or dc_consumer_clone, given back by dc_consumer_close.
pub struct dc_consumer {
    inner: UnsafeCell<Consumer>,
    // Beside the consumer, not in it: an interrupt comes while another thread is inside.
    interrupter: Interrupter,
}

impl dc_consumer {
    fn boxed(inner: Consumer) -> Box<dc_consumer> {
        let interrupter = inner.interrupter();
        Box::new(dc_consumer { inner: UnsafeCell::new(inner), interrupter })
    }

    /// The consumer itself.
    ///
    /// # Safety
    /// `p` is NULL or open, and no other thread is in a call with it (interrupts aside).
    #[inline]
    unsafe fn get<'a>(call: &str, p: *mut dc_consumer) -> Result<&'a mut Consumer> {
        // SAFETY: an open handle; the cell is used by this thread alone.
        unsafe { Ok(&mut *args::handle(call, "consumer", p)?.inner.get()) }
    }

    /// The consumer itself, to look at.
    ///
    /// # Safety
    /// As of [`dc_consumer::get`].
    #[inline]
    unsafe fn look<'a>(call: &str, p: *const dc_consumer) -> Result<&'a Consumer> {
        // SAFETY: an open handle; the cell is used by this thread alone.
        unsafe { Ok(&*args::handle(call, "consumer", p)?.inner.get()) }
    }
}

const fn code(received: Received) -> c_int {
    match received {
        Received::Message => DC_OK,
        Received::EndOfPage => DC_END_OF_PAGE,
        Received::Lagged => DC_LAGGED,
    }
}

/// Makes a consumer: a member of the group named `group`, or, for NULL, an observer.
///
/// A group is made by its first consumer, starts where `start` says, and stays on disk with its
/// position until dc_group_delete; each message goes to exactly one of its consumers. An observer
/// sees every message from `start` on and keeps no state on disk. (On a DC_READ_ONLY channel, where
/// it cannot settle a send that has been stalled for `stall_timeout_ms`, it steps over it; should the
/// message be published after all, this observer has not seen it.) The name is copied; it may hold
/// any byte but NUL.
///
/// `options` may be NULL: defaults; the struct is read during the call only. `*out` is the new
/// handle, NULL on failure; give it back with dc_consumer_close. It does not need the channel
/// handle to stay open. Thread-safe on `channel`. May block for the disk.
///
/// - DC_OK: made.
/// - DC_E_STATE: a group on a read-only channel; observers work there.
/// - DC_E_LIMIT: the group has 254 consumers, or 510 that are live or left messages behind (let one
///   receive those), or the channel 1,024 live handles or no room for another group (64 at least);
///   close some, or delete groups.
/// - DC_E_BUSY: the group is being deleted by a process that has been suspended half-way, for longer
///   than stall_timeout_ms; let it go on, or end it.
/// - DC_E_ARGUMENT: channel or out is NULL, the name is empty or longer than DC_GROUP_NAME_MAX, or
///   an option is out of range.
/// - -ENOMEM, -EMFILE, -ENOSPC and others of the operating system.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_subscribe(
    channel: *mut dc_channel,
    group: *const c_char,
    options: *const dc_subscribe_options,
    out: *mut *mut dc_consumer,
) -> c_int {
    const CALL: &str = "dc_subscribe";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let out = Out::new(CALL, out)?;
        let channel = args::handle(CALL, "channel", channel)?;
        let group = args::optional_name(group);
        let options = match options.is_null() {
            true => SubscribeOptions::default(),
            false => sized::read(CALL, "options", options)?.into(),
        };
        let subscribe = || channel.inner.subscribe(group, &options).map(dc_consumer::boxed);
        make(CALL, subscribe).map(|consumer| out.set(consumer))
    })
}

/// Makes another consumer of the same group with the same options, for another thread, say; of an
/// observer, another observer that starts where this one stands.
///
/// `*out` is a handle of its own, NULL on failure; what `consumer` holds and its fd are not
/// inherited. The calling thread must be the one that uses `consumer`. May block for the disk.
///
/// Codes as of dc_subscribe; DC_E_ARGUMENT: consumer or out is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_consumer_clone(
    consumer: *const dc_consumer,
    out: *mut *mut dc_consumer,
) -> c_int {
    const CALL: &str = "dc_consumer_clone";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let out = Out::new(CALL, out)?;
        let consumer = dc_consumer::look(CALL, consumer)?;
        make(CALL, || consumer.try_clone().map(dc_consumer::boxed)).map(|c| out.set(c))
    })
}

/// Closes a consumer. NULL is accepted and does nothing.
///
/// Returns what it holds unacknowledged to its group at once, for redelivery; ends its message
/// pointers and closes its fd. Closing while another thread is in a call with this handle, an
/// interrupt included, is undefined. In a forked child it only frees memory.
#[no_mangle]
pub unsafe extern "C" fn dc_consumer_close(consumer: *mut dc_consumer) {
    // SAFETY: the header demands a handle of this kind that is closed once.
    let _ = guard_unit(|| unsafe {
        args::close(consumer);
        Ok(())
    });
}

/// Receives one message, without copying it: `out->data` points into the page.
///
/// The bytes stay valid and unchanged until this handle's dc_next_page, seek or close, whatever
/// producers do and though the ring has long moved on (under DC_AUTO_NEXT_PAGE: until the handle's
/// next receiving call). `out` is written on DC_OK and DC_E_CORRUPT only. Under DC_ACK_NEXT the
/// call first acknowledges what the handle received before.
///
/// Blocks up to `timeout_ms` for a message. One thread at a time. Never allocates memory.
///
/// - DC_OK: `out` is the message.
/// - DC_END_OF_PAGE: the page is read to its end; call dc_next_page.
/// - DC_LAGGED: messages were dropped unread in front of the next one; receive again.
/// - DC_AGAIN: no message within the timeout; receive again later, or when the fd becomes readable.
/// - -EINTR: a signal handler ran during the wait; receive again.
/// - -ECANCELED: dc_interrupt.
/// - DC_E_CORRUPT: one message is damaged and skipped: out->position is set, out->data is NULL. The
///   next call goes on behind it. It counts as handed out: acknowledge it like the others. Where
///   out->position is 0, somebody truncated a file of the channel (under DC_SIGBUS_GUARD only, else
///   a signal): close the handle.
/// - DC_E_LIMIT: the handle holds max_unacked messages; acknowledge some.
/// - DC_E_ARGUMENT: consumer or out is NULL, or timeout_ms is below -1.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_recv(
    consumer: *mut dc_consumer,
    out: *mut dc_message,
    timeout_ms: c_int,
) -> c_int {
    const CALL: &str = "dc_recv";
    // SAFETY: the header demands an open handle and memory for a message.
    guard(|| unsafe {
        let consumer = dc_consumer::get(CALL, consumer)?;
        if out.is_null() {
            return Err(args::null(CALL, "out"));
        }
        let out = out.cast::<Message>();
        if let Some(message) = consumer.at_hand(timeout_ms) {
            out.write(message);
            return Ok(DC_OK);
        }
        let mut message = Message::default();
        match consumer.recv_any(&mut message, timeout_ms) {
            Ok(Received::Message) => out.write(message),
            Ok(other) => return Ok(code(other)),
            Err(error) => {
                if error.code() == DC_E_CORRUPT {
                    out.write(Message { position: message.position, ..Message::default() });
                }
                return Err(error);
            }
        }
        Ok(DC_OK)
    })
}

/// Receives up to `max` messages, at most 255 a call, into the array `out`. Waits for the first one
/// only, and never crosses a page. Otherwise as dc_recv.
///
/// `*received` says how many, is written on every return, and is at least 1 exactly when the code
/// is DC_OK. Only so many elements of `out` are written. A damaged message ends the batch in front
/// of it; as the first one it is DC_E_CORRUPT: *received is 0, and the first element of `out` is as
/// after dc_recv.
///
/// Codes as of dc_recv; also DC_E_ARGUMENT: received is NULL, or max is 0.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_recv_batch(
    consumer: *mut dc_consumer,
    out: *mut dc_message,
    max: usize,
    timeout_ms: c_int,
    received: *mut usize,
) -> c_int {
    const CALL: &str = "dc_recv_batch";
    // SAFETY: the header demands an open handle, memory for `max` messages, and a size_t.
    guard(|| unsafe {
        args::preset(CALL, "received", received, 0)?;
        let consumer = dc_consumer::get(CALL, consumer)?;
        let out = message_array(CALL, out, max)?;
        let mut done = 0;
        let outcome = consumer.recv_batch(out, timeout_ms, &mut done);
        received.write(done);
        outcome.map(code)
    })
}

/// The caller's array, so far as one batch can fill it.
///
/// # Safety
/// `out` is NULL or points to memory for `max` messages, for `'a`.
#[inline]
unsafe fn message_array<'a>(
    call: &str,
    out: *mut dc_message,
    max: usize,
) -> Result<&'a mut [MaybeUninit<Message>]> {
    if out.is_null() {
        return Err(args::null(call, "out"));
    }
    if max > args::LEN_MAX / size_of::<dc_message>() {
        args::length(call, "max", usize::MAX)?;
    }
    // SAFETY: not NULL, no more than the caller has; `Message` has the layout of `dc_message`.
    Ok(unsafe { std::slice::from_raw_parts_mut(out.cast(), max.min(BATCH_MAX)) })
}

/// Moves to the next page, and ends the pointers of all messages received from this one.
///
/// Never blocks, and skips nothing: called before DC_END_OF_PAGE it only ends the pointers, and
/// receiving goes on where it stood. Acknowledges nothing by itself. Until it is called, the page
/// (and its disk space) is kept for this handle though the channel may have dropped it. One thread
/// at a time.
///
/// - DC_OK: done.
/// - DC_E_ARGUMENT: consumer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_next_page(consumer: *mut dc_consumer) -> c_int {
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe { dc_consumer::get("dc_next_page", consumer)?.next_page() })
}

/// Acknowledges every message that this handle received and whose position is at or before
/// `position`: the group will not deliver them again.
///
/// Positions that the handle does not hold are no error. Becomes durable with the next flush: after
/// a power cut messages may be repeated, never skipped. Never blocks. One thread at a time.
///
/// - DC_OK: done.
/// - DC_E_STATE: an observer has nothing to acknowledge.
/// - DC_E_ARGUMENT: consumer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_ack(consumer: *mut dc_consumer, position: u64) -> c_int {
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe { dc_consumer::get("dc_ack", consumer)?.ack(position) })
}

/// Gives back all that this handle holds unacknowledged: some consumer of its group receives it
/// again, before new messages, flagged DC_MESSAGE_REDELIVERED, with `deliveries` counted up.
///
/// With nothing held it does nothing. Never blocks. One thread at a time.
///
/// - DC_OK: given back.
/// - DC_E_STATE: an observer has nothing to give back.
/// - DC_E_ARGUMENT: consumer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_nack(consumer: *mut dc_consumer) -> c_int {
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe { dc_consumer::get("dc_nack", consumer)?.nack() })
}

/// Goes on at the first message at or after `position` (one beyond the end waits to be sent); or at
/// DC_EARLIEST, DC_LATEST, DC_LAST(n).
///
/// Moves an observer alone, but a consumer's whole group, and what the handle holds is no longer
/// held: what lies at or after the new position is delivered again, what lies before it is not.
/// Pass a message's position + 1 to go on after it. Ends the handle's message pointers. May block
/// for the disk. One thread at a time.
///
/// - DC_OK: moved.
/// - DC_E_BUSY: other consumers of the group hold messages; let them acknowledge, or close them.
/// - DC_E_ARGUMENT: consumer is NULL, or position is 0.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_seek(consumer: *mut dc_consumer, position: u64) -> c_int {
    const CALL: &str = "dc_seek";
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe {
        let consumer = dc_consumer::get(CALL, consumer)?;
        if position == 0 {
            return Err(no_position());
        }
        room(CALL)?;
        consumer.seek(position)
    })
}

#[cold]
fn no_position() -> Error {
    fail!(DC_E_ARGUMENT, "dc_seek: position is 0, which no message has: DC_EARLIEST is the oldest")
}

/// Takes the consumer's figures.
///
/// `out->size` must be set (DC_CONSUMER_INFO_INIT). Written on DC_OK only; fields that this library
/// does not know become 0. Never blocks on other users of the channel. One thread at a time.
///
/// - DC_OK: filled in.
/// - DC_E_ARGUMENT: consumer or out is NULL, or out->size is 0.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_consumer_stats(
    consumer: *const dc_consumer,
    out: *mut dc_consumer_info,
) -> c_int {
    const CALL: &str = "dc_consumer_stats";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let consumer = dc_consumer::look(CALL, consumer)?;
        let out = Output::new(CALL, out)?;
        room(CALL)?;
        consumer.stats().map(|info| out.fill(&info.into()))
    })
}

/// The handle's eventfd, for poll, epoll (level- or edge-triggered), io_uring and event libraries:
/// readable while dc_recv may return anything but DC_AGAIN (a message, a redelivery, the end of a
/// page, a lag, an interrupt, a poisoned channel), woken by any process.
///
/// Receive with timeout 0, either one message an event, or (edge-triggered: always) until DC_AGAIN.
/// No wakeup is ever lost, also not when the process that was woken dies or is stopped before it
/// receives: another sleeper is woken. It may become readable for nothing. It belongs to the
/// handle, is the same on every call, is closed with the handle and by exec: never close, read or
/// write it. Never blocks for long. One thread at a time.
///
/// - 0 or more: the file descriptor.
/// - DC_E_UNSUPPORTED: the channel was opened with DC_NO_THREAD.
/// - DC_E_ARGUMENT: consumer is NULL.
/// - -EMFILE, -ENFILE, -ENOMEM: none to be had; close some and repeat.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_consumer_fd(consumer: *mut dc_consumer) -> c_int {
    const CALL: &str = "dc_consumer_fd";
    // SAFETY: the header demands an open handle.
    guard(|| unsafe {
        let consumer = dc_consumer::get(CALL, consumer)?;
        make(CALL, || consumer.fd())
    })
}

/// Interrupts the call that is waiting on this handle: it returns -ECANCELED.
///
/// Sticky: if nothing waits, the next call that would wait (with timeout 0: that would return
/// DC_AGAIN) returns -ECANCELED, once. Makes the fd readable. From any thread or signal handler, at
/// any time before dc_consumer_close; keeps errno, sets no error text, never blocks.
///
/// - DC_OK: done.
/// - DC_E_ARGUMENT: consumer is NULL.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_interrupt(consumer: *mut dc_consumer) -> c_int {
    interrupt(
        // SAFETY: the header demands an open handle; this field is never borrowed mutably.
        unsafe { consumer.as_ref() }.map(|consumer| &consumer.interrupter),
    )
}
