//! One disk, one channel: until the disk is full, while it is, and when there is room again.

use anyhow::{ensure, Context, Result};
use rand::Rng;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::disk::Disk;
use crate::abi::*;
use crate::ledger::{Check, Event, Ledger, Rules};
use crate::session::{noted, Consumer, Op, Session};

/// Offset of the boot id in `channel` (FORMAT.md, section 5).
pub const BOOT_ID_AT: u64 = 9088;

pub struct Scenario<'a> {
    pub lib: &'a Lib,
    pub disk: &'a Disk,
    pub ledger: &'a Ledger,
    /// DC_SIGBUS_GUARD, for disks that need it.
    pub guard: u32,
}

/// What a process has open.
struct Open {
    channel: Handle,
    producers: Vec<Handle>,
    consumers: Vec<Consumer>,
}

/// Draw how a channel is made.
pub fn rules(rng: &mut impl Rng) -> Rules {
    let mut pick = |list: &[u64]| list[rng.random_range(0..list.len())];
    let options = Options {
        page_size: pick(&[64 << 10, 64 << 10, 256 << 10, 1 << 20]),
        max_pages: pick(&[2, 4, 16, u64::MAX, u64::MAX]),
        max_messages_per_page: pick(&[20, 1000, 65_535]) as u32,
        retention: pick(&[DC_RETAIN_RING as u64, DC_RETAIN_UNREAD as u64]) as u32,
        durability: pick(&[1, 1, 1, 3]) as u32,
        checksum: pick(&[1, 1, 2]) as u32,
        flags: (pick(&[0, DC_NO_THREAD as u64]) | pick(&[0, 0, DC_SIGBUS_GUARD as u64])) as u32,
        ..Options::default()
    };
    Rules { options, most: pick(&[500, 3000, 30_000]) as usize }
}

impl Scenario<'_> {
    pub fn run(&self, rules: Rules, crash: bool) -> Result<()> {
        let (lib, path, ledger) = (self.lib, self.disk.channel(), self.ledger);
        let s = Session { lib, path: &path, ledger, rules, marks: false, guarded: false };
        if self.disk.refuses_stores() {
            return self.guarded(&Session { guarded: true, ..s });
        }
        let mut open = s.open().map(|channel| self.begin(&s, channel));
        if let Some(open) = &mut open {
            self.fill(&s, open)?;
            self.use_full(&s, open)?;
            self.receive(&s, open)?;
        }
        if crash {
            let whole = open.as_ref().is_none_or(|o| self.flushed(&s, o));
            open.take().iter().for_each(|o| close(&s, o));
            if whole && path.join("channel").exists() {
                crash_machine(&path)?;
                ledger.add(Event::Crash);
                // On the full disk still: it opens, or says why not.
                open = s.open().map(|channel| self.begin(&s, channel));
                if let Some(open) = &mut open {
                    self.receive(&s, open)?;
                }
            }
        }
        self.codes()?;
        self.disk.make_room()?;
        let mut open = match open {
            Some(open) => open,
            None => {
                // SAFETY: this thread's last failure, copied.
                let why = || unsafe { std::ffi::CStr::from_ptr((lib.dc_last_error)()) };
                let channel = s.open().with_context(|| format!("with room: {:?}", why()))?;
                self.begin(&s, channel)
            }
        };
        self.use_room(&s, &mut open)?;
        close(&s, &open);
        self.codes()?;
        let check = Check { lib, path: &path, ledger, rules, guarded: false };
        ledger.in_process("a fresh process", || check.all())?;
        // SAFETY: a valid path.
        s.call(Op::destroy, || unsafe { (lib.dc_destroy)(c_path(&path).as_ptr()) });
        ensure!(!path.exists(), "destroyed, and it is still there");
        self.codes()
    }

    /// Where stores to allocated space are refused: codes, no signal, and what was sent is there.
    fn guarded(&self, s: &Session) -> Result<()> {
        let (lib, path, ledger) = (self.lib, s.path, self.ledger);
        let rules = Rules {
            options: Options {
                flags: s.rules.options.flags & !DC_SIGBUS_GUARD | self.guard,
                // Without them nobody can tell a message whose page went under the sender's hands.
                checksum: DC_CHECKSUM_ON,
                ..s.rules.options
            },
            ..s.rules
        };
        let s = Session { rules, ..*s };
        if let Some(channel) = s.open() {
            let mut open = self.begin(&s, channel);
            for &p in &open.producers {
                (0..20).for_each(|n| noted(s.send(p, n, 0)));
                s.within(Op::channel_sync, channel, -1, lib.dc_channel_sync);
            }
            self.disk.share()?;
            for n in 0..3000 {
                if open.producers.first().is_none_or(|&p| s.send(p, n, 0) != DC_OK && n > 20) {
                    break;
                }
            }
            open.producers.extend(s.producer(channel));
            open.consumers.extend(s.subscribe(channel, Some(1), DC_AUTO_NEXT_PAGE));
            open.producers.iter().for_each(|&p| noted(s.send(p, 0, 0)));
            open.consumers.iter_mut().for_each(|c| noted(s.receive(c, 1000, 0)));
            s.within(Op::channel_sync, channel, 1000, lib.dc_channel_sync);
            s.stats(channel);
            close(&s, &open);
        }
        self.codes()?;
        self.disk.make_room()?;
        let check = Check { lib, path, ledger, rules: s.rules, guarded: true };
        ledger.in_process("a fresh process", || check.all())?;
        Ok(std::fs::remove_dir_all(path)?)
    }

    fn codes(&self) -> Result<()> {
        let complaints = self.ledger.complaints();
        ensure!(complaints.is_empty(), "{complaints}");
        Ok(())
    }

    /// What there is to begin with; on a very small disk not all of it.
    fn begin(&self, s: &Session, channel: Handle) -> Open {
        let producers = s.producer(channel).into_iter().collect();
        let group = s.subscribe(channel, Some(0), DC_AUTO_NEXT_PAGE);
        let observer = s.subscribe(channel, None, 0);
        Open { channel, producers, consumers: group.into_iter().chain(observer).collect() }
    }

    /// Only the words for: full.
    fn is_full(&self, s: &Session, code: i32, what: &str) -> Result<()> {
        let lossless = s.rules.options.retention == DC_RETAIN_UNREAD && code == DC_AGAIN;
        ensure!(self.disk.full(code) || lossless, "{what}: {}", self.lib.why(code));
        Ok(())
    }

    /// Send until the disk is full, or the ring has gone round.
    fn fill(&self, s: &Session, open: &Open) -> Result<()> {
        let Some(&producer) = open.producers.first() else { return Ok(()) };
        let (mut bytes, mut refused) = (0, 0);
        let o = &s.rules.options;
        let round = o.max_pages.saturating_mul(o.page_size).saturating_add(1 << 20);
        for n in 0.. {
            let code = match n % 7 {
                6 => s.batch(producer, 5, 0),
                way => s.send(producer, way, 0),
            };
            bytes += s.rules.most as u64 / 2;
            if code != DC_OK {
                self.is_full(s, code, "sending to a full disk")?;
                refused += 1;
            }
            // Again and again: every way to send, with smaller messages too.
            if refused > 9 || bytes > round || n > 20_000 {
                break;
            }
        }
        Ok(())
    }

    /// Everything else on the full disk.
    fn use_full(&self, s: &Session, open: &mut Open) -> Result<()> {
        self.disk.top_up()?;
        let (lib, channel) = (self.lib, open.channel);
        open.producers.extend(s.producer(channel));
        // Another member of a group needs an entry, another group a file.
        open.consumers.extend(s.subscribe(channel, Some(0), DC_AUTO_NEXT_PAGE));
        open.consumers.extend(s.subscribe(channel, Some(1), DC_AUTO_NEXT_PAGE));
        let existing = Options { flags: DC_EXISTING | DC_NO_THREAD, ..Options::default() };
        if let Some(other) = s.open_with(&existing) {
            s.stats(other);
            s.end(Op::close, other, lib.dc_close);
        }
        for &producer in &open.producers {
            let code = s.send(producer, 0, 0);
            if code != DC_OK {
                self.is_full(s, code, "another producer")?;
            }
            s.within(Op::sync, producer, 1000, lib.dc_sync);
        }
        let info = s.stats(channel).context("no stats on a full disk")?;
        ensure!(info.poisoned == 0, "poisoned by a full disk");
        s.group_stats(channel, 0);
        s.within(Op::channel_sync, channel, 1000, lib.dc_channel_sync);
        s.within(Op::maintain, channel, 0, lib.dc_maintain);
        if let Some(c) = open.consumers.first() {
            // SAFETY: a live handle.
            s.call(Op::seek, || unsafe { (lib.dc_seek)(c.handle, DC_EARLIEST) });
        }
        let mut info = VerifyInfo::default();
        // SAFETY: a valid path and struct.
        let code =
            s.call(Op::verify, || unsafe { (lib.dc_verify)(c_path(s.path).as_ptr(), &mut info) });
        ensure!(code == DC_OK && info.corrupt == 0, "verify: {} {info:?}", lib.name(code));
        Ok(())
    }

    /// Receive half of it, acknowledge half of that; the observer receives all.
    fn receive(&self, s: &Session, open: &mut Open) -> Result<()> {
        for c in &mut open.consumers {
            let most = if c.group.is_none() { usize::MAX } else { 40 };
            let code = s.receive(c, most, 0);
            ensure!(code == DC_OK || code == DC_AGAIN, "receiving: {}", self.lib.why(code));
            if c.group.is_some() && c.last != 0 {
                let code = s.ack(c, c.last - 2);
                ensure!(code == DC_OK, "acknowledging: {}", self.lib.why(code));
            }
        }
        Ok(())
    }

    /// Whether everything is on stable storage before the machine crashes.
    fn flushed(&self, s: &Session, open: &Open) -> bool {
        s.within(Op::channel_sync, open.channel, -1, self.lib.dc_channel_sync) == DC_OK
    }

    /// There is room: the same handles work, and new ones.
    fn use_room(&self, s: &Session, open: &mut Open) -> Result<()> {
        open.producers.extend(s.producer(open.channel));
        open.consumers.extend(s.subscribe(open.channel, Some(2), DC_AUTO_NEXT_PAGE));
        ensure!(!open.producers.is_empty(), "there is room, and no producer");
        ensure!(open.consumers.iter().any(|c| c.group == Some(2)), "there is room, and no group");
        for producer in open.producers.clone() {
            for way in 0..6 {
                let code = s.send(producer, way, 0);
                let lossless = s.rules.options.retention == DC_RETAIN_UNREAD;
                let waits = lossless && code == DC_AGAIN;
                ensure!(code == DC_OK || waits, "there is room, and: {}", self.lib.why(code));
                if waits {
                    self.receive(s, open)?;
                    break;
                }
            }
            let code = s.within(Op::sync, producer, -1, self.lib.dc_sync);
            ensure!(code == DC_OK, "sync with room: {}", self.lib.why(code));
        }
        self.receive(s, open)
    }
}

fn close(s: &Session, open: &Open) {
    open.consumers
        .iter()
        .for_each(|c| s.end(Op::consumer_close, c.handle, s.lib.dc_consumer_close));
    open.producers.iter().for_each(|&p| s.end(Op::producer_close, p, s.lib.dc_producer_close));
    s.end(Op::close, open.channel, s.lib.dc_close);
}

/// As far as the channel can tell, the machine has been started anew.
pub fn crash_machine(path: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path.join("channel"))?;
    Ok(file.write_all_at(b"another boot id!", BOOT_ID_AT)?)
}
