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
