//! The channels that programs begin with: made once by the library itself, then laid out for every run.

use super::sparse::{self, Packed};
use disk_chan::raw::options::*;
use disk_chan::raw::{Channel, Message, Options, SubscribeOptions};
use std::path::PathBuf;
use std::sync::OnceLock;

/// The group that is there from the beginning.
pub const GROUP: &[u8] = b"group";
/// Messages of a page.
pub const PAGE_SLOTS: u32 = 16;
/// No file becomes larger: a made-up size must not fill the disk.
const FILE_LIMIT: u64 = 32 << 20;

/// Message `i`: its number, and bytes that follow from it.
pub fn body(i: u64) -> Vec<u8> {
    let mut b = i.to_le_bytes().to_vec();
    b.extend((0..i * 97 % 1500).map(|j| (i * 31 + j * 7) as u8));
    b
}

/// Whether somebody sent this.
pub fn is_body(b: &[u8]) -> bool {
    let i = b.first_chunk().map_or(u64::MAX, |n| u64::from_le_bytes(*n));
    i < 10_000 && b == body(i)
}

struct Bases {
    files: Vec<Vec<Packed>>,
    dir: PathBuf,
}
static BASES: OnceLock<Bases> = OnceLock::new();

fn bases() -> &'static Bases {
    BASES.get_or_init(|| {
        let memory = std::path::Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let dir = base.join(format!("disk_chan-fuzz-{}", std::process::id()));
        let files = (0..4).map(|kind| make(&dir, kind)).collect();
        Bases { files, dir }
    })
}

/// Once, before the first input.
pub fn init() {
    let limit = libc::rlimit { rlim_cur: FILE_LIMIT, rlim_max: FILE_LIMIT };
    // SAFETY: a valid rlimit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    bases();
}

/// Lay a base out; where, and the names of its files.
pub fn lay_out(kind: usize) -> (PathBuf, Vec<String>) {
    let bases = bases();
    let dir = bases.dir.clone();
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir(&dir).expect("a directory of our own");
    let files = &bases.files[kind % bases.files.len()];
    files.iter().for_each(|f| f.unpack(&dir));
    (dir, files.iter().map(|f| f.name.clone()).collect())
}

/// 0: a ring that has turned, a group with a lease and held words. 1: the same without checksums.
/// 2: nothing in it. 3: nothing may go that is not read.
fn make(dir: &std::path::Path, kind: usize) -> Vec<Packed> {
    let o = Options {
        page_size: 64 << 10,
        max_pages: 3,
        max_messages_per_page: PAGE_SLOTS,
        checksum: if kind == 1 { CHECKSUM_OFF } else { CHECKSUM_ON },
        retention: if kind == 3 { RETAIN_UNREAD } else { RETAIN_RING },
        stall_timeout_ms: 1,
        flags: NO_THREAD,
        ..Options::default()
    };
    let ch = Channel::open(dir, &o).expect("open");
    if kind == 2 {
        let files = sparse::pack(dir);
        drop(ch);
        Channel::destroy(dir).expect("destroy");
        return files;
    }
    let mut p = ch.producer().expect("producer");
    let manual = SubscribeOptions { ack: ACK_MANUAL, flags: AUTO_NEXT_PAGE, ..Default::default() };
    let mut m = Message::default();
    let mut first = ch.subscribe(Some(GROUP), &manual).expect("subscribe");
    let count = if kind == 3 { 40 } else { 70 };
    (0..count).for_each(|i| p.send(&body(i), 0).expect("send"));
    let mut second = first.try_clone().expect("clone");
    for _ in 0..9 {
        let _ = first.recv(&mut m, 0);
        let _ = second.recv(&mut m, 0);
    }
    let _ = first.ack(m.position.saturating_sub(6).max(1));
    ch.sync(1000).expect("sync");
    // The dead keep what they hold: packed while both live.
    let files = sparse::pack(dir);
    drop((first, second, p, ch));
    Channel::destroy(dir).expect("destroy");
    files
}
