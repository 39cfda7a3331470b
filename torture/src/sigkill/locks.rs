//! Which kernel locks a process holds, and whether any is left on the channel's files, as the kernel says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a lock is for (`docs/FORMAT.md`, section 8), by its file, first byte, length and kind.
fn kind(file: &str, write: bool, from: u64, to: u64) -> Option<&'static str> {
    const BASE: u64 = 1 << 32;
    let name = file.rsplit('/').next()?;
    Some(match (name.split('-').next()?, from) {
        ("channel", BASE) if write => "open, alone",
        ("channel", BASE) => "open",
        ("channel", f) if f == BASE + 1 => "flush",
        ("channel", f) if f == BASE + 2 => "prepare",
        ("channel", f) if f == BASE + 3 => "readers",
        ("channel", f) if (BASE + 1025..BASE + 4096).contains(&f) => "flush beside",
        ("channel", f) if (BASE + 4096..BASE + 8192).contains(&f) => "member",
        ("channel", f) if f >= BASE + 8192 => "handle",
        ("page", _) if write => "reuse of a page",
        ("page", _) => "pin of a page",
        ("tmp", _) => "making of a file",
        ("group", f) if f == BASE - 1 => "seek",
        ("group", f) if f == BASE && to > from => "deletion of a group",
        ("group", _) => "entry",
        _ => return None,
    })
}

/// Those that are held only for a moment, in the middle of something.
pub fn is_brief(kind: &str) -> bool {
    let brief = ["open, alone", "flush", "prepare", "flush beside", "reuse of a page", "seek"];
    brief.contains(&kind) || ["making of a file", "deletion of a group"].contains(&kind)
}

/// The locks a process holds on files of the channel at `path`, by what they are for.
pub fn held(pid: libc::pid_t, path: &Path) -> BTreeMap<&'static str, u64> {
    let mut held = BTreeMap::new();
    let Ok(list) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else { return held };
    for entry in list.flatten() {
        let fd = entry.file_name().to_string_lossy().into_owned();
        let Ok(target) = fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { continue };
        if !target.starts_with(path) {
            continue;
        }
        let target = target.to_string_lossy().into_owned();
        let file = target.trim_end_matches(" (deleted)");
        for line in fs::read_to_string(entry.path()).unwrap_or_default().lines() {
            // lock: 1: OFDLCK ADVISORY WRITE -1 00:19:1234 4294967296 4294967296
            let words: Vec<_> = line.split_whitespace().collect();
            if words.first() != Some(&"lock:") || words.len() < 9 {
                continue;
            }
            let number = |i: usize| words[i].parse().unwrap_or(u64::MAX);
            if let Some(kind) = kind(file, words[4] == "WRITE", number(7), number(8)) {
                *held.entry(kind).or_default() += 1;
            }
        }
    }
    held
}

/// Locks of anybody on the files in `path`.
pub fn left(path: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir(path) else { return Vec::new() };
    let inode = |e: fs::DirEntry| e.metadata().ok().map(|m| (m.ino(), e.file_name()));
    let files: Vec<_> = list.flatten().filter_map(inode).collect();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found = Vec::new();
    for line in locks.lines().filter(|l| l.contains("OFDLCK")) {
        let Some(inode) = line.split_whitespace().find_map(|w| w.split(':').nth(2)) else {
            continue;
        };
        let named = files.iter().find(|(ino, _)| inode.parse() == Ok(*ino));
        found.extend(named.map(|(_, name)| format!("{}: {line}", name.to_string_lossy())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        use std::os::fd::AsRawFd;
        let dir = tempfile::tempdir().expect("a directory");
        let file = fs::File::create(dir.path().join("channel")).expect("a file");
        // SAFETY: integers, of which zeros are a value; a valid struct for the call.
        unsafe {
            let mut lock: libc::flock = std::mem::zeroed();
            lock.l_type = libc::F_WRLCK as i16;
            (lock.l_start, lock.l_len) = ((1 << 32) + 2, 1);
            assert_eq!(libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock), 0);
        }
        let path = dir.path().canonicalize().expect("its path");
        let held = held(std::process::id() as i32, &path);
        assert_eq!(held.into_iter().collect::<Vec<_>>(), [("prepare", 1)]);
        assert_eq!(left(&path).len(), 1);
        drop(file);
        assert_eq!(left(&path).len(), 0);
    }
}
