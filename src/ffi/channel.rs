//! `dc_channel`: open, look, sync, groups, maintain, verify, destroy.

use super::args::{self, Out};
use super::info::{dc_channel_info, dc_group_info, dc_verify_info};
use super::options::dc_options;
use super::sized::{self, Output};
use super::{guard_unit, make, room};
use crate::error::{fail, Error, Result};
use crate::options::Options;
use crate::raw::Channel;
use std::ffi::{c_char, c_int};

/// An open channel. Thread-safe: any number of threads may use one at the same time.
///
/// Made by dc_open, given back by dc_close.
pub struct dc_channel {
    pub(super) inner: Channel,
}

/// Opens a channel, or creates it: a directory that does not exist, or an empty one, becomes a
/// channel unless `flags` forbid it.
///
/// `path` is copied. `options` may be NULL: defaults, or what the channel has stored; the struct is
/// read during the call only. `*out` is the new handle, NULL on failure; give it back with
/// dc_close. A process may open the same channel more than once. A channel that a crash left behind
/// simply opens; after a crash of the machine the first open recovers it, which may take a while.
///
/// Any thread. Blocks for the disk, and briefly while another process creates the same channel.
///
/// - DC_OK: open.
/// - -ENOENT: missing, and DC_EXISTING or DC_READ_ONLY was set; or its parent directory is missing.
/// - -EEXIST: present, and DC_NEW was set.
/// - DC_E_MISMATCH: present with other options; leave those 0 to adopt what is stored.
/// - DC_E_FORMAT: a file, a directory that is neither empty nor a channel (it stays as it is), or a
///   format that this library does not know.
/// - DC_E_CORRUPT: a channel, but damaged; see dc_verify.
/// - DC_E_ARGUMENT: path or out is NULL, path is empty, or an option is out of range.
/// - DC_E_UNSUPPORTED: a network file system, or a kernel without what is needed.
/// - DC_E_BUSY: the channel is being destroyed (repeat to make a new one), or for 10 seconds already
///   recovered by a process that seems to be suspended; let it go on, or end it.
/// - DC_E_LIMIT: 1,024 opens of this channel are in use; close some.
/// - -EACCES, -ENOSPC, -EMFILE, -ENOMEM and others of the operating system: nothing was opened, and
///   what exists is unchanged.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_open(
    path: *const c_char,
    options: *const dc_options,
    out: *mut *mut dc_channel,
) -> c_int {
    const CALL: &str = "dc_open";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        super::keep_quiet();
        let out = Out::new(CALL, out)?;
        let path = args::path(CALL, path)?;
        let options = match options.is_null() {
            true => Options::default(),
            false => sized::read(CALL, "options", options)?.into(),
        };
        let open = || Ok(Box::new(dc_channel { inner: Channel::open(path, &options)? }));
        make(CALL, open).map(|channel| out.set(channel))
    })
}

/// Closes a channel. NULL is accepted and does nothing.
///
/// Producers and consumers made from it stay usable; any order of closing is fine. Closing while
/// another thread is in a call with this handle is undefined. In a forked child it only frees
/// memory. May block for the disk: the last handle of a process under DC_SYNC_INTERVAL flushes what
/// is due.
#[no_mangle]
pub unsafe extern "C" fn dc_close(channel: *mut dc_channel) {
    // SAFETY: the header demands a handle from dc_open that is closed once.
    let _ = guard_unit(|| unsafe {
        args::close(channel);
        Ok(())
    });
}

/// Removes a channel: its files and its directory. Needs no open handle, and finishes what a killed
/// dc_destroy began.
///
/// Any thread. Blocks for the disk.
///
/// - DC_OK: gone.
/// - DC_E_BUSY: it is open somewhere, in this process or another; close it there.
/// - DC_E_FORMAT: not a channel; nothing was touched.
/// - DC_E_CORRUPT: not even recognisable as one any more; remove it by hand.
/// - -ENOENT: nothing there.
/// - DC_E_ARGUMENT: path is NULL or empty.
/// - -EACCES and others of the operating system: repeat once the reason is gone.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_destroy(path: *const c_char) -> c_int {
    // SAFETY: the header demands a C string.
    guard_unit(|| unsafe {
        room("dc_destroy")?;
        Channel::destroy(args::path("dc_destroy", path)?)
    })
}

/// Takes the channel's figures.
///
/// `out->size` must be set (DC_CHANNEL_INFO_INIT). Written on DC_OK only; fields that this library
/// does not know become 0. Any thread. Never blocks on other users of the channel.
///
/// - DC_OK: filled in.
/// - DC_E_ARGUMENT: channel or out is NULL, or out->size is 0.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_channel_stats(
    channel: *const dc_channel,
    out: *mut dc_channel_info,
) -> c_int {
    const CALL: &str = "dc_channel_stats";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        let out = Output::new(CALL, out)?;
        room(CALL)?;
        channel.inner.stats().map(|info| out.fill(&info.into()))
    })
}

/// Brings everything published so far, by whichever process, and all acknowledgements to stable
/// storage.
///
/// Any thread. Blocks for the disk; the timeout bounds only the wait for others (a message in front
/// that is being written, somebody else's flush), a flush once begun completes.
///
/// - DC_OK: all of it would survive a power cut now.
/// - DC_AGAIN: not within the timeout; repeat.
/// - -EINTR: a signal handler ran during the wait; repeat.
/// - DC_E_POISONED: a flush failed, now or before; close and reopen the channel everywhere.
/// - DC_E_STATE: the channel is read-only.
/// - DC_E_ARGUMENT: channel is NULL, or timeout_ms is below -1.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_channel_sync(channel: *mut dc_channel, timeout_ms: c_int) -> c_int {
    const CALL: &str = "dc_channel_sync";
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        room(CALL)?;
        channel.inner.sync(timeout_ms)
    })
}

/// Takes the figures of the group named `group`.
///
/// `out->size` must be set (DC_GROUP_INFO_INIT). Written on DC_OK only; fields that this library
/// does not know become 0. Any thread. Never blocks on other users of the channel.
///
/// - DC_OK: filled in.
/// - -ENOENT: no such group.
/// - DC_E_ARGUMENT: a pointer is NULL, out->size is 0, or the name is empty or longer than
///   DC_GROUP_NAME_MAX.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_group_stats(
    channel: *const dc_channel,
    group: *const c_char,
    out: *mut dc_group_info,
) -> c_int {
    const CALL: &str = "dc_group_stats";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        let group = args::group(CALL, group)?;
        let out = Output::new(CALL, out)?;
        room(CALL)?;
        channel.inner.group_stats(group).map(|info| out.fill(&info.into()))
    })
}

/// Walks the channel's groups in byte order of their names: writes the first name greater than
/// `after` (NULL: the first of all) to `name`, with its NUL. `after` need not exist, and may be
/// `name` itself:
///
/// char name[DC_GROUP_NAME_MAX + 1];
/// const char *after = NULL;
/// while ((code = dc_group_next(channel, after, name, sizeof name)) == DC_OK) after = name;
///
/// `capacity` counts the NUL; DC_GROUP_NAME_MAX + 1 always suffices. Any thread. Never blocks on
/// other users of the channel.
///
/// - DC_OK: `name` is written.
/// - -ENOENT: no further group; `name` is left as it is, and no error text is set.
/// - -ERANGE: `capacity` is too small; `name` is left as it is.
/// - DC_E_ARGUMENT: channel or name is NULL, or `after` is longer than DC_GROUP_NAME_MAX.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_group_next(
    channel: *const dc_channel,
    after: *const c_char,
    name: *mut c_char,
    capacity: usize,
) -> c_int {
    const CALL: &str = "dc_group_next";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        if name.is_null() {
            return Err(args::null(CALL, "name"));
        }
        room(CALL)?;
        // The answer is a copy of its own, and `after` is not looked at again: it may be `name`.
        let next = channel.inner.group_next(args::optional_name(after))?;
        put_name(&next, name, capacity)
    })
}

/// Writes a name and its NUL.
///
/// # Safety
/// `to` points to `capacity` writable bytes.
unsafe fn put_name(name: &[u8], to: *mut c_char, capacity: usize) -> Result<()> {
    if name.len() >= capacity {
        return Err(too_small(name.len() + 1, capacity));
    }
    // SAFETY: the name and its NUL fit, and do not overlap: `name` is the library's own memory.
    unsafe {
        name.as_ptr().copy_to_nonoverlapping(to.cast(), name.len());
        to.add(name.len()).write(0);
    }
    Ok(())
}

#[cold]
fn too_small(needed: usize, capacity: usize) -> Error {
    fail!(
        -libc::ERANGE,
        "dc_group_next: the name and its NUL take {needed} bytes, capacity is {capacity}: \
         pass DC_GROUP_NAME_MAX + 1"
    )
}

/// Deletes the group named `group`: its position and what its consumers left unacknowledged. Its
/// messages stay, for the other groups. A consumer that subscribes to the name later makes a new
/// group.
///
/// Any thread. Blocks for the disk.
///
/// - DC_OK: gone.
/// - DC_E_BUSY: it has live consumers, in this process or another; close them.
/// - -ENOENT: no such group.
/// - DC_E_STATE: the channel is read-only.
/// - DC_E_ARGUMENT: a pointer is NULL, or the name is empty or longer than DC_GROUP_NAME_MAX.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_group_delete(channel: *mut dc_channel, group: *const c_char) -> c_int {
    const CALL: &str = "dc_group_delete";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        let group = args::group(CALL, group)?;
        room(CALL)?;
        channel.inner.group_delete(group)
    })
}

/// Checks every structure and every checksum of a channel, and changes nothing. Needs no open
/// handle; the channel may be in use meanwhile, and then what is in motion is left out.
///
/// `out->size` must be set (DC_VERIFY_INFO_INIT). Written on DC_OK only; fields that this library
/// does not know become 0. Any thread. Reads the whole channel from disk, which takes its time.
///
/// - DC_OK: checked to the end. The channel is sound if out->corrupt is 0; otherwise that many
///   messages and structures are damaged, and every sound message can still be received.
/// - DC_E_CORRUPT: so damaged that it cannot be opened; dc_last_error() says where.
/// - DC_E_FORMAT: not a channel, or a format that this library does not know.
/// - -ENOENT: nothing there.
/// - DC_E_ARGUMENT: a pointer is NULL, path is empty, or out->size is 0.
/// - -EACCES and others of the operating system.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_verify(path: *const c_char, out: *mut dc_verify_info) -> c_int {
    const CALL: &str = "dc_verify";
    // SAFETY: the header demands pointers that are valid for this call.
    guard_unit(|| unsafe {
        let out = Output::new(CALL, out)?;
        let path = args::path(CALL, path)?;
        room(CALL)?;
        Channel::verify(path).map(|info| out.fill(&info.into()))
    })
}

/// Does the library thread's work, for programs that forbid it by DC_NO_THREAD: prepares pages
/// ahead, flushes under DC_SYNC_INTERVAL, adopts what dead consumers held. Call it every few
/// hundred milliseconds, or in a loop on a thread of your own.
///
/// Does what is due, after waiting up to `timeout_ms` for the first thing to come due. What it
/// cannot do, for want of disk space, say, the next send or sync reports. Allowed without
/// DC_NO_THREAD too. Any thread. Blocks for the disk as well as for the timeout.
///
/// - DC_OK: something was done; call again at once, there may be more.
/// - DC_AGAIN: nothing came due.
/// - -EINTR: a signal handler ran during the wait; repeat.
/// - DC_E_STATE: the channel is read-only.
/// - DC_E_ARGUMENT: channel is NULL, or timeout_ms is below -1.
#[no_mangle]
#[must_use]
pub unsafe extern "C" fn dc_maintain(channel: *mut dc_channel, timeout_ms: c_int) -> c_int {
    const CALL: &str = "dc_maintain";
    // SAFETY: the header demands an open handle.
    guard_unit(|| unsafe {
        let channel = args::handle(CALL, "channel", channel)?;
        room(CALL)?;
        channel.inner.maintain(timeout_ms)
    })
}
