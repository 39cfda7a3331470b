//! Everything one can do with a channel, none of which may crash, hang, or invent a message. What the
//! calls return is free, but for codes that are none and the code of a bug in the library.

use crate::channel::{body, is_body, Case, GROUP};
use disk_chan::raw::error::{DC_E_CORRUPT, DC_E_INTERNAL};
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Consumer, Error, Message, Options, Received, SubscribeOptions};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::path::Path;

/// Receiving calls of one consumer at most: whatever the files say, there are not that many messages.
const CALLS: usize = 20_000;

/// A code is one of ours or the kernel's, and not the one of a bug.
fn code(what: &str, e: Error) {
    let code = e.code();
    assert!((-4108..0).contains(&code) && code != DC_E_INTERNAL, "{what} gave {code}");
    if std::env::var_os("DISK_CHAN_HOSTILE_CODES").is_some() {
        eprintln!("{what}: {code}");
    }
}

fn tell<T>(what: &str, r: Result<T, Error>) -> Option<T> {
    r.map_err(|e| code(what, e)).ok()
}

/// Do everything, in one of three orders: damage that one use mends is there for another.
pub fn run(dir: &Path, case: &Case, order: usize) {
    let parts = [use_it, flush_it, read_it];
    for i in 0..3 {
        parts[(order + i) % 3](dir, case);
    }
    tell("destroy", Channel::destroy(dir));
}

fn use_it(dir: &Path, case: &Case) {
    let o = Options { flags: EXISTING, stall_timeout_ms: 5, ..Options::default() };
    if let Some(ch) = tell("open", Channel::open(dir, &o)) {
        look(&ch);
        send(&ch, 0);
        receive_all(&ch, case);
        turn(&ch);
        look(&ch);
        tell("sync", ch.sync(20));
        tell("maintain", ch.maintain(0));
        tell("group_delete", ch.group_delete(GROUP));
    }
}

fn flush_it(dir: &Path, case: &Case) {
    let flags = EXISTING | NO_THREAD;
    let o = Options { flags, stall_timeout_ms: 5, durability: SYNC_ALWAYS, ..Options::default() };
    if let Some(ch) = tell("open", Channel::open(dir, &o)) {
        receive_all(&ch, case);
        send(&ch, 200);
        tell("sync", ch.sync(-1));
    }
}

fn read_it(dir: &Path, case: &Case) {
    if let Some(info) = tell("verify", Channel::verify(dir)) {
        assert!(info.pages < 100 && info.groups < 100, "{info:?}");
    }
    let reading = Options { flags: READ_ONLY, ..Options::default() };
    if let Some(ch) = tell("open", Channel::open(dir, &reading)) {
        look(&ch);
        observe(&ch, case, EARLIEST);
    }
}

/// The same uses of the channel as it should be give all there is.
pub fn all_is_well(dir: &Path) {
    let info = Channel::verify(dir).unwrap();
    assert_eq!((info.messages, info.corrupt, info.torn, info.groups), (130, 0, 0, 1));
    let ch = Channel::open(dir, &Options { flags: EXISTING, ..Options::default() }).unwrap();
    let o = SubscribeOptions { flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    let (mut seen, mut member) = (0, 0);
    for (group, count) in [(None, &mut seen), (Some(GROUP), &mut member)] {
        let mut c = ch.subscribe(group, &o).unwrap();
        let mut m = Message::default();
        while let Ok(Received::Message) = c.recv(&mut m, 0) {
            // SAFETY: as received.
            assert!(is_body(unsafe { std::slice::from_raw_parts(m.data, m.len) }));
            *count += 1;
        }
    }
    assert_eq!(seen, 130);
    assert_eq!(member, 124, "six of them were acknowledged");
    send(&ch, 0);
    assert_eq!(ch.group_stats(GROUP).unwrap().lag, 91);
}

fn look(ch: &Channel) {
    tell("stats", ch.stats());
    let mut after = None;
    for _ in 0..100 {
        let Some(name) = tell("group_next", ch.group_next(after.as_deref())) else {
            break;
        };
        tell("group_stats", ch.group_stats(&name));
        after = Some(name);
    }
}

/// Send more than two pages, in all ways.
fn send(ch: &Channel, from: usize) {
    let Some(mut p) = tell("producer", ch.producer()) else {
        return;
    };
    for i in from..from + 60 {
        if tell("send", p.send(&body(i), 0)).is_none() {
            break;
        }
    }
    let bodies: Vec<Vec<u8>> = (from..from + 30).map(body).collect();
    let batch: Vec<IoSlice> = bodies.iter().map(|b| IoSlice::new(b)).collect();
    let mut sent = 0;
    tell("send_batch", p.send_batch(&batch, 0, &mut sent));
    assert!(sent <= batch.len());
    let b = body(from);
    if let Some(to) = tell("reserve", p.reserve(b.len(), 0)) {
        // SAFETY: as many bytes were reserved.
        unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), to, b.len()) };
        tell("commit", p.commit(b.len()));
    }
    tell("producer sync", p.sync(20));
}

fn receive_all(ch: &Channel, case: &Case) {
    for start in [EARLIEST, last(7), 1 << 17 | 3, 1 << 53] {
        observe(ch, case, start);
    }
    for (name, ack) in [(GROUP, ACK_MANUAL), (GROUP, ACK_NEXT), (b"new", ACK_RECEIVE)] {
        let o = SubscribeOptions { ack, ..SubscribeOptions::default() };
        if let Some(mut c) = tell("subscribe", ch.subscribe(Some(name), &o)) {
            drain(&mut c, case);
            tell("consumer stats", c.stats());
        }
    }
}

fn observe(ch: &Channel, case: &Case, start: u64) {
    let o = SubscribeOptions { start, ..SubscribeOptions::default() };
    if let Some(mut c) = tell("observe", ch.subscribe(None, &o)) {
        drain(&mut c, case);
        tell("observer stats", c.stats());
    }
}

/// Receive, one by one and in batches, until there is nothing.
fn drain(c: &mut Consumer, case: &Case) {
    for call in 0..CALLS {
        let mut m = Message::default();
        match c.recv(&mut m, 0) {
            Ok(Received::Message) => is_sound(&m, case),
            Ok(Received::EndOfPage) => c.next_page().unwrap(),
            Ok(Received::Lagged) => {}
            Err(e) if e.code() == DC_E_CORRUPT && m.position != 0 => assert!(m.data.is_null()),
            Err(e) => return code("recv", e),
        }
        if call % 16 == 5 {
            batch(c, case);
        }
    }
    panic!("{CALLS} receiving calls, and no end");
}

fn batch(c: &mut Consumer, case: &Case) {
    let mut messages = [const { MaybeUninit::uninit() }; 10];
    let mut received = 0;
    let r = c.recv_batch(&mut messages, 0, &mut received);
    if tell("recv_batch", r) != Some(Received::Message) {
        return;
    }
    for m in &messages[..received] {
        // SAFETY: the first `received` were written.
        is_sound(unsafe { m.assume_init_ref() }, case);
    }
}

fn is_sound(m: &Message, case: &Case) {
    assert!(!m.data.is_null() && m.data as usize % 8 == 0 && m.position != 0);
    // SAFETY: what `recv` says; a lie shows as a crash here.
    let payload = unsafe { std::slice::from_raw_parts(m.data, m.len) };
    let sum = payload.iter().fold(0u64, |s, b| s.wrapping_add(u64::from(*b)));
    std::hint::black_box(sum);
    assert!(is_body(payload) || case.unchecked, "a message nobody sent at {}", m.position);
}

/// Acknowledge, give back, seek.
fn turn(ch: &Channel) {
    let o = SubscribeOptions { ack: ACK_MANUAL, flags: AUTO_NEXT_PAGE, ..Default::default() };
    let Some(mut c) = tell("subscribe", ch.subscribe(Some(GROUP), &o)) else {
        return;
    };
    let mut m = Message::default();
    for to in [EARLIEST, 2 << 16, 1 << 53, LATEST, last(3), 1 << 16 | 40] {
        tell("seek", c.seek(to));
        tell("recv", c.recv(&mut m, 0));
        tell("ack", c.ack(m.position));
        tell("recv", c.recv(&mut m, 0));
        tell("nack", c.nack());
        tell("recv", c.recv(&mut m, 1));
    }
}
