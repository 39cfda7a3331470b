//! This library, through its C interface, with its default options but for: lossless retention; for what is kept, the
//! README's page size and pages enough; for what is flushed, `DC_SYNC_ALWAYS` where each message is, and `dc_sync`
//! after each batch where many are flushed at once.

mod trips;

use std::ffi::{c_int, CString};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use crate::abi::*;
use anyhow::{ensure, Result};

use super::{Peer, PeerName, RoundTrips, Work};
use crate::maker::Maker;
use crate::payload::Checker;
use crate::spec::{Spec, Wait, Workload};

/// Milliseconds after which a consumer without messages looks whether all are received.
const LOOK: c_int = 1;

pub struct Ours {
    lib: Lib,
    channel: Handle,
    batch: usize,
    /// Each batch is flushed.
    flush: bool,
    wait: Wait,
    /// Where answers go.
    back: Handle,
}

// SAFETY: a dc_channel is for any number of threads.
unsafe impl Sync for Ours {}

fn name(group: usize) -> CString {
    CString::new(format!("group-{group}")).expect("no NUL")
}

fn durability(spec: &Spec) -> u32 {
    if spec.flush && spec.batch == 1 {
        DC_SYNC_ALWAYS
    } else {
        DC_SYNC_NONE
    }
}

fn paths(dir: &Path) -> [PathBuf; 2] {
    [dir.join("channel"), dir.join("back")]
}

impl Ours {
    pub fn create(spec: &Spec, dir: &Path) -> Result<Ours> {
        let mut options = Options {
            retention: DC_RETAIN_UNREAD,
            checksum: if spec.peer == PeerName::Ours { DC_CHECKSUM_ON } else { DC_CHECKSUM_OFF },
            flags: DC_NEW,
            durability: durability(spec),
            ..Options::default()
        };
        if spec.keeps() {
            options.max_pages = spec.messages / 65_535 + 3;
        }
        if spec.keeps() && !spec.default_pages {
            // The README's rule: a page has room for 65,535 messages.
            let bytes = (spec.size.next_multiple_of(8) * 65_535) as u64;
            options.page_size = bytes.clamp(64 << 10, 1 << 30).next_multiple_of(4096);
        }
        Ours::open(spec, dir, &options, true)
    }

    pub fn join(spec: &Spec, dir: &Path) -> Result<Ours> {
        let durability = durability(spec);
        let options = Options { flags: DC_EXISTING, durability, ..Options::default() };
        Ours::open(spec, dir, &options, false)
    }

    fn open(spec: &Spec, dir: &Path, options: &Options, groups: bool) -> Result<Ours> {
        let lib = Lib::load(&spec.lib)?;
        let open =
            |path: &Path| lib.open(path, options).map_err(|code| anyhow::anyhow!(lib.why(code)));
        let [channel, back] = paths(dir);
        let round_trip = spec.workload == Workload::RoundTrip;
        let ours = Ours {
            lib,
            channel: open(&channel)?,
            batch: spec.batch,
            flush: spec.flush && spec.batch > 1,
            wait: spec.wait,
            back: if round_trip { open(&back)? } else { null_mut() },
        };
        for group in (0..spec.groups).filter(|_| groups) {
            for channel in [ours.channel, ours.back].into_iter().filter(|c| !c.is_null()) {
                let made = ours.subscribe(channel, group)?;
                // SAFETY: ours, and not used again.
                unsafe { (lib.dc_consumer_close)(made) };
            }
        }
        Ok(ours)
    }

    fn subscribe(&self, channel: Handle, group: usize) -> Result<Handle> {
        let (mut consumer, options) = (
            null_mut(),
            SubscribeOptions { flags: DC_AUTO_NEXT_PAGE, ..SubscribeOptions::default() },
        );
        // SAFETY: valid pointers.
        let code = unsafe {
            (self.lib.dc_subscribe)(channel, name(group).as_ptr(), &options, &mut consumer)
        };
        self.lib.ok(code, "dc_subscribe")?;
        Ok(consumer)
    }

    fn produce_on(&self, channel: Handle) -> Result<Handle> {
        let mut producer = null_mut();
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_producer_open)(channel, &mut producer) };
        self.lib.ok(code, "dc_producer_open")?;
        Ok(producer)
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // SAFETY: every handle is closed by the role that had it.
        unsafe {
            (self.lib.dc_close)(self.channel);
            (self.lib.dc_close)(self.back);
        }
    }
}

impl Peer for Ours {
    fn producer<'a>(&'a self, mut maker: Maker<'a>) -> Result<Work<'a>> {
        let (lib, producer) = (self.lib, self.produce_on(self.channel)?);
        let flush = self.flush;
        if self.batch > 1 {
            return Ok(Box::new(move || {
                loop {
                    let parts = maker.next_batch();
                    let (count, mut sent) = (parts.len(), 0);
                    if count == 0 {
                        break;
                    }
                    // SAFETY: the handle is this thread's, the parts are the maker's.
                    let code = unsafe {
                        (lib.dc_send_batch)(producer, parts.as_ptr(), count, -1, &mut sent)
                    };
                    ensure!(code == DC_OK && sent == count, "dc_send_batch: {}", lib.why(code));
                    if flush {
                        // SAFETY: the handle is this thread's.
                        lib.ok(unsafe { (lib.dc_sync)(producer, -1) }, "dc_sync")?;
                    }
                }
                // SAFETY: not used again.
                unsafe { (lib.dc_producer_close)(producer) };
                Ok(())
            }));
        }
        Ok(Box::new(move || {
            while let Some(message) = maker.next() {
                // SAFETY: the handle is this thread's.
                let code =
                    unsafe { (lib.dc_send)(producer, message.as_ptr().cast(), message.len(), -1) };
                ensure!(code == DC_OK, "dc_send: {}", lib.why(code));
            }
            // SAFETY: not used again.
            unsafe { (lib.dc_producer_close)(producer) };
            Ok(())
        }))
    }

    fn consumer<'a>(&'a self, group: usize, mut checker: Checker<'a>) -> Result<Work<'a>> {
        let (lib, consumer) = (self.lib, self.subscribe(self.channel, group)?);
        // A call returns 255 messages at most.
        let batch = self.batch.min(255);
        Ok(Box::new(move || {
            let mut messages = vec![Message::default(); batch.max(1)];
            loop {
                let mut count = 1;
                // SAFETY: the handle is this thread's; there is room for so many messages.
                let code = unsafe {
                    if batch > 1 {
                        (lib.dc_recv_batch)(
                            consumer,
                            messages.as_mut_ptr(),
                            batch,
                            LOOK,
                            &mut count,
                        )
                    } else {
                        (lib.dc_recv)(consumer, &mut messages[0], LOOK)
                    }
                };
                if code == DC_AGAIN {
                    if checker.all()? {
                        break;
                    }
                    continue;
                }
                ensure!(code == DC_OK, "dc_recv: {}", lib.why(code));
                for message in &messages[..count] {
                    // SAFETY: valid until the next receiving call.
                    checker.check(unsafe { message.payload() })?;
                }
                if checker.alone_and_done() {
                    break;
                }
            }
            // SAFETY: not used again.
            unsafe { (lib.dc_consumer_close)(consumer) };
            Ok(())
        }))
    }

    fn round_trips(&self, first: bool) -> Result<RoundTrips<'_>> {
        trips::begin(self, first)
    }

    fn disk_bytes(&self) -> u64 {
        let mut info = ChannelInfo::default();
        // SAFETY: valid pointers.
        let code = unsafe { (self.lib.dc_channel_stats)(self.channel, &mut info) };
        if code == DC_OK {
            info.disk_bytes
        } else {
            0
        }
    }
}
