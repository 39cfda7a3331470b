//! The channels that are damaged: made once by the library, kept in memory, laid out for every variant.

use std::path::Path;

use anyhow::{ensure, Result};

use super::sparse::{self, Packed};
use crate::abi::*;
use crate::payload::{Load, HEAD};

/// Messages of a page.
pub const PAGE_SLOTS: u32 = 16;
/// Payload bytes of a page.
pub const PAGE_BYTES: u64 = 64 << 10;
/// The group that is there from the beginning.
pub const GROUP: &std::ffi::CStr = c"group";
/// Where the boot id lies in `channel`.
const BOOT_ID: u64 = 9088;

/// Message `n` of all that anybody sends.
pub fn message(n: u64) -> Vec<u8> {
    Load { sender: 1, sequence: n }.bytes(HEAD + (n * 97 % 1500) as usize)
}

/// A channel to damage.
pub struct Base {
    pub name: &'static str,
    pub files: Vec<Packed>,
    /// Messages have checksums: a changed one shows.
    pub checked: bool,
    rebooted: bool,
}

/// How a base is made.
struct Recipe {
    name: &'static str,
    messages: u64,
    group: bool,
    retention: u32,
    checksum: u32,
    rebooted: bool,
}

const PLAIN: Recipe = Recipe {
    name: "",
    messages: 70,
    group: true,
    retention: DC_RETAIN_RING,
    checksum: DC_CHECKSUM_ON,
    rebooted: false,
};

const RECIPES: [Recipe; 8] = [
    Recipe { name: "fresh", messages: 0, group: false, ..PLAIN },
    Recipe { name: "in mid-page", messages: 20, group: false, ..PLAIN },
    Recipe { name: "a ring that turned", group: false, ..PLAIN },
    Recipe { name: "a group with a lease and held words", ..PLAIN },
    Recipe { name: "the same after another boot", rebooted: true, ..PLAIN },
    Recipe { name: "without checksums", checksum: DC_CHECKSUM_OFF, ..PLAIN },
    Recipe {
        name: "without checksums after another boot",
        checksum: DC_CHECKSUM_OFF,
        rebooted: true,
        ..PLAIN
    },
    Recipe { name: "full, nothing read", messages: 40, retention: DC_RETAIN_UNREAD, ..PLAIN },
];

/// Make them all, in a directory that does not exist.
pub fn all(lib: Lib, dir: &Path) -> Result<Vec<Base>> {
    RECIPES.iter().map(|r| r.make(lib, dir)).collect()
}

impl Recipe {
    fn make(&self, lib: Lib, dir: &Path) -> Result<Base> {
        let o = Options {
            page_size: PAGE_BYTES,
            max_pages: 3,
            max_messages_per_page: PAGE_SLOTS,
            retention: self.retention,
            checksum: self.checksum,
            stall_timeout_ms: 2,
            flags: DC_NEW | DC_NO_THREAD,
            ..Options::default()
        };
        let channel = lib.must_open(dir, &o)?;
        let (code, p) = lib.producer(channel);
        lib.ok(code, "dc_producer_open")?;
        let manual =
            SubscribeOptions { ack: DC_ACK_MANUAL, flags: DC_AUTO_NEXT_PAGE, ..Default::default() };
        let mut consumers = Vec::new();
        for _ in 0..if self.group { 2 } else { 0 } {
            let (code, c) = lib.subscribe(channel, Some(GROUP), &manual);
            lib.ok(code, "dc_subscribe")?;
            consumers.push(c);
        }
        for n in 0..self.messages {
            lib.ok(lib.send(p, &message(n), 0), "dc_send")?;
        }
        let mut last = 0;
        for n in 0..18 * consumers.len() / 2 {
            let (code, got) = lib.recv(consumers[n % 2], 0)?;
            ensure!(code == DC_OK || code == DC_LAGGED, "dc_recv: {}", lib.why(code));
            last = got.map_or(last, |g| g.position);
        }
        if let Some(&c) = consumers.first() {
            lib.ok(lib.ack(c, last.saturating_sub(9).max(1)), "dc_ack")?;
        }
        lib.ok(lib.channel_sync(channel, 1000), "dc_channel_sync")?;
        // The dead keep what they hold: packed while all live.
        let files = sparse::pack(dir);
        consumers.into_iter().for_each(|c| lib.consumer_close(c));
        lib.producer_close(p);
        lib.close(channel);
        lib.ok(lib.destroy(dir), "dc_destroy")?;
        let checked = self.checksum == DC_CHECKSUM_ON;
        Ok(Base { name: self.name, files, checked, rebooted: self.rebooted })
    }
}

impl Base {
    /// Make the channel in a directory that does not exist yet.
    pub fn lay_out(&self, dir: &Path) -> Result<()> {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::create_dir(dir)?;
        self.files.iter().for_each(|f| f.unpack(dir));
        if self.rebooted {
            use std::os::unix::fs::FileExt;
            let file = std::fs::File::options().write(true).open(dir.join("channel"))?;
            file.write_all_at(&[0x5A; 16], BOOT_ID)?;
        }
        Ok(())
    }

    pub fn file(&self, name: &str) -> Option<&Packed> {
        self.files.iter().find(|f| f.name == name)
    }
}
