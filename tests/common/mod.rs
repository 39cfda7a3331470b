//! What the behaviour tests share: channels of small pages, numbers and checkable loads as messages,
//! and processes that play a role of the same test program.
#![allow(dead_code, unused_imports)]

pub mod os;
pub mod process;

pub use disk_chan::raw::error::*;
pub use disk_chan::raw::options::*;
pub use disk_chan::raw::{Channel, Consumer, Message, Options, Producer};
pub use disk_chan::raw::{Received, SubscribeOptions};
pub use os::*;
pub use process::*;

use disk_chan::raw::{ChannelInfo, ConsumerInfo, GroupInfo, VerifyInfo};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Long enough that only a lost wakeup or a hang runs into it.
pub const LONG: i32 = 20_000;
/// Acknowledges everything.
pub const ALL: u64 = u64::MAX - 1;

/// A directory of this test's own, gone with it.
pub struct Temp(PathBuf);

impl Temp {
    pub fn new() -> Temp {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("disk_chan-{}-{n}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Temp(path)
    }
    pub fn dir(&self) -> &Path {
        &self.0
    }
    /// Where its channel lies.
    pub fn chan(&self) -> PathBuf {
        self.0.join("channel")
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Pages of 16 messages, 4 of them.
pub fn small() -> Options {
    Options { page_size: 64 << 10, max_messages_per_page: 16, max_pages: 4, ..Options::default() }
}

pub fn retain(retention: u32) -> Options {
    Options { retention, ..small() }
}

pub fn open(path: impl AsRef<Path>, o: &Options) -> Channel {
    Channel::open(path.as_ref(), o).unwrap()
}

pub fn reopen(path: impl AsRef<Path>, flags: u32) -> Channel {
    open(path, &Options { flags, ..Options::default() })
}

/// 0, or the error's code.
pub fn code<T>(result: Result<T>) -> i32 {
    result.map_or_else(|e| e.code(), |_| 0)
}

/// The result must be this failure, and its sentence must hold these words.
pub fn fails<T>(result: Result<T>, code: i32, words: &str) {
    match result {
        Ok(_) => panic!("succeeded instead of failing with {code}"),
        Err(e) => {
            assert_eq!(e.code(), code, "{e:?}");
            assert!(e.text().contains(words), "\"{}\" does not say \"{words}\"", e.text());
        }
    }
}

/// A consumer that moves from page to page by itself.
pub fn subscribe(channel: &Channel, group: Option<&str>, ack: u32) -> Consumer {
    let o = SubscribeOptions { ack, flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    channel.subscribe(group.map(str::as_bytes), &o).unwrap()
}

/// One that claims nothing ahead: what it was not handed stays with the group.
pub fn subscribe_plain(channel: &Channel, group: &str, ack: u32) -> Consumer {
    let o = SubscribeOptions { ack, prefetch: 1, flags: AUTO_NEXT_PAGE, ..Default::default() };
    channel.subscribe(Some(group.as_bytes()), &o).unwrap()
}

/// One that is told the end of each page.
pub fn subscribe_paged(channel: &Channel, group: Option<&str>) -> Consumer {
    channel.subscribe(group.map(str::as_bytes), &SubscribeOptions::default()).unwrap()
}

pub fn subscribe_at(channel: &Channel, group: Option<&str>, start: u64) -> Consumer {
    let o = SubscribeOptions { start, flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    channel.subscribe(group.map(str::as_bytes), &o).unwrap()
}

pub fn info(channel: &Channel) -> ChannelInfo {
    channel.stats().unwrap()
}

pub fn group_info(channel: &Channel, group: &str) -> GroupInfo {
    channel.group_stats(group.as_bytes()).unwrap()
}

pub fn consumer_info(consumer: &Consumer) -> ConsumerInfo {
    consumer.stats().unwrap()
}

pub fn verify(path: impl AsRef<Path>) -> VerifyInfo {
    Channel::verify(path.as_ref()).unwrap()
}

pub fn send(p: &mut Producer, n: u64) {
    p.send(&n.to_le_bytes(), LONG).unwrap();
}

pub fn send_numbers(p: &mut Producer, numbers: std::ops::Range<u64>) {
    numbers.for_each(|n| send(p, n));
}

/// Sends numbers until the channel is full; the first one not sent.
pub fn send_until_full(p: &mut Producer, from: u64) -> u64 {
    for n in from..from + 1_000_000 {
        match p.send(&n.to_le_bytes(), 0) {
            Ok(()) => {}
            Err(e) if e.code() == DC_AGAIN => return n,
            Err(e) => panic!("{e:?}"),
        }
    }
    panic!("it is never full");
}

/// What a receiving call said, as the C call does.
pub fn said(result: Result<Received>) -> i32 {
    match result {
        Ok(Received::Message) => DC_OK,
        Ok(Received::EndOfPage) => DC_END_OF_PAGE,
        Ok(Received::Lagged) => DC_LAGGED,
        Err(e) => e.code(),
    }
}

pub fn recv(c: &mut Consumer, m: &mut Message, timeout_ms: i32) -> i32 {
    said(c.recv(m, timeout_ms))
}

/// Receives, going to the next page when told to.
pub fn receive(c: &mut Consumer, m: &mut Message, timeout_ms: i32) -> i32 {
    loop {
        match recv(c, m, timeout_ms) {
            DC_END_OF_PAGE => c.next_page().unwrap(),
            code => return code,
        }
    }
}

pub fn bytes(m: &Message) -> &[u8] {
    assert!(!m.data.is_null() && m.data as usize % 8 == 0);
    // SAFETY: the tests read a message while its handle keeps the page.
    unsafe { std::slice::from_raw_parts(m.data, m.len) }
}

pub fn number(m: &Message) -> u64 {
    u64::from_le_bytes(bytes(m).try_into().unwrap())
}

pub fn take(c: &mut Consumer) -> Message {
    let mut m = Message::default();
    assert_eq!(receive(c, &mut m, LONG), DC_OK);
    m
}

pub fn take_number(c: &mut Consumer) -> u64 {
    number(&take(c))
}

pub fn take_numbers(c: &mut Consumer, numbers: std::ops::Range<u64>) {
    for n in numbers {
        assert_eq!(take_number(c), n);
    }
}

pub fn take_nothing(c: &mut Consumer) {
    let mut m = Message::default();
    assert_eq!(receive(c, &mut m, 0), DC_AGAIN);
}

/// A message that was handed out before, for the `deliveries`-th time.
pub fn take_again(c: &mut Consumer, n: u64, deliveries: u32) -> Message {
    let m = take(c);
    assert_eq!((number(&m), m.flags, m.deliveries), (n, MESSAGE_REDELIVERED, deliveries));
    m
}

/// A message that was never handed out before.
pub fn take_first(c: &mut Consumer, n: u64) -> Message {
    let m = take(c);
    assert_eq!((number(&m), m.flags, m.deliveries), (n, 0, 1));
    m
}

pub fn take_firsts(c: &mut Consumer, numbers: std::ops::Range<u64>) {
    for n in numbers {
        take_first(c, n);
    }
}

pub fn take_agains(c: &mut Consumer, numbers: std::ops::Range<u64>, deliveries: u32) {
    for n in numbers {
        take_again(c, n, deliveries);
    }
}

/// Takes so many messages, whatever they are.
pub fn skip(c: &mut Consumer, count: u64) {
    for _ in 0..count {
        take(c);
    }
}

/// Everything there is now: how many messages, how many times lagged, the last number.
pub fn drain(c: &mut Consumer) -> (u64, u64, u64) {
    let (mut count, mut lagged, mut last) = (0, 0, 0);
    let mut m = Message::default();
    loop {
        match receive(c, &mut m, 0) {
            DC_OK => (count, last) = (count + 1, number(&m)),
            DC_LAGGED => lagged += 1,
            code => {
                assert_eq!(code, DC_AGAIN);
                return (count, lagged, last);
            }
        }
    }
}

const LOAD_HEAD: usize = 16;

/// Content that can be checked: who sent it, which one it is, and a tail of bytes that both decide.
pub fn load(producer: u32, sequence: u64, len: usize) -> Vec<u8> {
    let len = len.max(LOAD_HEAD);
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&producer.to_le_bytes());
    out.extend_from_slice(&(len as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    let seed = sequence.wrapping_mul(31).wrapping_add(u64::from(producer) * 7);
    out.extend((LOAD_HEAD..len).map(|i| ((seed + i as u64 * 13) >> (i & 3)) as u8));
    out
}

/// Takes a load apart: its producer and sequence; a torn or invented one ends the test.
pub fn check_load(b: &[u8]) -> (u32, u64) {
    assert!(b.len() >= LOAD_HEAD);
    let producer = u32::from_le_bytes(b[..4].try_into().unwrap());
    let sequence = u64::from_le_bytes(b[8..16].try_into().unwrap());
    assert!(b == load(producer, sequence, b.len()).as_slice(), "torn: {producer} {sequence}");
    (producer, sequence)
}

/// The same every run.
pub fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as u32
}
