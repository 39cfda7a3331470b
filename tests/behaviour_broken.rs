//! What other tests did not notice when the code was broken on purpose (docs/TESTING.md).
//!
//! This program defines `fdatasync` and `fsync` itself, as the dynamic linker and the static one allow, and
//! so knows what is on the disk for certain: the content of a file as of its last flush, and the names of a
//! directory as of its own. A power cut leaves every other block as it was then or as it is now.

mod common;
use common::*;
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

const BLOCK: usize = 4096;

#[derive(Default, Clone)]
struct Disk {
    /// The channel whose flushes count; `None`: nobody's.
    path: Option<PathBuf>,
    /// By inode: the content at the last flush.
    content: HashMap<u64, Vec<u8>>,
    names: Vec<(PathBuf, u64)>,
}

impl Disk {
    /// A disk on which nothing of this directory's channel is.
    fn of(t: &Temp) -> Disk {
        let path = std::fs::canonicalize(t.dir()).unwrap().join("channel");
        Disk { path: Some(path), ..Disk::default() }
    }
}

static DISK: Mutex<Option<Disk>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());

fn disk() -> MutexGuard<'static, Option<Disk>> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(path: &Path) -> Vec<(PathBuf, u64)> {
    let inode = |f: PathBuf| Some((f.clone(), f.metadata().ok()?.ino()));
    files(path).into_iter().filter_map(inode).collect()
}

fn flushed(fd: i32) -> i32 {
    let mut disk = disk();
    let Some(disk) = disk.as_mut() else { return 0 };
    let (Ok(path), Some(channel)) = (std::fs::read_link(format!("/proc/self/fd/{fd}")), &disk.path)
    else {
        return 0;
    };
    if path == *channel {
        disk.names = names(channel);
    } else if path.parent() == Some(channel) {
        let inode = path.metadata().map(|m| m.ino());
        if let (Ok(inode), Ok(content)) = (inode, std::fs::read(&path)) {
            disk.content.insert(inode, content);
        }
    }
    0
}

#[no_mangle]
extern "C" fn fdatasync(fd: i32) -> i32 {
    flushed(fd)
}

#[no_mangle]
extern "C" fn fsync(fd: i32) -> i32 {
    flushed(fd)
}

/// The files as a power cut leaves them that happens now: what was flushed is there, of the rest some is.
fn cut(path: &Path, disk: &Disk, now: &[(PathBuf, u64, Vec<u8>)], seed: &mut u64) {
    files(path).iter().for_each(|f| std::fs::remove_file(f).unwrap());
    let all_new = random(seed) & 1 == 1;
    let bias = random(seed) % 9;
    let after: Vec<_> = now.iter().map(|(p, i, _)| (p.clone(), *i)).collect();
    for (name, inode) in if all_new { &after } else { &disk.names } {
        let new = now.iter().find(|f| f.1 == *inode).map(|f| &f.2);
        let old = disk.content.get(inode);
        let len = new.or(old).map_or(0, Vec::len);
        let mut content = vec![0; len];
        // A file is flushed as a whole: one in three cuts finds it as of then, one as of now.
        let whole = random(seed) % 3;
        for at in (0..len).step_by(BLOCK) {
            let to = (at + BLOCK).min(len);
            let newer = match whole {
                0 => false,
                1 => true,
                _ => random(seed) % 8 < bias,
            };
            let from = if newer { new.or(old) } else { old };
            // Never flushed: the block was never written.
            if let Some(block) = from.and_then(|f| f.get(at..to)) {
                content[at..to].copy_from_slice(block);
            }
        }
        std::fs::write(name, content).unwrap();
    }
    crash_machine(path);
}

/// What must hold after any cut.
struct Promise {
    /// Kept for certain: those from `oldest` to below `synced`.
    oldest: u64,
    synced: u64,
    last: u64,
}

fn check(path: &Path, promise: &Promise, what: &str) {
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
    for n in promise.oldest..promise.synced {
        assert!(all.contains(&n), "{what}: {n} was synced and is gone: {all:?}");
    }
    let mut p = channel.producer().unwrap();
    p.send(&load(9, 1, 16), 0).unwrap();
    assert!(p.sent_position() > promise.last, "{what}: a position was used twice");
    drop((p, observer, channel));
    assert_eq!(verify(path).corrupt, 0, "{what}");
}

fn send_loads(p: &mut Producer, from: u64, count: u32) -> u64 {
    let until = from + u64::from(count);
    for n in from..until {
        let load = load(1, n, 16 + (n * 531 % 3000) as usize);
        p.send(&load, 0).unwrap();
    }
    until
}

/// [S42] Numbers of pages are reserved 1,024 ahead, and the reservation is on the disk before they are used: after a
/// cut that leaves nothing else, no position comes again.
#[test]
fn s006_positions_behind_a_reservation_do_not_come_again() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let t = Temp::new();
    let path = t.chan();
    *disk() = Some(Disk::of(&t));
    let one = Options { max_messages_per_page: 1, flags: NO_THREAD, ..small() };
    let channel = open(&path, &one);
    let mut p = channel.producer().unwrap();
    send_loads(&mut p, 0, 1100);
    let last = p.sent_position();
    assert!(last >> 16 > 1025);
    let disk_then = disk().take().unwrap();
    drop((p, channel));
    for file in files(&path) {
        std::fs::remove_file(&file).unwrap();
        let inode = disk_then.names.iter().find(|n| n.0 == file).map(|n| n.1);
        if let Some(content) = inode.and_then(|i| disk_then.content.get(&i)) {
            std::fs::write(&file, content).unwrap();
        }
    }
    crash_machine(&path);
    check(&path, &Promise { oldest: 0, synced: 0, last }, "1,100 pages");
}

/// [S54] Without checksums, recovery believes what lies before the flushed mark. A flusher that was killed has raised
/// the mark and nothing else: a file with messages before it is not reused either before its dropping is flushed.
#[test]
fn s042_what_a_killed_flusher_has_marked_is_not_overwritten() {
    const DURABLE: u64 = 8704;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let t = Temp::new();
    let path = t.chan();
    *disk() = Some(Disk::of(&t));
    let ring = Options { checksum: CHECKSUM_OFF, max_pages: 2, flags: NO_THREAD, ..small() };
    let channel = open(&path, &ring);
    let mut p = channel.producer().unwrap();
    send_loads(&mut p, 0, 8);
    p.sync(-1).unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path.join("channel")).unwrap();
    let mut durable = [0; 8];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut durable, DURABLE).unwrap();
    send_loads(&mut p, 8, 20);
    p.sync(-1).unwrap();
    // Killed when the mark was on the disk, before it said so.
    std::os::unix::fs::FileExt::write_all_at(&file, &durable, DURABLE).unwrap();
    send_loads(&mut p, 28, 60);
    let last = p.sent_position();
    let now: HashMap<_, _> =
        names(&path).into_iter().map(|(p, inode)| (inode, std::fs::read(p).unwrap())).collect();
    let then = disk().take().unwrap();
    drop((p, channel));
    // Of the pages the messages' bytes reached the disk, and nothing else did.
    files(&path).iter().for_each(|f| std::fs::remove_file(f).unwrap());
    for (name, inode) in &then.names {
        let Some(old) = then.content.get(inode) else { continue };
        let mut content = old.clone();
        if name.file_name().is_some_and(|n| n.to_string_lossy().starts_with("page-")) {
            content[2 * BLOCK..].copy_from_slice(&now[inode][2 * BLOCK..]);
        }
        std::fs::write(name, content).unwrap();
    }
    crash_machine(&path);
    check(&path, &Promise { oldest: 0, synced: 0, last }, "a killed flusher");
}

/// Sends and syncs by turns, and cuts the power in between.
fn cuts(retention: u32, checksum: u32) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let t = Temp::new();
    let path = t.chan();
    let mut seed = u64::from(retention * 2 + checksum);
    for round in 0..20 {
        let _ = std::fs::remove_dir_all(&path);
        *disk() = Some(Disk::of(&t));
        let channel = open(
            &path,
            &Options {
                max_pages: if retention == RETAIN_RING { 3 } else { 64 },
                checksum,
                flags: NO_THREAD,
                ..retain(retention)
            },
        );
        let mut p = channel.producer().unwrap();
        let member = subscribe(&channel, Some("g"), ACK_NEXT);
        let (mut n, mut synced) = (0, 0);
        for _ in 0..random(&mut seed) % 4 + 1 {
            n = send_loads(&mut p, n, random(&mut seed) % 40);
            match random(&mut seed) % 4 {
                0 => continue,
                1 => channel.sync(-1).unwrap(),
                _ => p.sync(-1).unwrap(),
            }
            synced = n;
        }
        n = send_loads(&mut p, n, random(&mut seed) % 50);
        let oldest = n - info(&channel).messages;
        let last = p.sent_position();
        let now: Vec<_> = names(&path)
            .into_iter()
            .map(|(p, inode)| (p.clone(), inode, std::fs::read(&p).unwrap()))
            .collect();
        let disk_then = disk().take().unwrap();
        drop((p, member, channel));
        for again in 0..5 {
            cut(&path, &disk_then, &now, &mut seed);
            let what = format!(
                "retention {retention}, checksum {checksum}, round {round}, cut {again}: {n} sent, {synced} synced"
            );
            check(&path, &Promise { oldest, synced, last }, &what);
        }
    }
}

/// [S42 S54] Every flush that a promise rests on is there: of pages, of names, of the window before reuse.
#[test]
fn s042_cuts_between_flushes() {
    cuts(RETAIN_UNREAD, CHECKSUM_ON);
}

#[test]
fn s042_cuts_between_flushes_without_checksums() {
    cuts(RETAIN_UNREAD, CHECKSUM_OFF);
}

#[test]
fn s042_cuts_between_flushes_of_a_ring() {
    cuts(RETAIN_RING, CHECKSUM_ON);
}

#[test]
fn s042_cuts_between_flushes_of_a_ring_without_checksums() {
    cuts(RETAIN_RING, CHECKSUM_OFF);
}

/// [S85] What a group sought back to comes again after a crash of the machine, though it once acknowledged it.
#[test]
fn s085_a_crash_does_not_undo_a_seek() {
    let t = Temp::new();
    let channel = open(t.chan(), &Options { max_pages: 16, ..retain(RETAIN_UNREAD) });
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    send_numbers(&mut p, 0..40);
    take_numbers(&mut c, 0..40);
    channel.sync(-1).unwrap();
    c.seek(EARLIEST).unwrap();
    take_numbers(&mut c, 0..5);
    channel.sync(-1).unwrap();
    drop((c, p, channel));
    crash_machine(t.chan());
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    assert!(take_number(&mut c) <= 5);
}

/// [S104] A group that another process makes is asked before the next page is dropped.
#[test]
fn s104_a_group_made_elsewhere_holds_back_at_once() {
    let t = Temp::new();
    let here = open(t.chan(), &retain(RETAIN_UNREAD));
    let mut p = here.producer().unwrap();
    let mut c = subscribe(&here, Some("g"), ACK_RECEIVE);
    for n in 0..200 {
        send(&mut p, n);
        assert_eq!(take_number(&mut c), n);
    }
    let there = open(t.chan(), &Options::default());
    let mut late = subscribe_at(&there, Some("late"), LATEST);
    for n in 200..300u64 {
        match p.send(&n.to_le_bytes(), 0) {
            Ok(()) => assert_eq!(take_number(&mut c), n),
            Err(e) => {
                assert_eq!(e.code(), DC_AGAIN);
                take_numbers(&mut late, 200..n);
                return;
            }
        }
    }
    panic!("pages were dropped that a group has not read");
}

/// The median time from a send until all of these many sleeping consumers of one group have their message.
fn until_all_have_theirs(sleepers: usize) -> u128 {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut members: Vec<_> =
        (0..sleepers).map(|_| subscribe_plain(&channel, "g", ACK_RECEIVE)).collect();
    let mut took: Vec<_> = (0..9)
        .map(|_| {
            std::thread::scope(|s| {
                let threads: Vec<_> = members
                    .iter_mut()
                    .map(|c| {
                        s.spawn(move || {
                            take(c);
                        })
                    })
                    .collect();
                // Asleep by now, and far from the next look.
                sleep_ms(30);
                let since = Instant::now();
                let parts = vec![IoSlice::new(b"12345678"); sleepers];
                p.send_batch(&parts, 0, &mut 0).unwrap();
                threads.into_iter().for_each(|t| t.join().unwrap());
                since.elapsed().as_millis()
            })
        })
        .collect();
    took.sort();
    took[took.len() / 2]
}

/// [S127] A sleeper is woken by the message, not by its next look, 200 ms after it fell asleep.
#[test]
fn s127_a_sleeper_is_woken_by_the_message() {
    let took = until_all_have_theirs(1);
    assert!(took < 80, "{took} ms");
}

/// [S65 S127] Who is woken for several messages and takes one wakes the next.
#[test]
fn s127_a_wake_is_passed_on() {
    let took = until_all_have_theirs(6);
    assert!(took < 80, "{took} ms");
}

/// [S125] A descriptor made while messages are there is readable from the first moment.
#[test]
fn s125_readable_from_the_first_moment() {
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..3);
    for i in 0..10 {
        let mut c = subscribe_at(&channel, Some(&format!("g{i}")), EARLIEST);
        let fd = c.fd().unwrap();
        assert!(readable(fd, 0));
    }
}

/// [S81] A consumer is killed while it moves messages from its lease to its held words: they are in both, and
/// come once. The two words are written by hand (docs/FORMAT.md, "Groups").
#[test]
fn s081_what_is_held_in_two_places_comes_once() {
    const ENTRY: usize = 4096;
    const TOP: usize = ENTRY + 16;
    const HELD: usize = ENTRY + 4096;
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    let mut p = channel.producer().unwrap();
    let mut c = subscribe(&channel, Some("g"), ACK_MANUAL);
    send_numbers(&mut p, 0..3);
    let first = take(&mut c).position;
    skip(&mut c, 2);
    drop((c, p, channel));
    let group = |f: &PathBuf| f.to_string_lossy().contains("/group-");
    let group = files(t.chan()).into_iter().find(group).unwrap();
    for i in 0..2 {
        let word = ((first + i) << 10) | 1;
        overwrite(&group, HELD + 8 * i as usize, &word.to_le_bytes());
    }
    overwrite(&group, TOP, &2u64.to_le_bytes());
    let channel = reopen(t.chan(), EXISTING);
    let mut c = subscribe(&channel, Some("g"), ACK_RECEIVE);
    take_agains(&mut c, 0..3, 2);
    take_nothing(&mut c);
    drop(c);
    take_nothing(&mut subscribe(&channel, Some("g"), ACK_RECEIVE));
    assert_eq!(group_info(&channel, "g").unacked, 0);
}
