//! The behaviour suite through the Rust API; `tests/c` runs the same promises through the C ABI.

use disk_chan::options::*;
use disk_chan::{Channel, Consumer, Message, Options, Received, SubscribeOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

struct Temp(PathBuf);
impl Temp {
    fn new() -> Temp {
        static N: AtomicU64 = AtomicU64::new(0);
        let n = N.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("disk_chan-{}-{n}", std::process::id()));
        Temp(path)
    }
}
impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn small() -> Options {
    Options {
        page_size: 64 << 10,
        max_pages: 4,
        ..Options::default()
    }
}

fn take(c: &mut Consumer) -> Option<Vec<u8>> {
    let mut m = Message::default();
    loop {
        match c.recv(&mut m, 0) {
            Ok(Received::Message) => {
                // SAFETY: valid until the next page.
                return Some(unsafe { std::slice::from_raw_parts(m.data, m.len) }.to_vec());
            }
            Ok(Received::EndOfPage) => c.next_page().unwrap(),
            Ok(Received::Lagged) => {}
            Err(e) if e.code() == disk_chan::error::DC_AGAIN => return None,
            Err(e) => panic!("{e:?}"),
        }
    }
}

#[test]
fn what_is_sent_is_received_in_order() {
    let t = Temp::new();
    let ch = Channel::open(&t.0, &small()).unwrap();
    let mut c = ch
        .subscribe(Some(b"g"), &SubscribeOptions::default())
        .unwrap();
    let mut p = ch.producer().unwrap();
    for i in 0..100u32 {
        p.send(&i.to_le_bytes(), 0).unwrap();
    }
    for i in 0..100u32 {
        assert_eq!(take(&mut c).unwrap(), i.to_le_bytes());
    }
    assert_eq!(take(&mut c), None);
}

#[test]
fn a_lossless_channel_moves_many_pages() {
    let t = Temp::new();
    let o = Options {
        retention: RETAIN_UNREAD,
        ..small()
    };
    let ch = Channel::open(&t.0, &o).unwrap();
    let mut c = ch
        .subscribe(Some(b"g"), &SubscribeOptions::default())
        .unwrap();
    let mut p = ch.producer().unwrap();
    let (mut sent, mut got) = (0u64, 0u64);
    while got < 200_000 {
        while sent < 200_000 && p.send(&[sent.to_le_bytes(); 5].concat(), 0).is_ok() {
            sent += 1;
        }
        while let Some(m) = take(&mut c) {
            assert_eq!(m, [got.to_le_bytes(); 5].concat());
            got += 1;
        }
    }
}
