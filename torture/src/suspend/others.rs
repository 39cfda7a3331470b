//! Those who go on while one is suspended, and those who come after: each a fresh process.

use std::path::Path;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;

use anyhow::{ensure, Result};

use super::log::{Event, Kind, Log, AFTER, G, H, NAMES, OBSERVER, OTHERS};
use super::scene::{Op, Reader, Scene, SLOTS};
use crate::abi::*;
use crate::payload::Load;
use crate::process::{now_ns, sleep_us};

/// Milliseconds that a call may wait at most, to end a hang with words.
const LONG: i32 = 20_000;

/// Calls of those who go on, by their numbers in `Log::call`.
pub const CALLS: [&str; 16] = [
    "dc_open",
    "dc_producer_open",
    "dc_send",
    "dc_channel_stats",
    "dc_group_stats",
    "dc_subscribe to the other group",
    "dc_recv in the other group",
    "dc_subscribe to the group",
    "dc_recv in the group",
    "dc_subscribe of an observer",
    "dc_recv of an observer",
    "dc_sync",
    "dc_channel_sync",
    "making, moving and deleting a group",
    "dc_maintain",
    "dc_verify",
];

/// Makes calls and keeps how long they took.
struct Clocked<'a> {
    lib: &'a Lib,
    log: &'a Log,
}

fn sleeps() -> i64 {
    // SAFETY: integers, of which zeros are a value; valid pointer.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_nvcsw
    }
}

/// Processor time of this thread.
fn used_ns() -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

impl Clocked<'_> {
    fn call<R>(&self, kind: Kind, name: &'static str, f: impl FnOnce(&Lib) -> R) -> R {
        let id = CALLS.iter().position(|c| *c == name).unwrap_or(CALLS.len());
        self.log.call.store(id as u32, SeqCst);
        let (before, slept, used) = (now_ns(), sleeps(), used_ns());
        let result = f(self.lib);
        let took = now_ns() - before;
        self.log.longest[kind as usize].fetch_max(took, SeqCst);
        // It slept, or span: not only lost the processor to somebody else.
        if sleeps() != slept || used_ns() - used > took / 2 {
            self.log.waited[kind as usize].fetch_max(took, SeqCst);
        }
        result
    }

    fn ok(&self, kind: Kind, name: &'static str, f: impl FnOnce(&Lib) -> i32) -> Result<()> {
        let code = self.call(kind, name, f);
        self.lib.ok(code, name)
    }

    /// Receive up to this message, of the sender's last.
    fn read(&self, name: &'static str, reader: &mut Reader, last: Load) -> Result<()> {
        loop {
            let recv = |lib: &Lib| reader.recv(lib, self.log, LONG);
            let (code, got) = self.call(Kind::Receive, name, recv)?;
            self.lib.ok(code, name)?;
            if got.is_some_and(|g| g.load == last) {
                return Ok(());
            }
        }
    }
}

fn auto() -> SubscribeOptions {
    SubscribeOptions { flags: DC_AUTO_NEXT_PAGE, ..Default::default() }
}

/// What others do while the target stands still; all of it must go on.
pub fn others(scene: &Scene, lib: &Lib, path: &Path, log: &Log) -> Result<()> {
    let on = Clocked { lib, log };
    let options = Options { flags: DC_NO_THREAD, ..scene.options };
    let channel = on.call(Kind::Open, "dc_open", |lib| lib.must_open(path, &options))?;
    let (code, p) = on.call(Kind::Open, "dc_producer_open", |lib| lib.producer(channel));
    lib.ok(code, "dc_producer_open")?;
    let many = u64::from(SLOTS) + 3;
    for sequence in 0..many {
        send(&on, p, sequence)?;
    }
    let last = Load { sender: OTHERS, sequence: many - 1 };
    on.ok(Kind::Other, "dc_channel_stats", |lib| lib.channel_stats(channel).0)?;
    if scene.op != Op::OpenNew {
        on.ok(Kind::Other, "dc_group_stats", |lib| lib.group_stats(channel, NAMES[G]).0)?;
    }
    let places = [
        (H, "dc_subscribe to the other group", "dc_recv in the other group"),
        (G, "dc_subscribe to the group", "dc_recv in the group"),
        (OBSERVER, "dc_subscribe of an observer", "dc_recv of an observer"),
    ];
    for (group, joining, receiving) in places {
        let name = NAMES.get(group).copied();
        let subscribe = |lib: &Lib| lib.subscribe(channel, name, &auto());
        let (code, c) = on.call(Kind::Open, joining, subscribe);
        lib.ok(code, joining)?;
        let mut reader = Reader::new(c, group, OTHERS, DC_ACK_NEXT);
        on.read(receiving, &mut reader, last)?;
        // Acknowledges the last one.
        while reader.recv(lib, log, 0)?.0 == DC_OK {}
        lib.consumer_close(c);
    }
    on.ok(Kind::Other, "dc_sync", |lib| lib.sync(p, LONG))?;
    on.ok(Kind::Other, "dc_channel_sync", |lib| lib.channel_sync(channel, LONG))?;
    make_a_group(&on, channel, p, many)?;
    on.call(Kind::Other, "dc_maintain", |lib| lib.maintain(channel, 0));
    let (code, info) = on.call(Kind::Other, "dc_verify", |lib| lib.verify(path));
    lib.ok(code, "dc_verify")?;
    ensure!(info.corrupt == 0, "dc_verify while one is suspended: {info:?}");
    if scene.op == Op::DeleteGroup {
        let (code, c) = lib.subscribe(channel, Some(c"d"), &auto());
        log.deleted.store(code as u32, SeqCst);
        ensure!([DC_OK, DC_E_BUSY].contains(&code), "{}", lib.why(code));
        lib.consumer_close(c);
    }
    lib.producer_close(p);
    lib.close(channel);
    Ok(())
}

fn send(on: &Clocked, p: Handle, sequence: u64) -> Result<()> {
    let load = Load { sender: OTHERS, sequence };
    on.ok(Kind::Send, "dc_send", |lib| lib.send(p, &load.bytes(40), LONG))?;
    on.log.add(Event::Sent(load));
    Ok(())
}

/// Subscribe to a new group, receive, seek, close, delete.
fn make_a_group(on: &Clocked, channel: Handle, p: Handle, sequence: u64) -> Result<()> {
    let name = "making, moving and deleting a group";
    let o = SubscribeOptions { start: DC_LATEST, ..auto() };
    let mut c = null_mut();
    on.ok(Kind::Other, name, |lib| {
        let (code, made) = lib.subscribe(channel, Some(c"mine"), &o);
        c = made;
        code
    })?;
    send(on, p, sequence)?;
    let load = Load { sender: OTHERS, sequence };
    let receive = || -> Result<()> {
        // The target, if it is sending, may have published behind the start.
        for _ in 0..20 {
            let (code, got) = on.call(Kind::Receive, name, |lib| lib.recv(c, LONG))?;
            on.lib.ok(code, name)?;
            if got.is_some_and(|g| g.load == load) {
                return Ok(());
            }
        }
        anyhow::bail!("{name}: the message sent just now does not come")
    };
    receive()?;
    on.ok(Kind::Other, name, |lib| lib.seek(c, DC_LATEST - 1))?;
    receive()?;
    on.lib.consumer_close(c);
    on.ok(Kind::Other, name, |lib| lib.group_delete(channel, c"mine"))
}

/// When the target is gone: everything is delivered, everything works, nothing is left.
pub fn after(scene: &Scene, lib: &Lib, path: &Path, log: &Log) -> Result<()> {
    let options = Options { flags: DC_NO_THREAD, ..scene.options };
    let channel = lib.must_open(path, &options)?;
    for name in [c"new", c"d"] {
        let code = lib.group_delete(channel, name);
        ensure!([DC_OK, -libc::ENOENT].contains(&code), "{name:?}: {}", lib.why(code));
    }
    let mut readers = Vec::new();
    for (group, name) in NAMES.iter().enumerate() {
        let (code, c) = lib.subscribe(channel, Some(name), &auto());
        lib.ok(code, "subscribing afterwards")?;
        readers.push(Reader::new(c, group, AFTER, DC_ACK_NEXT));
    }
    for (reader, name) in readers.iter_mut().zip(NAMES) {
        drain(lib, log, channel, reader, name)?;
    }
    let (code, c) = lib.subscribe(channel, None, &auto());
    lib.ok(code, "observing afterwards")?;
    let mut observer = Reader::new(c, OBSERVER, AFTER, DC_ACK_NEXT);
    while observer.recv(lib, log, 0)?.0 == DC_OK {}
    lib.consumer_close(c);
    let (code, p) = lib.producer(channel);
    lib.ok(code, "a producer afterwards")?;
    for sequence in 0..u64::from(2 * SLOTS) {
        let load = Load { sender: AFTER, sequence };
        lib.ok(lib.send(p, &load.bytes(40), 1000), "sending afterwards")?;
        log.add(Event::Sent(load));
        for reader in &mut readers {
            let (code, got) = reader.recv(lib, log, 1000)?;
            lib.ok(code, "receiving afterwards")?;
            ensure!(got.is_some_and(|g| g.load == load), "afterwards {got:?}, not {load:?}");
        }
    }
    readers.iter().for_each(|r| lib.consumer_close(r.c));
    let (code, info) = lib.channel_stats(channel);
    lib.ok(code, "dc_channel_stats")?;
    ensure!(info.producers == 1 && info.consumers == 0, "afterwards {info:?}");
    let (code, info) = lib.verify(path);
    lib.ok(code, "dc_verify")?;
    ensure!(info.corrupt == 0, "dc_verify afterwards: {info:?}");
    lib.producer_close(p);
    lib.close(channel);
    lib.ok(lib.destroy(path), "dc_destroy")
}

/// Receive until the group wants nothing more.
fn drain(
    lib: &Lib,
    log: &Log,
    channel: Handle,
    reader: &mut Reader,
    name: &std::ffi::CStr,
) -> Result<()> {
    for _ in 0..2000 {
        let (code, _) = reader.recv(lib, log, 0)?;
        ensure!([DC_OK, DC_AGAIN].contains(&code), "draining {name:?}: {}", lib.why(code));
        if code == DC_OK {
            continue;
        }
        let (code, info) = lib.group_stats(channel, name);
        lib.ok(code, "dc_group_stats")?;
        if info.lag + info.unacked == 0 {
            return Ok(());
        }
        sleep_us(5000);
    }
    anyhow::bail!("{name:?} does not come to its end: {:?}", lib.group_stats(channel, name))
}
