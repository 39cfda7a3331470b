//! The operating system, as the tests need it: files of a channel, descriptors, signals.

use std::os::fd::RawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Waits for something that must happen.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(30), "never: {what}");
        sleep_ms(1);
    }
}

/// Whether a descriptor becomes readable.
pub fn readable(fd: RawFd, timeout_ms: i32) -> bool {
    let mut p = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives during the call.
    let n = unsafe { libc::poll(&mut p, 1, timeout_ms) };
    assert!(n >= 0 && p.revents & !libc::POLLIN == 0, "poll: {n} {}", p.revents);
    n == 1
}

pub fn tid() -> i32 {
    // SAFETY: no arguments.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process.
pub fn signal_thread(tid: i32, signal: i32) {
    // SAFETY: plain integers.
    let code = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), tid, signal) };
    assert_eq!(code, 0);
}

extern "C" fn nothing(_: i32) {}

/// A handler that does nothing, under SA_RESTART: reads restart, a channel's waiting does not.
pub fn handle_signal(signal: i32) {
    // SAFETY: a zeroed sigaction is valid, and the handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

pub fn ignore_signal(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// What a thread of this process does in the kernel: 'S' asleep, 'R' running.
pub fn thread_state(tid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|s| s.trim_start().chars().next()).unwrap_or('?')
}

/// Waits until a thread sleeps in the kernel.
pub fn asleep(tid: &std::sync::atomic::AtomicI32) {
    let mut quiet = 0;
    for _ in 0..10_000 {
        let tid = tid.load(std::sync::atomic::Ordering::SeqCst);
        quiet = if tid != 0 && thread_state(tid) == 'S' { quiet + 1 } else { 0 };
        if quiet == 20 {
            return;
        }
        sleep_ms(1);
    }
    panic!("it never sleeps");
}

/// The thread ids of this process's library threads.
pub fn library_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |id: &String| {
        std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default()
    };
    tasks
        .filter_map(|t| t.ok()?.file_name().into_string().ok())
        .filter(|id| name(id).trim() == "disk_chan")
        .collect()
}

/// As many descriptors as the system allows; false: too few for the largest tests.
pub fn many_descriptors() -> bool {
    // SAFETY: the struct lives during the calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur >= 20_000
    }
}

/// The files of a channel.
pub fn files(path: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all
}

/// Where in which file of the channel these bytes lie.
pub fn find_bytes(path: impl AsRef<Path>, wanted: &[u8]) -> (PathBuf, usize) {
    for file in files(path) {
        let content = std::fs::read(&file).unwrap();
        if let Some(at) = content.windows(wanted.len()).position(|w| w == wanted) {
            return (file, at);
        }
    }
    panic!("the bytes are nowhere");
}

pub fn overwrite(file: impl AsRef<Path>, at: usize, bytes: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

/// Flips a bit of the message that holds these bytes, `offset` bytes behind their beginning.
pub fn damage(path: impl AsRef<Path>, message: &[u8], offset: usize) {
    let (file, at) = find_bytes(path, message);
    overwrite(file, at + offset, &[message[offset] ^ 4]);
}

/// Bytes of disk under a directory.
pub fn disk_of(path: impl AsRef<Path>) -> u64 {
    files(path).iter().filter_map(|f| f.metadata().ok()).map(|m| m.blocks() * 512).sum()
}

/// Every file's name, content, mode and time of change.
pub fn fingerprint(path: impl AsRef<Path>) -> Vec<(PathBuf, Vec<u8>, u32, i64)> {
    let one = |f: PathBuf| {
        let meta = f.metadata().unwrap();
        (f.clone(), std::fs::read(&f).unwrap(), meta.mode(), meta.mtime_nsec())
    };
    files(path).into_iter().map(one).collect()
}

/// Where the boot id lies in the `channel` file (docs/FORMAT.md).
const BOOT_ID_AT: usize = 8192 + 896;

/// The machine crashed: the closed channel was last used under another boot.
pub fn crash_machine(path: impl AsRef<Path>) {
    overwrite(path.as_ref().join("channel"), BOOT_ID_AT, b"an earlier boot.");
}
