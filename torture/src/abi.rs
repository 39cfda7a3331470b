//! The C interface, loaded from a shared library by path: what is tortured and measured is what is shipped.
//!
//! Structs and constants follow `include/disk_chan.h`; `layouts_follow_the_header` compares them with it.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};

pub const DC_OK: c_int = 0;
pub const DC_END_OF_PAGE: c_int = 1;
pub const DC_LAGGED: c_int = 2;
pub const DC_AGAIN: c_int = -4097;
pub const DC_E_ARGUMENT: c_int = -4098;
pub const DC_E_TOO_BIG: c_int = -4099;
pub const DC_E_CORRUPT: c_int = -4100;
pub const DC_E_FORMAT: c_int = -4101;
pub const DC_E_MISMATCH: c_int = -4102;
pub const DC_E_LIMIT: c_int = -4103;
pub const DC_E_BUSY: c_int = -4104;
pub const DC_E_FORKED: c_int = -4105;
pub const DC_E_POISONED: c_int = -4106;
pub const DC_E_STATE: c_int = -4107;
pub const DC_E_UNSUPPORTED: c_int = -4108;
pub const DC_E_INTERNAL: c_int = -4109;

pub const DC_RETAIN_RING: u32 = 1;
pub const DC_RETAIN_LIVE: u32 = 2;
pub const DC_RETAIN_UNREAD: u32 = 3;
pub const DC_SYNC_NONE: u32 = 1;
pub const DC_SYNC_INTERVAL: u32 = 2;
pub const DC_SYNC_ALWAYS: u32 = 3;
pub const DC_CHECKSUM_ON: u32 = 1;
pub const DC_CHECKSUM_OFF: u32 = 2;
pub const DC_EXISTING: u32 = 1;
pub const DC_NEW: u32 = 2;
pub const DC_READ_ONLY: u32 = 4;
pub const DC_NO_THREAD: u32 = 8;
pub const DC_PREPARED_ONLY: u32 = 16;
pub const DC_SIGBUS_GUARD: u32 = 32;
pub const DC_EARLIEST: u64 = 1;
pub const DC_LATEST: u64 = u64::MAX;
pub const DC_ACK_NEXT: u32 = 1;
pub const DC_ACK_MANUAL: u32 = 2;
pub const DC_ACK_RECEIVE: u32 = 3;
pub const DC_AUTO_NEXT_PAGE: u32 = 1;
pub const DC_MESSAGE_REDELIVERED: u32 = 1;

/// A handle of the library.
#[repr(C)]
pub struct Opaque {
    _private: [u8; 0],
}
pub type Handle = *mut Opaque;

/// Structs that begin with their size.
macro_rules! sized {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name { pub size: usize, $(pub $field: $type),* }
        impl Default for $name {
            fn default() -> $name {
                $name { size: std::mem::size_of::<$name>(), $($field: 0),* }
            }
        }
    };
}

sized!(
    /// `dc_options`
    Options {
        page_size: u64,
        max_pages: u64,
        max_messages_per_page: u32,
        retention: u32,
        durability: u32,
        sync_interval_ms: u32,
        checksum: u32,
        stall_timeout_ms: u32,
        mode: u32,
        flags: u32,
    }
);
sized!(
    /// `dc_channel_info`
    ChannelInfo {
        page_size: u64,
        max_pages: u64,
        max_messages_per_page: u64,
        max_message: u64,
        retention: u64,
        checksum: u64,
        format_version: u64,
        oldest: u64,
        end: u64,
        durable: u64,
        messages: u64,
        bytes: u64,
        disk_bytes: u64,
        producers: u64,
        consumers: u64,
        abandoned: u64,
        recoveries: u64,
        discarded: u64,
        poisoned: u64,
    }
);
sized!(
    /// `dc_group_info`
    GroupInfo { position: u64, lag: u64, unacked: u64, lost: u64, redelivered: u64, consumers: u64 }
);
sized!(
    /// `dc_verify_info`
    VerifyInfo { pages: u64, messages: u64, bytes: u64, groups: u64, corrupt: u64, torn: u64 }
);
sized!(
    /// `dc_subscribe_options`
    SubscribeOptions { start: u64, ack: u32, max_unacked: u32, prefetch: u32, flags: u32 }
);
sized!(
    /// `dc_consumer_info`
    ConsumerInfo { position: u64, lag: u64, unacked: u64, lost: u64, redelivered: u64, corrupt: u64 }
);

/// `dc_message`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub data: *const c_void,
    pub len: usize,
    pub position: u64,
    pub flags: u32,
    pub deliveries: u32,
}

impl Default for Message {
    fn default() -> Message {
        Message { data: std::ptr::null(), len: 0, position: 0, flags: 0, deliveries: 0 }
    }
}

impl Message {
    /// The payload; empty where there is none.
    ///
    /// # Safety
    /// The message came from a receiving call, and its pointer is still valid (the header says until when).
    pub unsafe fn payload(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: the caller vouches for the pointer; the library for the length.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) }
    }
}

/// The functions, looked up once.
macro_rules! functions {
    ($($name:ident($($type:ty),*) $(-> $out:ty)?;)*) => {
        /// A loaded library; never unloaded.
        #[derive(Clone, Copy)]
        pub struct Lib { $(pub $name: unsafe extern "C" fn($($type),*) $(-> $out)?),* }
        impl Lib {
            fn look_up(library: &'static libloading::Library) -> Result<Lib> {
                // SAFETY: the types are those of include/disk_chan.h.
                unsafe { Ok(Lib { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?),* }) }
            }
        }
    };
}

functions! {
    dc_last_error() -> *const c_char;
    dc_error_name(c_int) -> *const c_char;
    dc_open(*const c_char, *const Options, *mut Handle) -> c_int;
    dc_close(Handle);
    dc_destroy(*const c_char) -> c_int;
    dc_channel_stats(Handle, *mut ChannelInfo) -> c_int;
    dc_channel_sync(Handle, c_int) -> c_int;
    dc_group_stats(Handle, *const c_char, *mut GroupInfo) -> c_int;
    dc_group_next(Handle, *const c_char, *mut c_char, usize) -> c_int;
    dc_group_delete(Handle, *const c_char) -> c_int;
    dc_verify(*const c_char, *mut VerifyInfo) -> c_int;
    dc_maintain(Handle, c_int) -> c_int;
    dc_producer_open(Handle, *mut Handle) -> c_int;
    dc_producer_clone(Handle, *mut Handle) -> c_int;
    dc_producer_close(Handle);
    dc_send(Handle, *const c_void, usize, c_int) -> c_int;
    dc_sendv(Handle, *const libc::iovec, usize, c_int) -> c_int;
    dc_send_batch(Handle, *const libc::iovec, usize, c_int, *mut usize) -> c_int;
    dc_reserve(Handle, usize, c_int, *mut *mut c_void) -> c_int;
    dc_commit(Handle, usize) -> c_int;
    dc_abort(Handle) -> c_int;
    dc_sync(Handle, c_int) -> c_int;
    dc_sent_position(Handle) -> u64;
    dc_producer_fd(Handle) -> c_int;
    dc_producer_interrupt(Handle) -> c_int;
    dc_subscribe(Handle, *const c_char, *const SubscribeOptions, *mut Handle) -> c_int;
    dc_consumer_clone(Handle, *mut Handle) -> c_int;
    dc_consumer_close(Handle);
    dc_recv(Handle, *mut Message, c_int) -> c_int;
    dc_recv_batch(Handle, *mut Message, usize, c_int, *mut usize) -> c_int;
    dc_next_page(Handle) -> c_int;
    dc_ack(Handle, u64) -> c_int;
    dc_nack(Handle) -> c_int;
    dc_seek(Handle, u64) -> c_int;
    dc_consumer_stats(Handle, *mut ConsumerInfo) -> c_int;
    dc_consumer_fd(Handle) -> c_int;
    dc_interrupt(Handle) -> c_int;
}

static LIBRARY: OnceLock<libloading::Library> = OnceLock::new();

impl Lib {
    /// Load the library at `path`; the first path of a process counts.
    pub fn load(path: &Path) -> Result<Lib> {
        if LIBRARY.get().is_none() {
            // SAFETY: its initialisers are Rust's and libc's.
            let library = unsafe { libloading::Library::new(path) }
                .with_context(|| format!("cannot load {}: run make build first", path.display()))?;
            let _ = LIBRARY.set(library);
        }
        Lib::look_up(LIBRARY.get().context("set just now")?)
    }

    /// A code's name.
    pub fn name(&self, code: c_int) -> String {
        // SAFETY: static text.
        unsafe { CStr::from_ptr((self.dc_error_name)(code)) }.to_string_lossy().into_owned()
    }

    /// A code's name and the sentence of this thread's last failure.
    pub fn why(&self, code: c_int) -> String {
        // SAFETY: never NULL; copied before the next failure.
        let text = unsafe { CStr::from_ptr((self.dc_last_error)()) }.to_string_lossy().into_owned();
        format!("{} ({code}): {text}", self.name(code))
    }

    /// `Ok` for DC_OK, else the code in words.
    pub fn ok(&self, code: c_int, call: &str) -> Result<()> {
        anyhow::ensure!(code == DC_OK, "{call}: {}", self.why(code));
        Ok(())
    }

    /// Open a channel.
    pub fn open(&self, path: &Path, options: &Options) -> std::result::Result<Handle, c_int> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: all pointers are valid during the call.
        let code = unsafe { (self.dc_open)(c_path(path).as_ptr(), options, &mut handle) };
        if code == DC_OK {
            Ok(handle)
        } else {
            Err(code)
        }
    }
}

/// A path as C wants it.
pub fn c_path(path: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).expect("paths of tests have no NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of a struct's members in the header, in order.
    fn fields(header: &str, name: &str) -> Vec<String> {
        let from = header.find(&format!("typedef struct {name} {{")).expect(name);
        let body = &header[from..from + header[from..].find(&format!("}} {name};")).expect(name)];
        let members = body.lines().skip(1).map(str::trim).filter(|l| l.ends_with(';'));
        let name = |l: &str| l.trim_end_matches(';').rsplit([' ', '*']).next().map(String::from);
        members.filter_map(name).collect()
    }

    #[test]
    fn layouts_follow_the_header() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../include/disk_chan.h");
        let header = std::fs::read_to_string(path).expect("the header");
        let own = [
            ("dc_options", format!("{:?}", Options::default())),
            ("dc_channel_info", format!("{:?}", ChannelInfo::default())),
            ("dc_group_info", format!("{:?}", GroupInfo::default())),
            ("dc_verify_info", format!("{:?}", VerifyInfo::default())),
            ("dc_subscribe_options", format!("{:?}", SubscribeOptions::default())),
            ("dc_consumer_info", format!("{:?}", ConsumerInfo::default())),
            ("dc_message", format!("{:?}", Message::default())),
        ];
        for (name, debug) in own {
            let ours: Vec<_> =
                debug.split(['{', ',']).skip(1).filter_map(|f| f.split(':').next()).collect();
            let ours: Vec<_> = ours.iter().map(|f| f.trim().to_string()).collect();
            assert_eq!(ours, fields(&header, name), "{name}");
        }
    }

    #[test]
    fn codes_follow_the_header() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../include/disk_chan.h");
        let header = std::fs::read_to_string(path).expect("the header");
        for (name, code) in [
            ("DC_AGAIN", DC_AGAIN),
            ("DC_E_CORRUPT", DC_E_CORRUPT),
            ("DC_E_INTERNAL", DC_E_INTERNAL),
        ] {
            assert!(header.contains(&format!("#define {name} ({code})")), "{name}");
        }
    }
}
