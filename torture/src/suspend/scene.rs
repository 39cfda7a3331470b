//! A scene: the state a channel is in, and the call in the middle of which its caller is suspended.

use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{ensure, Result};
use rand::Rng;

use super::log::{Event, Log, Rules, G, H, NAMES, OBSERVER, PAST, TARGET};
use super::stepper::{be_traced, stop_here};
use crate::abi::*;
use crate::calls::Got;
use crate::payload::Load;

/// The call that is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Send,
    /// The page is full and the next one is prepared.
    SendTurn,
    /// The page is full, the next one is to be prepared.
    SendPrepare,
    /// A batch that goes over the end of a page.
    BatchTurn,
    Commit,
    Abort,
    Recv,
    RecvTurn,
    RecvBatch,
    /// Receiving what a dead consumer left.
    Adopt,
    /// Receiving over the claim of a dead producer.
    Settle,
    Ack,
    Nack,
    Subscribe,
    SubscribeNew,
    CloseConsumer,
    SeekBack,
    SeekAhead,
    Open,
    OpenNew,
    Close,
    ProducerOpen,
    ProducerClose,
    Sync,
    ChannelSync,
    /// The next page is made ahead.
    Maintain,
    DeleteGroup,
    Observe,
    ObserveNew,
    Stats,
}

/// In the order of the cases; what turns pages and claims comes more often.
pub const OPS: [Op; 36] = [
    Op::Send,
    Op::SendTurn,
    Op::SendPrepare,
    Op::Recv,
    Op::RecvTurn,
    Op::Adopt,
    Op::BatchTurn,
    Op::Commit,
    Op::RecvBatch,
    Op::Settle,
    Op::Open,
    Op::Subscribe,
    Op::SendPrepare,
    Op::SubscribeNew,
    Op::SeekBack,
    Op::Maintain,
    Op::ChannelSync,
    Op::Adopt,
    Op::CloseConsumer,
    Op::SendTurn,
    Op::Nack,
    Op::Abort,
    Op::Ack,
    Op::SeekAhead,
    Op::OpenNew,
    Op::Close,
    Op::SendPrepare,
    Op::ProducerOpen,
    Op::ProducerClose,
    Op::Sync,
    Op::Maintain,
    Op::DeleteGroup,
    Op::Observe,
    Op::ObserveNew,
    Op::Stats,
    Op::RecvTurn,
];

/// Messages of a page.
pub const SLOTS: u32 = 12;
/// Milliseconds.
pub const STALL: u32 = 50;
const BATCH: u64 = 8;

#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub op: Op,
    pub options: Options,
    /// Pages filled, read and dropped before.
    turned: u32,
    /// Messages that nobody has read yet.
    unread: u32,
    /// Whether the page after the newest is prepared.
    prepared: bool,
    /// A dead consumer of the group holds messages, one handed out and some claimed ahead.
    dead_consumer: bool,
    /// A dead producer left a claim in front of the last message.
    dead_claim: bool,
    ack: u32,
    prefetch: u32,
    /// Messages that the target has received before.
    before: u32,
    len: usize,
}

impl Scene {
    /// The scene of a case.
    pub fn new(case: u64, rng: &mut impl Rng) -> Scene {
        let op = OPS[case as usize % OPS.len()];
        let options = Options {
            page_size: 65_536,
            max_pages: 6,
            max_messages_per_page: SLOTS,
            retention: [DC_RETAIN_RING, DC_RETAIN_UNREAD][rng.random_range(0..2)],
            checksum: if rng.random_range(0..4) == 0 { DC_CHECKSUM_OFF } else { DC_CHECKSUM_ON },
            stall_timeout_ms: STALL,
            ..Default::default()
        };
        let full = matches!(op, Op::SendTurn | Op::SendPrepare);
        let unread = match op {
            _ if full => SLOTS,
            Op::Maintain => SLOTS - 2,
            Op::RecvTurn | Op::Observe => SLOTS + rng.random_range(1..4),
            Op::BatchTurn => rng.random_range(6..SLOTS),
            _ => rng.random_range(3..SLOTS - 1),
        };
        let mut turned = [0, 1, 4, 9][rng.random_range(0..4)];
        if op == Op::SeekBack && options.retention == DC_RETAIN_UNREAD {
            // The group wants every page again that is still there: room is to be left.
            turned = turned.min(1);
        }
        let turns = matches!(op, Op::RecvTurn | Op::Observe);
        let holds = matches!(op, Op::Ack | Op::Nack | Op::CloseConsumer);
        Scene {
            op,
            options,
            turned,
            unread,
            prepared: op == Op::SendTurn
                || !full && op != Op::Maintain && rng.random_range(0..2) == 0,
            dead_consumer: op == Op::Adopt || !turns && rng.random_range(0..6) == 0,
            dead_claim: op == Op::Settle || !full && !turns && rng.random_range(0..6) == 0,
            ack: if holds { DC_ACK_MANUAL } else { rng.random_range(1..4) },
            prefetch: [1, 1, 0, 4][rng.random_range(0..4)],
            before: match op {
                Op::RecvTurn => SLOTS,
                Op::Settle | Op::Adopt => 0,
                _ if holds => rng.random_range(1..3),
                _ => rng.random_range(0..3),
            },
            len: [16, 40, 200, 3000][rng.random_range(0..4)],
        }
    }

    fn has_consumer(&self) -> bool {
        matches!(
            self.op,
            Op::Recv
                | Op::RecvTurn
                | Op::RecvBatch
                | Op::Adopt
                | Op::Settle
                | Op::Ack
                | Op::Nack
                | Op::CloseConsumer
                | Op::SeekBack
                | Op::SeekAhead
        )
    }

    fn receives(&self) -> bool {
        matches!(self.op, Op::Recv | Op::RecvTurn | Op::RecvBatch | Op::Adopt | Op::Settle)
    }

    fn sends(&self) -> u64 {
        match self.op {
            Op::Send | Op::SendTurn | Op::SendPrepare | Op::Commit => 1,
            Op::BatchTurn => BATCH,
            _ => 0,
        }
    }

    /// What must hold, the target having been resumed or killed.
    pub fn rules(&self, killed: bool) -> Rules {
        let load = |sequence| Load { sender: TARGET, sequence };
        let receiving = killed && self.receives();
        let batch = if self.op == Op::RecvBatch { BATCH as usize } else { 1 };
        let claims = self.has_consumer() && (self.prefetch != 1 || self.receives());
        Rules {
            sending: (0..self.sends()).map(load).collect(),
            receiving,
            unordered: self.dead_consumer || claims,
            moved: matches!(self.op, Op::SeekBack | Op::SeekAhead),
            at_most_once: match self.op {
                Op::SeekAhead => usize::MAX,
                _ if receiving && self.ack == DC_ACK_RECEIVE => batch,
                _ => 0,
            },
        }
    }

    /// What the suspended call may return once it is resumed.
    pub fn allowed(&self) -> &'static [i32] {
        match self.op {
            _ if self.receives() => &[DC_OK, DC_AGAIN],
            Op::Maintain => &[DC_OK, DC_AGAIN],
            Op::DeleteGroup => &[DC_OK, DC_E_BUSY, -libc::ENOENT],
            _ => &[DC_OK],
        }
    }

    /// What was before: a process that makes the channel, fills it, and is killed.
    pub fn past(&self, lib: &Lib, path: &Path, log: &Log) -> Result<()> {
        if self.op == Op::OpenNew {
            return Ok(());
        }
        let options = Options { flags: DC_NO_THREAD, ..self.options };
        let channel = lib.must_open(path, &options)?;
        let auto = SubscribeOptions { flags: DC_AUTO_NEXT_PAGE, ..Default::default() };
        let mut readers = Vec::new();
        for (group, name) in NAMES.iter().enumerate() {
            let (code, c) = lib.subscribe(channel, Some(name), &auto);
            lib.ok(code, "subscribe before")?;
            readers.push(Reader::new(c, group, PAST, DC_ACK_NEXT));
        }
        if self.op == Op::DeleteGroup {
            let (code, c) = lib.subscribe(channel, Some(c"d"), &auto);
            lib.ok(code, "subscribe before")?;
            lib.consumer_close(c);
        }
        let (code, p) = lib.producer(channel);
        lib.ok(code, "producer before")?;
        let mut sequence = 0;
        let mut send = |log: &Log| -> Result<()> {
            let load = Load { sender: PAST, sequence };
            sequence += 1;
            lib.ok(lib.send(p, &load.bytes(self.len), 0), "send before")?;
            log.add(Event::Sent(load));
            Ok(())
        };
        let empty = Op::DeleteGroup == self.op || self.turned == 0;
        for _ in 0..if empty { 0 } else { self.turned * SLOTS } {
            send(log)?;
            for reader in &mut readers {
                reader.take(lib, log)?;
            }
        }
        for reader in &mut readers {
            ensure!(reader.recv(lib, log, 0)?.0 == DC_AGAIN, "more than was sent");
            lib.consumer_close(reader.c);
        }
        for n in 0..self.unread {
            if self.dead_claim && n + 1 == self.unread {
                let load = Load { sender: PAST, sequence: 1 << 40 };
                let (code, dead) = lib.producer(channel);
                lib.ok(code, "producer before")?;
                lib.ok(lib.reserve(dead, &load.bytes(self.len), 0), "reserve before")?;
            }
            send(log)?;
        }
        if self.prepared {
            let _ = lib.maintain(channel, 0);
        }
        if self.dead_consumer {
            let o = SubscribeOptions { ack: DC_ACK_MANUAL, prefetch: 4, ..auto };
            let (code, c) = lib.subscribe(channel, Some(NAMES[G]), &o);
            lib.ok(code, "subscribe before")?;
            Reader::new(c, G, PAST, DC_ACK_MANUAL).take(lib, log)?;
        }
        // Killed: nothing is closed.
        // SAFETY: a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        Ok(())
    }

    /// The target's life: prepare, stop, call, stop.
    pub fn target(&self, lib: &Lib, path: &Path, log: &Log) -> Result<()> {
        be_traced();
        let options = Options { flags: DC_NO_THREAD, ..self.options };
        let (mut channel, mut p) = (null_mut(), null_mut());
        let mut reader = Reader::new(null_mut(), G, TARGET, self.ack);
        if !matches!(self.op, Op::Open | Op::OpenNew) {
            channel = lib.must_open(path, &options)?;
        }
        let sends_one = matches!(self.op, Op::Sync | Op::Maintain);
        if self.sends() > 0 || sends_one || matches!(self.op, Op::Abort | Op::ProducerClose) {
            let (code, made) = lib.producer(channel);
            lib.ok(code, "the target's producer")?;
            p = made;
        }
        let o = SubscribeOptions {
            ack: self.ack,
            prefetch: self.prefetch,
            flags: DC_AUTO_NEXT_PAGE,
            ..Default::default()
        };
        if self.has_consumer() {
            let (code, made) = lib.subscribe(channel, Some(NAMES[G]), &o);
            lib.ok(code, "the target's consumer")?;
            reader.c = made;
            for _ in 0..self.before.min(self.unread) {
                reader.take(lib, log)?;
            }
        }
        if self.op == Op::Observe {
            let (code, made) = lib.subscribe(channel, None, &o);
            lib.ok(code, "the target's observer")?;
            reader.c = made;
            for _ in 0..SLOTS {
                lib.recv(made, 0)?;
            }
        }
        let loads: Vec<_> = (0..BATCH).map(|n| Load { sender: TARGET, sequence: n }).collect();
        let bytes: Vec<_> = loads.iter().map(|l| l.bytes(self.len)).collect();
        if matches!(self.op, Op::Commit | Op::Abort) {
            lib.ok(lib.reserve(p, &bytes[0], 0), "reserve")?;
        } else if sends_one {
            let load = Load { sender: TARGET, sequence: 1 };
            lib.ok(lib.send(p, &load.bytes(40), 0), "send")?;
            log.add(Event::Sent(load));
        }
        stop_here();
        let code = self.call(lib, path, log, (channel, p), &mut reader, &bytes)?;
        log.code.store(code as u32, SeqCst);
        if code == DC_OK {
            let sent = loads.iter().take(self.sends() as usize);
            sent.for_each(|l| log.add(Event::Sent(*l)));
        }
        stop_here();
        Ok(())
    }

    fn call(
        &self,
        lib: &Lib,
        path: &Path,
        log: &Log,
        (channel, p): (Handle, Handle),
        reader: &mut Reader,
        bytes: &[Vec<u8>],
    ) -> Result<i32> {
        let c = reader.c;
        let o = SubscribeOptions { flags: DC_AUTO_NEXT_PAGE, ..Default::default() };
        let options = Options { flags: DC_NO_THREAD, ..self.options };
        Ok(match self.op {
            Op::Send | Op::SendTurn | Op::SendPrepare => lib.send(p, &bytes[0], 10_000),
            Op::BatchTurn => lib.send_batch(p, bytes, 10_000).0,
            Op::Commit => lib.commit(p, bytes[0].len()),
            Op::Abort => lib.abort(p),
            Op::Recv | Op::RecvTurn | Op::Adopt | Op::Settle => reader.recv(lib, log, 0)?.0,
            Op::RecvBatch => {
                let (code, got) = lib.recv_batch(c, BATCH as usize, 0)?;
                reader.note(log, &got);
                code
            }
            Op::Ack => {
                let code = lib.ack(c, u64::MAX - 1);
                reader.acked(log);
                code
            }
            Op::Nack => lib.nack(c),
            Op::CloseConsumer => ended(|| lib.consumer_close(c)),
            Op::SeekBack => lib.seek(c, DC_EARLIEST),
            Op::SeekAhead => lib.seek(c, DC_LATEST),
            Op::Open | Op::OpenNew => lib.open(path, &options).err().unwrap_or(DC_OK),
            Op::Close => ended(|| lib.close(channel)),
            Op::ProducerOpen => lib.producer(channel).0,
            Op::ProducerClose => ended(|| lib.producer_close(p)),
            Op::Sync => lib.sync(p, 10_000),
            Op::ChannelSync => lib.channel_sync(channel, 10_000),
            Op::Maintain => lib.maintain(channel, 0),
            Op::DeleteGroup => lib.group_delete(channel, c"d"),
            Op::Subscribe => lib.subscribe(channel, Some(NAMES[H]), &o).0,
            Op::SubscribeNew => {
                let o = SubscribeOptions { start: DC_LATEST, ..o };
                lib.subscribe(channel, Some(c"new"), &o).0
            }
            Op::Observe => lib.recv(c, 0)?.0,
            Op::ObserveNew => lib.subscribe(channel, None, &o).0,
            Op::Stats => {
                let (code, _) = lib.channel_stats(channel);
                code + lib.group_stats(channel, NAMES[H]).0
            }
        })
    }
}

fn ended(f: impl FnOnce()) -> i32 {
    f();
    DC_OK
}

/// A consumer that notes what it gets, and what that acknowledges.
pub struct Reader {
    pub c: Handle,
    group: usize,
    who: u32,
    ack: u32,
    /// Received, not acknowledged.
    pub held: Vec<Load>,
}

impl Reader {
    pub fn new(c: Handle, group: usize, who: u32, ack: u32) -> Reader {
        Reader { c, group, who, ack, held: Vec::new() }
    }

    /// Note what a receiving call returned just now.
    pub fn note(&mut self, log: &Log, got: &[Got]) {
        if self.ack == DC_ACK_NEXT {
            self.acked(log);
        }
        for got in got {
            log.add(Event::Got { who: self.who, group: self.group, got: *got });
            self.held.push(got.load);
        }
        if self.ack == DC_ACK_RECEIVE {
            self.acked(log);
        }
    }

    /// What it held is acknowledged.
    pub fn acked(&mut self, log: &Log) {
        for load in self.held.drain(..).filter(|_| self.group != OBSERVER) {
            log.add(Event::Acked { group: self.group, load });
        }
    }

    pub fn recv(&mut self, lib: &Lib, log: &Log, timeout_ms: i32) -> Result<(i32, Option<Got>)> {
        let (code, got) = lib.recv(self.c, timeout_ms)?;
        self.note(log, got.as_slice());
        Ok((code, got))
    }

    /// Receive one that is there.
    fn take(&mut self, lib: &Lib, log: &Log) -> Result<()> {
        lib.ok(self.recv(lib, log, 1000)?.0, "receiving before")
    }
}
