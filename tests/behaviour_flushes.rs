//! Flushes that nobody missed until the power was cut between any two of them (docs/RELIABILITY.md).
//!
//! This program defines `fdatasync` and `fsync` itself and keeps a diary: what was flushed, and what it was then.

mod common;
use common::*;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Flush {
    path: PathBuf,
    /// Of a directory.
    names: Vec<PathBuf>,
    /// Of a file.
    content: Vec<u8>,
}

static DIARY: Mutex<Vec<Flush>> = Mutex::new(Vec::new());
static TURN: Mutex<()> = Mutex::new(());

fn diary() -> MutexGuard<'static, Vec<Flush>> {
    DIARY.lock().unwrap_or_else(PoisonError::into_inner)
}

fn turn() -> MutexGuard<'static, ()> {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    diary().clear();
    turn
}

fn flushed(fd: i32) -> i32 {
    if let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) {
        let names = if path.is_dir() { files(&path) } else { Vec::new() };
        let content = std::fs::read(&path).unwrap_or_default();
        diary().push(Flush { path, names, content });
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

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap()
}

/// [S42] Who made the channel may have been killed before its name and the directory's were flushed: whoever
/// makes the first other file sees to it.
#[test]
fn s042_the_channels_name_is_on_the_disk_before_the_others() {
    let _turn = turn();
    let t = Temp::new();
    let parent = real(t.dir());
    let maker = open(t.chan(), &small());
    let user = reopen(t.chan(), EXISTING);
    let parents = || diary().iter().filter(|f| f.path == parent).count();
    let mut p = user.producer().unwrap();
    for _ in 0..2 {
        // The maker was killed just before.
        send(&mut p, 1);
        p.sync(-1).unwrap();
    }
    let path = real(&t.chan());
    let own = |f: &Flush| f.path == path && f.names == [path.join("channel")];
    assert_eq!(diary().iter().filter(|f| own(f)).count(), 2);
    assert_eq!(parents(), 2, "one by the maker, one with the first page");
    drop((p, user, maker));
    // The same with the first group.
    let _ = Channel::destroy(&t.chan());
    diary().clear();
    let maker = open(t.chan(), &small());
    let _member = subscribe(&maker, Some("g"), ACK_NEXT);
    maker.sync(-1).unwrap();
    assert_eq!(parents(), 2);
}

/// [S40] Without `channel` the other files would not be known as a channel's: on the disk, too, it goes last.
#[test]
fn s040_a_channels_name_goes_last_on_the_disk() {
    let _turn = turn();
    let t = Temp::new();
    let channel = open(t.chan(), &small());
    send_numbers(&mut channel.producer().unwrap(), 0..20);
    drop(subscribe(&channel, Some("g"), ACK_NEXT));
    channel.sync(-1).unwrap();
    let path = real(&t.chan());
    drop(channel);
    Channel::destroy(&path).unwrap();
    let diary = diary();
    let last = diary.iter().rfind(|f| f.path == path).expect("the directory was flushed");
    assert_eq!(last.names, [path.join("channel")]);
}

/// [S42] What the mark vouches for after a power cut is believed without a look, though the durable position is
/// behind it: before the file of such a page is reused, that it was dropped is on the disk.
#[test]
fn s042_nothing_the_mark_vouches_for_is_reused_unsaid() {
    const WINDOW: usize = 8192;
    const DURABLE: usize = 8704;
    let _turn = turn();
    let t = Temp::new();
    let options = Options { checksum: CHECKSUM_OFF, flags: NO_THREAD, ..small() };
    let channel = open(t.chan(), &options);
    let mut p = channel.producer().unwrap();
    send_numbers(&mut p, 0..60);
    p.sync(-1).unwrap();
    drop((p, channel));
    // The flush of the mark was the last one: the durable position is as it was before.
    overwrite(t.chan().join("channel"), DURABLE, &(1u64 << 16).to_le_bytes());
    crash_machine(t.chan());
    let channel = reopen(t.chan(), EXISTING | NO_THREAD);
    let mut p = channel.producer().unwrap();
    let mut n = 60;
    while info(&channel).oldest >> 16 < 4 {
        send(&mut p, n);
        n += 1;
    }
    let file = real(&t.chan()).join("channel");
    let diary = diary();
    let last = diary.iter().rfind(|f| f.path == file).expect("the channel file was flushed");
    let window = u64::from_le_bytes(last.content[WINDOW..WINDOW + 8].try_into().unwrap());
    assert_eq!(window >> 26, 4, "pages were reused that a cut would bring back");
}
