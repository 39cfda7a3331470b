//! Power cuts: what lies on disk after one is, block by block, from before or after the last flush.
//! A test takes the files as they were when `sync` returned and as they were at the cut, mixes their
//! blocks at random, and opens the result under another boot: nothing that was confirmed is missing,
//! nothing torn, stale or out of order is delivered, no position is used twice.

mod common;
use common::*;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;

struct File {
    path: PathBuf,
    inode: u64,
    content: Vec<u8>,
}

fn snapshot(path: &Path) -> Vec<File> {
    let one = |path: PathBuf| {
        let inode = path.metadata().ok()?.ino();
        let content = std::fs::read(&path).ok()?;
        Some(File { path, inode, content })
    };
    files(path).into_iter().filter_map(one).collect()
}

fn with_inode(all: &[File], inode: u64) -> Option<&File> {
    all.iter().find(|f| f.inode == inode)
}

/// Where the shared state lies in the `channel` file.
const SHARED_STATE: std::ops::Range<usize> = 8192..12_288;

/// The directory as of `before` or `after`, each block of each file as of one of the snapshots. In a ring
/// (`reused`) page files were reused in between, and before each reuse the window was flushed: the
/// block that has it is as of `after`.
fn cut(
    path: &Path,
    before: &[File],
    after: &[File],
    control: &[File],
    reused: bool,
    seed: &mut u64,
) {
    files(path).iter().for_each(|f| std::fs::remove_file(f).unwrap());
    let (names, bias) = (if random(seed) & 1 == 1 { before } else { after }, random(seed) % 9);
    for file in names {
        let olds = [with_inode(before, file.inode), with_inode(after, file.inode)];
        let mut content = vec![0; file.content.len()];
        for at in (0..content.len()).step_by(BLOCK) {
            let old = olds[usize::from(random(seed) % 8 < bias)];
            let to = (at + BLOCK).min(content.len());
            // A file that was not there yet: the block was never written.
            if let Some(block) = old.and_then(|f| f.content.get(at..to)) {
                content[at..to].copy_from_slice(block);
            }
        }
        if file.path.ends_with("channel") && reused {
            let now = &with_inode(after, file.inode).unwrap().content;
            content[SHARED_STATE].copy_from_slice(&now[SHARED_STATE]);
        } else if file.path.ends_with("channel") && !control.is_empty() && random(seed) % 3 == 0 {
            content = with_inode(control, file.inode).unwrap().content.clone();
        }
        std::fs::write(&file.path, content).unwrap();
    }
    crash_machine(path);
}

struct Sent {
    synced: u64,
    acked: u64,
    /// Everything below was given up by the ring.
    oldest: u64,
    last: u64,
}

/// Opens what a cut left, and checks every promise.
fn check(path: &Path, sent: &Sent, what: &str) {
    let channel = reopen(path, EXISTING);
    let mut observer = subscribe(&channel, None, 0);
    let (mut all, mut m) = (Vec::new(), Message::default());
    loop {
        match recv(&mut observer, &mut m, 0) {
            DC_OK => all.push(check_load(bytes(&m)).1),
            DC_LAGGED => {}
            code => break assert_eq!(code, DC_AGAIN, "{what}"),
        }
    }
    assert!(all.windows(2).all(|w| w[0] < w[1]), "{what}: out of order or twice: {all:?}");
    for n in sent.oldest..sent.synced {
        assert!(all.contains(&n), "{what}: {n} was synced and is gone: {all:?}");
    }
    let mut member = subscribe(&channel, Some("g"), ACK_NEXT);
    let mut first = receive(&mut member, &mut m, 0);
    if first == DC_LAGGED {
        first = receive(&mut member, &mut m, 0);
    }
    if sent.oldest == 0 {
        assert_eq!(first, DC_OK, "{what}");
        assert!(check_load(bytes(&m)).1 <= sent.acked, "{what}: the group skips");
    }
    let mut p = channel.producer().unwrap();
    p.send(&load(9, 1, 16), 0).unwrap();
    assert!(p.sent_position() > sent.last, "{what}: a position was used twice");
    assert_eq!(check_load(bytes(&take(&mut observer))), (9, 1), "{what}");
    drop((p, member, observer, channel));
    assert_eq!(verify(path).corrupt, 0, "{what}");
}

fn cuts(retention: u32, checksum: u32) {
    let t = Temp::new();
    let path = t.chan();
    let mut seed = 7 + u64::from(retention * 2 + checksum);
    let max_pages = if retention == RETAIN_RING { 3 } else { 16 };
    let channel = open(&path, &Options { max_pages, checksum, ..retain(retention) });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_NEXT);
    let send = |p: &mut Producer, numbers: std::ops::Range<u64>| {
        for n in numbers {
            p.send(&load(1, n, 16 + (n * 531 % 3000) as usize), 0).unwrap();
        }
    };
    send(&mut p, 0..34);
    skip(&mut c, 6);
    channel.sync(-1).unwrap();
    // With checksums the shared state need not be flushed with every message.
    let control = if checksum == CHECKSUM_ON { snapshot(&path) } else { Vec::new() };
    send(&mut p, 34..40);
    channel.sync(-1).unwrap();
    let before = snapshot(&path);
    send(&mut p, 40..75);
    if retention != RETAIN_RING {
        skip(&mut c, 10);
    }
    let after = snapshot(&path);
    let oldest = if retention == RETAIN_RING { 75 - info(&channel).messages } else { 0 };
    let sent = Sent { synced: 40, acked: 15, oldest, last: p.sent_position() };
    drop((p, c, channel));
    for round in 0..40 {
        cut(&path, &before, &after, &control, retention == RETAIN_RING, &mut seed);
        check(&path, &sent, &format!("retention {retention}, checksum {checksum}, cut {round}"));
    }
}

/// [S42 S54]
#[test]
fn s042_power_cuts() {
    cuts(RETAIN_UNREAD, CHECKSUM_ON);
}

#[test]
fn s042_power_cuts_without_checksums() {
    cuts(RETAIN_UNREAD, CHECKSUM_OFF);
}

/// Reused pages: nothing stale of an earlier turn of the ring is delivered.
#[test]
fn s042_power_cuts_of_a_ring() {
    cuts(RETAIN_RING, CHECKSUM_ON);
}

#[test]
fn s042_power_cuts_of_a_ring_without_checksums() {
    cuts(RETAIN_RING, CHECKSUM_OFF);
}

/// The names of the last pages reached the disk, their lengths did not.
#[test]
fn s042_a_name_without_its_length() {
    let t = Temp::new();
    let path = t.chan();
    let channel = open(&path, &retain(RETAIN_UNREAD));
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..10);
    channel.sync(-1).unwrap();
    let synced = files(&path);
    send_numbers(&mut p, 10..60);
    let last = p.sent_position();
    drop((p, channel));
    let unwritten: Vec<_> = files(&path).into_iter().filter(|f| !synced.contains(f)).collect();
    assert!(!unwritten.is_empty());
    for file in unwritten {
        std::fs::File::options().write(true).open(file).unwrap().set_len(0).unwrap();
    }
    crash_machine(&path);
    let channel = reopen(&path, EXISTING);
    let mut c = subscribe(&channel, None, 0);
    take_numbers(&mut c, 0..10);
    let (mut m, mut code) = (Message::default(), DC_OK);
    while code == DC_OK {
        code = recv(&mut c, &mut m, 0);
    }
    assert_eq!(code, DC_AGAIN);
    let mut p = channel.producer().unwrap();
    send(&mut p, 4711);
    assert!(p.sent_position() > last);
    assert_eq!(take_number(&mut c), 4711);
    assert_eq!(verify(&path).corrupt, 0);
}
