//! Channels that an earlier version wrote still open: messages, positions and the groups' places are
//! those of then, and writing goes on.
//!
//! `v1.sparse` is a channel of format version 1 as it lay on disk while two consumers held messages, made
//! by `make` below and never again: a later version that cannot read it has broken its promise. Its boot
//! id is none that there will be, so opening it recovers it, as it would on another machine.

mod sparse;

use disk_chan::raw::error::DC_AGAIN;
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Message, Options, Received, SubscribeOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

const GOLDEN: &[u8] = include_bytes!("v1.sparse");
/// Of its groups: one that read half of it, and one that read nothing (and has an odd name).
const HALF: &[u8] = b"half";
const NOTHING: &[u8] = "../nichts/\u{e4}\n".as_bytes();
/// Positions of its messages: in page 1, where slot 10 was given back; the large one; those behind it.
const FIRST: u64 = 1 << 16;
const LARGE: u64 = 2 << 16;
const BEHIND: u64 = 3 << 16;
/// The first page number that is surely not in use: the machine may have used all below.
const NEXT_PAGE: u64 = 1025;

struct Temp(PathBuf);
impl Temp {
    fn new() -> Temp {
        static N: AtomicU64 = AtomicU64::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        Temp(std::env::temp_dir().join(format!("disk_chan-golden-{}-{n}", std::process::id())))
    }
    fn golden() -> Temp {
        let t = Temp::new();
        std::fs::create_dir(&t.0).unwrap();
        sparse::decode(GOLDEN).iter().for_each(|f| f.unpack(&t.0));
        t
    }
    fn open(&self, flags: u32) -> Channel {
        Channel::open(&self.0, &Options { flags: flags | NO_THREAD, ..Options::default() }).unwrap()
    }
}
impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Message `i`: `i % 23` bytes more than its number.
fn body(i: u32) -> Vec<u8> {
    let mut b = format!("message {i}:").into_bytes();
    b.extend((0..i % 23).map(|j| (i * 5 + j * 3) as u8));
    b
}

/// What the channel has, with positions.
fn contents() -> Vec<(u64, Vec<u8>)> {
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    all.extend((0..10).map(|i| (FIRST + u64::from(i), body(i))));
    all.extend((10..30).map(|i| (FIRST + 1 + u64::from(i), body(i))));
    all.push((LARGE, vec![0; 65_536]));
    all.extend((31..40).map(|i| (BEHIND + u64::from(i) - 31, body(i))));
    all
}

#[test]
#[ignore = "makes tests/golden/v1.sparse; a golden file is made once"]
fn make() {
    assert!(GOLDEN.is_empty(), "there is one; to change this program, begin with an empty file");
    let t = Temp::new();
    let o =
        Options { page_size: 64 << 10, max_pages: 8, retention: RETAIN_LIVE, ..Options::default() };
    let ch = Channel::open(&t.0, &Options { flags: NO_THREAD, ..o }).unwrap();
    let manual = SubscribeOptions { ack: ACK_MANUAL, flags: AUTO_NEXT_PAGE, ..Default::default() };
    let mut half = ch.subscribe(Some(HALF), &manual).unwrap();
    let nothing = ch.subscribe(Some(NOTHING), &manual).unwrap();
    let mut p = ch.producer().unwrap();
    (0..10).for_each(|i| p.send(&body(i), 0).unwrap());
    p.reserve(64, 0).unwrap();
    p.abort().unwrap();
    (10..30).for_each(|i| p.send(&body(i), 0).unwrap());
    let mut m = Message::default();
    for _ in 0..20 {
        half.recv(&mut m, 0).unwrap();
    }
    half.ack(m.position - 5).unwrap();
    p.send(&[0; 65_536], 0).unwrap();
    ch.sync(1000).unwrap();
    // Not flushed, and whole all the same.
    (31..40).for_each(|i| p.send(&body(i), 0).unwrap());
    half.ack(m.position - 2).unwrap();
    // Another boot than any there will be.
    let channel = std::fs::File::options().write(true).open(t.0.join("channel")).unwrap();
    channel.write_all_at(b"disk_chan golden", 9088).unwrap();
    let files = sparse::pack(&t.0);
    std::fs::write(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.sparse"),
        sparse::encode(&files),
    )
    .unwrap();
    drop((half, nothing, p, ch));
}

/// Receive to the end: positions and bytes.
fn read(ch: &Channel, group: Option<&[u8]>) -> Vec<(u64, Vec<u8>)> {
    let o = SubscribeOptions { flags: AUTO_NEXT_PAGE, ..SubscribeOptions::default() };
    let mut c = ch.subscribe(group, &o).unwrap();
    let mut m = Message::default();
    let mut all = Vec::new();
    loop {
        match c.recv(&mut m, 0) {
            Ok(Received::Message) => {
                // SAFETY: valid until the next receiving call.
                let bytes = unsafe { std::slice::from_raw_parts(m.data, m.len) };
                all.push((m.position, bytes.to_vec()));
            }
            Err(e) if e.code() == DC_AGAIN => return all,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_old_channel_is_read_without_changing_it() {
    let t = Temp::golden();
    let v = Channel::verify(&t.0).unwrap();
    let bytes: usize = contents().iter().map(|m| m.1.len()).sum();
    assert_eq!((v.pages, v.messages, v.bytes), (3, 40, bytes as u64));
    assert_eq!((v.groups, v.corrupt, v.torn), (2, 0, 0));
    let ch = t.open(READ_ONLY);
    assert!(read(&ch, None) == contents());
    let info = ch.stats().unwrap();
    assert_eq!((info.format_version, info.page_size, info.max_pages), (1, 65_536, 8));
    assert_eq!((info.retention, info.max_messages_per_page), (u64::from(RETAIN_LIVE), 65_535));
    drop(ch);
    assert!(sparse::encode(&sparse::pack(&t.0)) == GOLDEN);
}

#[test]
fn an_old_channel_has_its_messages_and_goes_on_above_them() {
    let t = Temp::golden();
    let ch = t.open(EXISTING);
    assert!(read(&ch, None) == contents());
    let info = ch.stats().unwrap();
    assert_eq!((info.messages, info.recoveries, info.discarded), (40, 1, 0));
    assert_eq!((info.oldest, info.end), (FIRST, NEXT_PAGE << 16));
    let mut p = ch.producer().unwrap();
    p.send(b"new", 0).unwrap();
    assert_eq!(p.sent_position(), NEXT_PAGE << 16);
    let all = read(&ch, None);
    assert!(all[..40] == contents() && all[40] == (NEXT_PAGE << 16, b"new".to_vec()));
    ch.sync(1000).unwrap();
    drop((p, ch));
    // Recovered once: of the same boot from then on.
    let ch = t.open(EXISTING);
    assert_eq!(ch.stats().unwrap().recoveries, 1);
    assert!(read(&ch, None) == all);
    let v = Channel::verify(&t.0).unwrap();
    assert_eq!((v.messages, v.corrupt, v.torn), (41, 0, 0));
}

#[test]
fn old_groups_are_where_they_were_at_the_last_flush() {
    let t = Temp::golden();
    let ch = t.open(EXISTING);
    assert_eq!(ch.group_next(None).unwrap(), NOTHING);
    assert_eq!(ch.group_next(Some(NOTHING)).unwrap(), HALF);
    // 20 received, and 15 of them acknowledged before the flush; the tombstone is at slot 10.
    let stats = ch.group_stats(HALF).unwrap();
    assert_eq!((stats.position, stats.lag, stats.lost), (FIRST + 16, 25, 0));
    ch.producer().unwrap().send(b"new", 0).unwrap();
    let mut rest = contents();
    rest.push((NEXT_PAGE << 16, b"new".to_vec()));
    assert!(read(&ch, Some(NOTHING)) == rest);
    assert!(read(&ch, Some(HALF)) == rest[15..]);
}

#[test]
fn the_golden_file_is_small() {
    assert!(GOLDEN.len() < 20_000, "{}", GOLDEN.len());
}
